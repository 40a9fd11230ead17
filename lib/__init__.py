"""What the field knows, as plain functions on numpy arrays and paths. No Spark, no environment, no global state."""
