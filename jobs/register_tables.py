"""Register the tables and views in another catalog: print the SQL statements, or run them.

Reads:  the declarations of all tables and views.
Writes: missing tables, without rows, because the views need them. With --run, also the session's catalog.
Rerun:  the tables do not change; the views are created again.

Run the printed statements with spark-sql -f. With --run, the job runs them in the session's catalog. --conf selects
this catalog: for example, give --conf spark.sql.catalogImplementation=hive and
--conf spark.hadoop.javax.jdo.option.ConnectionURL=….
"""

import argparse
import re
import sys

from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._sql.catalog import generate_ddl
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--database", metavar="NAME", default="reprise", help="database of the tables and views (default: %(default)s)"
    )
    parser.add_argument("--run", action="store_true", help="run the statements instead of printing them")


def register(run: Run) -> None:
    """Create the tables that do not exist yet; print the statements, or run them with ``--run``."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", run.args.database):  # Spark accepts only such names everywhere
        raise UsageError(
            f"--database takes letters, digits and _, starting with a letter or _, not {run.args.database!r}"
        )
    missing = [table for table in TABLES.values() if not run.warehouse.exists(table)]
    for table in missing:
        run.warehouse.merge(table, [])
    run.count(tables=len(TABLES), views=len(VIEWS), made_empty=len(missing))
    for statement in generate_ddl(run.warehouse, run.args.database):
        if run.args.run:
            run.spark.sql(statement)
        elif not run.args.json:
            print(f"{statement};")


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job("register_tables", __doc__ or "", add_arguments, register, prints_for_programs=True), argv)


if __name__ == "__main__":
    sys.exit(main())
