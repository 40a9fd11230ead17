"""The books that every job keeps: inputs that are done or rejected, runs, and trained models."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

MANIFEST = Table(
    name="manifest",
    doc="Inputs that are done, so that a rerun skips them.",
    grain="one input file of one stage",
    key=("uri", "stage"),
    checks={"status_known": "status in ('done', 'duplicate', 'quarantined')"},
    columns=(
        key("uri", "input file"),
        key("stage", "job that read it"),
        Column("status", "string", "done, duplicate (another file gave its tracks) or quarantined", nullable=False),
        Column("file_size", "bigint", "bytes", nullable=False),
        Column("file_mtime_us", "bigint", "modification time in microseconds since 1970", nullable=False),
        Column("sha256", "string", "SHA-256 of the content; NULL when it could not be read"),
        Column("row_count", "bigint", "rows it gave", nullable=False),
        Column("reject_count", "bigint", "lines or rows of it that went to quarantine", nullable=False),
        RUN_ID,
    ),
)

QUARANTINE = Table(
    name="quarantine",
    doc="Rejected inputs, each with a reason a person can act on.",
    grain="one rejected input of one stage",
    key=("uri", "stage"),
    checks={},
    columns=(
        key("uri", "input file; of a text file with #L and the line at the end; of a table its name, # and the track"),
        key("stage", "job that rejected it"),
        Column("error_class", "string", "short name of the fault, for grouping", nullable=False),
        Column("message", "string", "what is wrong and what to do", nullable=False),
        Column("sha256", "string", "SHA-256 of the file; NULL when it could not be read"),
        Column("attempts", "int", "how often it was tried", nullable=False),
        RUN_ID,
    ),
)

JOB_RUNS = Table(
    name="job_runs",
    doc="Every run of every job. The status of a run that was killed stays running.",
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
        Column("counts", "string", "counts of the summary, JSON; NULL while running"),
        Column("error", "string", "one line when it failed"),
        Column("reprise_version", "string", "version of the code", nullable=False),
    ),
)

MODELS = Table(
    name="models",
    doc="Trained models.",
    grain="one model",
    key=("model_id",),
    checks={},
    columns=(
        key("model_id", "kind and a hash of what it was made from: the same data and parameters give the same id"),
        Column("kind", "string", "what it does and how", nullable=False),
        Column("trained_at", "timestamp", "end of the training, UTC", nullable=False),
        Column("params", "string", "parameters of the training, JSON", nullable=False),
        Column("metrics", "string", "figures of the training, JSON", nullable=False),
        Column("artifact", "string", "file, below the warehouse root", nullable=False),
        Column("sha256", "string", "SHA-256 of the artifact, hexadecimal", nullable=False),
        Column("trained_on", "string", "Delta version of each table it was trained on, JSON", nullable=False),
        RUN_ID,
    ),
)


def row_uri(table: str, track_id: str) -> str:
    """Name, in the quarantine, of one track's row of a table."""
    return f"{table}#{track_id}"
