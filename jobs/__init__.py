"""One module per table family written; every job is also a file that spark-submit runs."""
