"""Loops over spectra and samples, compiled with numba. They compute features."""

import numpy as np
from numba import njit

from reprise.lib.arrays import Complex64Array, Float32Array, Float64Array, Int64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.features.spectra import HOP, N_FFT

TINY = np.float32(np.finfo(np.float32).tiny)
_FLOOR = 1e-10  # smaller powers are replaced by this value in logarithms; samples from -_FLOOR up count as positive
_OVERLAP = N_FFT // HOP
_MAX_FACTORS = 8  # the product of this many float32 powers does not overflow a float64


@njit(cache=True, nogil=True)
def measure_power(spectra: Complex64Array) -> tuple[Float32Array, Float32Array]:
    """Compute the magnitudes and the powers of complex spectra (n, m). Both arrays are float32 (n, m)."""
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
    """Return the sum of the magnitudes of one spectrum, the centroid in Hz, and the bandwidth in Hz."""
    total, first, second = 0.0, 0.0, 0.0
    for column in range(len(magnitude)):
        value = np.float64(magnitude[column])
        total += value
        first += value * frequencies[column]
        second += value * frequencies[column] * frequencies[column]
    if total < TINY:  # as in librosa, do not normalise an almost silent spectrum; its bandwidth is almost 0
        return total, first, 0.0
    centroid = first / total
    return total, centroid, np.sqrt(max(second / total - centroid * centroid, 0.0))


@njit(cache=True, nogil=True)
def _measure_flatness(power: Float32Array) -> float:
    """Compute the spectral flatness: the geometric mean of the powers divided by their arithmetic mean.

    Logarithms are slow. Therefore powers are multiplied in groups of 8, and one logarithm is taken per product.
    """
    logarithm, total, product, n_factors = 0.0, 0.0, 1.0, 0
    for column in range(len(power)):
        value = max(np.float64(power[column]), _FLOOR)
        total += value
        product *= value
        n_factors += 1
        if n_factors == _MAX_FACTORS:
            logarithm += np.log(product)
            product, n_factors = 1.0, 0
    logarithm += np.log(product)
    return float(np.exp(logarithm / len(power)) / (total / len(power)))


@njit(cache=True, nogil=True)
def _find_rolloff(magnitude: Float32Array, fraction: float) -> int:
    """Return the index of the first bin at which the cumulative sum of ``magnitude`` reaches ``fraction`` of the total.

    The sums are computed in float32, as in librosa.
    """
    total = np.float32(0)
    for column in range(len(magnitude)):
        total += magnitude[column]
    limit = np.float32(fraction) * total
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
    """Write centroid (Hz), bandwidth (Hz), roll-off (Hz) and flatness of each spectrum into ``shapes`` (n, 4)."""
    for row in range(len(magnitude)):
        _, centroid, bandwidth = _measure_moments(magnitude[row], frequencies)
        shapes[row, 0] = centroid
        shapes[row, 1] = bandwidth
        shapes[row, 2] = frequencies[_find_rolloff(magnitude[row], 0.85)]
        shapes[row, 3] = _measure_flatness(power[row])


