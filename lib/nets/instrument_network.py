"""Network of an instrument: from pitch and loudness to harmonics and noise, by ddsp's autoencoders."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from reprise.lib.arrays import Float32Array
from reprise.lib.nets.ddsp_library import import_ddsp

FRAME_RATE = 250
SAMPLE_RATE = 16_000
HOP = SAMPLE_RATE // FRAME_RATE
DECODERS = ("DilatedConvDecoder", "RnnFcDecoder")
"""Classes of decoders."""

SILENCE_DB = -80.0
"""Loudness of silence, as networks see it."""

_RNN_CONTEXT = 250
"""Frames from which the state of a recurrent decoder starts before a window."""

_BATCH = 8


class Controls(NamedTuple):
    """What an instrument's synthesiser plays, `FRAME_RATE` times a second.

    Attributes
    ----------
    amplitude
        Sum of the amplitudes of the harmonics, float32 (frames,).
    harmonics
        Shares of the harmonics, float32 (frames, n). They add up to 1; harmonics above 8 kHz are 0.
    noise
        Magnitudes of white noise at equally spaced frequencies from 0 to 8 kHz, float32 (frames, m).
    """

    amplitude: Float32Array
    harmonics: Float32Array
    noise: Float32Array


@dataclass(frozen=True)
class NetworkShape:
    """Shape of the network.

    Attributes
    ----------
    decoder
        One of `DECODERS`.
    arguments
        Numbers with which the class is called: ``ch``, ``kernel_size``, ``layers_per_stack``, ``stacks`` of the first;
        ``rnn_channels``, ``ch``, ``layers_per_stack`` of the second.
    harmonics, noise_bands
        Number of values in `Controls`.
    """

    decoder: str
    arguments: Mapping[str, int]
    harmonics: int
    noise_bands: int


class InstrumentNetwork:
    """An autoencoder of ddsp that plays windows of a performance.

    Parameters
    ----------
    make
        Makes a ``ddsp.training.models.Autoencoder`` with synthesisers named ``harmonic`` and ``filtered_noise``.
    window
        Number of frames that it plays at once.
    context
        Number of frames that it needs before and after those of which the controls are used. If it is None, the network
        sees the whole window at once.
    overlap
        Number of frames by which windows overlap, without a context. They are cross-faded.
    device
        ``cpu``, or a GPU as torch names it, e.g. ``cuda:0``.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        *,
        window: int,
        context: tuple[int, int] | None = None,
        overlap: int = 0,
        device: str = "cpu",
    ) -> None:
        import_ddsp()
        import tensorflow as tf

        kind, _, number = device.partition(":")
        self._device = f"GPU:{number or 0}" if kind == "cuda" else "CPU:0"
        self.window, self._context, self._overlap = window, context, overlap
        shape = tf.TensorSpec((None, window, 1), tf.float32)
        self._play = tf.function(self._play_windows, input_signature=[shape, shape], autograph=False)
        with tf.device(self._device):
            self.autoencoder = make()
            self._play(tf.fill((1, window, 1), 440.0), tf.fill((1, window, 1), -40.0))  # creates the variables

    def _play_windows(self, f0_hz: Any, loudness_db: Any) -> tuple[Any, Any, Any]:
        features = self.autoencoder.encode({"f0_hz": f0_hz, "loudness_db": loudness_db}, training=False)
        features.update(self.autoencoder.decoder(features, training=False))
        group = self.autoencoder.processor_group
        tones = group.harmonic.get_controls(features["amps"], features["harmonic_distribution"], features["f0_hz"])
        noise = group.filtered_noise.get_controls(features["noise_magnitudes"])
        return tones["amplitudes"][..., 0], tones["harmonic_distribution"], noise["magnitudes"]

    def play(self, f0_hz: Float32Array, loudness_db: Float32Array) -> Iterator[Controls]:
        """Yield the controls of a performance, one part after the other, in bounded memory.

        Parameters
        ----------
        f0_hz, loudness_db
            float32 (frames,), at least one frame. The loudness of silence is `SILENCE_DB`, as beyond the ends.
        """
        import tensorflow as tf

        before, after = self._context or (0, 0)
        step = self.window - before - after - self._overlap
        n = len(f0_hz)
        starts = np.arange(0, max(n - self._overlap, 1), step)
        rest: list[Float32Array] | None = None
        for first in range(0, len(starts), _BATCH):
            batch = starts[first : first + _BATCH]
            frames = batch[:, None] + np.arange(self.window) - before
            inside = np.clip(frames, 0, n - 1)
            loudness = np.where(frames == inside, loudness_db[inside], np.float32(SILENCE_DB))
            with tf.device(self._device):
                played = [part.numpy() for part in self._play(f0_hz[inside][..., None], loudness[..., None])]
            parts = [np.concatenate(list(part[:, before : before + step])) for part in played]
            if self._overlap:
                rest = self._fade(played, parts, rest)
                if batch[-1] == starts[-1]:
                    parts = [np.concatenate(pair) for pair in zip(parts, rest, strict=True)]
            last = min(n - int(batch[0]), len(parts[0]))
            yield Controls(*(part[:last] for part in parts))

    def _fade(
        self, played: list[Float32Array], parts: list[Float32Array], rest: list[Float32Array] | None
    ) -> list[Float32Array]:
        """Fade each window in ``parts`` in, over the end of the one before. Return the end of the last one."""
        step = self.window - self._overlap
        rise = (np.arange(self._overlap, dtype=np.float32) + 1) / (self._overlap + 1)
        ends = []
        for i, (windows, out) in enumerate(zip(played, parts, strict=True)):
            tails = windows[:, step:]
            former = tails[:1] if rest is None else rest[i][None]
            shape = (-1, *[1] * (tails.ndim - 2))
            for number, tail in enumerate(np.concatenate([former, tails[:-1]])):
                if number or rest is not None:
                    target = out[number * step : number * step + self._overlap]
                    target[:] = target * rise.reshape(shape) + tail * (1 - rise).reshape(shape)
            ends.append(tails[-1])
        return ends

    @property
    def weights(self) -> list[Float32Array]:
        """The trained arrays, in the order in which the layers were made."""
        return [variable.numpy() for variable in self.autoencoder.trainable_variables]

    @weights.setter
    def weights(self, arrays: Sequence[Float32Array]) -> None:
        for variable, array in zip(self.autoencoder.trainable_variables, arrays, strict=True):
            variable.assign(array)


