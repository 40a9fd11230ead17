"""Queries in Spark, for what one machine is too small for and for statements that change tables."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.jobs._sql.catalog import register, text_quoted
from reprise.jobs._sql.spark_views import define
from reprise.jobs._sql.statements import QueryError, check_parameters, named_in, split, tokens
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS
from reprise.udfs.arrow import spark_schema

_READS = ("Show", "Describe", "Explain")
_LOGICAL = "org.apache.spark.sql.catalyst.plans.logical"
# a statement is one of these, or a query
_STATEMENTS = (f"{_LOGICAL}.Command", f"{_LOGICAL}.ParsedStatement", f"{_LOGICAL}.CompoundPlanStatement")
_CALLS_JAVA = {"reflect", "java_method", "try_reflect"}


class Spark:
    """Answers queries; with ``write`` the names are the tables themselves, which statements can change."""

    name = "spark"

    def __init__(self, spark: SparkSession, warehouse: Warehouse, *, write: bool) -> None:
        self._spark = spark.newSession()
        self._warehouse = warehouse
        self._write = write
        if not write:
            self._spark.conf.set("spark.sql.runSQLOnFiles", "false")
        # Delta's parser hands parameters on to Spark's in this way alone
        self._spark.conf.set("spark.sql.legacy.parameterSubstitution.constantsOnly", "true")

    def query(self, sql: str, parameters: Mapping[str, str]) -> Iterator[pa.RecordBatchReader]:
        """Answer each statement of ``sql``.

        Raises
        ------
        QueryError
            When a statement is not one that reads, without ``write``: none has been run then.
        UsageError
            For a parameter too many or too few.
        pyspark.errors.PySparkException
            When a statement fails.
        """
        check_parameters(sql, self.name, parameters.keys())
        statements = split(sql, self.name)
        for statement in statements if not self._write else []:
            self._check(statement)
        for name in named_in(sql):
            self._make_known(name)
        for statement in statements:
            used = {text for kind, text in tokens(statement, self.name) if kind == "parameter"}
            arguments: dict[str, Any] = {name: parameters[name] for name in used}
            yield _read(self._spark.sql(statement, args=arguments) if arguments else self._spark.sql(statement))

    def _check(self, statement: str) -> None:
        if calls := _CALLS_JAVA & set(_names(statement)):
            raise QueryError(f"{min(calls)} runs programs: a query only reads")
        plans = [self._state().sqlParser().parsePlan(statement)]
        while plans:
            plan = plans.pop()
            kind = plan.getClass().getSimpleName()
            is_statement = any(self._jvm().java.lang.Class.forName(name).isInstance(plan) for name in _STATEMENTS)
            if is_statement or "ExecuteImmediate" in kind:
                if kind.startswith(_READS):
                    continue
                raise QueryError(f"{kind} is not a statement that reads: give --write")
            children = plan.children()
            plans += [children.apply(i) for i in range(children.size())]

    def _make_known(self, name: str) -> None:
        if name in VIEWS:
            self._spark.sql(define(VIEWS[name], "TEMPORARY "))
            return
        table = TABLES[name]
        if not self._warehouse.exists(table):
            self._spark.createDataFrame([], spark_schema(table)).createOrReplaceTempView(name)
        elif self._write:
            self._spark.sql(f"DROP TABLE IF EXISTS {name}")  # of another warehouse; its files stay
            self._spark.sql(register(self._warehouse, table))
        else:
            path = text_quoted(self._warehouse.uri(table))
            self._spark.sql(f"CREATE OR REPLACE TEMPORARY VIEW {name} USING delta OPTIONS (path {path})")

    def _state(self) -> Any:
        return self._spark._jsparkSession.sessionState()

    def _jvm(self) -> Any:
        return self._spark._jvm


def _names(statement: str) -> Iterator[str]:
    """Words of a statement and its quoted names, in lower case."""
    for kind, text in tokens(statement, Spark.name):
        if kind == "code":
            yield from re.findall(r"\w+", text.lower())
        elif kind == "quoted" and text.startswith("`"):
            yield text.strip("`").lower()


def _read(answer: DataFrame) -> pa.RecordBatchReader:
    """Rows of ``answer`` as Arrow, of one partition at a time."""
    names = answer.columns
    numbered = answer.toDF(*[f"c{i}" for i in range(len(names))])  # two columns may have one name
    fields = to_arrow_schema(numbered.schema)
    schema = pa.schema([pa.field(name, field.type) for name, field in zip(names, fields, strict=True)])

    def batches() -> Iterator[pa.RecordBatch]:
        for row in numbered.mapInArrow(_to_bytes, "batch binary").toLocalIterator():
            for batch in pa.ipc.open_stream(row["batch"]):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _to_bytes(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        yield pa.RecordBatch.from_pydict({"batch": [sink.getvalue().to_pybytes()]})
