"""Write the quarantine rows of rejected inputs, and delete the rows of inputs that are now valid or were deleted."""

import pandas as pd
import pyarrow as pa

from reprise.jobs._engine.listing import Listing
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import MANIFEST, QUARANTINE
from reprise.udfs.arrow import arrow_schema

_LINE = "#L[0-9]+$"
"""Regular expression for the suffix of a rejected line's uri."""


def write_quarantine(warehouse: Warehouse, job: str, rows: pa.Table, read: pd.Series, *, force: bool) -> None:
    """Write quarantine ``rows``, and delete the stored rows of inputs and lines that are now valid.

    Parameters
    ----------
    read
        URIs of all inputs that were read to get ``rows``, whether valid or rejected. Unchanged inputs are not included.
    force
        Increase the number of attempts even if the content and the reason for the rejection are the same as before.
    """
    if read.empty:
        return
    stored = warehouse.lookup(QUARANTINE, "uri", read.min(), read.max() + "#M").to_pandas()
    was_read = stored["uri"].str.replace(_LINE, "", regex=True).isin(read)
    stored = stored[was_read & (stored["stage"] == job)].set_index("uri", drop=False)
    new = rows.to_pandas().set_index("uri", drop=False)
    good_now = stored[~stored.index.isin(new.index)]
    again = new.index.intersection(stored.index)
    new.loc[again, "attempts"] = stored.loc[again, "attempts"] + 1
    if not force:
        reasons = ["uri", "error_class", "message", "sha256"]
        new = new[~pd.MultiIndex.from_frame(new[reasons]).isin(pd.MultiIndex.from_frame(stored[reasons]))]
    if len(new) or len(good_now):
        schema = arrow_schema(QUARANTINE)
        warehouse.merge(
            QUARANTINE,
            pa.Table.from_pandas(new, schema, preserve_index=False),
            delete=pa.Table.from_pandas(good_now, schema, preserve_index=False),
        )


def delete_removed_inputs(warehouse: Warehouse, job: str, listing: Listing) -> None:
    """Delete the quarantine and manifest rows of rejected inputs that no longer exist below the listed source.

    Nothing is deleted if the source is not local, see `Listing.missing`.
    """
    stored = warehouse.lookup_all(QUARANTINE).to_pandas()
    inputs = stored["uri"].str.replace(_LINE, "", regex=True)
    gone = listing.missing(inputs[stored["stage"] == job])
    for table, uris in ((QUARANTINE, stored["uri"][inputs.isin(gone)]), (MANIFEST, sorted(gone))):
        if len(uris):
            keys = pa.table({"uri": pa.array(uris, pa.string()), "stage": [job] * len(uris)})
            warehouse.merge(table, [], delete=keys)
