"""Networks that separate music into stems, read from safetensors files in the format of demucs on the Hugging Face hub.

The metadata of such a file name the class of the network (``klass``) and its arguments (``args`` and ``kwargs``, JSON,
in which a fraction is ``{"_type": "fraction", "numerator": 39, "denominator": 5}``). Loading a file runs no code of the
file: the class must be in `CLASSES`, the arguments must be plain values, and the tensors must be exactly those of the
network.
"""

import inspect
import json
import struct
import warnings
from collections.abc import Callable, Mapping
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any

from reprise.lib.errors import InputError, RepriseError

if TYPE_CHECKING:
    import torch

STEMS = ("drums", "bass", "other", "vocals")
"""Names of the stems that every separator makes."""

MAX_FILE_BYTES = 1 << 30
"""Largest accepted model file in bytes. The published separators have 84 to 170 MB."""

SMALL_CLASS = "reprise.SpectrogramUNet"
CLASSES: Mapping[str, tuple[str, str]] = {
    "demucs.htdemucs.HTDemucs": ("demucs.htdemucs", "HTDemucs"),
    SMALL_CLASS: ("reprise.lib.nets.spectrogram_unet", "make_spectrogram_unet"),
}
"""Accepted classes: the name in the metadata, the module that defines the class, and the name of what makes it.

An instance of a class is a torch module with the attributes ``sources``, ``samplerate`` in Hz and ``segment`` in s, and
its call maps mixes (batch, 2, frames) of at most one segment to stems (batch, sources, 2, frames).
"""

_SAMPLE_RATE = 44_100
"""Default sample rate of the classes in Hz."""

_MIN_SAMPLE_RATE, _MAX_SAMPLE_RATE = 8_000, 192_000
_MIN_SEGMENT_S, _MAX_SEGMENT_S = 0.5, 60.0
_MAX_LAYERS, _MAX_NUMBER = 32, 1_000_000
_FLOATS = {"F16": 2, "BF16": 2, "F32": 4}
_FRACTION = {"_type", "numerator", "denominator"}


class Separator:
    """A network that separates mixes into stems.

    Attributes
    ----------
    kind
        Name of the network's class.
    sources
        Names of the stems in the order of the network's output; the names in `STEMS`, in any order.
    sample_rate
        Sample rate of mixes and stems in Hz.
    device
        Name of the device on which the network is, e.g. ``cpu`` or ``cuda:0``.
    """

    def __init__(self, network: "torch.nn.Module") -> None:
        self._network = network.eval()
        self.kind = type(network).__name__
        self.sources = tuple(str(name) for name in network.sources)  # type: ignore[union-attr]
        self.sample_rate = int(network.samplerate)  # type: ignore[arg-type]
        self.device = "cpu"

    @property
    def segment(self) -> int:
        """Length of a segment in frames: the network gets mixes of this length."""
        return int(self._network.segment * self.sample_rate)  # type: ignore[operator]

    @property
    def state(self) -> "dict[str, torch.Tensor]":
        """Tensors of the network by name."""
        return dict(self._network.state_dict())

    def to(self, device: str) -> "Separator":
        """Move the network to a device, e.g. ``cuda:0``, and return the separator."""
        self._network.to(device)
        self.device = device
        return self

    def __call__(self, mix: "torch.Tensor") -> "torch.Tensor":
        """Separate mixes of one segment on the network's device: (batch, 2, frames) to (batch, stems, 2, frames).

        Raises
        ------
        torch.OutOfMemoryError
            The GPU has too little memory.
        RepriseError
            The network fails, e.g. because its arguments do not fit together.
        """
        import torch

        try:
            with torch.inference_mode():
                stems: torch.Tensor = self._network(mix)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {_shorten(str(error))}"
            raise RepriseError(f"the separator {self.kind} fails ({reason}): use another one (--model)") from error
        if stems.shape != (mix.shape[0], len(self.sources), *mix.shape[1:]):
            raise RepriseError(f"the separator {self.kind} returns stems of another size: use another one (--model)")
        return stems.float()

    def shorten(self) -> bool:
        """Halve the length of the segments, for less memory. Return False if they would be too short."""
        half = Fraction(self.segment // 2, self.sample_rate)
        if half < 1:
            return False
        self._network.segment = half  # type: ignore[assignment]
        return True


def load_separator(data: bytes) -> Separator:
    """Return the separator in a safetensors file. No code of the file runs.

    Tensors of half precision are converted to float32.

    Raises
    ------
    InputError
        ``not_a_model``: the file is not a safetensors file, or it is not a separator of `CLASSES` with finite tensors
        that fit its arguments. The message is without the name of the file.
    """
    name, metadata, types = _read_header(data)
    make = _find_class(name)
    arguments = _read_arguments(make, metadata)
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of tensors without elements
        try:
            with torch.device("meta"):  # allocates nothing, whatever sizes the arguments ask for
                wanted = {key: tuple(tensor.shape) for key, tensor in make(**arguments).state_dict().items()}
        except Exception as error:
            raise _fault(f"{name} refuses its arguments ({type(error).__name__}: {_shorten(str(error))})") from None
        _check_tensors(types, wanted)
        network = make(**arguments)
    network.load_state_dict(_read_tensors(data))
    separator = Separator(network)
    _check_separator(separator, network)
    return separator


def pack_separator(name: str, arguments: Mapping[str, Any], tensors: Mapping[str, "torch.Tensor"]) -> bytes:
    """Return a separator as a file that `load_separator` reads. Equal input gives equal bytes.

    Parameters
    ----------
    name
        Name of the class in `CLASSES`.
    arguments
        Arguments of the class by name. Fractions are allowed.
    tensors
        ``state_dict`` of the network. The tensors are stored as float32.
    """
    kwargs = json.dumps(dict(arguments), default=_encode_fraction, sort_keys=True)
    header: dict[str, Any] = {"__metadata__": {"args": "[]", "klass": name, "kwargs": kwargs}}
    blobs, end = [], 0
    for key, tensor in sorted(tensors.items()):
        blobs.append(tensor.detach().float().cpu().contiguous().numpy().astype("<f4", copy=False).tobytes())
        header[key] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [end, end + len(blobs[-1])]}
        end += len(blobs[-1])
    # safetensors itself writes several metadata entries in an arbitrary order
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *blobs])