@njit(cache=True, nogil=True)
def measure_extremes(magnitude: Float32Array, bands: Int64Array, extremes: Float32Array) -> None:
    """Compute the mean of the largest and the mean of the smallest magnitudes in each band of each spectrum.

    Parameters
    ----------
    magnitude
        (n, bins).
    bands
        (b, 3): first bin, bin after the last bin, and number of largest (and of smallest) magnitudes to average.
    extremes
        (n, 2 b), written in place: first the b means of the largest magnitudes, then the b means of the smallest.
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
    """Find the peaks of spectra (n, bins) as in ``librosa.piptrack``. Return their frequencies in Hz and their heights.

    A peak is a bin from ``first`` to ``last`` (exclusive). Its power is greater than the power of the left neighbour,
    not smaller than that of the right neighbour, and above ``threshold`` times the maximum of the spectrum. Frequency
    and height are those of the vertex of the parabola through the three bins.
    """
    frequencies = np.empty(power.shape[0] * ((last - first) // 2 + 1), dtype=np.float32)
    heights = np.empty_like(frequencies)
    count = 0
    for row in range(len(power)):
        spectrum = power[row]
        limit = np.float32(threshold) * spectrum.max()
        for i in range(first, last):
            if spectrum[i] > limit and spectrum[i] > spectrum[i - 1] and spectrum[i] >= spectrum[i + 1]:
                # use the same dtypes as librosa: rounding in the last bit changes the result
                curvature = np.float64(spectrum[i + 1] + spectrum[i - 1]) - 2.0 * np.float64(spectrum[i])
                slope = np.float64(spectrum[i + 1] - spectrum[i - 1]) / 2
                shift = np.float32(0) if abs(slope) >= abs(curvature) else np.float32(-slope / curvature)
                frequencies[count] = (i + np.float64(shift)) * float(SAMPLE_RATE) / N_FFT
                gradient = np.float32(0.5) * (spectrum[i + 1] - spectrum[i - 1])
                heights[count] = spectrum[i] + np.float32(0.5) * gradient * shift
                count += 1
    return frequencies[:count].copy(), heights[:count].copy()


@njit(cache=True, nogil=True)
def apply_harmonic_mask(spectra: Complex64Array, harmonic: Float32Array, percussive: Float32Array) -> None:
    """Multiply spectra in place by the soft mask h² / (h² + p²), or by 1/2 where h and p are both less than `TINY`.

    h is ``harmonic``, and p is ``percussive``. All three arrays have the same shape.
    """
    for row in range(spectra.shape[0]):
        for column in range(spectra.shape[1]):
            h, p = harmonic[row, column], percussive[row, column]
            larger, smaller = max(h, p), min(h, p)
            ratio = smaller / larger if larger >= TINY else np.float32(1)
            square = ratio * ratio
            mask = np.float32(1) / (np.float32(1) + square)
            spectra[row, column] *= mask if h >= p else square * mask


@njit(cache=True, nogil=True)
def overlap_add(
    frames: Float32Array, first: int, n_frames: int, window: Float32Array, start_hop: int, out: Float32Array
) -> None:
    """Overlap-add frames, as in the inverse short-time Fourier transform, and divide by the sum of squared windows.

    The result is 0 where this sum is at most `TINY`.

    Parameters
    ----------
    frames
        (m, 2048): inverse Fourier transforms of the frames from frame ``first`` on.
    n_frames
        Number of frames of the signal.
    window
        (2048,): window of the inverse transform.
    start_hop
        Number of hops (512 samples) from the start of the signal's first frame to the start of ``out``.
    out
        (h, 512), written in place: h hops of the signal.
    """
    square = window * window
    for at in range(len(out)):
        hop = start_hop + at
        norm = np.zeros(HOP, dtype=np.float32)
        total = np.zeros(HOP, dtype=np.float32)
        for back in range(_OVERLAP):
            frame = hop - back
            if 0 <= frame < n_frames:
                for i in range(HOP):
                    total[i] += frames[frame - first, back * HOP + i] * window[back * HOP + i]
                    norm[i] += square[back * HOP + i]
        for i in range(HOP):
            out[at, i] = total[i] / norm[i] if norm[i] > TINY else np.float32(0)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def sum_components(signal: Float32Array, harmonic: Float32Array) -> tuple[float, float, float, float]:
    """Return the sum and the sum of squares of the harmonic samples, then those of the percussive samples.

    The percussive samples are ``signal`` − ``harmonic``.
    """
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
    """Write the root mean square and the zero-crossing rate of n frames into ``levels`` (n, 2).

    Parameters
    ----------
    samples
        (1 + 2048 + 512 (n − 1),): from one sample before the first frame to the end of the last frame. For the
        zero-crossing rate, a value of at least −1e−10 counts as positive.
    start, stop
        Indices into ``samples``. For the root mean square, samples before ``start``, and at
        ``stop`` and after it, count as zero.
    levels
        (n, 2) float64, written in place.
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
