"""Chords of constructed chroma, of composed songs beside what was played, and what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import mir_eval
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.jobs._shipped_models.fit_chords import (
    compute_expectations,
    compute_gradients,
    find_class,
    list_chords,
    unpack_changes,
)
from reprise.lib.analysis import chords
from reprise.lib.analysis.charts import format_chart, list_bars, to_symbol
from reprise.lib.analysis.chords import (
    BAR_LINE,
    CHORDS,
    MID_BAR,
    NO_CHORD,
    OTHER_BEAT,
    QUALITIES,
    ROOTS,
    Changes,
    Network,
    estimate_chords,
)
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.errors import InputError
from reprise.lib.music import sample
from reprise.lib.music.compose.plan import NORMAL

TONES = {"maj": (0, 4, 7), "min": (0, 3, 7), "7": (0, 4, 7, 10), "maj7": (0, 4, 7, 11), "min7": (0, 3, 7, 10)}
BEATS = np.arange(32) * 0.5
BARS = BEATS[::4]


def make_chroma(*names: str, beats: int) -> np.ndarray:
    """Chroma (12, beats · names) of chords that last ``beats`` each, with overtones a fifth and a third above."""
    columns = []
    for name in names:
        column = np.zeros(12)
        if name != NO_CHORD:
            root, quality = name.split(":")
            for tone in TONES[quality]:
                column[(ROOTS.index(root) + tone) % 12] += 1
                column[(ROOTS.index(root) + tone + 7) % 12] += 0.15
        columns += [column / max(column.max(), 1)] * beats
    return np.array(columns).T


TRIADS = [name for name in CHORDS if name.endswith((":maj", ":min"))]
TRIAD_CHROMA = np.column_stack([make_chroma(name, beats=1) for name in TRIADS])


def transpose(name: str, up: int) -> str:
    root, _, quality = name.partition(":")
    return name if name == NO_CHORD else f"{ROOTS[(ROOTS.index(root) + up) % 12]}:{quality}"


def test_names_are_read_by_mir_eval() -> None:
    for name in CHORDS:
        mir_eval.chord.validate_chord_label(name)
        root, tones, _ = mir_eval.chord.encode(name)
        if name == NO_CHORD:
            assert root == -1
            continue
        assert root == ROOTS.index(name.split(":")[0])
        assert set(np.flatnonzero(tones)) == set(TONES[name.split(":")[1]])
    assert len(CHORDS) == len(set(CHORDS)) == 61


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("quality", ["maj", "min"])
def test_a_triad_that_sounds_for_eight_bars(root: str, quality: str) -> None:
    found = estimate_chords(make_chroma(f"{root}:{quality}", beats=32), BEATS, BARS)
    assert set(found.names) == {f"{root}:{quality}"}
    assert (found.probabilities > 0.8).all()


@pytest.mark.parametrize("quality", ["7", "maj7", "min7"])
def test_a_seventh_between_triads_of_its_key(quality: str) -> None:
    """Each two bars: in a key, so that the seventh does not look like another chord with a sixth."""
    sequence = {
        "7": ("C:maj", "F:maj", "G:7", "C:maj"),
        "maj7": ("C:maj", "F:maj7", "G:maj", "C:maj"),
        "min7": ("F:maj", "D:min7", "G:maj", "C:maj"),
    }[quality]
    found = estimate_chords(make_chroma(*sequence, beats=8), BEATS, BARS)
    assert [found.names[i] for i in (3, 11, 19, 27)] == list(sequence)
    assert found.probabilities[[3, 11, 19, 27]].min() > 0.5


def test_chords_change_where_the_chroma_does() -> None:
    sequence = ("C:maj", "A:min", "F:maj", "G:maj")
    found = estimate_chords(make_chroma(*sequence * 2, beats=4), BEATS, BARS)
    changes = [i for i, (one, other) in enumerate(pairwise(found.names), start=1) if one != other]
    assert changes == list(range(4, 32, 4))
    assert [found.names[i] for i in range(0, 32, 4)] == list(sequence * 2)


def test_a_bar_line_attracts_an_ambiguous_change() -> None:
    """The same chroma, with bars that begin at other beats: a beat between two chords goes to the chord of its bar."""
    chroma = make_chroma("C:maj", "G:maj", beats=16)
    chroma[:, 16] = (chroma[:, 15] + chroma[:, 17]) / 2
    before, after = (estimate_chords(chroma, BEATS, BEATS[first::4]) for first in (0, 1))
    assert [before.names[i] for i in (15, 16, 17)] == ["C:maj", "G:maj", "G:maj"]
    assert [after.names[i] for i in (15, 17)] == ["C:maj", "G:maj"]
    assert after.names[16] == "C:maj" or after.probabilities[16] < before.probabilities[16]


def test_silence_is_no_chord() -> None:
    found = estimate_chords(np.zeros((12, 32)), BEATS, BARS)
    assert set(found.names) == {NO_CHORD}
    assert (found.probabilities > 0.5).all()


def test_no_beat_and_one_beat() -> None:
    none = estimate_chords(np.zeros((12, 0)), np.zeros(0), np.zeros(0))
    assert not none.names
    assert none.probabilities.shape == (0,)
    assert none.probabilities.dtype == np.float32
    one = estimate_chords(make_chroma("D:min", beats=1), [0.0], [])
    assert len(one.names) == len(one.probabilities) == 1
    assert one.names[0] in CHORDS


@given(
    st.integers(1, 40).flatmap(
        lambda n: st.tuples(
            st.lists(st.sampled_from(CHORDS), min_size=n, max_size=n), st.integers(0, 2**32 - 1), st.integers(1, 11)
        )
    )
)
def test_a_transposed_track_has_the_transposed_chords(drawn: tuple[list[str], int, int]) -> None:
    names, seed, up = drawn
    rng = np.random.default_rng(seed)
    chroma = np.clip(make_chroma(*names, beats=1) + 0.2 * rng.random((12, len(names))), 0, None)
    beats = np.cumsum(rng.uniform(0.3, 0.7, len(names)))
    here, there = (estimate_chords(one, beats, beats[::4]) for one in (chroma, np.roll(chroma, up, axis=0)))
    np.testing.assert_allclose(here.probabilities, there.probabilities, atol=1e-4)
    sure = here.probabilities > 0.55  # a tie may be broken in favour of the other chord
    for one, other, is_sure in zip(here.names, there.names, sure, strict=True):
        if is_sure:  # a chord and its seventh may be a tie
            assert transpose(one, up).split("7")[0].removesuffix("maj") == other.split("7")[0].removesuffix("maj")
    assert ((here.probabilities > 0) & (here.probabilities < 1)).all()


@given(st.integers(1, 30), st.floats(1e-6, 1e6), st.integers(0, 2**32 - 1))
def test_the_level_does_not_matter(n: int, factor: float, seed: int) -> None:
    chroma = np.random.default_rng(seed).random((12, n))
    one, other = (estimate_chords(scale * chroma, np.arange(n), []) for scale in (1, factor))
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda c, b, m: (c * np.nan, b, m), "not_finite"),
        (lambda c, b, m: (c, b * np.inf, m), "not_finite"),
        (lambda c, b, m: (c, b, m * np.nan), "not_finite"),
        (lambda c, b, m: (-c, b, m), "negative"),
        (lambda c, b, m: (c, b[::-1], m), "not_ascending"),
        (lambda c, b, m: (c, b, m[::-1]), "not_ascending"),
        (lambda c, b, m: (c[:, 1:], b, m), "lengths_differ"),
        (lambda c, b, m: (c.T, b, m), "lengths_differ"),
        (lambda c, b, m: (c.ravel(), b, m), "lengths_differ"),
    ],
)
def test_damaged_input_is_refused(change: Callable[..., tuple[np.ndarray, ...]], kind: str) -> None:
    with pytest.raises(InputError) as refused:
        estimate_chords(*change(make_chroma("C:maj", beats=32), BEATS + 1, BARS + 1))
    assert refused.value.kind == kind
    assert refused.value.message.isprintable()


def test_places_in_bars() -> None:
    four = [BAR_LINE, OTHER_BEAT, MID_BAR, OTHER_BEAT]
    beats = np.arange(12.0)
    assert chords.find_places(beats, beats[::4]).tolist() == four * 3
    assert chords.find_places(beats, beats[2::4] + 0.4).tolist() == [OTHER_BEAT] * 2 + four * 2 + four[:2]
    assert chords.find_places(beats, beats[::3]).tolist() == [BAR_LINE, OTHER_BEAT, OTHER_BEAT] * 4
    assert chords.find_places(beats, beats).tolist() == [BAR_LINE] * 12
    assert chords.find_places(beats, np.zeros(0)).tolist() == [OTHER_BEAT] * 12
    assert chords.find_places(beats, np.array([-5.0, 99.0])).tolist() == [BAR_LINE, *[OTHER_BEAT] * 10, BAR_LINE]
    assert chords.find_places(beats[:1], beats[:1]).tolist() == [BAR_LINE]
    assert chords.find_places(beats[:0], beats[:2]).tolist() == []


def test_smoothing_gives_the_marginals_of_all_sequences() -> None:
    """Beside a sum over all sequences of three beats, written down as the formula says."""
    rng = np.random.default_rng(0)
    changes = unpack_changes(rng.normal(0, 0.5, 335))
    scores = np.log(rng.dirichlet(np.ones(61), 3))
    places = np.array([BAR_LINE, MID_BAR, OTHER_BEAT])
    bias = np.append(np.tile(changes.bias[:5], 12), changes.bias[5])
    pair = chords.make_potentials(changes)
    u = changes.scale * scores + bias
    total = np.exp(
        u[0][:, None, None]
        + u[1][None, :, None]
        + u[2][None, None]
        + pair[MID_BAR][:, :, None]
        + pair[OTHER_BEAT][None]
    )
    expected = [total.sum(axis=tuple({0, 1, 2} - {beat})) / total.sum() for beat in range(3)]
    np.testing.assert_allclose(chords.smooth(scores, places, changes), expected, rtol=1e-9)


def test_potentials_are_by_interval_and_quality() -> None:
    changes = Changes(np.ones(1), np.zeros(6), np.zeros((3, 6)), np.zeros((5, 5, 12)), np.zeros(5), np.zeros(5))
    changes.follow[QUALITIES.index("min"), QUALITIES.index("7"), 5] = 2.0
    changes.stay[MID_BAR, QUALITIES.index("maj")] = 3.0
    changes.stay[BAR_LINE, -1] = 4.0
    changes.enter[QUALITIES.index("maj7")] = 5.0
    changes.leave[QUALITIES.index("maj7")] = 6.0
    pair = chords.make_potentials(changes)
    assert pair[OTHER_BEAT, CHORDS.index("A:min"), CHORDS.index("D:7")] == 2.0
    assert pair[MID_BAR, CHORDS.index("Eb:maj"), CHORDS.index("Eb:maj")] == 3.0
    assert pair[BAR_LINE, -1, -1] == 4.0
    assert (pair[:, -1, CHORDS.index("C:maj7")] == 5.0).all()
    assert (pair[:, CHORDS.index("C:maj7"), -1] == 6.0).all()
    assert np.count_nonzero(pair) == 3 * 12 + 12 + 1 + 3 * 12 * 2


def test_gradients_of_the_fit() -> None:
    """Beside differences of the losses."""
    rng = np.random.default_rng(0)
    shapes = [(96, 8), (8,), (8, 5), (5,), (8,), (1,)]
    network = Network(*(rng.normal(0, 0.3, shape).astype(np.float32) for shape in shapes))
    context = rng.random((20, 96)).astype(np.float32)
    truth = rng.dirichlet(np.ones(61), 20).astype(np.float32)

    def loss(values: Network) -> float:
        return float(-(truth * chords.score_chords(context, values)).sum() / len(context))

    gradients = compute_gradients(network, context, truth)
    for name, gradient in zip(Network.__dataclass_fields__, gradients, strict=True):
        direction = rng.standard_normal(gradient.shape).astype(np.float32)
        one, other = (
            Network(**{**network.__dict__, name: getattr(network, name) + step * direction}) for step in (1e-3, -1e-3)
        )
        assert (loss(one) - loss(other)) / 2e-3 == pytest.approx(
            float((gradient * direction).sum()), rel=0.02, abs=1e-3
        )
    scores = np.log(rng.dirichlet(np.ones(61), (6, 4)))
    places = rng.integers(0, 3, (6, 4))
    values = rng.normal(0, 0.3, 335)

    def total(values: np.ndarray) -> tuple[float, np.ndarray]:
        changes = unpack_changes(values)
        bias = np.append(np.tile(changes.bias[:5], 12), changes.bias[5])
        return compute_expectations(changes.scale * scores + bias, places, scores, changes)

    slope = total(values)[1]
    way = rng.standard_normal(335)
    difference = (total(values + 1e-5 * way)[0] - total(values - 1e-5 * way)[0]) / 2e-5
    assert difference == pytest.approx(float(slope @ way), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "as_"),
    [
        ("C:maj", "C:maj"), ("Db:min/b3", "C#:min"), ("F#:maj6", "F#:maj"), ("G:7/b7", "G:7"), ("A:min7", "A:min7"),
        ("B:maj7/7", "B:maj7"), ("Bb:minmaj7", "Bb:min"), ("N", "N"), ("C:sus4", None), ("C:sus4(b7)", None),
        ("C:dim", None), ("C:5", None), ("X", None),
    ],
)  # fmt: skip
def test_annotated_chords_are_one_of_ours_or_unknown(name: str, as_: str | None) -> None:
    assert find_class(name) == (len(CHORDS) if as_ is None else CHORDS.index(as_))


def test_composed_songs_beside_what_was_played() -> None:
    """From simulated analyses, of another plan than those of the fit: weighted by time, as mir_eval does it."""
    plan = sample.SamplePlan(200, seed=77)
    songs = [i for i in range(plan.n_tracks) if plan.track(i).state == NORMAL][:12]
    ours: list[float] = []
    plain: list[float] = []
    for index in songs:
        song = sample.compose(plan, index)
        fields = sample.compute_msd_columns(song)
        beats = np.asarray(fields["beats_start"])
        chroma = beat_chroma(
            fields["segments_pitches"], fields["segments_loudness_start"], fields["segments_start"], beats
        )
        truth_s, truth = list_chords(song)
        assert (np.diff(truth_s) > 0).all()
        names = list(estimate_chords(chroma, beats, fields["bars_start"]).names)
        templates = [TRIADS[i] for i in (chroma.T @ TRIAD_CHROMA).argmax(axis=1)]
        for found, into in ((names, ours), (templates, plain)):
            edges = np.append(beats, max(song.duration_s, beats[-1] + 0.01))
            intervals, labels = mir_eval.util.adjust_intervals(
                np.column_stack([edges[:-1], edges[1:]]), found, truth_s[0, 0], truth_s[-1, 1], "N", "N"
            )
            both_s, reference, estimate = mir_eval.util.merge_labeled_intervals(truth_s, truth, intervals, labels)
            right = mir_eval.chord.majmin(reference, estimate)
            into.append(mir_eval.chord.weighted_accuracy(right, np.diff(both_s).ravel()))
    assert np.mean(ours) > 0.66
    assert np.mean(ours) > np.mean(plain) + 0.04


def test_symbols_and_charts() -> None:
    names = ["C:maj", "Bb:min7", "F#:7", "Eb:maj7", "A:min", "N"]
    assert [to_symbol(name) for name in names] == ["C", "B♭m7", "F♯7", "E♭maj7", "Am", "N.C."]
    beats = np.arange(14) * 0.5
    bars = list_bars(["N"] * 2 + ["C:maj"] * 6 + ["A:min"] * 2 + ["C:maj"] * 4, beats, beats[2::4])
    assert bars == [["C"], ["C", "Am"], ["C"]]
    assert list_bars(["C:maj"] * 4, beats[:4], []) == list_bars([], [], beats) == []
    assert format_chart([["C"], ["C"], ["C", "Am"], [], ["F"]]) == ["| C    | %    | C Am |      |", "| F    |"]
    assert format_chart([]) == []


def test_equal_input_gives_equal_output_in_another_process() -> None:
    code = (
        "import json, numpy as np; from reprise.lib.analysis.chords import estimate_chords as e;"
        "c = e(np.random.default_rng(3).random((12, 50)), np.arange(50), np.arange(0, 50, 4));"
        "print(json.dumps([list(c.names), c.probabilities.tolist()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = estimate_chords(np.random.default_rng(3).random((12, 50)), np.arange(50), np.arange(0, 50, 4))
    assert json.loads(done.stdout) == [list(here.names), here.probabilities.tolist()]
