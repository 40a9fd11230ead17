"""Music algorithms and file formats: plain functions on numpy arrays and paths, without Spark or global state."""
