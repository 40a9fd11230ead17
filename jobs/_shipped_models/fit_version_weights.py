"""Fit the weights of the evidence that two recordings are versions of one work, or measure them.

Usage: ``python -m reprise.jobs._shipped_models.fit_version_weights fit > lib/detect/version_weights.py``, or
``… fit_version_weights report``.

The recordings are composed: works with five versions each, and two decoys for each work, see
`reprise.lib.music.sample.work_versions`. ``report`` uses other works than ``fit``. The pairs are those that the job
compares: the nearest recordings by median patch, and the recordings with a title in common. Of the pairs of recordings
from two families (a work and its decoys), ``fit`` compares only every sixth, which then counts six times. The analyses
are simulated; with ``--rendered N``, those of N more works are made from rendered audio.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from reprise.lib.analysis.analyser import analyse
from reprise.lib.arrays import BoolArray, Float64Array, Int64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.detect.calibration import Calibration, measure_reliability
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.detect.patches import PATCH_BEATS, median_patch
from reprise.lib.detect.version_evidence import (
    SCORES,
    Metadata,
    Sound,
    compare_sounds,
    is_same_title,
    read_metadata,
    score_pair,
)
from reprise.lib.detect.version_groups import group_versions
from reprise.lib.music.render.tones import SAMPLE_RATE as RENDERED_RATE
from reprise.lib.music.sample.msd_columns import compute_msd_columns
from reprise.lib.music.sample.work_versions import TRACKS_PER_WORK, WorkCollection, render_version

FIT_SEED, REPORT_SEED = 1, 2
N_NEAREST = 20
THINNING = 6
SOUND = ("alignment", "melody")
_INPUTS = ("segments_pitches", "segments_loudness_start", "segments_start", "beats_start")
HEAD = '''"""Fitted weights of the evidence that two recordings are versions of one work.

