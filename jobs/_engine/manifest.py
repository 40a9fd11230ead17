"""Manifest of the ingest jobs. It records which inputs a job has read, so that a rerun can skip them."""

from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import MANIFEST
from reprise.udfs.arrow import arrow_schema


@dataclass(frozen=True)
class PendingInputs:
    """Listed inputs, compared with the manifest.

    Attributes
    ----------
    todo
        Inputs to read, with the columns of the listing and ``known_sha256``.
    known
        The job's manifest rows of the listed inputs.
    done
        Inputs to skip, with the columns of the listing and of the manifest.
    """

    todo: pa.Table
    known: pd.DataFrame
    done: pd.DataFrame

    def reopen(self, again: pd.Series) -> "PendingInputs":
        """Return a copy in which some rows of ``done`` are moved to ``todo``, so that these inputs are read again.

        ``again`` is the boolean mask of these rows. Their ``known_sha256`` is NULL in ``todo``.
        """
        rows = pa.Table.from_pandas(
            self.done[again].assign(known_sha256=None)[self.todo.schema.names], self.todo.schema, preserve_index=False
        )
        return PendingInputs(pa.concat_tables([self.todo, rows]), self.known, self.done[~again])


def compare_with_manifest(warehouse: Warehouse, job: str, listed: pa.Table, *, force: bool) -> PendingInputs:
    """Compare ``listed`` inputs with the manifest rows of ``job``.

    An input is done if its size and modification time equal those in the manifest. A manifest row without a hash
    belongs to an input that could not be read; this input is read again. With ``force``, all inputs are read again.
    """
    bounds = pc.min_max(listed["uri"]).as_py()
    known = warehouse.lookup(MANIFEST, "uri", bounds["min"], bounds["max"]).to_pandas()
    known = known[(known["stage"] == job) & known["uri"].isin(listed["uri"].to_pandas())]
    both = listed.to_pandas().merge(known, on="uri", how="left", suffixes=("", "_known"))
    same_size = both["file_size"] == both["file_size_known"]
    done = same_size & (both["file_mtime_us"] == both["file_mtime_us_known"]) & both["sha256"].notna() & (not force)
    # a duplicate with a new modification time is read again, because the original track could have been deleted
    both["known_sha256"] = both["sha256"].where(both["status"] != "duplicate")
    schema = pa.schema([*listed.schema, ("known_sha256", pa.string())])
    return PendingInputs(
        pa.Table.from_pandas(both[~done][schema.names], schema, preserve_index=False),
        known,
        both[done],
    )


def carry_over_unchanged(manifest: pd.DataFrame, known: pd.DataFrame) -> None:
    """Replace status, counts and run_id of the ``unchanged`` rows of ``manifest`` by those in ``known``, in place.

    An input is ``unchanged`` if it was hashed again and its content is the same as before.
    """
    unchanged = manifest["status"] == "unchanged"
    former = known.set_index("uri").reindex(manifest["uri"][unchanged])
    for column in ("status", "row_count", "reject_count", "run_id"):
        manifest.loc[unchanged, column] = former[column].to_numpy()


def write_manifest(warehouse: Warehouse, rows: pd.DataFrame, known: pd.DataFrame) -> None:
    """Write those manifest ``rows`` that are not in ``known``. Rows that differ only in run_id count as equal."""
    columns = [c.name for c in MANIFEST.columns if c.name != "run_id"]
    same = pd.MultiIndex.from_frame(rows[columns]).isin(pd.MultiIndex.from_frame(known[columns]))
    new = pa.Table.from_pandas(rows[~same], arrow_schema(MANIFEST), preserve_index=False)
    if len(new):
        warehouse.merge(MANIFEST, new)
