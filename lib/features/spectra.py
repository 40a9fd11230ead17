"""Short-time Fourier transforms of blocks of a signal, and the filter banks for their spectra."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from reprise.lib.arrays import Complex64Array, Float32Array, Float64Array, release_pages
from reprise.lib.audio import SAMPLE_RATE

N_FFT = 2048
HOP = 512
N_BINS = N_FFT // 2 + 1
N_MELS = 128
_BLOCK_FRAMES = 1024
_BATCH_FRAMES = 64  # a batch of frames stays in the CPU cache between windowing and transform


def count_frames(n_samples: int) -> int:
    """Return the number of frames of a signal.

    Frames are centred on every 512th sample. The first frame is centred on the first sample.
    """
    return n_samples // HOP + 1


def read_samples(signal: NDArray[Any], first: int, last: int) -> Float32Array:
    """Read the samples ``first`` to ``last`` (exclusive) of a signal.

    Samples outside the signal, NaN and infinite samples become zeros.
    """
    samples = np.zeros(last - first, dtype=np.float32)
    start, stop = max(first, 0), max(min(last, len(signal)), 0)
    inside = signal[start:stop]
    samples[start - first : start - first + len(inside)] = inside
    if not np.isfinite(np.dot(samples, samples)):
        np.nan_to_num(samples, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return samples


def iterate_frames(signal: NDArray[Any], n_fft: int, hop: int, count: int) -> Iterator[tuple[int, Float32Array]]:
    """Yield the number of a frame, and it and following ones: (frames, n_fft), in bounded memory.

    Frame i is the ``n_fft`` samples around sample i · ``hop``. Samples outside the signal are zeros.
    """
    for first in range(0, count, _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, count)
        samples = read_samples(signal, first * hop - n_fft // 2, (last - 1) * hop + n_fft // 2)
        release_pages(signal)
        yield first, np.lib.stride_tricks.sliding_window_view(samples, n_fft)[::hop]


@lru_cache(maxsize=1)
def hann_window() -> Float64Array:
    """Return the periodic Hann window, (2048,)."""
    phase: Float64Array = np.arange(N_FFT, dtype=np.float64) * (2 * np.pi / N_FFT)
    window: Float64Array = np.square(np.sin(phase / 2))
    return window


def compute_stft(signal: NDArray[Any], first: int, last: int) -> Complex64Array:
    """Compute the spectra (last − first, 1025) of the frames ``first`` to ``last`` (exclusive).

    Except for rounding errors, the spectra equal those of ``librosa.stft`` with zero padding.
    """
    samples = read_samples(signal, first * HOP - N_FFT // 2, (last - 1) * HOP + N_FFT // 2)
    step = samples.strides[0]
    frames = as_strided(samples, (last - first, N_FFT), (HOP * step, step), writeable=False)
    spectra = np.empty((last - first, N_BINS), dtype=np.complex64)
    for start in range(0, len(frames), _BATCH_FRAMES):
        batch = slice(start, start + _BATCH_FRAMES)
        # use float64: float32 rounding errors would dominate the smallest bins and distort contrast and flatness
        spectra[batch] = scipy.fft.rfft(frames[batch] * hann_window(), axis=1, overwrite_x=True)
    return spectra


@lru_cache(maxsize=1)
def bin_frequencies() -> Float64Array:
    """Return the frequencies of the bins in Hz, (1025,)."""
    return np.arange(N_BINS, dtype=np.float64) * (SAMPLE_RATE / N_FFT)


@lru_cache(maxsize=4)
def mel_filters(n_mels: int = N_MELS) -> Float32Array:
    """Return the weights of the bins for librosa's mel bands, (1025, n_mels)."""
    import librosa

    filters: Float32Array = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=n_mels)
    return np.ascontiguousarray(filters.T)


@lru_cache(maxsize=128)
def chroma_filters(tuning: float) -> Float32Array:
    """Return the weights of the bins for librosa's pitch classes, (1025, 12), C first.

    ``tuning`` is in semitones relative to A = 440 Hz.
    """
    import librosa

    filters: Float32Array = librosa.filters.chroma(sr=SAMPLE_RATE, n_fft=N_FFT, tuning=tuning)
    return np.ascontiguousarray(filters.T)


def to_decibel(power: NDArray[Any]) -> NDArray[Any]:
    """Convert power to decibels, at least −100. The result equals ``librosa.power_to_db`` with ``top_db=None``."""
    decibels: NDArray[Any] = np.log10(np.maximum(power, power.dtype.type(1e-10)))
    decibels *= 10
    return decibels
