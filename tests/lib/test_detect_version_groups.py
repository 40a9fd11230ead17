"""Groups of versions: average linkage as a plain computation has it, and who stands for a work."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.lib.detect.version_groups import (
    MIN_MEAN_PROBABILITY,
    Recording,
    choose_representative,
    group_versions,
    tie_probability,
)

Pairs = dict[tuple[str, str], float]

TRACKS = [f"LB{n}" for n in range(9)]
PAIRS = st.dictionaries(
    st.tuples(st.sampled_from(TRACKS), st.sampled_from(TRACKS)).filter(lambda pair: pair[0] < pair[1]),
    st.integers(0, 64).map(lambda n: n / 64),  # sums of these are exact in any order
    max_size=36,
)


def link_plainly(pairs: Pairs) -> list[list[str]]:
    """Join the two groups with the highest mean again and again, and look at all pairs for it each time."""
    groups = [[track] for track in sorted({track for pair in pairs for track in pair})]

    def mean(a: list[str], b: list[str]) -> float:
        return sum(pairs.get((min(x, y), max(x, y)), 0.0) for x in a for y in b) / (len(a) * len(b))

    while len(groups) > 1:
        best = min((-mean(a, b), a[0], b[0], i, j) for i, a in enumerate(groups) for j, b in enumerate(groups) if i < j)
        if -best[0] < MIN_MEAN_PROBABILITY:
            break
        i, j = best[3:]
        groups[i] = sorted(groups[i] + groups.pop(j))
        groups.sort()
    return [group for group in groups if len(group) > 1]


@given(PAIRS)
def test_groups_are_those_of_a_plain_computation(pairs: Pairs) -> None:
    assert group_versions(pairs) == link_plainly(pairs)


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_and_of_their_tracks_is_nothing(pairs: Pairs, rng: random.Random) -> None:
    mixed = [((b, a) if rng.random() < 0.5 else (a, b), p) for (a, b), p in pairs.items()]
    rng.shuffle(mixed)
    assert group_versions(dict(mixed)) == group_versions(pairs)


@given(PAIRS, st.dictionaries(st.sampled_from(TRACKS), st.integers(0, 31).map(lambda n: n / 64)))
def test_an_unrelated_track_changes_nothing(pairs: Pairs, unlikely: dict[str, float]) -> None:
    for name in ("LA", "LZ"):
        more = {(min(track, name), max(track, name)): p for track, p in unlikely.items()}
        assert group_versions({**pairs, **more}) == group_versions(pairs)


@given(PAIRS)
def test_members_of_a_group_are_versions_on_average(pairs: Pairs) -> None:
    for group in group_versions(pairs):
        inside = [pairs.get((a, b), 0.0) for n, a in enumerate(group) for b in group[n + 1 :]]
        assert sum(inside) / len(inside) >= MIN_MEAN_PROBABILITY


def test_a_chain_is_not_one_work() -> None:
    """Each is like the next, but the first is not like the last."""
    chain = {(f"LB{n}", f"LB{n + 1}"): 0.9 for n in range(8)}
    assert all(len(group) == 2 for group in group_versions(chain))
    bridge = {("a", "b"): 1.0, ("c", "d"): 1.0, ("b", "c"): 0.99, ("a", "c"): 0.2, ("a", "d"): 0.2, ("b", "d"): 0.2}
    assert group_versions(bridge) == [["a", "b"], ["c", "d"]]


def test_none_and_one() -> None:
    assert group_versions({}) == []
    assert group_versions({("a", "b"): 0.49}) == []
    assert group_versions({("b", "a"): 0.5}) == [["a", "b"]]


def test_tie() -> None:
    pairs = {("a", "b"): 0.9, ("c", "a"): 0.5}
    assert tie_probability("a", ["a", "b", "c"], pairs) == pytest.approx(0.7)
    assert tie_probability("b", ["a", "b", "c"], pairs) == pytest.approx(0.45)


def recording(track_id: str, kind: str | None = None, **facts: object) -> Recording:
    usual = {"is_complete": True, "codec": "mp3", "sample_rate": 44100, "duration_s": 200.0}
    return Recording(track_id, kind, **{**usual, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "order",
    [
        ("studio", None, "remaster", "acoustic", "live", "demo", "karaoke"),
    ],
)
def test_kinds_in_the_order_in_which_they_stand_for_a_work(order: tuple[str | None, ...]) -> None:
    group = [recording(f"LB{9 - n}", kind) for n, kind in enumerate(order)]
    while group:
        assert choose_representative(reversed(group)).kind == group[0].kind
        group = group[1:]


def test_of_one_kind_quality_length_and_id_decide() -> None:
    best = recording("e", codec="flac", sample_rate=96000, duration_s=300.0)
    group = [
        best,
        recording("d", codec="flac", sample_rate=96000, duration_s=299.0),
        recording("c", codec="flac", sample_rate=44100, duration_s=400.0),
        recording("b", codec="mp3", sample_rate=96000, duration_s=400.0),
        recording("a", codec="flac", sample_rate=96000, duration_s=300.0, is_complete=False),
    ]
    assert choose_representative(group) == choose_representative(group[::-1]) == best
    assert choose_representative([recording("b"), recording("a")]).track_id == "a"