def describe_separator(data: bytes) -> tuple[str, int]:
    """Return the kind of the separator in a file and its sample rate in Hz, without loading torch.

    Raises
    ------
    InputError
        ``not_a_model``: the file is not a safetensors file, or it names another class. Only `load_separator` finds
        other faults.
    """
    name, metadata, _ = _read_header(data)
    try:
        rate = json.loads(metadata["kwargs"]).get("samplerate", _SAMPLE_RATE)
    except (KeyError, ValueError, AttributeError, RecursionError):
        raise _fault("its arguments are missing or not JSON") from None
    return name.rpartition(".")[2], rate if type(rate) is int else _SAMPLE_RATE


def _read_header(data: bytes) -> tuple[str, dict[str, str], dict[str, tuple[str, tuple[int, ...]]]]:
    """Return the class, the metadata, and type and shape of each tensor."""
    if len(data) > MAX_FILE_BYTES:
        raise _fault(f"it has {len(data) / 1e9:.1f} GB, over the limit of {MAX_FILE_BYTES / 1e9:.1f} GB")
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
        metadata = header.pop("__metadata__")
        types = {key: (view["dtype"], tuple(view["shape"])) for key, view in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _fault(f"it is not a separator as a safetensors file ({type(error).__name__})") from None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _fault("its metadata are not texts")
    if "structure" in metadata:
        raise _fault("it is in the format of quantised models, which can name any code: use a plain model")
    name = metadata.get("klass", "")
    if name not in CLASSES:
        raise _fault(f"it names the class {_shorten(name)}, not one of: {', '.join(CLASSES)}")
    return name, metadata, types


def _find_class(name: str) -> Callable[..., Any]:
    module, maker = CLASSES[name]
    made: Callable[..., Any] = getattr(import_module(module), maker)
    return made


def _read_arguments(make: Callable[..., Any], metadata: Mapping[str, str]) -> dict[str, Any]:
    """Decode and check the arguments; return them by name."""
    parameters = dict(inspect.signature(make).parameters)
    try:
        args, kwargs = (json.loads(metadata[key]) for key in ("args", "kwargs"))
    except (KeyError, ValueError, RecursionError) as error:
        raise _fault(f"its arguments are missing or not JSON ({_shorten(str(error))})") from None
    if not isinstance(args, list) or not isinstance(kwargs, dict) or len(args) > len(parameters):
        raise _fault("its arguments are not a JSON array and a JSON object")
    given = dict(zip(parameters, args, strict=False))
    if repeated := sorted(given.keys() & kwargs.keys()):
        raise _fault(f"its argument {repeated[0]} is given twice")
    arguments = {key: _decode(key, value) for key, value in {**given, **kwargs}.items()}
    for key, value in arguments.items():
        if key not in parameters:
            raise _fault(f"its argument {_shorten(key)} is unknown")
        if not _has_kind_of(value, parameters[key].default):
            raise _fault(f"its argument {key} has a wrong type ({type(value).__name__})")
        numbers: list[Any] = value if isinstance(value, list) else [value]
        limit = _MAX_LAYERS if key.endswith(("depth", "layers")) else _MAX_NUMBER
        if not all(-limit <= n <= limit for n in numbers if isinstance(n, int | float | Fraction)):  # finds NaN too
            raise _fault(f"its argument {key} exceeds {limit}")
    sources = arguments.get("sources")
    if not isinstance(sources, list) or sorted(map(str, sources)) != sorted(STEMS):
        raise _fault(f"its stems are {_shorten(str(sources))}, not {', '.join(STEMS)}")
    return arguments


def _decode(key: str, value: Any) -> Any:
    """Convert a JSON value to an argument: a scalar, a fraction, or a list of scalars."""
    if isinstance(value, dict):
        if value.keys() != _FRACTION or value["_type"] != "fraction":
            raise _fault(f"its argument {_shorten(key)} is an object and not a fraction")
        top, bottom = value["numerator"], value["denominator"]
        if type(top) is not int or type(bottom) is not int or bottom == 0:
            raise _fault(f"its argument {_shorten(key)} is not a fraction")
        return Fraction(top, bottom)
    if isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
        raise _fault(f"its argument {_shorten(key)} is a nested list")
    if isinstance(value, list) and len(value) > _MAX_LAYERS:
        raise _fault(f"its argument {_shorten(key)} has {len(value)} items, more than {_MAX_LAYERS}")
    return value


def _has_kind_of(value: Any, default: Any) -> bool:
    """Say whether an argument has the same kind of type as the parameter's default value."""
    if default is inspect.Parameter.empty or default is None:
        return True
    if isinstance(default, int | float | Fraction) and not isinstance(default, bool):
        return isinstance(value, int | float | Fraction) and not isinstance(value, bool)
    return isinstance(value, type(default))


def _check_tensors(found: Mapping[str, tuple[str, tuple[int, ...]]], wanted: Mapping[str, tuple[int, ...]]) -> None:
    if unknown := sorted(found.keys() - wanted.keys()):
        raise _fault(f"its tensor {_shorten(unknown[0])} is unknown ({len(unknown)} such)")
    if missing := sorted(wanted.keys() - found.keys()):
        raise _fault(f"its tensor {_shorten(missing[0])} is missing ({len(missing)} such)")
    for key, (type_, shape) in found.items():
        if type_ not in _FLOATS:
            raise _fault(f"its tensor {_shorten(key)} has the type {type_}, not one of: {', '.join(_FLOATS)}")
        if shape != wanted[key]:
            raise _fault(f"its tensor {_shorten(key)} has the shape {shape}, not {wanted[key]}")


def _read_tensors(data: bytes) -> dict[str, "torch.Tensor"]:
    import safetensors.torch

    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise _fault(f"it is damaged ({_shorten(str(error))})") from None
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise _fault(f"its tensor {_shorten(key)} contains NaN or infinite values")
    return tensors


def _check_separator(separator: Separator, network: Any) -> None:
    rate, segment_s = separator.sample_rate, float(network.segment)
    if not _MIN_SAMPLE_RATE <= rate <= _MAX_SAMPLE_RATE:
        raise _fault(f"its sample rate is {rate} Hz, not {_MIN_SAMPLE_RATE} to {_MAX_SAMPLE_RATE} Hz")
    if not _MIN_SEGMENT_S <= segment_s <= _MAX_SEGMENT_S:
        raise _fault(f"its segments have {segment_s:g} s, not {_MIN_SEGMENT_S} to {_MAX_SEGMENT_S:g} s")
    if getattr(network, "audio_channels", 2) != 2:
        raise _fault("it does not separate stereo music")


def _encode_fraction(value: object) -> dict[str, Any]:
    if not isinstance(value, Fraction):
        raise TypeError(f"{type(value).__name__} is not an argument of a separator")
    return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}


def _fault(fault: str) -> InputError:
    return InputError("not_a_model", f"{fault}: get the model again, or use another one")


def _shorten(text: str) -> str:
    """Return text from a file on one line, printable and short."""
    line = "".join(character if character.isprintable() else " " for character in str(text)[:200])
    return line if len(line) <= 80 else f"{line[:79]}…"
