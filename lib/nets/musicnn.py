"""MSD_musicnn: a convolutional network that predicts 50 tags of listeners from audio (Pons & Serra 2019).

It was trained on recordings of the Million Song Dataset and their tags on Last.fm. The weights are those in the package
``musicnn`` 0.1.0 (ISC licence), https://github.com/jordipons/musicnn. This module is a rewrite for torch.

The input is mel spectra of mono audio at 16 kHz: 96 bands, windows of 512 samples, hop 256, ``log10(1 + 10000 S)``.
A window has 187 frames, which is 2.992 s.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import scipy.fft
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array
from reprise.lib.errors import InputError
from reprise.lib.features.spectra import read_samples
from reprise.lib.nets.tensor_bundles import read_tensor_bundle

SAMPLE_RATE = 16_000
"""Sample rate of the network's input in Hz. Tracks are resampled to it from 22,050 Hz."""
HOP = 256
WINDOW_FRAMES = 187
WINDOW_S = WINDOW_FRAMES * HOP / SAMPLE_RATE
N_MELS = 96
_N_FFT = 512
_RATE_IN, _RATE_OUT = 441, 320  # 22,050 Hz to 16,000 Hz, in lowest terms
_MARGIN = 8  # periods of 441 samples, longer than the resampling filter
_EPSILON = 1e-3  # of the batch normalisations
_BATCH_WINDOWS = 2  # their intermediate values fit into the processor's caches
_CONVOLUTIONS = ("conv2d", *(f"conv2d_{i}" for i in range(1, 8)))
"""Layers of the network: two over time and bands, three over time, and three over the features of the first five."""

_SHAPES: Mapping[str, tuple[int, ...]] = {
    **{
        f"conv2d{suffix}/kernel": shape
        for suffix, shape in (
            *(("", (7, 38, 1, 204)), ("_1", (7, 67, 1, 204)), ("_2", (128, 1, 1, 51)), ("_3", (64, 1, 1, 51))),
            *(("_4", (32, 1, 1, 51)), ("_5", (7, 561, 1, 64)), ("_6", (7, 64, 1, 64)), ("_7", (7, 64, 1, 64))),
        )
    },
    **{f"conv2d{suffix}/bias": (n,) for suffix, n in (("", 204), ("_1", 204))},
    **{f"conv2d_{i}/bias": (n,) for i, n in ((2, 51), (3, 51), (4, 51), (5, 64), (6, 64), (7, 64))},
    **{
        f"batch_normalization{suffix}/{name}": (n,)
        for suffix, n in (
            *(("", 1), ("_1", 204), ("_2", 204), ("_3", 51), ("_4", 51), ("_5", 51)),
            *(("_6", 64), ("_7", 64), ("_8", 64), ("_9", 1506), ("_10", 200)),
        )
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    },
    "dense/kernel": (1506, 200),
    "dense/bias": (200,),
    "dense_1/kernel": (200, 50),
    "dense_1/bias": (50,),
}
"""Shapes of the weights by their names in the checkpoint."""


def convert_checkpoint(files: Mapping[str, bytes]) -> bytes:
    """Convert the published checkpoint to safetensors. Equal files give equal bytes.

    Parameters
    ----------
    files
        Contents by path. The paths end with ``.index`` and ``.data-00000-of-00001``.

    Raises
    ------
    InputError
        ``not_a_model``: the files are not a checkpoint of this network.
    """
    index, data = (next(value for path, value in files.items() if end in path) for end in (".index", ".data-"))
    return bytes(safetensors.numpy.save(select_weights(read_tensor_bundle(index, data))))


def load(data: bytes) -> "Musicnn":
    """Return the network from the bytes that `convert_checkpoint` returned.

    Raises
    ------
    InputError
        ``not_a_model``: the bytes are not the weights of this network.
    """
    try:
        tensors = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise InputError("not_a_model", f"the weights of musicnn cannot be read ({error}): fetch them again") from None
    return Musicnn(select_weights(tensors))


