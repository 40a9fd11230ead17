"""Make another catalog know the tables and views: print the statements, or run them.

Reads:  the names, columns and comments of all tables and views.
Writes: a table that was never made yet, empty, so that no view lacks one; with --run the session's catalog.
Rerun:  nothing changes but views, which are made anew.

Run what it prints with spark-sql -f. With --run the catalog is the one that --conf names, as
spark.sql.catalogImplementation=hive and spark.hadoop.javax.jdo.option.ConnectionURL=….
"""

import argparse
import re
import sys

from reprise.jobs._engine.run import Job, Run, UsageError, run_job
from reprise.jobs._sql.catalog import ddl
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--database", metavar="NAME", default="reprise", help="where they go; default: reprise")
    parser.add_argument("--run", action="store_true", help="run the statements here instead of printing them")


def register(run: Run) -> None:
    """Make what is missing, and print or run the statements."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", run.args.database):  # Spark takes no others everywhere
        raise UsageError(f"--database takes letters, digits and _, not {run.args.database!r}")
    missing = [table for table in TABLES.values() if not run.warehouse.exists(table)]
    for table in missing:
        run.warehouse.merge(table, [])
    run.count(tables=len(TABLES), views=len(VIEWS), made_empty=len(missing))
    for statement in ddl(run.warehouse, run.args.database):
        if run.args.run:
            run.spark.sql(statement)
        elif not run.args.json:
            print(f"{statement};")


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job("register_tables", __doc__ or "", add_arguments, register, prints_for_programs=True), argv)


if __name__ == "__main__":
    sys.exit(main())
