"""The two books every ingest job keeps: the manifest of inputs that are done, and the quarantine."""

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from reprise.jobs._tables import Warehouse
from reprise.lib.tables import MANIFEST, QUARANTINE
from reprise.udfs.arrow import arrow_schema


def known_inputs(warehouse: Warehouse, stage: str, uris: Sequence[str]) -> pd.DataFrame:
    """Manifest rows of ``stage`` for those of ``uris`` that have one."""
    rows = warehouse.lookup(MANIFEST, "uri", uris).to_pandas()
    return rows[rows["stage"] == stage]


def is_done(listed: pd.DataFrame) -> pd.Series:
    """Which listed inputs, joined to their manifest rows with the suffix ``_known``, need no second look.

    What could not be read at all has no hash and is tried again.
    """
    same_size = listed["file_size"] == listed["file_size_known"]
    return same_size & (listed["file_mtime_us"] == listed["file_mtime_us_known"]) & listed["sha256"].notna()


def write_manifest(warehouse: Warehouse, rows: pd.DataFrame, known: pd.DataFrame) -> None:
    """Write manifest ``rows``, leaving alone those that say what the ``known`` row says already."""
    said = [c.name for c in MANIFEST.columns if c.name != "run_id"]
    stands = pd.MultiIndex.from_frame(rows[said]).isin(pd.MultiIndex.from_frame(known[said]))
    new = pa.Table.from_pandas(rows[~stands], arrow_schema(MANIFEST), preserve_index=False)
    if len(new):
        warehouse.merge(MANIFEST, new)


def write_quarantine(warehouse: Warehouse, stage: str, rows: pa.Table, looked_at: Sequence[str], *, force: bool) -> None:
    """Write quarantine ``rows`` and remove those of inputs that are well now.

    Parameters
    ----------
    looked_at
        URIs of all inputs that were read, good or bad.
    force
        Count another attempt even where the reason is the same.
    """
    standing = warehouse.lookup(QUARANTINE, "uri", [*looked_at, *rows["uri"].to_pylist()]).to_pandas()
    standing = standing[standing["stage"] == stage].set_index("uri", drop=False)
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
