"""Functions that run in Spark workers on batches of rows, and the ``msd`` data source."""
