"""The two books every ingest job keeps: the manifest of inputs that are done, and the quarantine."""

from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from reprise.jobs._engine.listing import Listing
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.tables import MANIFEST, QUARANTINE
from reprise.udfs.arrow import arrow_schema


@dataclass(frozen=True)
class Pending:
    """Which of some listed inputs are to be read.

    ``todo`` has the listing's columns and ``known_sha256``; ``known`` are the manifest rows of all of them, ``done``
    those that need no second look.
    """

    todo: pa.Table
    known: pd.DataFrame
    done: pd.DataFrame

    def reopen(self, again: pd.Series) -> "Pending":
        """Give what is pending when those rows of ``done`` are to be read again, whatever their content."""
        rows = pa.Table.from_pandas(
            self.done[again].assign(known_sha256=None)[self.todo.schema.names], self.todo.schema, preserve_index=False
        )
        return Pending(pa.concat_tables([self.todo, rows]), self.known, self.done[~again])


def hold_against_manifest(warehouse: Warehouse, stage: str, listed: pa.Table, *, force: bool) -> Pending:
    """Hold ``listed`` inputs against the manifest.

    An input is done when its size and modification time are those in the manifest. What could not be read at all has
    no hash there and is tried again.
    """
    bounds = pc.min_max(listed["uri"]).as_py()
    known = warehouse.lookup(MANIFEST, "uri", bounds["min"], bounds["max"]).to_pandas()
    known = known[(known["stage"] == stage) & known["uri"].isin(listed["uri"].to_pandas())]
    both = listed.to_pandas().merge(known, on="uri", how="left", suffixes=("", "_known"))
    same_size = both["file_size"] == both["file_size_known"]
    done = same_size & (both["file_mtime_us"] == both["file_mtime_us_known"]) & both["sha256"].notna() & (not force)
    # a duplicate is read again when its file is touched: the track it repeats may be gone
    both["known_sha256"] = both["sha256"].where(both["status"] != "duplicate")
    schema = pa.schema([*listed.schema, ("known_sha256", pa.string())])
    return Pending(
        pa.Table.from_pandas(both[~done][schema.names], schema, preserve_index=False),
        known,
        both[done],
    )


def settle_unchanged(manifest: pd.DataFrame, known: pd.DataFrame) -> None:
    """Give rows of the status ``unchanged``, the same content under a new size or time, the rest of the known row."""
    unchanged = manifest["status"] == "unchanged"
    standing = known.set_index("uri").reindex(manifest["uri"][unchanged])
    for column in ("status", "row_count", "reject_count", "run_id"):
        manifest.loc[unchanged, column] = standing[column].to_numpy()


def write_manifest(warehouse: Warehouse, rows: pd.DataFrame, known: pd.DataFrame) -> None:
    """Write manifest ``rows``, leaving alone those that say what the ``known`` row says already."""
    said = [c.name for c in MANIFEST.columns if c.name != "run_id"]
    stands = pd.MultiIndex.from_frame(rows[said]).isin(pd.MultiIndex.from_frame(known[said]))
    new = pa.Table.from_pandas(rows[~stands], arrow_schema(MANIFEST), preserve_index=False)
    if len(new):
        warehouse.merge(MANIFEST, new)


def write_quarantine(warehouse: Warehouse, stage: str, rows: pa.Table, looked_at: pd.Series, *, force: bool) -> None:
    """Write quarantine ``rows`` and remove those of inputs, and of lines in them, that are well now.

    Parameters
    ----------
    looked_at
        URIs of all inputs that were read, good or bad; what was found unchanged is not among them.
    force
        Count another attempt even where the reason is the same.
    """
    if looked_at.empty:
        return
    standing = warehouse.lookup(QUARANTINE, "uri", looked_at.min(), looked_at.max() + "#M").to_pandas()
    of_these = standing["uri"].str.replace("#L[0-9]+$", "", regex=True).isin(looked_at)
    standing = standing[of_these & (standing["stage"] == stage)].set_index("uri", drop=False)
    new = rows.to_pandas().set_index("uri", drop=False)
    well_now = standing[~standing.index.isin(new.index)]
    again = new.index.intersection(standing.index)
    new.loc[again, "attempts"] = standing.loc[again, "attempts"] + 1
    if not force:
        reasons = ["uri", "error_class", "message", "sha256"]
        new = new[~pd.MultiIndex.from_frame(new[reasons]).isin(pd.MultiIndex.from_frame(standing[reasons]))]
    if len(new) or len(well_now):
        schema = arrow_schema(QUARANTINE)
        warehouse.merge(
            QUARANTINE,
            pa.Table.from_pandas(new, schema, preserve_index=False),
            delete=pa.Table.from_pandas(well_now, schema, preserve_index=False),
        )


def forget_removed(warehouse: Warehouse, stage: str, listing: Listing) -> None:
    """Remove the quarantine and manifest rows of bad inputs below the source that are no longer there."""
    standing = warehouse.lookup(QUARANTINE, "uri", "", "\U0010ffff").to_pandas()
    inputs = standing["uri"].str.replace("#L[0-9]+$", "", regex=True)
    gone = listing.missing(inputs[standing["stage"] == stage])
    for table, uris in ((QUARANTINE, standing["uri"][inputs.isin(gone)]), (MANIFEST, sorted(gone))):
        if len(uris):
            keys = pa.table({"uri": pa.array(uris, pa.string()), "stage": [stage] * len(uris)})
            warehouse.merge(table, [], delete=keys)
