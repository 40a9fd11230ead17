"""Solo passages: what is kept of composed and real recordings, and the reasons for the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import fftconvolve

from reprise.lib.covers import solo_passages
from reprise.lib.covers.solo_passages import (
    CLIPPED,
    NO_PITCH,
    REASONS,
    SEVERAL_NOTES,
    SILENT,
    SPEECH,
    TOO_SHORT,
    Material,
    SoloPassages,
    check_dataset,
    find_solo_passages,
)
from reprise.lib.errors import RepriseError
from reprise.lib.nets.pitch_tracker import PitchTracker

RATE = 16_000
Signal = Any


@pytest.fixture(scope="module")
def tracker() -> PitchTracker:
    return PitchTracker()


def tone(hz: Signal, seconds: float, *, decay_s: float = np.inf, tilt: float = 1.2) -> Signal:
    """A tone with harmonics. ``hz`` is a number, or has one value for each sample."""
    n = int(seconds * RATE)
    hz = np.broadcast_to(np.asarray(hz, np.float64), n)
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    out = sum(np.sin(k * phase) * (k * hz < 7000) / k**tilt for k in range(1, 16))
    time_s = np.arange(n) / RATE
    edge = np.minimum(1, np.minimum(time_s, time_s[::-1]) / 0.02)
    return (out * edge * np.exp(-time_s / decay_s)).astype(np.float32)


def melody(seconds: float, seed: int = 0, *, low: int = 55, note_s: float = 0.4, **how: float) -> Signal:
    rng = np.random.default_rng(seed)
    notes = [
        tone(440 * 2 ** ((low + int(rng.integers(17)) - 69) / 12), note_s * rng.choice([0.5, 1, 2]), **how)
        * rng.uniform(0.2, 1)
        for _ in range(int(seconds / note_s) + 1)
    ]
    return 0.3 * np.concatenate(notes)[: int(seconds * RATE)]


def vibrato(seconds: float, cents: float) -> Signal:
    time_s = np.arange(int(seconds * RATE)) / RATE
    return 0.2 * tone(392 * 2 ** (cents / 1200 * np.sin(2 * np.pi * 5.5 * time_s)), seconds)


def trombone(seconds: float) -> Signal:
    """Held notes with glides of 0.15 s between them."""
    time_s = np.arange(int(seconds * RATE)) / RATE
    steps = np.array([50, 55, 52, 57, 53, 48])
    return 0.2 * tone(
        440 * 2 ** ((np.interp(time_s % 4.8, np.repeat(np.arange(6) * 0.8, 2) + np.tile([0, 0.65], 6),
                               np.repeat(steps, 2)) - 69) / 12), seconds
    )  # fmt: skip


def reverberate(dry: Signal, decay_s: float, level: float) -> Signal:
    n = int(decay_s * RATE)
    tail = np.random.default_rng(1).standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    wet = fftconvolve(dry, tail)[: len(dry)]
    return (dry + level * wet * dry.std() / wet.std()).astype(np.float32)


def drums(seconds: float) -> Signal:
    rng, out = np.random.default_rng(2), np.zeros(int(seconds * RATE), np.float32)
    hit = rng.standard_normal(1600) * np.exp(-np.arange(1600) / 250)
    for at in range(0, len(out) - 1600, RATE // 4):
        out[at : at + 1600] += hit
    return 0.3 * out


def chords(seconds: float) -> Signal:
    return sum(melody(seconds, 3, low=low, note_s=0.8) for low in (52, 56, 59)) / 2


def speech(seconds: float) -> Signal:
    """Syllables whose pitch falls or rises by several semitones, with consonants of noise between them."""
    rng, parts, total = np.random.default_rng(4), [], 0.0
    while total < seconds:
        length = rng.uniform(0.12, 0.3)
        start, change = rng.uniform(120, 220), rng.choice([-1, 1]) * rng.uniform(3, 8)
        semitones = np.linspace(0, change, int(length * RATE))
        parts += [0.3 * tone(start * 2 ** (semitones / 12), length), 0.05 * rng.standard_normal(int(0.06 * RATE))]
        total += length + 0.06
    return np.concatenate(parts)[: int(seconds * RATE)].astype(np.float32)


def noise(seconds: float) -> Signal:
    return (0.1 * np.random.default_rng(5).standard_normal(int(seconds * RATE))).astype(np.float32)


def shares(found: SoloPassages) -> dict[str, float]:
    total = found.kept_s + sum(found.left_out_s.values())
    return {"kept": found.kept_s / total} | {name: value / total for name, value in found.left_out_s.items()}


SOLOS: dict[str, Callable[[], Signal]] = {
    "melody": lambda: melody(20),
    "repeated notes": lambda: np.tile(0.1 * tone(330, 0.3), 60),
    "fast": lambda: melody(20, 1, note_s=0.16),
    "low": lambda: melody(20, 2, low=33),
    "high": lambda: melody(20, 3, low=80),
    "plucked": lambda: melody(20, 4, decay_s=0.4),
    "vibrato": lambda: vibrato(12, 40),
    "wide vibrato": lambda: vibrato(12, 80),
    "glides": lambda: trombone(14),
    "reverb": lambda: reverberate(melody(20), 0.6, 0.3),
    "at full scale": lambda: melody(20) / np.abs(melody(20)).max(),
    "quiet": lambda: 0.02 * melody(20),
    "a steady sine at full scale": lambda: np.sin(2 * np.pi * 196 * np.arange(8 * RATE) / RATE).astype(np.float32),
}


@pytest.mark.parametrize("make", SOLOS.values(), ids=SOLOS)
def test_solos_are_kept(make: Callable[[], Signal], tracker: PitchTracker) -> None:
    assert shares(find_solo_passages(make(), tracker))["kept"] > 0.8


OTHERS: dict[str, tuple[Callable[[], Signal], str]] = {
    "silence": (lambda: np.zeros(12 * RATE, np.float32), SILENT),
    "noise": (lambda: noise(12), NO_PITCH),
    "drums": (lambda: drums(12), NO_PITCH),
    "melody with drums": (lambda: melody(20) + drums(20), NO_PITCH),
    "chords": (lambda: chords(20), SEVERAL_NOTES),
    "thirds": (lambda: melody(20, low=60) + melody(20, low=64), SEVERAL_NOTES),
    "fifths": (lambda: melody(20, low=60) + melody(20, low=67), SEVERAL_NOTES),
    "melody with a soft accompaniment": (lambda: melody(20, low=67) + 0.4 * chords(20), SEVERAL_NOTES),
    "speech": (lambda: speech(20), SPEECH),
    "clipped": (lambda: np.clip(6 * melody(20), -1, 1), CLIPPED),
    "short pieces": (lambda: np.tile(np.concatenate([melody(1.2), np.zeros(RATE, np.float32)]), 8), TOO_SHORT),
}


@pytest.mark.parametrize(("make", "reason"), OTHERS.values(), ids=OTHERS)
def test_others_are_left_out_for_the_right_reason(
    make: Callable[[], Signal], reason: str, tracker: PitchTracker
) -> None:
    found = shares(find_solo_passages(make(), tracker))
    assert found["kept"] < 0.25
    rest = {name: value for name, value in found.items() if name not in ("kept", SILENT)}
    assert reason == SILENT or max(rest, key=lambda name: rest[name]) == reason, found


def test_passages_lie_where_the_solo_is(tracker: PitchTracker) -> None:
    """Solo, chords, solo, silence, solo: with rests of 0.3 s, which belong to the passages."""
    rest = np.zeros(int(0.3 * RATE), np.float32)
    solo = np.concatenate([melody(3, 1), rest, melody(3, 2), rest, melody(3, 3)])
    silence = np.zeros(3 * RATE, np.float32)
    samples = np.concatenate([solo, chords(8), solo, silence, solo])
    found = find_solo_passages(samples, tracker)
    starts = np.array([0, len(solo) + 8 * RATE, 2 * len(solo) + 11 * RATE]) / RATE
    assert len(found.spans) == 3
    for (start, stop), expected in zip(found.spans, starts, strict=True):
        assert abs(start / 250 - expected) < 1.1
        assert abs(stop / 250 - expected - len(solo) / RATE) < 1.1
    assert sum(found.left_out_s.values()) + found.kept_s == pytest.approx(len(samples) / RATE)
    assert found.left_out_s[SILENT] == pytest.approx(3, abs=0.5)


def test_long_passages_are_divided(tracker: PitchTracker) -> None:
    found = find_solo_passages(melody(70), tracker)
    assert max(stop - start for start, stop in found.spans) <= 30 * 250 + 4
    assert min(stop - start for start, stop in found.spans) >= 2 * 250
    assert len(found.spans) >= 3


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 16_000])
def test_the_shortest_recordings(n: int, tracker: PitchTracker) -> None:
    found = find_solo_passages(0.3 * np.ones(n, np.float32), tracker)
    assert found.spans == ()
    assert set(found.left_out_s) == set(REASONS)
    assert sum(found.left_out_s.values()) == pytest.approx(n / RATE)


def test_blocks_and_mapped_files_change_nothing(
    tracker: PitchTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.concatenate([melody(6), chords(5), speech(5), np.clip(6 * melody(5, 2), -1, 1)])
    whole = find_solo_passages(samples, tracker)
    samples.tofile(tmp_path / "samples")
    monkeypatch.setattr(solo_passages, "_BLOCK_FRAMES", 37)
    assert find_solo_passages(np.memmap(tmp_path / "samples", np.float32, "r"), tracker) == whole


def test_real_recordings(shared_data: Path, tracker: PitchTracker) -> None:
    """Only the trumpet plays alone."""
    from reprise.udfs.sandbox import sandbox

    kept = {}
    for path in sorted((shared_data / "audio").glob("*.ogg")):
        samples = np.array(sandbox().decode(path, sample_rate=RATE).open_signal())
        kept[path.name] = shares(find_solo_passages(samples, tracker))
    assert len(kept) == 6
    for name, found in kept.items():
        assert (found["kept"] > 0.6) if "trumpet" in name else (found["kept"] < 0.5), (name, found)


def material(kept_s: float, pitch: range = range(50, 70), loudness: range = range(-40, -10), **left: float) -> Material:
    left_out_s = dict.fromkeys(REASONS, 0.0) | left
    values = [dict.fromkeys(one, kept_s / len(one)) for one in (pitch, loudness)]
    return Material(kept_s, left_out_s, *values)


def test_a_dataset_is_checked_before_a_training() -> None:
    assert check_dataset(material(60)) == []
    (warning,) = check_dataset(material(300, pitch=range(60, 64)))
    assert "all notes lie within 4 semitones" in warning
    (warning,) = check_dataset(material(300, loudness=range(-20, -17)))
    assert "about as loud, within 3 dB" in warning
    with pytest.raises(RepriseError) as refused:
        check_dataset(material(20, several_notes=60.0, silent=20.0))
    assert str(refused.value) == (
        "there are 20 s in which one instrument plays alone, of 1:40 (left out: 60% several notes at once, 20%"
        " silence), and training needs at least 60 s: record one player alone, one note at a time, with little"
        " reverb; 5 to 10 minutes are good"
    )
    with pytest.raises(RepriseError, match=r"there are 20 s .* of 0:20, and training .*: record more; 5 to 10"):
        check_dataset(material(20))
    with pytest.raises(RepriseError, match="of 0:00, and"):
        check_dataset(Material(0.0, dict.fromkeys(REASONS, 0.0), {}, {}))
    for reason in REASONS:
        with pytest.raises(RepriseError, match="5 to 10 minutes are good"):
            check_dataset(Material(1.0, dict.fromkeys(REASONS, 0.0) | {reason: 100.0}, {60: 1.0}, {-20: 1.0}))
