"""Chroma of segments: collect spectral peaks, estimate the tuning, and model the peaks as notes with overtones."""

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
LOWEST_PITCH, SEMITONES = 24, 84  # MIDI pitch of C1 (33 Hz), and number of semitones from C1 to B7
BINS = 3  # bins per semitone
CENTS = 100  # number of bins of the tuning histogram, one per cent
_MIN_RELATIVE_PEAK = 10 ** (-55 / 20)  # smallest amplitude of a peak, relative to the strongest peak of the frame
_MIN_PEAK = 1e-4  # smallest amplitude of a peak, relative to full scale
_DELAY_S = 0.02  # segments are delayed by this, because half of a window centred on an onset lies before the onset

_PARTIALS = 10
_DECAY = 0.7  # amplitude of a partial relative to the next lower partial
_NOTES = 72  # number of notes, C1 to B6
_ITERATIONS = 40
_MIN_PARTIAL = 0.02  # below this, relative to the strongest peak, a partial counts as missing
_BATCH_SEGMENTS = 4096


@dataclass(frozen=True)
class SpectralPeaks:
    """Spectral peaks of n segments.

    Attributes
    ----------
    energy
        Shape (n, 252), sums of peak amplitudes. The columns are pitches, three bins per semitone, starting at C1.
    tuning_cents
        Deviation of the recording's tuning from A = 440 Hz, -50 to 50 cents.
    clarity
        Concentration of the peaks' deviations from equal temperament: 1 if all are equal, 0 if they are spread evenly.
    """

    energy: Float32Array
    tuning_cents: float
    clarity: float


@dataclass(frozen=True)
class Chroma:
    """Strengths of the 12 pitch classes in n segments: one array for all notes, one for the low notes (C1 to B3).

    Each array is float32 of shape (n, 12), C first.
    """

    all: Float32Array
    bass: Float32Array


@dataclass(frozen=True)
class CumulativeChroma:
    """Integral of chroma over time. The chroma of a time interval is the integral at its end minus that at its start.

    Attributes
    ----------
    time_s
        Shape (n,), ascending times in s.
    total
        Shape (n, 24), integral up to each time: 12 pitch classes of all notes, then 12 of the low notes.
    """

    time_s: Float64Array
    total: Float64Array

    def change_at(self, at_s: Float64Array, width_s: Float64Array) -> Float64Array:
        """Return the chroma change at each time in ``at_s``, (len(at_s),).

        The change is the cosine distance between the chroma of the ``width_s`` seconds before the time and the chroma
        of the ``width_s`` seconds after it. It is 0 if one of the two is zero.
        """
        now = self.sum_until(at_s)
        before, after = now - self.sum_until(at_s - width_s), self.sum_until(at_s + width_s) - now
        norm = np.sqrt(np.sum(before**2, axis=1) * np.sum(after**2, axis=1))
        return np.where(norm > 0, 1 - np.sum(before * after, axis=1) / np.where(norm > 0, norm, 1), 0.0)

    def sum_until(self, at_s: Float64Array) -> Float64Array:
        """Return the integral up to each time in ``at_s``, interpolated linearly: shape (len(at_s), 24)."""
        index = np.clip(np.searchsorted(self.time_s, at_s, side="right") - 1, 0, len(self.time_s) - 2)
        width = self.time_s[index + 1] - self.time_s[index]
        fraction = np.clip((at_s - self.time_s[index]) / np.where(width > 0, width, 1), 0, 1)[:, None]
        return self.total[index] * (1 - fraction) + self.total[index + 1] * fraction


