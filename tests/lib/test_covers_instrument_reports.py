"""Reports of instruments: what an instrument plays is compared with the passage as it is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from reprise.lib.covers.instrument_reports import Resynthesis, compare, draw_resynthesis, resynthesise
from reprise.lib.covers.instrument_training import Passage
from reprise.lib.covers.instruments import Instrument, Range
from reprise.lib.covers.performance import Performance, measure_performance
from reprise.lib.nets.instrument_network import Controls
from reprise.lib.nets.pitch_tracker import PitchTracker
from tests.lib.test_covers_solo_passages import melody

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Flute:
    """Plays the fundamental and its double, as loud as it is told; it knows pitches far above."""

    range = Range(600.0, 1800.0, -20.0, 20.0, 0.0)

    def play(self, performance: Performance) -> Iterator[Controls]:
        n = len(performance)
        amplitude = (0.3 * 10 ** ((performance.loudness_db - performance.loudness_db.max()) / 20)).astype(np.float32)
        harmonics = np.tile(np.array([0.7, 0.3], np.float32), (n, 1))
        yield Controls(amplitude, harmonics, np.zeros((n, 65), np.float32))


@pytest.fixture(scope="module")
def passage() -> Passage:
    samples = melody(6)
    return Passage(samples, measure_performance(samples, PitchTracker()))


def test_an_instrument_plays_a_passage_as_it_is(passage: Passage, tmp_path: Path, drawn: "list[Figure]") -> None:
    """Not an octave higher, in the middle of its range."""
    (played,) = resynthesise(cast(Instrument, Flute()), [passage])
    assert len(played.samples) == len(passage.samples)
    metrics = compare([played])
    assert metrics["pitch_error_cents"] is not None
    assert metrics["pitch_error_cents"] < 10
    assert metrics["voiced_share"] is not None
    assert metrics["voiced_share"] > 0.85
    assert metrics["loudness_correlation"] is not None
    assert metrics["loudness_correlation"] > 0.8
    draw_resynthesis(tmp_path / "a.png", played, "clarinet 1: a passage")
    assert len(drawn[0].axes) == 4


def test_two_minutes_are_played_at_most(passage: Passage) -> None:
    assert len(resynthesise(cast(Instrument, Flute()), [passage] * 25)) == 20


def change(performance: Performance, **values: Any) -> Performance:
    return replace(performance, **values)


def test_differences_are_measured(passage: Passage) -> None:
    first = passage.performance
    again = change(first, f0_hz=first.f0_hz * np.float32(2 ** (10 / 1200)), loudness_db=first.loudness_db - 3)

    def measure(performance: Performance) -> dict[str, float | None]:
        return compare([Resynthesis(passage, passage.samples, passage.samples, performance)])

    assert measure(again) == {
        "pitch_error_cents": pytest.approx(10, abs=0.05),
        "voiced_share": 1.0,
        "loudness_correlation": pytest.approx(1),
        "level_difference_db": pytest.approx(-3),
    }
    silent = change(first, voiced=np.zeros(len(first), np.bool_), loudness_db=np.full(len(first), -80, np.float32))
    found = measure(silent)
    assert (found["pitch_error_cents"], found["voiced_share"], found["loudness_correlation"]) == (None, 0.0, None)