They have the order of `reprise.lib.detect.version_evidence.SCORES`.
`reprise.jobs._shipped_models.fit_version_weights` fits them: do not edit them by hand.
"""
'''


class Recording(NamedTuple):
    """What is compared of a recording, and its true work. ``family`` is the number of the work and its decoys."""

    track_id: str
    family: int
    work: int
    sound: Sound
    metadata: Metadata


class Pairs(NamedTuple):
    """Pairs of recordings: their ids, the scores (n, len(SCORES)), the truth (n,), and how often each counts (n,)."""

    ids: list[tuple[str, str]]
    scores: Float64Array
    is_version: BoolArray
    counts: Int64Array


def list_recordings(collection: WorkCollection, *, rendered: bool) -> Iterator[Recording]:
    """Compose the recordings of a collection and analyse them: simulated, or from rendered audio."""
    for version in collection.recordings():
        if rendered:
            from soxr import resample

            mix = render_version(collection, version).mean(axis=1)
            analysis: Any = analyse(resample(mix, RENDERED_RATE, SAMPLE_RATE))
        else:
            analysis = compute_msd_columns(collection.compose(version))
        chroma = beat_chroma(*(analysis[name] for name in _INPUTS))
        print(f"\r{version.number + 1} recordings", end="", file=sys.stderr)
        family = version.number // TRACKS_PER_WORK
        yield Recording(
            f"LB{version.number:016x}", family, version.work, Sound(chroma), read_metadata(version.tags._asdict())
        )
    print(file=sys.stderr)


def choose_pairs(recordings: Sequence[Recording]) -> list[tuple[int, int]]:
    """Return the pairs to compare: the nearest by median patch, and those with the same title or identifier."""
    pairs = set()
    long = [i for i, one in enumerate(recordings) if one.sound.chroma.shape[1] >= PATCH_BEATS]
    patches = np.stack([median_patch(recordings[i].sound.chroma) for i in long])
    patches /= np.linalg.norm(patches, axis=1, keepdims=True)
    nearest = np.argsort(-(patches @ patches.T), axis=1, kind="stable")[:, : N_NEAREST + 1]
    pairs |= {(min(long[i], long[j]), max(long[i], long[j])) for i, row in enumerate(nearest) for j in row if i != j}
    known = [(i, one.metadata) for i, one in enumerate(recordings) if one.metadata.work_title is not None]
    for n, (i, one) in enumerate(known):
        for j, other in known[n + 1 :]:
            if one.artist == other.artist and is_same_title(one.work_title or "", other.work_title or ""):
                pairs.add((i, j))
    return sorted(pairs)


def score_pairs(recordings: Sequence[Recording], pairs: Sequence[tuple[int, int]], thinning: int) -> Pairs:
    """Compare the pairs of recordings. Of pairs of two families, only every ``thinning``-th, which counts for all."""
    inside = [pair for pair in pairs if recordings[pair[0]].family == recordings[pair[1]].family]
    outside = sorted(set(pairs) - set(inside))[::thinning]
    counts = np.repeat([1, thinning], [len(inside), len(outside)])
    pairs, rows = [*inside, *outside], []
    for n, (i, j) in enumerate(pairs):
        one, other = recordings[i], recordings[j]
        rows.append(score_pair(compare_sounds(one.sound, other.sound), one.metadata, other.metadata))
        if n % 100 == 0:
            print(f"\r{n} of {len(pairs)} pairs", end="", file=sys.stderr)
    print(file=sys.stderr)
    ids = [(recordings[i].track_id, recordings[j].track_id) for i, j in pairs]
    truth = np.array([recordings[i].work == recordings[j].work for i, j in pairs])
    return Pairs(ids, np.array(rows), truth, counts)


def keep_scores(scores: Float64Array, *kept: str) -> Float64Array:
    """Return the scores as if nothing were known except what the scores ``kept`` are computed from."""
    return scores * np.isin(SCORES, kept)


def fit(data: Sequence[Pairs]) -> Iterator[str]:
    """Yield the lines of the module with the fitted numbers.

    Each pair counts three times: with its tags, without any, and with its identifiers only.
    """
    tagged = np.concatenate([np.repeat(pairs.scores, pairs.counts, axis=0) for pairs in data])
    scores = np.concatenate([tagged, keep_scores(tagged, *SOUND), keep_scores(tagged, *SOUND, "same_id")])
    truth = np.tile(np.concatenate([np.repeat(pairs.is_version, pairs.counts) for pairs in data]), 3)
    fitted = Calibration.fit(scores, truth)
    # a pair without chroma is halfway between versions and other pairs
    typical = (scores[truth].mean(axis=0) + scores[~truth].mean(axis=0)) / 2
    yield HEAD
    yield f"WEIGHTS = ({', '.join(f'{weight:.4g}' for weight in fitted.weights)})"
    yield f"INTERCEPT = {fitted.intercept:.4g}"
    yield f"TYPICAL = ({', '.join(f'{value:.4g}' for value in typical[:2])})"
    yield '"""Scores ``alignment`` and ``melody`` of a pair without chroma."""'


def report(pairs: Pairs, recordings: Sequence[Recording], model: Calibration) -> Iterator[str]:
    """Yield lines with the quality of the pairs and of the groups, with and without tags."""
    works: dict[int, int] = {}
    for recording in recordings:
        works[recording.work] = works.get(recording.work, 0) + 1
    n_true = sum(n * (n - 1) // 2 for n in works.values())
    work_of = {recording.track_id: recording.work for recording in recordings}
    yield f"{len(recordings)} recordings, {len(pairs.ids)} pairs, {pairs.is_version.sum()} of {n_true} true pairs"
    for name, scores in (("with tags", pairs.scores), ("without tags", keep_scores(pairs.scores, *SOUND))):
        p = model.probability(scores)
        reliability = measure_reliability(p, pairs.is_version)
        yield f"{name}: calibration error {reliability.expected_calibration_error:.3f}, Brier {reliability.brier:.3f}"
        groups = group_versions(dict(zip(pairs.ids, p.tolist(), strict=True)))
        found = [(a, b) for group in groups for n, a in enumerate(group) for b in group[n + 1 :]]
        right = sum(work_of[a] == work_of[b] for a, b in found)
        precision, recall = right / max(len(found), 1), right / n_true
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        yield f"{name}: groups: precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}"


def main() -> int:
    """Fit the weights and print the module, or measure the fitted weights on other works."""
    parser = argparse.ArgumentParser(description="Fit or measure the weights of the evidence for versions.")
    parser.add_argument("task", choices=["fit", "report"])
    parser.add_argument("--works", type=int, default=100, help="works with simulated analyses (default: %(default)s)")
    parser.add_argument("--rendered", type=int, default=0, help="works with rendered audio (default: %(default)s)")
    args = parser.parse_args()
    seed = FIT_SEED if args.task == "fit" else REPORT_SEED
    data = []
    for n_works, rendered in ((args.works, False), (args.rendered, True)):
        if n_works:
            collection = WorkCollection(n_works, seed, (90.0, 130.0) if rendered else (90.0, 420.0))
            recordings = list(list_recordings(collection, rendered=rendered))
            thinning = THINNING if args.task == "fit" else 1
            pairs = score_pairs(recordings, choose_pairs(recordings), thinning)
            data.append(pairs)
            if args.task == "report":
                from reprise.lib.detect.version_weights import INTERCEPT, WEIGHTS

                print("\n".join(report(pairs, recordings, Calibration(WEIGHTS, INTERCEPT))))
    if args.task == "fit":
        print("\n".join(fit(data)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
