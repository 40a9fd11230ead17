"""Which notes sound: spectral peaks gathered over stretches of time, tuned, and explained by notes with overtones."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from scipy import fft

from reprise.lib.analysis.frames import cut_frames
from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio import SAMPLE_RATE

WINDOW = 4096  # 0.19 s
HOP = 1024
BLOCK_FRAMES = 512  # 24 s
LOWEST, SEMITONES = 24, 84  # from C1, 33 Hz, to B7
BINS = 3  # of a semitone
CENTS = 100  # bins of the histogram that tells the tuning
_QUIETEST = 10 ** (-55 / 20)  # beside the strongest peak of the frame
_SILENT = 1e-4  # of full scale: no peak below it counts
_DELAY_S = 0.02  # a window centred on an onset is half before it, so stretches are read a little late

_OVERTONES = 10
_DECAY = 0.7  # of one overtone beside the one below
_NOTES = 72  # C1 to B6
_ROUNDS = 40
_PRESENT = 0.02  # of the strongest peak
_STRETCHES = 4096  # explained at a time
_BASS_NOTES = 28  # below E3


@dataclass(frozen=True)
class Tones:
    """Spectral peaks of stretches: ``energy`` (n, 252) by pitch, three bins a semitone from C1; the tuning in cents.

    The tuning is how far the recording stands above A = 440 Hz, -50 to 50; ``clarity`` is 1 where all peaks agree.
    """

    energy: Float32Array
    tuning_cents: float
    clarity: float


@dataclass(frozen=True)
class Chroma:
    """Strength of the 12 pitch classes, C first, in stretches: of all notes, and of the low ones; float32 (n, 12)."""

    all: Float32Array
    bass: Float32Array


@dataclass(frozen=True)
class Harmony:
    """The sum of chroma over time, so that what sounds in any stretch is a difference: at ``time_s``, (n, 24)."""

    time_s: Float64Array
    total: Float64Array

    def change(self, at_s: Float64Array, width_s: Float64Array) -> Float64Array:
        """How much the chroma of the time before differs from that after: one minus the cosine, shape of ``at_s``."""
        now = self.until(at_s)
        before, after = now - self.until(at_s - width_s), self.until(at_s + width_s) - now
        norm = np.sqrt(np.sum(before**2, axis=1) * np.sum(after**2, axis=1))
        return np.where(norm > 0, 1 - np.sum(before * after, axis=1) / np.where(norm > 0, norm, 1), 0.0)

    def until(self, at_s: Float64Array) -> Float64Array:
        """Sum up to these times: (len(at_s), 24)."""
        place = np.clip(np.searchsorted(self.time_s, at_s, side="right") - 1, 0, len(self.time_s) - 2)
        width = self.time_s[place + 1] - self.time_s[place]
        share = np.clip((at_s - self.time_s[place]) / np.where(width > 0, width, 1), 0, 1)[:, None]
        return self.total[place] * (1 - share) + self.total[place + 1] * share


def gather_tones(signal: Float32Array, starts_s: Float64Array) -> Tones:
    """Gather the peaks of the spectrum of each stretch that begins at ``starts_s`` (ascending) and ends at the next."""
    energy = np.zeros((len(starts_s), SEMITONES * BINS), dtype=np.float32)
    cents = np.zeros(CENTS)
    bounds = np.append(starts_s, len(signal) / SAMPLE_RATE) + _DELAY_S
    bounds[0] = -1.0
    bounds *= SAMPLE_RATE / HOP
    shape = np.hanning(WINDOW + 1)[:-1]
    for first, frames in cut_frames(signal, WINDOW, HOP, BLOCK_FRAMES):
        magnitude = np.abs(fft.rfft(frames, axis=1, overwrite_x=True))
        magnitude *= 2 / shape.sum()
        _add_peaks(magnitude, first, bounds, energy, cents)
    angle = np.sum(cents * np.exp(2j * np.pi * np.arange(CENTS) / CENTS))
    total = float(cents.sum())
    clarity = float(abs(angle)) / total if total else 0.0
    tuning = float(np.angle(angle)) / (2 * np.pi) * 100 if total else 0.0
    return Tones(energy, tuning, clarity)


@njit(cache=True, nogil=True)
def _add_peaks(
    magnitude: Float32Array, first: int, bounds: Float64Array, energy: Float32Array, cents: Float64Array
) -> None:
    """Add each frame's peaks to the stretches that the frame's hop overlaps, by how much of it they have."""
    place, strength = np.empty(magnitude.shape[1]), np.empty(magnitude.shape[1])
    at = 0
    for frame in range(len(magnitude)):
        found = _find_peaks(magnitude[frame], place, strength)
        begin, end = first + frame - 0.5, first + frame + 0.5
        while at < len(bounds) - 2 and bounds[at + 1] <= begin:
            at += 1
        stretch = at
        while stretch < len(bounds) - 1 and bounds[stretch] < end:
            share = min(bounds[stretch + 1], end) - max(bounds[stretch], begin)
            for i in range(found if share > 0 else 0):
                low = int(np.floor(place[i]))
                rest = place[i] - low
                energy[stretch, low] += np.float32(share * strength[i] * (1 - rest))
                energy[stretch, low + 1] += np.float32(share * strength[i] * rest)
            stretch += 1
        for i in range(found):
            if place[i] > 12 * BINS:
                pitch = place[i] / BINS
                cents[int(np.floor((pitch - np.floor(pitch)) * CENTS)) % CENTS] += strength[i]


@njit(cache=True, nogil=True)
def _find_peaks(row: Float32Array, place: Float64Array, strength: Float64Array) -> int:
    """Where, in bins of ``energy``, the peaks of a spectrum are, and how strong, by a parabola; returns how many."""
    bins = len(row)
    limit = max(row[2 : bins - 1].max() * _QUIETEST, _SILENT)
    found = 0
    for k in range(3, bins - 2):
        if row[k] > limit and row[k] > row[k - 1] and row[k] >= row[k + 1]:
            low, mid, high = np.log(row[k - 1] + 1e-12), np.log(row[k]), np.log(row[k + 1] + 1e-12)
            shift = 0.5 * (low - high) / (low - 2 * mid + high)
            pitch = 69 + 12 * np.log2((k + shift) * SAMPLE_RATE / WINDOW / 440)
            if LOWEST <= pitch < LOWEST + SEMITONES - 1:
                place[found] = (pitch - LOWEST) * BINS
                strength[found] = np.exp(mid - 0.25 * (low - high) * shift)
                found += 1
    return found


def hear_chroma(tones: Tones) -> Chroma:
    """Explain each stretch's peaks by notes with overtones, and fold the notes into pitch classes.

    Non-negative least squares by multiplicative updates, after Mauch & Dixon, Approximate note transcription for the
    improved identification of difficult chords, ISMIR 2010.
    """
    count = len(tones.energy)
    notes, gram = _note_profiles()
    everything, bass = np.zeros((count, 12), np.float32), np.zeros((count, 12), np.float32)
    bins = np.arange(SEMITONES * BINS)
    # a recording above 440 Hz has its peaks too high: read them from there
    source = np.clip(bins + tones.tuning_cents / 100 * BINS, 0, len(bins) - 1)
    low = np.minimum(source.astype(np.int64), len(bins) - 2)
    rest = (source - low).astype(np.float32)
    for first in range(0, count, _STRETCHES):
        some = slice(first, first + _STRETCHES)
        energy = tones.energy[some]
        energy = energy[:, low] * (1 - rest) + energy[:, low + 1] * rest
        highest = energy.max(axis=1, keepdims=True)
        # a note of which neither of the two lowest partials is there does not sound, though it might explain others
        wide = np.maximum(energy, np.maximum(np.roll(energy, 1, axis=1), np.roll(energy, -1, axis=1)))
        lowest, second = (wide[:, octave * 12 * BINS :][:, : _NOTES * BINS : BINS] for octave in (0, 1))
        strength = np.where(np.maximum(lowest, second) > _PRESENT * highest, 0.1 * highest, 0).astype(np.float32)
        target = energy @ notes.T
        for _ in range(_ROUNDS):
            strength *= target / (strength @ gram + np.float32(1e-9))
        octaves = strength.reshape(len(energy), _NOTES // 12, 12)
        everything[some] = octaves.sum(axis=1)
        bass[some] = strength[:, :36].reshape(-1, 3, 12).sum(axis=1)
    return Chroma(everything, bass)


def sum_harmony(chroma: Chroma, starts_s: Float64Array, end_s: float) -> Harmony:
    """Sum the chroma of stretches over time: of all notes, then of the low ones."""
    both = [part / max(float(part.max(initial=0)), 1e-9) for part in (chroma.all, chroma.bass)]
    time_s = np.append(starts_s, max(end_s, starts_s[-1]))
    total = np.zeros((len(time_s), 24))
    np.cumsum(np.concatenate(both, axis=1) * np.diff(time_s)[:, None], axis=0, out=total[1:])
    return Harmony(time_s, total)


@lru_cache(maxsize=1)
def _note_profiles() -> tuple[Float32Array, Float32Array]:
    """Peaks that each note makes, (notes, bins), and the products of every two of them."""
    bins = np.arange(SEMITONES * BINS)
    notes = np.zeros((_NOTES, len(bins)))
    for overtone in range(_OVERTONES):
        centre = (np.arange(_NOTES) + 12 * np.log2(overtone + 1)) * BINS
        notes += _DECAY**overtone * np.exp(-0.5 * ((bins - centre[:, None]) / 0.9) ** 2)
    notes /= np.sqrt(np.sum(notes**2, axis=1, keepdims=True))
    return notes.astype(np.float32), (notes @ notes.T).astype(np.float32)
