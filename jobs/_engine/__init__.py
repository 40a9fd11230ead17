"""Infrastructure that all jobs share: run, Spark session, command line, tables, manifest, quarantine and models."""
