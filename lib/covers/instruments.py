"""Instruments: a network that plays, and what it knows about pitch and loudness.

An instrument is one safetensors file. Nothing in it is executed: it names one of two classes of decoders, and numbers.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from reprise.lib.arrays import Float32Array
from reprise.lib.covers.performance import DDSP, LoudnessScale, Performance
from reprise.lib.errors import InputError
from reprise.lib.nets.instrument_network import (
    DECODERS,
    SILENCE_DB,
    Controls,
    InstrumentNetwork,
    NetworkShape,
    find_context,
    make_autoencoder,
)
from reprise.lib.tensors import pack_tensors, unpack_tensors

MAX_FILE_BYTES = 64_000_000
_ARGUMENTS = {
    "DilatedConvDecoder": ("ch", "kernel_size", "layers_per_stack", "stacks"),
    "RnnFcDecoder": ("rnn_channels", "ch", "layers_per_stack"),
}
_LARGEST_ARGUMENT = 1024
_LARGEST_COUNT = 256
_STEP = 1250
"""Frames of which the network computes the controls at once."""


@dataclass(frozen=True)
class Range:
    """Pitch and loudness of the passages with which an instrument was trained, where it sounds.

    Attributes
    ----------
    low_hz, high_hz
        Lowest and highest pitch.
    middle_db
        Median loudness.
    spread_db
        Difference of the percentiles 90 and 10 of the loudness; None if it is not known.
    loudest_db
        Greatest loudness.
    """

    low_hz: float
    high_hz: float
    middle_db: float
    spread_db: float | None
    loudest_db: float


@dataclass(frozen=True, eq=False)
class Instrument:
    """An instrument that plays performances.

    Attributes
    ----------
    name
        Name, e.g. ``tenor_saxophone``.
    range
        What it was trained with.
    scale
        Definition of the loudness that it was trained with.
    network
        The network.
    gain
        Factor of its audio.
    """

    name: str
    range: Range
    scale: LoudnessScale
    network: InstrumentNetwork
    gain: float = 1.0

    def play(self, performance: Performance) -> Iterator[Controls]:
        """Yield the controls of its synthesiser, one part after the other, in bounded memory.

        The loudness of the performance is in the scale of the instrument.
        """
        # a network that gets less than silence plays anything
        loudness_db = np.maximum(performance.loudness_db, np.float32(self.scale.lowest_db))
        loudness_db *= np.float32(SILENCE_DB / self.scale.lowest_db)
        gain = np.float32(self.gain)
        for controls in self.network.play(performance.f0_hz, loudness_db):
            yield Controls(controls.amplitude * gain, controls.harmonics, controls.noise * gain)


@dataclass(frozen=True)
class InstrumentFile:
    """The file of an instrument.

    Attributes
    ----------
    data
        The file.
    name, range, shape
        See `Instrument` and `NetworkShape`.
    card
        What it was trained on and how good it is: ``trained_on``, ``licence``, ``params``, ``metrics``.
    """

    data: bytes
    name: str
    range: Range
    shape: NetworkShape
    card: Mapping[str, Any]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.data).hexdigest()

    def load(self, device: str = "cpu") -> Instrument:
        """Load the network. The first instrument of a process takes several seconds.

        Parameters
        ----------
        device
            ``cpu``, or a GPU as torch names it, e.g. ``cuda:0``.

        Raises
        ------
        InputError
            ``not_an_instrument``: the arrays do not fit the network.
        """
        before, after = find_context(self.shape)
        window = _STEP + before + after
        network = InstrumentNetwork(
            lambda: make_autoencoder(self.shape, window), window=window, context=(before, after), device=device
        )
        _, arrays = unpack_tensors(self.data)
        weights = [arrays[key] for key in sorted(arrays)]
        if [one.shape for one in weights] != [one.shape for one in network.weights]:
            raise _fault("its arrays do not fit its network")
        network.weights = weights
        return Instrument(self.name, self.range, DDSP, network)


def pack_instrument(
    name: str, span: Range, shape: NetworkShape, weights: Sequence[Float32Array], card: Mapping[str, Any]
) -> bytes:
    """Return an instrument as a file that `read_instrument` reads. Equal input gives equal bytes."""
    header = {"instrument": name, "range": asdict(span), "shape": asdict(shape), "card": dict(card)}
    return pack_tensors({f"{i:03}": one.astype(np.float32) for i, one in enumerate(weights)}, header)


def read_instrument(data: bytes) -> InstrumentFile:
    """Read the file of an instrument, without loading TensorFlow.

    Raises
    ------
    InputError
        ``not_an_instrument``: the file is not one, or was damaged.
    """
    if len(data) > MAX_FILE_BYTES:
        raise _fault(f"it has {len(data) / 1e6:.0f} MB, over the limit of {MAX_FILE_BYTES / 1e6:.0f} MB")
    try:
        header, arrays = unpack_tensors(data)
    except ValueError as error:
        raise _fault(str(error)) from None
    try:
        name, card = header["instrument"], header["card"]
        span = Range(**header["range"])
        shape = NetworkShape(**header["shape"])
    except (KeyError, TypeError):
        raise _fault("its header lacks values") from None
    if not isinstance(name, str) or not name or not isinstance(card, dict):
        raise _fault("its header lacks values")
    _check_shape(shape)
    if not all(map(_is_number, asdict(span).values())) or not 0 < span.low_hz <= span.high_hz:
        raise _fault("its range of pitch and loudness is not valid")
    if not all(one.dtype == np.float32 and np.isfinite(one).all() for one in arrays.values()):
        raise _fault("its arrays are not finite float32 numbers")
    return InstrumentFile(data, name, span, shape, card)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _check_shape(shape: NetworkShape) -> None:
    if shape.decoder not in DECODERS:
        raise _fault(f"it names the decoder {json.dumps(shape.decoder)[:80]}; known are {' and '.join(DECODERS)}")
    arguments = shape.arguments if isinstance(shape.arguments, dict) else {}
    if set(arguments) != set(_ARGUMENTS[shape.decoder]) or not all(
        type(one) is int and 0 < one <= _LARGEST_ARGUMENT for one in arguments.values()
    ):
        raise _fault("the arguments of its decoder are not valid")
    if not all(type(n) is int and 1 < n <= _LARGEST_COUNT for n in (shape.harmonics, shape.noise_bands)):
        raise _fault("its numbers of harmonics and noise bands are not valid")


def _fault(fault: str) -> InputError:
    return InputError("not_an_instrument", f"not an instrument: {fault}")


def measure_range(performances: Sequence[Performance]) -> Range:
    """Measure pitch and loudness of performances where they are voiced. The extremes are the percentiles 1 and 99."""
    f0_hz = np.concatenate([one.f0_hz[one.voiced] for one in performances])
    loudness = np.concatenate([one.loudness_db[one.voiced] for one in performances])
    low_hz, high_hz = np.percentile(f0_hz, (1, 99))
    soft, middle, loud, loudest = np.percentile(loudness, (10, 50, 90, 99))
    return Range(*(round(float(one), 2) for one in (low_hz, high_hz, middle, loud - soft, loudest)))
