"""Which rows a merge writes and which files may hold some: what of the tables' writer knows nothing of Delta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.lib.tables import Table

if TYPE_CHECKING:  # a query in DuckDB does not wait for these
    import pandas as pd
    from pyspark.sql import DataFrame


def decide(
    table: Table, offered: pd.DataFrame, stored: pd.DataFrame, *, force: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split ``offered`` into rows to write and rows refused; the rest are there already."""
    key, owner = list(table.key), table.owner
    if owner is None:
        repeated = offered.duplicated(key)
        return offered[~repeated], offered[repeated]
    offered = offered.sort_values(owner, kind="stable")
    kept = stored[[*key, owner, "sha256"]]
    first = offered[~offered.duplicated(key)]
    kept = stack([kept, first[~is_in(first, kept[key])][[*key, owner, "sha256"]]])
    kept = kept.rename(columns={owner: "kept_owner", "sha256": "kept_sha256"})
    both = offered.merge(kept, on=key, how="left")
    is_first = (~both.duplicated([*key, owner])).to_numpy()
    ours = (both[owner] == both["kept_owner"]).to_numpy()
    there = is_in(both, stored[key]).to_numpy()
    same = there & (both["sha256"] == both["kept_sha256"]).to_numpy() & (not force)
    return both[ours & is_first & ~same], both[~ours | ~is_first]


def stack(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Frames one below the other; pandas warns of empty ones, whose types would count."""
    import pandas as pd

    return pd.concat([f for f in frames if len(f)] or frames[:1], ignore_index=True)


def is_in(rows: pd.DataFrame, others: pd.DataFrame) -> pd.Series:
    """Whether the key of each of ``rows`` is among ``others``, whose columns are the key."""
    import pandas as pd

    key = list(others.columns)
    if len(key) == 1:
        return rows[key[0]].isin(others[key[0]])
    return pd.Series(pd.MultiIndex.from_frame(rows[key]).isin(pd.MultiIndex.from_frame(others)), index=rows.index)


def files_within(files: pa.Table, bounds: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Paths of the files that, by their statistics, can hold a value within one of ``bounds``."""
    able = np.zeros(len(files), dtype=bool)
    for column, (least, greatest) in bounds.items():
        if f"min.{column}" not in files.column_names:
            return files["path"].to_pylist()  # type: ignore[no-any-return]
        apart = pc.or_(pc.greater(files[f"min.{column}"], greatest), pc.less(files[f"max.{column}"], least))
        able |= ~pc.fill_null(apart, False).to_numpy()
    return files.filter(pa.array(able))["path"].to_pylist()  # type: ignore[no-any-return]


def find_changed(rows: DataFrame, column: str) -> DataFrame:
    """Values of ``column`` whose rows differ between two versions of something, which stand one below the other.

    Rows are told apart by 128 bits of xxHash: what both versions hold cancels out.
    """
    from pyspark.sql import functions as F

    values = [value for name in rows.columns for value in (F.col(name), F.col(name).isNull())]
    one, other = (F.bit_xor(F.xxhash64(F.lit(seed), *values)) for seed in (1, 2))
    digests = rows.groupBy(column).agg(one.alias("one"), other.alias("other"))
    return digests.where("one <> 0 OR other <> 0").select(column)
