"""Batches of rows around one library function, and the ``msd`` data source."""
