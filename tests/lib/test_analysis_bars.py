"""Tempo, beats and bars: the best path beside an exhaustive search, and songs whose beats are known."""

import shutil
from itertools import pairwise
from pathlib import Path

import mir_eval
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.jobs._shipped_models.rendered_midi import list_songs, read_beats, render_midi
from reprise.lib.analysis.analyser import analyse
from reprise.lib.analysis.beats import prepare_onsets
from reprise.lib.analysis.frames import FRAME_RATE, measure_frames
from reprise.lib.analysis.meter import find_downbeats
from reprise.lib.audio.decoding import decode
from reprise.lib.music.render.soundfont import Soundfont

SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
COST = 6.0


def list_paths(n_beats: int, meter: int) -> list[list[int]]:
    """All ways to choose the first beats of bars: at most a bar before the first and from the last one on."""
    lengths = (2, 4, 6) if meter == 4 else (meter,)
    paths, complete = [[first] for first in range(min(meter, n_beats))], []
    while paths:
        path = paths.pop()
        if path[-1] >= n_beats - meter:
            complete.append(path)
        paths += [[*path, path[-1] + length] for length in lengths if path[-1] + length < n_beats]
    return complete


@given(
    log_odds=st.lists(st.integers(-9, 9).map(float), min_size=4, max_size=14),
    meter=st.sampled_from([3, 4]),
)
def test_downbeats_have_the_highest_sum_of_all_paths(log_odds: list[float], meter: int) -> None:
    def score(path: list[int]) -> float:
        return sum(log_odds[i] for i in path) - COST * sum(b - a != meter for a, b in pairwise(path))

    found = find_downbeats(np.array(log_odds), meter).tolist()
    paths = list_paths(len(log_odds), meter)
    assert found in paths
    assert score(found) == max(map(score, paths))


def test_half_a_bar_is_left_out() -> None:
    first_beats = [1, 5, 9, 13, 15, 19, 23, 27]
    log_odds = np.full(31, -4.0)
    log_odds[first_beats] = 4
    assert find_downbeats(log_odds, 4).tolist() == first_beats


@pytest.mark.slow
@pytest.mark.parametrize("tempo_factor", [0.75, 1.3])
def test_a_slow_song_does_not_get_twice_its_tempo(tempo_factor: float, shared_data: Path) -> None:
    program = shutil.which("fluidsynth")
    if not program or not SOUNDFONT.exists():
        pytest.skip("fluidsynth or its soundfont is not installed")
    song = next(p for p in list_songs(shared_data / "midi" / "pop909", reports=True) if p.stem == "090")
    beats_s, bars_s = read_beats(song, tempo_factor)
    found = analyse(render_midi(song, Soundfont(program, str(SOUNDFONT)), tempo_factor))
    assert found["tempo"] == pytest.approx(60 / np.median(np.diff(beats_s)), rel=0.04)
    assert found["tempo_candidates"][0] == pytest.approx(found["tempo"])
    assert mir_eval.beat.f_measure(beats_s, found["beats_start"]) > 0.9
    assert mir_eval.beat.f_measure(bars_s, found["bars_start"]) > 0.4


@pytest.mark.slow
def test_beats_are_not_the_weaker_eighths(shared_data: Path, tmp_path: Path) -> None:
    """The recording has much stronger onsets on its beats than between them, in the middle and the high range."""
    song = next((shared_data / "audio").glob("*Vibe_Ace*.ogg"))
    decode(song, tmp_path / "song.raw")
    signal = np.fromfile(tmp_path / "song.raw", dtype=np.float32)
    frames = measure_frames(signal)
    onsets = prepare_onsets(frames.onset_strength, frames.level_db)
    assert onsets
    beats = analyse(signal)["beats_start"] * FRAME_RATE
    assert onsets.strength_at(beats[:-1]).mean() > 1.5 * onsets.strength_at((beats[:-1] + beats[1:]) / 2).mean()
