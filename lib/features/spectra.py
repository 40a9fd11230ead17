"""Short-time Fourier transforms of a part of a signal, and the filter banks that go with them."""

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from reprise.lib.arrays import Complex64Array, Float32Array, Float64Array
from reprise.lib.audio import SAMPLE_RATE

N_FFT = 2048
HOP = 512
N_BINS = N_FFT // 2 + 1
N_MELS = 128
_FRAMES_AT_ONCE = 64  # which stay in the cache from window to transform


def count_frames(n_samples: int) -> int:
    """Frames of a signal: they are centred on every 512th sample, from the first on."""
    return n_samples // HOP + 1


def read_samples(signal: NDArray[Any], first: int, last: int) -> Float32Array:
    """Samples ``first`` to ``last`` of a signal; zeros before it, after it, and for what is not finite."""
    samples = np.zeros(last - first, dtype=np.float32)
    start, stop = max(first, 0), max(min(last, len(signal)), 0)
    inside = signal[start:stop]
    samples[start - first : start - first + len(inside)] = inside
    if not np.isfinite(np.dot(samples, samples)):
        np.nan_to_num(samples, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return samples


@lru_cache(maxsize=1)
def hann_window() -> Float64Array:
    """Periodic Hann window of a frame, (2048,)."""
    phase: Float64Array = np.arange(N_FFT, dtype=np.float64) * (2 * np.pi / N_FFT)
    window: Float64Array = np.square(np.sin(phase / 2))
    return window


def transform(signal: NDArray[Any], first: int, last: int) -> Complex64Array:
    """Spectra (last − first, 1025) of the frames ``first`` to ``last``, as ``librosa.stft`` with zeros at both ends."""
    samples = read_samples(signal, first * HOP - N_FFT // 2, (last - 1) * HOP + N_FFT // 2)
    step = samples.strides[0]
    frames = as_strided(samples, (last - first, N_FFT), (HOP * step, step), writeable=False)
    spectra = np.empty((last - first, N_BINS), dtype=np.complex64)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        part = slice(start, start + _FRAMES_AT_ONCE)
        # in float32 the smallest bins would be rounding errors: contrast and flatness show them
        spectra[part] = scipy.fft.rfft(frames[part] * hann_window(), axis=1, overwrite_x=True)
    return spectra


@lru_cache(maxsize=1)
def bin_frequencies() -> Float64Array:
    """Frequencies of the bins in Hz, (1025,)."""
    return np.arange(N_BINS, dtype=np.float64) * (SAMPLE_RATE / N_FFT)


@lru_cache(maxsize=4)
def mel_filters(n_mels: int = N_MELS) -> Float32Array:
    """Weights (1025, n_mels) of librosa's mel bands."""
    import librosa

    filters: Float32Array = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=n_mels)
    return np.ascontiguousarray(filters.T)


@lru_cache(maxsize=128)
def chroma_filters(tuning: float) -> Float32Array:
    """Weights (1025, 12) of librosa's pitch classes from C, for a tuning in semitones above 440 Hz."""
    import librosa

    filters: Float32Array = librosa.filters.chroma(sr=SAMPLE_RATE, n_fft=N_FFT, tuning=tuning)
    return np.ascontiguousarray(filters.T)


def to_decibel(power: NDArray[Any]) -> NDArray[Any]:
    """Decibels of powers, at least −100, as ``librosa.power_to_db`` before its ``top_db``."""
    decibels: NDArray[Any] = np.log10(np.maximum(power, power.dtype.type(1e-10)))
    decibels *= 10
    return decibels
