"""Pairs of recordings on a worker: each compared as two recordings alone are."""

import numpy as np
import pyarrow as pa
import pytest

from reprise.lib.detect.version_evidence import Sound, compare_sounds
from reprise.udfs import heartbeat
from reprise.udfs.version_pairs import COMPARED, compare_pairs

RNG = np.random.default_rng(3)
CHROMAS = {f"LB{n}": RNG.random((12, beats)).astype(np.float32) for n, beats in enumerate((90, 60, 45, 10, 0))}


def batch(first_ids: dict[str, list[str]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            "track_id": pa.array(list(first_ids), pa.string()),
            "beat_chroma": pa.array([CHROMAS[one].reshape(-1) for one in first_ids], pa.list_(pa.float32())),
            "first_ids": pa.array(list(first_ids.values()), pa.list_(pa.string())),
        }
    )


def test_each_pair_is_compared_once() -> None:
    pairs = [{"LB1": ["LB0"], "LB2": ["LB0", "LB1"]}, {"LB3": ["LB0"], "LB4": ["LB2"]}]
    found = list(compare_pairs(map(batch, pairs), chromas=CHROMAS))
    assert all(one.schema == COMPARED for one in found)
    rows = pa.Table.from_batches(found).to_pylist()
    expected = [(first, other) for part in pairs for other, firsts in part.items() for first in firsts]
    assert [(row["track_id"], row["other_id"]) for row in rows] == expected
    for row in rows:
        match = compare_sounds(Sound(CHROMAS[row["track_id"]]), Sound(CHROMAS[row["other_id"]]))
        assert {name: row[name] for name in vars(match)} == pytest.approx(vars(match))


def test_nothing_to_compare() -> None:
    assert list(compare_pairs([], chromas={})) == []
    assert [one.num_rows for one in compare_pairs([batch({})], chromas={})] == [0]


def test_long_comparisons_send_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them, Spark would kill the worker: a batch of many pairs sends nothing before its end."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.0)
    pairs = {"LB1": ["LB0"] * 20, "LB2": ["LB0", "LB1"] * 20}
    sizes = [one.num_rows for one in compare_pairs([batch(pairs)], chromas=CHROMAS)]
    assert sizes[-1] == 60
    assert len(sizes) > 1
    assert set(sizes[:-1]) == {0}
