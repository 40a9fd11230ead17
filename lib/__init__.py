"""Music algorithms, file formats, plots and table contracts. No module imports Spark."""
