"""Bookkeeping tables of the jobs: manifest and quarantine of inputs, runs, and trained models."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

MANIFEST = Table(
    name="manifest",
    doc="Inputs that a job has finished; a rerun skips them.",
    grain="one input file of one job",
    key=("uri", "stage"),
    checks={"status_known": "status in ('done', 'duplicate', 'quarantined')"},
    columns=(
        key("uri", "input file"),
        key("stage", "job that read it"),
        Column("status", "string", "done, quarantined, or duplicate (tracks came from another file)", nullable=False),
        Column("file_size", "bigint", "bytes", nullable=False),
        Column("file_mtime_us", "bigint", "modification time in microseconds since 1970", nullable=False),
        Column("sha256", "string", "SHA-256 of the content; NULL when it could not be read"),
        Column("row_count", "bigint", "number of rows read from the file", nullable=False),
        Column("reject_count", "bigint", "number of lines or rows of the file that were rejected", nullable=False),
        RUN_ID,
    ),
)

QUARANTINE = Table(
    name="quarantine",
    doc="Rejected inputs, each with the fault and the remedy.",
    grain="one rejected input of one job",
    key=("uri", "stage"),
    checks={},
    columns=(
        key("uri", "input file; FILE#L and line number for a line of a text file; TABLE#track_id for a table row"),
        key("stage", "job that rejected it"),
        Column("error_class", "string", "short name of the kind of fault", nullable=False),
        Column("message", "string", "fault and remedy", nullable=False),
        Column("sha256", "string", "SHA-256 of the file; NULL when it could not be read"),
        Column("attempts", "int", "number of attempts", nullable=False),
        RUN_ID,
    ),
)

JOB_RUNS = Table(
    name="job_runs",
    doc="All runs of all jobs. A killed run keeps the status running.",
    grain="one run",
    key=("run_id",),
    checks={"status_known": "status in ('running', 'succeeded', 'too_many_bad', 'failed')"},
    columns=(
        key("run_id", "UUID of the run"),
        Column("job", "string", "job name", nullable=False),
        Column("arguments", "string", "arguments and settings as JSON", nullable=False),
        Column("status", "string", "running, succeeded, too_many_bad or failed", nullable=False),
        Column("started_at", "timestamp", "start, UTC", nullable=False),
        Column("seconds", "double", "wall-clock time; NULL while running"),
        Column("input_versions", "string", "Delta version of each table at the start, JSON", nullable=False),
        Column("output_versions", "string", "Delta version of each table at the end, JSON; NULL while running"),
        Column("counts", "string", "counts of the run summary, JSON; NULL while running"),
        Column("error", "string", "error message of a failed run, one line"),
        Column("reprise_version", "string", "version of the code", nullable=False),
    ),
)

COVER_EMBEDDING, GENRE, SEPARATION, TAGGING = "cover_embedding", "genre", "separator", "tags"
"""Tasks of models."""

MODELS = Table(
    name="models",
    doc="Trained models.",
    grain="one model",
    key=("model_id",),
    checks={},
    columns=(
        key("model_id", "kind, and a hash of data and parameters; equal inputs give the same id"),
        Column("kind", "string", "method, e.g. learned or genre/random_forest", nullable=False),
        Column(
            "task",
            "string",
            "task: cover_embedding, genre, separator, tags; NULL in rows written before 0.2",
            added=True,
        ),
        Column(
            "input",
            "string",
            "input of genre models: track tags, audio, analyses or library analyses; else NULL",
            added=True,
        ),
        Column(
            "quality", "double", "quality on music that was not used for training: macro F1 of genre models", added=True
        ),
        Column("domain", "string", "music on which the model was trained: quantiles of its features, JSON", added=True),
        Column("trained_at", "timestamp", "end of the training, UTC", nullable=False),
        Column("params", "string", "parameters of the training, JSON", nullable=False),
        Column("metrics", "string", "quality metrics, JSON", nullable=False),
        Column("artifact", "string", "path of the model file below the warehouse root", nullable=False),
        Column("sha256", "string", "SHA-256 of the artifact, hexadecimal", nullable=False),
        Column("trained_on", "string", "Delta version of each table with training data, JSON", nullable=False),
        RUN_ID,
    ),
)


def row_uri(table: str, track_id: str) -> str:
    """Return the value of ``uri`` in the quarantine row that rejects one track of ``table``."""
    return f"{table}#{track_id}"
