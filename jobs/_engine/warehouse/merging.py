"""Merge logic independent of Delta: choose the rows to write, prune files by their statistics, find changed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.lib.tables import Table

if TYPE_CHECKING:  # imported only for type checking, so that a DuckDB query starts without pandas and pyspark
    import pandas as pd
    from pyspark.sql import DataFrame


def choose_rows(
    table: Table, offered: pd.DataFrame, stored: pd.DataFrame, *, force: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the ``offered`` rows into rows to write and refused rows.

    If several offered rows have the same key, only the first can be written; the others are refused. In a table with an
    owner column, a row whose key is stored with another owner is refused too, and a row whose key, owner and sha256 are
    stored already is in neither result.

    Parameters
    ----------
    offered, stored
        Data frames with the key columns. For a table with an owner column, they also have the owner and ``sha256``.
    force
        Also write the rows whose key, owner and sha256 are stored already.

    Returns
    -------
    tuple of pandas.DataFrame
        The rows to write and the refused rows, with the columns of ``offered``. For a table with an owner column, they
        also have ``kept_owner`` and ``kept_sha256``: owner and sha256 of the row that the table contains under the key.
    """
    key, owner = list(table.key), table.owner
    if owner is None:
        repeated = offered.duplicated(key)
        return offered[~repeated], offered[repeated]
    offered = offered.sort_values(owner, kind="stable")
    kept = stored[[*key, owner, "sha256"]]
    first = offered[~offered.duplicated(key)]
    kept = concat([kept, first[~has_key(first, kept[key])][[*key, owner, "sha256"]]])
    kept = kept.rename(columns={owner: "kept_owner", "sha256": "kept_sha256"})
    both = offered.merge(kept, on=key, how="left")
    is_first = (~both.duplicated([*key, owner])).to_numpy()
    is_owner = (both[owner] == both["kept_owner"]).to_numpy()
    is_stored = has_key(both, stored[key]).to_numpy()
    unchanged = is_stored & (both["sha256"] == both["kept_sha256"]).to_numpy() & (not force)
    return both[is_owner & is_first & ~unchanged], both[~is_owner | ~is_first]


def concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate the frames that have rows. If all frames are empty, return the first.

    Other empty frames are left out, because pandas warns about them, and because their dtypes would affect the result.
    """
    import pandas as pd

    return pd.concat([f for f in frames if len(f)] or frames[:1], ignore_index=True)


def has_key(rows: pd.DataFrame, keys: pd.DataFrame) -> pd.Series:
    """Return a boolean mask of the ``rows`` whose key is in ``keys``. The key columns are the columns of ``keys``."""
    import pandas as pd

    key = list(keys.columns)
    if len(key) == 1:
        return rows[key[0]].isin(keys[key[0]])
    return pd.Series(pd.MultiIndex.from_frame(rows[key]).isin(pd.MultiIndex.from_frame(keys)), index=rows.index)


def prune_files(files: pa.Table, bounds: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Return the paths of the files that can contain a row within the bounds of at least one column.

    ``bounds`` maps a column to its least and greatest value. Files are excluded by their statistics. If a column has no
    statistics in any file, all paths are returned.
    """
    matches = np.zeros(len(files), dtype=bool)
    for column, (least, greatest) in bounds.items():
        if f"min.{column}" not in files.column_names:
            return files["path"].to_pylist()  # type: ignore[no-any-return]
        outside = pc.or_(pc.greater(files[f"min.{column}"], greatest), pc.less(files[f"max.{column}"], least))
        matches |= ~pc.fill_null(outside, False).to_numpy()
    return files.filter(pa.array(matches))["path"].to_pylist()  # type: ignore[no-any-return]


def find_changed(rows: DataFrame, column: str) -> DataFrame:
    """Return the values of ``column`` whose rows differ between two versions of a table.

    ``rows`` contains the rows of both versions; rows that are in both can be left out. Each row is hashed to 128 bits
    (two xxHash64 values). The hashes of all rows with the same value of ``column`` are combined by XOR. A row that
    ``rows`` contains once from each version is combined twice, so its hashes cancel.
    """
    from pyspark.sql import functions as F

    values = [value for name in rows.columns for value in (F.col(name), F.col(name).isNull())]
    one, other = (F.bit_xor(F.xxhash64(F.lit(seed), *values)) for seed in (1, 2))
    digests = rows.groupBy(column).agg(one.alias("one"), other.alias("other"))
    return digests.where("one <> 0 OR other <> 0").select(column)
