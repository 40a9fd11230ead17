"""Query engine on Spark, for data that are too large for one machine, and for statements that change tables."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._sql.catalog import render_create_table
from reprise.jobs._sql.quoting import spark_string
from reprise.jobs._sql.spark_views import render_create_view
from reprise.jobs._sql.statements import QueryError, check_parameters, find_names, split_statements, tokenize
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS
from reprise.udfs.arrow import spark_schema

_READ_COMMANDS = ("Show", "Describe", "Explain")
_LOGICAL = "org.apache.spark.sql.catalyst.plans.logical"
# Java base classes of all plans that are not queries
_STATEMENTS = (f"{_LOGICAL}.Command", f"{_LOGICAL}.ParsedStatement", f"{_LOGICAL}.CompoundPlanStatement")
_JAVA_FUNCTIONS = {"reflect", "java_method", "try_reflect"}


class Spark:
    """Query engine on Spark. With ``write``, statements can change the tables."""

    name = "spark"

    def __init__(self, spark: SparkSession, warehouse: Warehouse, *, write: bool) -> None:
        self._spark = spark.newSession()
        self._warehouse = warehouse
        self._write = write
        if not write:
            self._spark.conf.set("spark.sql.runSQLOnFiles", "false")
        # without this setting, Delta's parser does not pass parameters on to Spark's parser
        self._spark.conf.set("spark.sql.legacy.parameterSubstitution.constantsOnly", "true")

    def query(self, sql: str, parameters: Mapping[str, str]) -> Iterator[pa.RecordBatchReader]:
        """Run the statements in ``sql`` and yield the result of each statement.

        Raises
        ------
        QueryError
            The engine was opened without ``write``, and a statement is not read-only or calls Java code. All statements
            are checked before the first one runs.
        UsageError
            A parameter in ``sql`` has no value, or a name in ``parameters`` does not occur in ``sql``.
        pyspark.errors.PySparkException
            A statement cannot be parsed, or fails.
        """
        check_parameters(sql, self.name, parameters.keys())
        statements = split_statements(sql, self.name)
        for statement in statements if not self._write else []:
            self._check(statement)
        for name in find_names(sql):
            self._register(name)
        for statement in statements:
            used = {text for kind, text in tokenize(statement, self.name) if kind == "parameter"}
            arguments: dict[str, Any] = {name: parameters[name] for name in used}
            result = self._spark.sql(statement, args=arguments) if arguments else self._spark.sql(statement)
            yield _to_arrow_reader(result)

    def _check(self, statement: str) -> None:
        if calls := _JAVA_FUNCTIONS & set(_find_identifiers(statement)):
            raise QueryError(f"{min(calls)} calls Java code, which could change files: remove the call")
        plans = [self._session_state().sqlParser().parsePlan(statement)]
        while plans:
            plan = plans.pop()
            kind = plan.getClass().getSimpleName()
            is_statement = any(self._jvm().java.lang.Class.forName(name).isInstance(plan) for name in _STATEMENTS)
            if is_statement or "ExecuteImmediate" in kind:
                if kind.startswith(_READ_COMMANDS):
                    continue
                raise QueryError(f"{kind} is not a read-only statement: give --write to allow it")
            children = plan.children()
            plans += [children.apply(i) for i in range(children.size())]

    def _register(self, name: str) -> None:
        """Make a table or view available to statements under its name."""
        if name in VIEWS:
            self._spark.sql(render_create_view(VIEWS[name], "TEMPORARY "))
            return
        table = TABLES[name]
        if not self._warehouse.exists(table):
            self._spark.createDataFrame([], spark_schema(table)).createOrReplaceTempView(name)
        elif self._write:
            # the name could be registered for a table in another warehouse; DROP does not delete that table's files
            self._spark.sql(f"DROP TABLE IF EXISTS {name}")
            self._spark.sql(render_create_table(self._warehouse, table))
        else:
            path = spark_string(self._warehouse.uri(table))
            self._spark.sql(f"CREATE OR REPLACE TEMPORARY VIEW {name} USING delta OPTIONS (path {path})")

    def _session_state(self) -> Any:
        return self._spark._jsparkSession.sessionState()

    def _jvm(self) -> Any:
        return self._spark._jvm


def _find_identifiers(statement: str) -> Iterator[str]:
    """Yield the words and quoted names of a statement in lower case."""
    for kind, text in tokenize(statement, Spark.name):
        if kind == "code":
            yield from re.findall(r"\w+", text.lower())
        elif kind == "quoted" and text.startswith("`"):
            yield text.strip("`").lower()


def _to_arrow_reader(result: DataFrame) -> pa.RecordBatchReader:
    """Return a reader of the rows as Arrow batches. It fetches one partition at a time."""
    names = result.columns
    numbered = result.toDF(*[f"c{i}" for i in range(len(names))])  # two columns can have the same name
    fields = to_arrow_schema(numbered.schema)
    schema = pa.schema([pa.field(name, field.type) for name, field in zip(names, fields, strict=True)])

    def batches() -> Iterator[pa.RecordBatch]:
        for row in numbered.mapInArrow(_serialise, "batch binary").toLocalIterator():
            for batch in pa.ipc.open_stream(row["batch"]):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _serialise(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        yield pa.RecordBatch.from_pydict({"batch": [sink.getvalue().to_pybytes()]})
