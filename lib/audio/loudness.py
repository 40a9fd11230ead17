"""Loudness and true peak of mono and stereo signals.

Sources: ITU-R BS.1770-4, annexes 1 and 2; EBU Tech 3341. The filters for any sample rate are those of libebur128: the
filters of the standard, which gives coefficients for 48 kHz only, traced back to their analogue form.
"""

import math
from array import array

import numpy as np
from numba import njit
from numpy.lib.stride_tricks import sliding_window_view

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array

ABSOLUTE_GATE_LUFS = -70.0
"""Momentary blocks below this loudness take no part in the integrated loudness."""

_RELATIVE_GATE_LU = -10.0
_OFFSET_LUFS = -0.691  # so that a sine of 997 Hz at full scale in one channel has -3.01 LUFS
_STEPS_PER_SECOND, _STEPS_PER_BLOCK = 10, 4  # momentary blocks of 400 ms, of which neighbours share 300 ms
_SHELF_HZ, _SHELF_Q, _SHELF_DB, _SHELF_SLOPE = (
    1681.974450955533,
    0.7071752369554196,
    3.999843853973347,
    0.4996667741545416,
)
_HIGHPASS_HZ, _HIGHPASS_Q = 38.13547087602444, 0.5003270373238773
_SILENT_STATE = 1e-30  # below this, a filter's state is set to 0: arithmetic with denormal numbers is slow

_OVERSAMPLING = 4
_REACH = 16
"""Samples on each side of a point from which the signal between two samples is interpolated."""
_KAISER_BETA = 5.0
_CHUNK = 512
_FRAMES = 1 << 16


