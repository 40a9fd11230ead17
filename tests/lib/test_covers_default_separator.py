"""The separator in the package: its file, silence, and music without a voice."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from reprise.lib.arrays import Float32Array
from reprise.lib.covers import default_separator
from reprise.lib.covers.default_separator import find_default_separator, read_default_separator
from reprise.lib.covers.separate import Mix, separate_mixes
from reprise.lib.errors import InputError
from reprise.lib.music import sample
from reprise.lib.music.render import render
from reprise.lib.nets.separators import STEMS, load_separator

RATE = 44_100


def test_the_card_names_the_file_and_what_it_knows() -> None:
    described = find_default_separator()
    assert described is not None
    data = read_default_separator(described["sha256"])
    assert hashlib.sha256(data).hexdigest() == described["sha256"]
    card = files(default_separator.__package__).joinpath("default", "separator.md").read_text("utf-8")
    assert described["sha256"] in card
    assert "No human voice" in card
    assert len(data) < 25e6


def test_a_changed_file_is_found() -> None:
    with pytest.raises(InputError, match="changed after installation"):
        read_default_separator("0" * 64)


@pytest.fixture(scope="module")
def separator() -> Any:
    described = find_default_separator()
    assert described is not None
    return load_separator(read_default_separator(described["sha256"]))


def separate(separator: Any, mix: Float32Array) -> dict[str, Float32Array]:
    (raw,) = separate_mixes(separator, [Mix(0, "mix", mix)])
    assert raw.fault is None
    stems = dict(raw.samples)
    raw.close()
    return stems


def level_db(samples: Float32Array) -> float:
    return 10 * float(np.log10(np.mean(np.square(samples)) + 1e-12))


@pytest.mark.torch
@pytest.mark.slow
def test_music_without_a_voice_has_quiet_vocals(separator: Any) -> None:
    """Composed songs; the same songs with their voice have louder vocals."""
    plan = sample.SamplePlan(64, seed=31)
    differences, quiet = [], []
    for index in range(64):
        song = sample.compose(plan, index)
        if song.instruments[3].name != "voice" or song.instruments[0].name != "kit":
            continue
        stems = {name: stem[20 * RATE : 28 * RATE] for name, stem in render(song).items()}
        voice = stems.pop("voice")
        backing: Float32Array = np.sum(list(stems.values()), axis=0, dtype=np.float32)
        if level_db(voice) < -40 or level_db(backing) < -40:
            continue
        without, with_voice = (separate(separator, mix)["vocals"] for mix in (backing, backing + voice))
        quiet.append(level_db(without) - level_db(backing))
        differences.append(level_db(with_voice) - level_db(without))
        if len(quiet) == 3:
            break
    assert np.median(quiet) < -9
    assert np.median(differences) > 5


@pytest.mark.torch
@pytest.mark.slow
def test_silence_has_silent_stems(separator: Any) -> None:
    stems = separate(separator, np.zeros((3 * RATE, 2), np.float32))
    assert set(stems) == set(STEMS)
    assert all(not stem.any() for stem in stems.values())