def collect_peaks(signal: Float32Array, starts_s: Float64Array) -> SpectralPeaks:
    """Collect the spectral peaks of each segment and estimate the tuning.

    Parameters
    ----------
    signal
        Shape (samples,), floats, mono, at 22,050 Hz. A memory map is accepted and is read in blocks.
    starts_s
        Shape (n,), starts of the segments in s, ascending. A segment ends where the next one starts.

    Raises
    ------
    InputError
        ``not_finite``: a sample is NaN or infinite.
    """
    energy = np.zeros((len(starts_s), SEMITONES * BINS), dtype=np.float32)
    cents = np.zeros(CENTS)
    bounds = np.append(starts_s, len(signal) / SAMPLE_RATE) + _DELAY_S
    bounds[0] = -1.0
    bounds *= SAMPLE_RATE / HOP
    hann = np.hanning(WINDOW + 1)[:-1]
    for first, frames in cut_frames(signal, WINDOW, HOP, BLOCK_FRAMES):
        magnitude = np.abs(fft.rfft(frames, axis=1, overwrite_x=True))
        magnitude *= 2 / hann.sum()
        _add_peaks(magnitude, first, bounds, energy, cents)
    angle = np.sum(cents * np.exp(2j * np.pi * np.arange(CENTS) / CENTS))
    total = float(cents.sum())
    clarity = float(abs(angle)) / total if total else 0.0
    tuning = float(np.angle(angle)) / (2 * np.pi) * 100 if total else 0.0
    return SpectralPeaks(energy, tuning, clarity)


@njit(cache=True, nogil=True)
def _add_peaks(
    magnitude: Float32Array, first: int, bounds: Float64Array, energy: Float32Array, cents: Float64Array
) -> None:
    """Add the peaks of each frame to the segments, weighted by the overlap of frame and segment.

    For the overlap, a frame is one hop long. ``first`` is the index of the first frame. ``bounds`` contains the starts
    of the segments and the end of the last segment, in hops. ``cents`` is a histogram of the deviations from equal
    temperament of the peaks above C2, weighted by amplitude. ``energy`` and ``cents`` are updated in place.
    """
    position, strength = np.empty(magnitude.shape[1]), np.empty(magnitude.shape[1])
    at = 0
    for frame in range(len(magnitude)):
        n_peaks = _find_peaks(magnitude[frame], position, strength)
        begin, end = first + frame - 0.5, first + frame + 0.5
        while at < len(bounds) - 2 and bounds[at + 1] <= begin:
            at += 1
        segment = at
        while segment < len(bounds) - 1 and bounds[segment] < end:
            overlap = min(bounds[segment + 1], end) - max(bounds[segment], begin)
            for i in range(n_peaks if overlap > 0 else 0):
                low = int(np.floor(position[i]))
                rest = position[i] - low
                energy[segment, low] += np.float32(overlap * strength[i] * (1 - rest))
                energy[segment, low + 1] += np.float32(overlap * strength[i] * rest)
            segment += 1
        for i in range(n_peaks):
            if position[i] > 12 * BINS:
                pitch = position[i] / BINS
                cents[int(np.floor((pitch - np.floor(pitch)) * CENTS)) % CENTS] += strength[i]


@njit(cache=True, nogil=True)
def _find_peaks(row: Float32Array, position: Float64Array, strength: Float64Array) -> int:
    """Find the peaks of a spectrum by parabolic interpolation, and return the number of peaks.

    The positions of the peaks, in bins of `SpectralPeaks.energy`, are written into ``position``. Their amplitudes are
    written into ``strength``.
    """
    bins = len(row)
    limit = max(row[2 : bins - 1].max() * _MIN_RELATIVE_PEAK, _MIN_PEAK)
    count = 0
    for k in range(3, bins - 2):
        if row[k] > limit and row[k] > row[k - 1] and row[k] >= row[k + 1]:
            low, mid, high = np.log(row[k - 1] + 1e-12), np.log(row[k]), np.log(row[k + 1] + 1e-12)
            shift = 0.5 * (low - high) / (low - 2 * mid + high)
            pitch = 69 + 12 * np.log2((k + shift) * SAMPLE_RATE / WINDOW / 440)
            if LOWEST_PITCH <= pitch < LOWEST_PITCH + SEMITONES - 1:
                position[count] = (pitch - LOWEST_PITCH) * BINS
                strength[count] = np.exp(mid - 0.25 * (low - high) * shift)
                count += 1
    return count