class LoudnessMeter:
    """Integrated loudness, true peak and activity of a signal that is given block by block.

    The results depend on the division into blocks by rounding errors only. Memory use grows by 80 bytes for each second
    of the signal.

    Parameters
    ----------
    sample_rate
        Sample rate in Hz.
    channel_count
        1 or 2. Both channels have the weight 1, so the same signal in two channels is 3 LU louder than in one.
    """

    def __init__(self, sample_rate: int, channel_count: int) -> None:
        self._sample_rate = sample_rate
        self._filters = _design_k_weighting(sample_rate)
        self._state = np.zeros((channel_count, 4))
        self._interpolators = _design_interpolators()
        self._recent = np.zeros((channel_count, 2 * _REACH - 1), np.float32)
        self._peak = 0.0
        self._frame_count = 0
        self._energies = array("d")  # of the finished steps of 100 ms
        self._open_energy = 0.0

    def add(self, signal: Float32Array) -> None:
        """Append samples of shape (n,) for mono or (n, channels).

        Raises
        ------
        ValueError
            A sample is NaN or infinite, or the signal has another number of channels.
        """
        frames = signal[:, None] if signal.ndim == 1 else signal
        if frames.shape[1] != len(self._state):
            raise ValueError(f"the signal has {frames.shape[1]} channels, not {len(self._state)}")
        for start in range(0, len(frames), _FRAMES):
            self._add_block(np.ascontiguousarray(frames[start : start + _FRAMES], np.float32))

    def _add_block(self, block: Float32Array) -> None:
        end = self._frame_count + len(block)
        step_counts = np.arange(len(self._energies) + 1, end * _STEPS_PER_SECOND // self._sample_rate + 1)
        step_ends = _step_ends(step_counts, self._sample_rate) - self._frame_count
        energies = np.zeros(len(step_ends) + 1)
        energies[0] = self._open_energy
        _sum_weighted_squares(block, self._filters, self._state, step_ends, energies)
        if not np.isfinite(self._state).all():
            raise ValueError("the signal has NaN or infinite samples")
        self._energies.extend(energies[:-1].tolist())
        self._open_energy = float(energies[-1])
        self._frame_count = end
        extended = np.concatenate([self._recent, block.T], axis=1)
        self._recent = extended[:, len(block) :].copy()
        self._peak = _find_peak(extended, self._interpolators, self._peak)

    @property
    def true_peak_dbtp(self) -> float:
        """Greatest absolute value of the signal, four times oversampled, in dBTP. Silence has -inf.

        The signal counts as 0 before its start and after its end.
        """
        end = np.concatenate([self._recent, np.zeros((len(self._recent), _REACH), np.float32)], axis=1)
        peak = _find_peak(end, self._interpolators, self._peak)
        return 20 * math.log10(peak) if peak else -math.inf

    @property
    def integrated_lufs(self) -> float:
        """Integrated loudness in LUFS, with both gates of the standard. Silence has -inf.

        A signal that is shorter than 400 ms counts as one momentary block.
        """
        powers = self._momentary_powers()
        powers = powers[powers > _power(ABSOLUTE_GATE_LUFS)]
        if not len(powers):
            return -math.inf
        powers = powers[powers > _power(_loudness(powers.mean()) + _RELATIVE_GATE_LU)]
        return _loudness(powers.mean())

    def active_share(self, threshold_lufs: float) -> float:
        """Return the share of momentary blocks, 0 to 1, whose loudness is over a threshold. An empty signal has 0."""
        powers = self._momentary_powers()
        return float(np.mean(powers > _power(threshold_lufs))) if len(powers) else 0.0

    def _momentary_powers(self) -> Float64Array:
        """Return the mean square of the weighted samples, summed over the channels, of each block of 400 ms."""
        if len(self._energies) < _STEPS_PER_BLOCK:
            whole = sum(self._energies) + self._open_energy
            return np.array([whole / self._frame_count] if self._frame_count else [])
        edges = _step_ends(np.arange(len(self._energies) + 1), self._sample_rate)
        powers: Float64Array = sliding_window_view(np.array(self._energies), _STEPS_PER_BLOCK).sum(axis=1)
        powers /= edges[_STEPS_PER_BLOCK:] - edges[:-_STEPS_PER_BLOCK]
        return powers


def _step_ends(step_count: Int64Array, sample_rate: int) -> Int64Array:
    """Return the number of frames in which so many steps of 100 ms are complete."""
    ends: Int64Array = -(-step_count * sample_rate // _STEPS_PER_SECOND)
    return ends


def _loudness(power: float) -> float:
    return _OFFSET_LUFS + 10 * math.log10(power)


def _power(loudness_lufs: float) -> float:
    return 10 ** ((loudness_lufs - _OFFSET_LUFS) / 10)


def _design_k_weighting(sample_rate: int) -> Float64Array:
    """Return the coefficients b0, b1, b2, a1, a2 of the high shelf and of the high-pass, shape (2, 5)."""
    k = math.tan(math.pi * _SHELF_HZ / sample_rate)
    high = 10 ** (_SHELF_DB / 20)
    middle = high**_SHELF_SLOPE
    a0 = 1 + k / _SHELF_Q + k * k
    shelf = [
        (high + middle * k / _SHELF_Q + k * k) / a0,
        2 * (k * k - high) / a0,
        (high - middle * k / _SHELF_Q + k * k) / a0,
        2 * (k * k - 1) / a0,
        (1 - k / _SHELF_Q + k * k) / a0,
    ]
    k = math.tan(math.pi * _HIGHPASS_HZ / sample_rate)
    a0 = 1 + k / _HIGHPASS_Q + k * k
    return np.array([shelf, [1, -2, 1, 2 * (k * k - 1) / a0, (1 - k / _HIGHPASS_Q + k * k) / a0]])


def _design_interpolators() -> Float32Array:
    """Return windowed sinc filters for the points between two samples, shape (points, 2 * _REACH)."""
    fraction = np.arange(1, _OVERSAMPLING)[:, None] / _OVERSAMPLING
    distance = np.arange(-_REACH + 1, _REACH + 1) - fraction
    window = np.i0(_KAISER_BETA * np.sqrt(1 - (distance / _REACH) ** 2)) / np.i0(_KAISER_BETA)
    filters = np.sinc(distance) * window
    filters /= filters.sum(axis=1, keepdims=True)
    return np.asarray(filters, np.float32)


@njit(cache=True, nogil=True)
def _sum_weighted_squares(
    block: Float32Array, filters: Float64Array, state: Float64Array, step_ends: Int64Array, energies: Float64Array
) -> None:
    """Filter a block (n, channels) and add the squares to the energies of its steps, shape (steps + 1,)."""
    (b0, b1, b2, a1, a2), (c0, c1, c2, d1, d2) = filters
    for channel in range(block.shape[1]):
        s1, s2, t1, t2 = state[channel]
        start = 0
        for step in range(len(energies)):
            end = step_ends[step] if step < len(step_ends) else len(block)
            energy = 0.0
            for frame in range(start, end):
                x = np.float64(block[frame, channel])
                y = b0 * x + s1
                s1 = b1 * x - a1 * y + s2
                s2 = b2 * x - a2 * y
                z = c0 * y + t1
                t1 = c1 * y - d1 * z + t2
                t2 = c2 * y - d2 * z
                energy += z * z
            energies[step] += energy
            if abs(s1) + abs(s2) + abs(t1) + abs(t2) < _SILENT_STATE:
                s1, s2, t1, t2 = 0.0, 0.0, 0.0, 0.0
            start = end
        state[channel] = s1, s2, t1, t2


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _find_peak(signal: Float32Array, interpolators: Float32Array, peak: float) -> float:
    """Return the greater of ``peak`` and of the greatest absolute value of a signal and between its samples.

    ``signal`` has the shape (channels, n). Its first samples, as many as a filter has but one, were given before.
    """
    n_points, length = interpolators.shape
    gain = np.float32(0)
    for point in range(n_points):
        gain = max(gain, np.sum(np.abs(interpolators[point])))
    found = np.float32(peak)
    sums = np.empty(_CHUNK, np.float32)
    for channel in range(len(signal)):
        samples = signal[channel]
        n_outputs = len(samples) - length + 1
        for start in range(0, n_outputs, _CHUNK):
            width = min(_CHUNK, n_outputs - start)
            greatest = np.max(np.abs(samples[start : start + width + length - 1]))
            found = max(found, greatest)
            if greatest * gain <= found:  # no point between these samples can be greater
                continue
            for point in range(n_points):
                sums[:width] = 0
                for tap in range(length):
                    weight = interpolators[point, tap]
                    shifted = samples[start + tap : start + tap + width]
                    for output in range(width):
                        sums[output] += weight * shifted[output]
                for output in range(width):
                    found = max(found, abs(sums[output]))
    return np.float64(found)
