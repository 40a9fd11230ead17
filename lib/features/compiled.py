"""Compiled loops over spectra and samples of which features are made."""

import numpy as np
from numba import njit

from reprise.lib.arrays import Complex64Array, Float32Array, Float64Array, Int64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.features.spectra import HOP, N_FFT

TINY = np.float32(np.finfo(np.float32).tiny)
_FLOOR = 1e-10  # of power, where its logarithm is taken
_OVERLAP = N_FFT // HOP
_FACTORS = 8  # powers whose product a float64 holds whatever they are


@njit(cache=True, nogil=True)
def measure_power(spectra: Complex64Array) -> tuple[Float32Array, Float32Array]:
    """Magnitude and power of spectra (n, m)."""
    n_rows, n_columns = spectra.shape
    magnitude = np.empty((n_rows, n_columns), dtype=np.float32)
    power = np.empty((n_rows, n_columns), dtype=np.float32)
    for row in range(n_rows):
        for column in range(n_columns):
            x, y = spectra[row, column].real, spectra[row, column].imag
            square = x * x + y * y
            power[row, column] = square
            magnitude[row, column] = np.sqrt(square)
    return magnitude, power


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _measure_moments(magnitude: Float32Array, frequencies: Float64Array) -> tuple[float, float, float]:
    """Sum, mean frequency and spread about it of one spectrum."""
    total, first, second = 0.0, 0.0, 0.0
    for column in range(len(magnitude)):
        value = np.float64(magnitude[column])
        total += value
        first += value * frequencies[column]
        second += value * frequencies[column] * frequencies[column]
    if total < TINY:  # as it is not made to sum to 1 then, it sums to nothing
        return total, first, 0.0
    centroid = first / total
    return total, centroid, np.sqrt(max(second / total - centroid * centroid, 0.0))


@njit(cache=True, nogil=True)
def _measure_flatness(power: Float32Array) -> float:
    """Geometric over arithmetic mean; logarithms are slow, so that of products is taken."""
    logarithm, total, product, n_factors = 0.0, 0.0, 1.0, 0
    for column in range(len(power)):
        value = max(np.float64(power[column]), _FLOOR)
        total += value
        product *= value
        n_factors += 1
        if n_factors == _FACTORS:
            logarithm += np.log(product)
            product, n_factors = 1.0, 0
    logarithm += np.log(product)
    return float(np.exp(logarithm / len(power)) / (total / len(power)))


@njit(cache=True, nogil=True)
def _find_rolloff(magnitude: Float32Array, share: float) -> int:
    """First bin up to which ``share`` of the magnitudes lie, summed in float32 as librosa sums them."""
    total = np.float32(0)
    for column in range(len(magnitude)):
        total += magnitude[column]
    limit = np.float32(share) * total
    running = np.float32(0)
    for column in range(len(magnitude)):
        running += magnitude[column]
        if running >= limit:
            return column
    return 0


@njit(cache=True, nogil=True)
def measure_shapes(
    magnitude: Float32Array, power: Float32Array, frequencies: Float64Array, shapes: Float64Array
) -> None:
    """Write centroid, bandwidth and roll-off in Hz, and flatness, of each spectrum into ``shapes`` (n, 4)."""
    for row in range(len(magnitude)):
        _, centroid, bandwidth = _measure_moments(magnitude[row], frequencies)
        shapes[row, 0] = centroid
        shapes[row, 1] = bandwidth
        shapes[row, 2] = frequencies[_find_rolloff(magnitude[row], 0.85)]
        shapes[row, 3] = _measure_flatness(power[row])


@njit(cache=True, nogil=True)
def measure_extremes(magnitude: Float32Array, bands: Int64Array, extremes: Float32Array) -> None:
    """Mean of the largest and of the smallest magnitudes of each band of each spectrum.

    ``bands`` (b, 3) has the first bin, the one after the last, and how many are large or small; ``extremes`` (n, 2 b)
    takes the means of the large ones and then those of the small ones.
    """
    n_bands = len(bands)
    large = np.empty(bands[:, 2].max(), dtype=np.float32)
    small = np.empty_like(large)
    for row in range(len(magnitude)):
        for band in range(n_bands):
            count = bands[band, 2]
            large[:count], small[:count] = -np.inf, np.inf
            for column in range(bands[band, 0], bands[band, 1]):
                value = magnitude[row, column]
                if value > large[count - 1]:
                    at = count - 1
                    while at and large[at - 1] < value:
                        large[at] = large[at - 1]
                        at -= 1
                    large[at] = value
                if value < small[count - 1]:
                    at = count - 1
                    while at and small[at - 1] > value:
                        small[at] = small[at - 1]
                        at -= 1
                    small[at] = value
            extremes[row, band] = large[:count].mean()
            extremes[row, n_bands + band] = small[:count].mean()