def make_autoencoder(shape: NetworkShape, frames: int) -> Any:
    """Make an autoencoder with random weights that plays ``frames`` frames, with the spectral loss of ddsp."""
    ddsp = import_ddsp()
    n_samples = HOP * frames
    splits = (
        ("amps", 1),
        ("harmonic_distribution", shape.harmonics),
        ("noise_magnitudes", shape.noise_bands),
    )
    arguments: dict[str, Any] = dict(shape.arguments)
    if shape.decoder == "DilatedConvDecoder":
        # a norm over the window would make the level of a note depend on its neighbours
        arguments |= {"norm_type": None, "conditioning_keys": None}
    decoder = getattr(ddsp.training.decoders, shape.decoder)(
        input_keys=("ld_scaled", "f0_scaled"), output_splits=splits, **arguments
    )
    # interpolated along a line, which takes half the time of the default windows
    harmonic = ddsp.synths.Harmonic(
        n_samples=n_samples, sample_rate=SAMPLE_RATE, amp_resample_method="linear", name="harmonic"
    )
    noise = ddsp.synths.FilteredNoise(n_samples=n_samples, window_size=0, name="filtered_noise")
    group = ddsp.processors.ProcessorGroup(
        dag=[
            (harmonic, ["amps", "harmonic_distribution", "f0_hz"]),
            (noise, ["noise_magnitudes"]),
            (ddsp.processors.Add(name="add"), ["filtered_noise/signal", "harmonic/signal"]),
        ]
    )
    return ddsp.training.models.Autoencoder(
        preprocessor=ddsp.training.preprocessing.F0LoudnessPreprocessor(
            time_steps=frames, frame_rate=FRAME_RATE, sample_rate=SAMPLE_RATE, compute_loudness=False
        ),
        encoder=None,
        decoder=decoder,
        processor_group=group,
        losses=[ddsp.losses.SpectralLoss(loss_type="L1", mag_weight=1.0, logmag_weight=1.0)],
    )


def find_context(shape: NetworkShape) -> tuple[int, int]:
    """Return how many frames before and after a frame its controls depend on."""
    if shape.decoder == "RnnFcDecoder":
        return _RNN_CONTEXT, 0
    kernel, layers, stacks = (shape.arguments[key] for key in ("kernel_size", "layers_per_stack", "stacks"))
    reach = (kernel - 1) // 2 * (1 + stacks * (2**layers - 1))
    return reach, reach
