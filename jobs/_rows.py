"""Which rows a merge writes, in pandas: the part of the tables' writer that knows nothing of Delta."""

from collections.abc import Sequence

import pandas as pd

from reprise.lib.tables import Table


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
    return pd.concat([f for f in frames if len(f)] or frames[:1], ignore_index=True)


def is_in(rows: pd.DataFrame, others: pd.DataFrame) -> pd.Series:
    """Whether the key of each of ``rows`` is among ``others``, whose columns are the key."""
    key = list(others.columns)
    if len(key) == 1:
        return rows[key[0]].isin(others[key[0]])
    return pd.Series(pd.MultiIndex.from_frame(rows[key]).isin(pd.MultiIndex.from_frame(others)), index=rows.index)