@njit(cache=True, nogil=True)
def find_peaks(power: Float32Array, first: int, last: int, threshold: float) -> tuple[Float32Array, Float32Array]:
    """Frequencies in Hz and heights of the peaks of spectra, as ``librosa.piptrack`` finds them.

    A peak lies within the bins ``first`` to ``last``, is larger than its left neighbour, not smaller than its right
    one, and above ``threshold`` times its spectrum's maximum. A parabola through the three gives its place and height.
    """
    frequencies = np.empty(power.shape[0] * ((last - first) // 2 + 1), dtype=np.float32)
    heights = np.empty_like(frequencies)
    count = 0
    for row in range(len(power)):
        spectrum = power[row]
        limit = np.float32(threshold) * spectrum.max()
        for i in range(first, last):
            if spectrum[i] > limit and spectrum[i] > spectrum[i - 1] and spectrum[i] >= spectrum[i + 1]:
                # the types, too, are librosa's: its answer depends on the last bit
                curvature = np.float64(spectrum[i + 1] + spectrum[i - 1]) - 2.0 * np.float64(spectrum[i])
                slope = np.float64(spectrum[i + 1] - spectrum[i - 1]) / 2
                shift = np.float32(0) if abs(slope) >= abs(curvature) else np.float32(-slope / curvature)
                frequencies[count] = (i + np.float64(shift)) * float(SAMPLE_RATE) / N_FFT
                rise = np.float32(0.5) * (spectrum[i + 1] - spectrum[i - 1])
                heights[count] = spectrum[i] + np.float32(0.5) * rise * shift
                count += 1
    return frequencies[:count].copy(), heights[:count].copy()


@njit(cache=True, nogil=True)
def keep_harmonic(spectra: Complex64Array, harmonic: Float32Array, percussive: Float32Array) -> None:
    """Multiply spectra in place by the share of the harmonic in the sum of squares; by 1/2 where there is neither."""
    for row in range(spectra.shape[0]):
        for column in range(spectra.shape[1]):
            h, p = harmonic[row, column], percussive[row, column]
            larger, smaller = max(h, p), min(h, p)
            ratio = smaller / larger if larger >= TINY else np.float32(1)
            square = ratio * ratio
            share = np.float32(1) / (np.float32(1) + square)
            spectra[row, column] *= share if h >= p else square * share


@njit(cache=True, nogil=True)
def overlap_add(
    frames: Float32Array, first: int, n_frames: int, window: Float32Array, start_hop: int, out: Float32Array
) -> None:
    """Inverse of a short-time Fourier transform, once the frames are transformed back.

    Parameters
    ----------
    frames
        (m, 2048): the frames from ``first`` on, of ``n_frames`` in all.
    start_hop
        Steps of 512 samples from where the first frame of all begins to where ``out`` begins.
    out
        (h, 512), to be written.
    """
    square = window * window
    for at in range(len(out)):
        hop = start_hop + at
        norm = np.zeros(HOP, dtype=np.float32)
        total = np.zeros(HOP, dtype=np.float32)
        for part in range(_OVERLAP):
            frame = hop - part
            if 0 <= frame < n_frames:
                for i in range(HOP):
                    total[i] += frames[frame - first, part * HOP + i] * window[part * HOP + i]
                    norm[i] += square[part * HOP + i]
        for i in range(HOP):
            out[at, i] = total[i] / norm[i] if norm[i] > TINY else np.float32(0)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def sum_parts(signal: Float32Array, harmonic: Float32Array) -> tuple[float, float, float, float]:
    """Sums and sums of squares of the harmonic samples, and of the rest."""
    h1, h2, p1, p2 = 0.0, 0.0, 0.0, 0.0
    for i in range(len(signal)):
        h = np.float64(harmonic[i])
        p = np.float64(signal[i]) - h
        h1 += h
        h2 += h * h
        p1 += p
        p2 += p * p
    return h1, h2, p1, p2


@njit(cache=True, nogil=True)
def measure_levels(samples: Float32Array, start: int, stop: int, levels: Float64Array) -> None:
    """Write root mean square and zero crossing rate of frames into ``levels`` (n, 2).

    ``samples`` begin one sample before the first frame and end with the last one: 1 + 2048 + 512 (n − 1). Those before
    ``start`` and from ``stop`` on have no power. Values within ±1e−10 count as positive.
    """
    n_frames = len(levels)
    n_steps = n_frames + _OVERLAP - 1
    squares, crossings = np.empty(n_steps), np.empty(n_steps, dtype=np.int64)
    for step in range(n_steps):
        first, last = step * HOP + 1, (step + 1) * HOP + 1
        crossings[step] = _count_crossings(samples[first - 1 : last])
        squares[step] = _sum_squares(samples[max(first, start) : max(min(last, stop), start)])
    for frame in range(n_frames):
        steps = slice(frame, frame + _OVERLAP)
        into_first = _count_crossings(samples[frame * HOP : frame * HOP + 2])
        levels[frame, 0] = np.sqrt(squares[steps].sum() / N_FFT)
        levels[frame, 1] = (crossings[steps].sum() - into_first) / N_FFT


@njit(cache=True, nogil=True)
def _count_crossings(samples: Float32Array) -> int:
    count = 0
    for i in range(1, len(samples)):
        count += (samples[i - 1] < -_FLOOR) != (samples[i] < -_FLOOR)
    return count


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _sum_squares(samples: Float32Array) -> float:
    total = 0.0
    for i in range(len(samples)):
        total += np.float64(samples[i]) * np.float64(samples[i])
    return total