def estimate_chroma(peaks: SpectralPeaks) -> Chroma:
    """Model the peaks of each segment as a sum of notes with overtones, and fold the notes into pitch classes.

    The method is non-negative least squares by multiplicative updates, after Mauch & Dixon, Approximate note
    transcription for the improved identification of difficult chords, ISMIR 2010.
    """
    count = len(peaks.energy)
    notes, gram = _note_profiles()
    everything, bass = np.zeros((count, 12), np.float32), np.zeros((count, 12), np.float32)
    bins = np.arange(SEMITONES * BINS)
    # a recording tuned above 440 Hz has its peaks too high, so each bin is read from a higher position
    source = np.clip(bins + peaks.tuning_cents / 100 * BINS, 0, len(bins) - 1)
    low = np.minimum(source.astype(np.int64), len(bins) - 2)
    rest = (source - low).astype(np.float32)
    for first in range(0, count, _BATCH_SEGMENTS):
        batch = slice(first, first + _BATCH_SEGMENTS)
        energy = peaks.energy[batch]
        energy = energy[:, low] * (1 - rest) + energy[:, low + 1] * rest
        highest = energy.max(axis=1, keepdims=True)
        # leave out a note whose two lowest partials are both missing, even if its overtones match higher peaks
        wide = np.maximum(energy, np.maximum(np.roll(energy, 1, axis=1), np.roll(energy, -1, axis=1)))
        lowest, second = (wide[:, octave * 12 * BINS :][:, : _NOTES * BINS : BINS] for octave in (0, 1))
        strength = np.where(np.maximum(lowest, second) > _MIN_PARTIAL * highest, 0.1 * highest, 0).astype(np.float32)
        target = energy @ notes.T
        for _ in range(_ITERATIONS):
            strength *= target / (strength @ gram + np.float32(1e-9))
        octaves = strength.reshape(len(energy), _NOTES // 12, 12)
        everything[batch] = octaves.sum(axis=1)
        bass[batch] = strength[:, :36].reshape(-1, 3, 12).sum(axis=1)
    return Chroma(everything, bass)


def accumulate_chroma(chroma: Chroma, starts_s: Float64Array, end_s: float) -> CumulativeChroma:
    """Integrate the chroma of segments over time.

    The chroma of all notes and the chroma of the low notes are scaled first: the maximum of each, over all segments,
    becomes 1.

    Parameters
    ----------
    chroma
        Chroma of n segments.
    starts_s
        Shape (n,), starts of the segments in s, ascending.
    end_s
        End of the last segment in s.
    """
    both = [values / max(float(values.max(initial=0)), 1e-9) for values in (chroma.all, chroma.bass)]
    time_s = np.append(starts_s, max(end_s, starts_s[-1]))
    total = np.zeros((len(time_s), 24))
    np.cumsum(np.concatenate(both, axis=1) * np.diff(time_s)[:, None], axis=0, out=total[1:])
    return CumulativeChroma(time_s, total)


@lru_cache(maxsize=1)
def _note_profiles() -> tuple[Float32Array, Float32Array]:
    """Return the spectra of notes with overtones, (notes, bins), and the Gram matrix of the spectra, (notes, notes).

    Each spectrum has norm 1.
    """
    bins = np.arange(SEMITONES * BINS)
    notes = np.zeros((_NOTES, len(bins)))
    for k in range(_PARTIALS):
        centre = (np.arange(_NOTES) + 12 * np.log2(k + 1)) * BINS
        notes += _DECAY**k * np.exp(-0.5 * ((bins - centre[:, None]) / 0.9) ** 2)
    notes /= np.sqrt(np.sum(notes**2, axis=1, keepdims=True))
    return notes.astype(np.float32), (notes @ notes.T).astype(np.float32)
