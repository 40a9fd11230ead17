"""Rendered multitracks: order, loudness, variety, edges."""

import numpy as np
import pytest

from reprise.lib.covers.multitracks import LEVEL_DB, render_multitrack
from reprise.lib.covers.scores import PartNotes, Score, read_composition
from reprise.lib.music import sample
from reprise.lib.music.render.mixing import measure_loudness
from reprise.lib.music.render.soundfont_player import SoundfontPlayer

RATE = 44_100


@pytest.fixture(scope="module")
def player(soundfont):
    return SoundfontPlayer(str(soundfont))


def test_stems_have_the_loudness_that_is_stated(player):
    score = read_composition(sample.compose(sample.SamplePlan(8, seed=1), 3)).cut(20.0, 6.0)
    for seed in range(3):
        stems = render_multitrack(score, [player], [player], np.random.default_rng(seed))
        assert stems.shape == (4, 6 * RATE, 2)
        assert stems.dtype == np.float32
        for stem, level, notes in zip(stems, LEVEL_DB, score.parts, strict=True):
            if len(notes.pitch):
                assert measure_loudness(stem) == pytest.approx(level, abs=0.1)


def test_equal_seeds_give_equal_samples(player):
    score = read_composition(sample.compose(sample.SamplePlan(8, seed=1), 2)).cut(10.0, 3.0)
    first, second, third = (
        render_multitrack(score, [player], [player], np.random.default_rng(seed)) for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)


def test_a_part_without_notes_is_silent(player):
    nothing = PartNotes(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64), np.empty(0))
    melody = PartNotes(np.array([0.2]), np.array([0.5]), np.array([60]), np.array([0.8]))
    stems = render_multitrack(Score((nothing, nothing, nothing, melody), 1.0), [player], [], np.random.default_rng(1))
    assert not stems[:3].any()
    assert stems[3].any()
    assert render_multitrack(Score((nothing,) * 4, 0.0), [player], [], np.random.default_rng(1)).shape == (4, 0, 2)
