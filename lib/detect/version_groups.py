"""Groups of versions of one work from the probabilities of pairs, and the representative of each group."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

MIN_MEAN_PROBABILITY = 0.5
"""Two groups are joined if the mean probability of the pairs between them is at least this."""


def group_versions(pairs: Mapping[tuple[str, str], float]) -> list[list[str]]:
    """Group tracks by average linkage: join the two groups with the highest mean probability until it is below 0.5.

    The mean is over all pairs of a track in one group and a track in the other. A pair that is not in ``pairs`` has the
    probability 0. So a single pair does not chain two groups together: most pairs between them must be versions.

    Parameters
    ----------
    pairs
        Probability of each pair of tracks. A pair is in it once, in any order.

    Returns
    -------
    list of list of str
        Groups of two tracks and more, in order of their first track; the tracks of a group are in ascending order. The
        result does not depend on the order of ``pairs``. Ties are broken by the ids.
    """
    links: dict[str, dict[str, float]] = {}
    for a, b, probability in sorted((min(pair), max(pair), probability) for pair, probability in pairs.items()):
        links.setdefault(a, {})[b] = probability
        links.setdefault(b, {})[a] = probability
    members = {track: [track] for track in sorted(links)}  # by the first track of the group
    queue = [(-p, a, b) for a, others in links.items() for b, p in others.items() if a < b]
    queue = [entry for entry in queue if -entry[0] >= MIN_MEAN_PROBABILITY]
    heapq.heapify(queue)
    while queue:
        negative, a, b = heapq.heappop(queue)
        if a not in members or b not in members or _mean(links, members, a, b) != -negative:
            continue  # one of the two groups has been joined to another since
        members[a] = sorted(members[a] + members.pop(b))
        for other, total in links.pop(b).items():
            links[other].pop(b)
            if other != a:
                links[a][other] = links[other][a] = links[a].get(other, 0.0) + total
        for other in links[a]:
            mean = _mean(links, members, a, other)
            if mean >= MIN_MEAN_PROBABILITY:
                heapq.heappush(queue, (-mean, min(a, other), max(a, other)))
    return [group for _, group in sorted(members.items()) if len(group) > 1]


def _mean(links: Mapping[str, Mapping[str, float]], members: Mapping[str, Sequence[str]], a: str, b: str) -> float:
    """Return the mean probability between two groups; ``links`` has the sums."""
    return links[a].get(b, 0.0) / (len(members[a]) * len(members[b]))


def tie_probability(track: str, group: Iterable[str], pairs: Mapping[tuple[str, str], float]) -> float:
    """Return the mean probability that a track and each other member of its group are versions of one work."""
    others = [other for other in group if other != track]
    return sum(pairs.get((track, other), pairs.get((other, track), 0.0)) for other in others) / len(others)


_LOSSLESS = ("flac", "alac", "wav", "aiff", "pcm", "ape", "wavpack", "tta")
_KIND_ORDER = ("studio", None, "remaster", "extended", "radio_edit", "alternate", "acoustic", "live", "demo")
"""Kinds of versions in the order in which they stand for a work; the others come after them."""


class Recording(NamedTuple):
    """What decides which recording of a group stands for the work. ``kind`` is None if it is not known."""

    track_id: str
    kind: str | None
    is_complete: bool
    codec: str
    sample_rate: int
    duration_s: float


def choose_representative(recordings: Iterable[Recording]) -> Recording:
    """Choose the recording that stands for the work.

    A complete file comes before one that is shorter than it declares. Then the studio version comes first, then one
    whose title names no kind, a remaster, and other kinds. Of several, a lossless file comes first, then the highest
    sample rate, the longest recording, and the smallest id.
    """

    def order(recording: Recording) -> tuple[object, ...]:
        kind = recording.kind
        place = _KIND_ORDER.index(kind) if kind in _KIND_ORDER else len(_KIND_ORDER)
        is_lossy = not recording.codec.lower().startswith(_LOSSLESS)
        return (
            not recording.is_complete, place, is_lossy, -recording.sample_rate, -recording.duration_s,
            recording.track_id,
        )  # fmt: skip

    return min(recordings, key=order)