def select_weights(variables: Mapping[str, NDArray[Any]]) -> dict[str, Float32Array]:
    """Return the weights of the network from the variables of its checkpoint, without the state of the optimiser.

    Raises
    ------
    InputError
        ``not_a_model``: a weight is missing or has another shape or dtype.
    """
    weights = {}
    for name, shape in _SHAPES.items():
        found = variables.get(name)
        if found is None or found.shape != shape or found.dtype != np.float32:
            raise InputError("not_a_model", f"the weights {name} of musicnn are missing or have another shape")
        weights[name] = np.ascontiguousarray(found)
    return weights


class Musicnn:
    """The network with its weights.

    Parameters
    ----------
    weights
        Result of `select_weights`.
    """

    def __init__(self, weights: Mapping[str, Float32Array]) -> None:
        import torch

        self._weights = {name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()}
        self._fronts = [self._make_front(i) for i in range(5)]

    def predict(self, windows: Float32Array) -> Float32Array:
        """Predict the probabilities of the tags.

        Parameters
        ----------
        windows
            Mel spectra of `iterate_windows`, float32 (n, 187, 96).

        Returns
        -------
        numpy.ndarray
            float32 (n, 50), in the order of ``TAGS`` in `reprise.lib.tables.tags`. Each tag has a probability of its
            own: their sum is not 1.
        """
        import torch

        with torch.inference_mode():
            logits = self._forward(torch.from_numpy(np.ascontiguousarray(windows)))
            return np.asarray(torch.sigmoid(logits).numpy())

    def _forward(self, windows: Any) -> Any:
        import torch
        from torch.nn.functional import pad

        normal = self._normalise(windows[:, None], "")  # (n, 1, time, bands)
        in_time = pad(normal, (0, 0, 3, 3))
        timbral = [self._find_strongest(in_time, i) for i in (0, 1)]
        temporal = [
            self._find_strongest(pad(normal, (0, 0, (length - 1) // 2, length // 2)), i)
            for i, length in ((2, 128), (3, 64), (4, 32))
        ]
        front = torch.cat([*timbral, *temporal], dim=1)  # (n, 561, time)
        first = self._convolve_features(front, 5)
        second = self._convolve_features(first, 6) + first
        third = self._convolve_features(second, 7) + second
        features = torch.cat([front, first, second, third], dim=1)
        pooled = torch.stack([features.amax(dim=2), features.mean(dim=2)], dim=2).flatten(1)  # maximum, mean, maximum …
        hidden = torch.relu(self._multiply(self._normalise(pooled, "_9"), "dense"))
        return self._multiply(self._normalise(hidden, "_10"), "dense_1")

    def _make_front(self, i: int) -> tuple[Any, Any]:
        """Return kernels of a layer of the front end, and the signs of the channels' scales.

        The layer takes the maximum over the bands of ``scale * relu(convolution + bias) + shift``. That is the same
        function of the convolution's maximum or, where the scale is negative, of its minimum. With the kernels of these
        channels negated, the minimum is the negative maximum. So only the maximum of the convolution is needed.
        """
        import torch

        kernel = self._weights[f"{_CONVOLUTIONS[i]}/kernel"].permute(3, 2, 0, 1)
        signs = self._weights[f"batch_normalization_{i + 1}/gamma"].sign()
        kernel = kernel * signs[:, None, None, None]
        return kernel.contiguous(memory_format=torch.channels_last), signs

    def _find_strongest(self, values: Any, i: int) -> Any:
        """Return the maximum over the bands of a layer of the front end, (n, channels, time).

        With the channels last in memory, the convolutions take 0.6 of the time, and only ``max_pool2d`` is fast then.
        """
        import torch

        kernel, signs = self._fronts[i]
        height, width = values.shape[2:]
        # for one channel both layouts are the same bytes; torch tells them apart by the strides
        channels_last = values.as_strided(values.shape, (height * width, 1, width, 1))
        found = torch.conv2d(channels_last, kernel)
        strongest = torch.max_pool2d(found, (1, found.shape[3]))[..., 0] * signs[:, None]
        bias = self._weights[f"{_CONVOLUTIONS[i]}/bias"]
        return self._normalise(torch.relu(strongest + bias[:, None]), f"_{i + 1}")

    def _convolve_features(self, values: Any, i: int) -> Any:
        """Convolve (n, features, time) with kernels over all features and 7 frames."""
        import torch
        from torch.nn.functional import pad

        kernel = self._weights[f"{_CONVOLUTIONS[i]}/kernel"][:, :, 0].permute(2, 1, 0)
        found = torch.conv1d(pad(values, (3, 3)), kernel, self._weights[f"{_CONVOLUTIONS[i]}/bias"])
        return self._normalise(torch.relu(found), f"_{i + 1}")

    def _normalise(self, values: Any, suffix: str) -> Any:
        gamma, beta, mean, variance = (
            self._weights[f"batch_normalization{suffix}/{name}"]
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / (variance + _EPSILON).sqrt()
        shape = (1, -1, *[1] * (values.ndim - 2))
        return values * scale.view(shape) + (beta - mean * scale).view(shape)

    def _multiply(self, values: Any, name: str) -> Any:
        return values @ self._weights[f"{name}/kernel"] + self._weights[f"{name}/bias"]


def iterate_windows(signal: NDArray[Any], *, every: int = 1) -> Iterator[Float32Array]:
    """Yield batches of mel spectra of a track's windows. Memory does not grow with the length of the track.

    Parameters
    ----------
    signal
        Mono samples at 22,050 Hz, float32 (n,), which are resampled to 16 kHz. A ``numpy.memmap`` is accepted. Samples
        that are not finite become zeros.
    every
        Only every so many windows, from the first one on, are computed.

    Yields
    ------
    numpy.ndarray
        float32 (k, 187, 96), k at most two. Frames that do not fill a window are dropped. A signal shorter than a
        window is repeated until it fills one. A signal without samples has no windows.
    """
    if not len(signal):
        return
    shortest = -(-(WINDOW_FRAMES - 1) * HOP * _RATE_IN // _RATE_OUT)
    if len(signal) < shortest:
        signal = np.tile(signal, -(-shortest // len(signal)))[:shortest]
    n_frames = len(signal) * _RATE_OUT // _RATE_IN // HOP + 1
    starts = range(0, n_frames - WINDOW_FRAMES + 1, WINDOW_FRAMES * every)
    for first in range(0, len(starts), _BATCH_WINDOWS):
        yield np.stack([_compute_mel_spectra(signal, start) for start in starts[first : first + _BATCH_WINDOWS]])


def _compute_mel_spectra(signal: NDArray[Any], first: int) -> Float32Array:
    """Return the mel spectra of the 187 frames from ``first``, float32 (187, 96). Frames are centred, as in librosa."""
    begin = first * HOP - _N_FFT // 2
    samples = _resample(signal, begin, begin + (WINDOW_FRAMES - 1) * HOP + _N_FFT)
    frames = sliding_window_view(samples, _N_FFT)[::HOP]
    spectra = scipy.fft.rfft(frames * _hann_window(), axis=1)
    power = spectra.real**2 + spectra.imag**2
    mel: Float32Array = power @ _mel_filters()
    logarithms: Float32Array = np.log10(np.float32(10_000) * mel + np.float32(1))
    return logarithms


def _resample(signal: NDArray[Any], begin: int, end: int) -> Float32Array:
    """Return the samples ``begin`` to ``end`` (exclusive) of the signal at 16 kHz. Outside the signal they are 0.

    Only this part of the signal is resampled, from and to whole periods of the two rates, and with a margin that the
    filter needs. So the result is that of resampling the whole signal.
    """
    first, last = begin // _RATE_OUT - _MARGIN, -(-end // _RATE_OUT) + _MARGIN
    part: Float32Array = soxr.resample(read_samples(signal, first * _RATE_IN, last * _RATE_IN), _RATE_IN, _RATE_OUT)
    return part[begin - first * _RATE_OUT : end - first * _RATE_OUT]


@lru_cache(maxsize=1)
def _hann_window() -> Float32Array:
    return (np.sin(np.arange(_N_FFT) * np.pi / _N_FFT) ** 2).astype(np.float32)


@lru_cache(maxsize=1)
def _mel_filters() -> Float32Array:
    """Return the weights of the bins for librosa's mel bands, float32 (257, 96)."""
    import librosa

    filters: Float32Array = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=_N_FFT, n_mels=N_MELS)
    return np.ascontiguousarray(filters.T)
