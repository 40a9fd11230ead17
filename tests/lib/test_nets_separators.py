"""Separators in safetensors files: the hub's format, and everything that such a file must not do."""

import contextlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from reprise.lib.errors import InputError, RepriseError
from reprise.lib.nets import separators
from reprise.lib.nets.separators import STEMS, describe_separator, load_separator, pack_separator

pytestmark = pytest.mark.torch
KLASS = "demucs.htdemucs.HTDemucs"
ARGUMENTS: dict[str, Any] = {"sources": list(STEMS), "channels": 8, "t_layers": 1, "segment": Fraction(1, 1)}
Header = dict[str, Any]


@pytest.fixture(scope="module")
def network() -> Any:
    import torch
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    return HTDemucs(**ARGUMENTS).eval()


@pytest.fixture(scope="module")
def packed(network: Any) -> bytes:
    return pack_separator(KLASS, ARGUMENTS, network.state_dict())


def edit(packed: bytes, change: Callable[[Header], None]) -> bytes:
    """Change the header of a safetensors file."""
    size = int.from_bytes(packed[:8], "little")
    header = json.loads(packed[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + packed[8 + size :]


def with_metadata(packed: bytes, **entries: str) -> bytes:
    return edit(packed, lambda header: header["__metadata__"].update(entries))


def with_arguments(packed: bytes, **arguments: Any) -> bytes:
    def change(header: Header) -> None:
        kwargs = json.loads(header["__metadata__"]["kwargs"])
        header["__metadata__"]["kwargs"] = json.dumps(kwargs | arguments)

    return edit(packed, change)


def fault_of(data: bytes) -> str:
    """The line that says what is wrong."""
    with pytest.raises(InputError) as error:
        load_separator(data)
    assert error.value.kind == "not_a_model"
    assert error.value.message.isprintable()
    assert len(error.value.message) < 300
    return error.value.message


def test_a_separator_separates_as_its_network(network: Any, packed: bytes) -> None:
    import torch

    separator = load_separator(packed)
    assert (separator.kind, separator.sources, separator.sample_rate) == ("HTDemucs", STEMS, 44_100)
    assert (separator.segment, separator.device) == (44_100, "cpu")
    mix = torch.randn(2, 2, 44_100)
    with torch.no_grad():
        expected = network(mix)
    torch.testing.assert_close(separator(mix), expected, rtol=0, atol=1e-6)
    assert separator(mix).dtype == torch.float32


def test_demucs_itself_reads_what_we_pack(network: Any, packed: bytes, tmp_path: Path) -> None:
    import torch
    from demucs.hf import load_safetensors_model

    path = tmp_path / "packed.safetensors"
    path.write_bytes(packed)
    model = load_safetensors_model(path)
    assert model.segment == Fraction(1, 1)
    for key, tensor in network.state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor)


def test_a_file_of_half_precision_as_the_hub_has(network: Any, packed: bytes) -> None:
    """Written by safetensors, with the constructor's arguments as demucs exports them."""
    import safetensors.torch
    import torch

    metadata = {"klass": KLASS, "args": json.dumps([list(STEMS)]), "kwargs": json.dumps(
        {"channels": 8, "t_layers": 1, "segment": {"_type": "fraction", "numerator": 1, "denominator": 1}}
    )}  # fmt: skip
    halves = {key: tensor.half() for key, tensor in network.state_dict().items()}
    separator = load_separator(safetensors.torch.save(halves, metadata))
    mix = torch.randn(1, 2, 44_100)
    full = load_separator(packed)(mix)
    error = (separator(mix) - full).square().sum() / full.square().sum()
    assert 0 < error < 1e-4


def test_equal_networks_are_packed_to_equal_bytes(network: Any, packed: bytes) -> None:
    again = dict(reversed(list(network.state_dict().items())))
    assert pack_separator(KLASS, dict(reversed(list(ARGUMENTS.items()))), again) == packed


def test_describing_a_file_loads_no_torch(packed: bytes, tmp_path: Path) -> None:
    assert describe_separator(packed) == ("HTDemucs", 44_100)
    path = tmp_path / "packed.safetensors"
    path.write_bytes(packed)
    code = (
        "import sys, pathlib; from reprise.lib.nets.separators import describe_separator;"
        "describe_separator(pathlib.Path(sys.argv[1]).read_bytes()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_another_class_is_not_even_imported(packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("evil.Network", "os.system", "demucs.hdemucs.HDemucs", "", "demucs.htdemucs.HTDemucs\n"):
        assert fault_of(with_metadata(packed, klass=name)).startswith("it names the class")
    assert not (tmp_path / "ran").exists()


def test_a_structure_is_refused(packed: bytes) -> None:
    structure = json.dumps({"_class": "os.system"})
    assert "can name any code" in fault_of(with_metadata(packed, structure=structure))


WRONG_ARGUMENTS: Mapping[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"surprise": 1}, "its argument surprise is unknown"),
    "a text for a number": ({"channels": "8"}, "its argument channels has a wrong type (str)"),
    "a number for a text": ({"t_emb": 3}, "its argument t_emb has a wrong type (int)"),
    "a truth value for a number": ({"growth": True}, "its argument growth has a wrong type (bool)"),
    "null for a number": ({"depth": None}, "its argument depth has a wrong type (NoneType)"),
    "an object": ({"segment": {"a": 1}}, "its argument segment is an object and not a fraction"),
    "a fraction by zero": (
        {"segment": {"_type": "fraction", "numerator": 1, "denominator": 0}},
        "its argument segment is not a fraction",
    ),
    "a nested list": ({"t_cape_glob_loc_scale": [[1]]}, "its argument t_cape_glob_loc_scale is a nested list"),
    "a long list": ({"t_cape_glob_loc_scale": [1] * 1000}, "has 1000 items, more than 32"),
    "too many layers": ({"depth": 1_000_000}, "its argument depth exceeds 32"),
    "NaN": ({"growth": float("nan")}, "its argument growth exceeds 1000000"),
    "infinity": ({"rescale": float("inf")}, "its argument rescale exceeds 1000000"),
    "a huge integer": ({"channels": 10**400}, "its argument channels exceeds 1000000"),
    "a hundred gigabytes": ({"channels": 100_000}, "has the shape"),
    "a size that no tensor can have": ({"channels": 1_000_000, "growth": 1_000_000}, "refuses its arguments"),
    "half a channel": ({"channels": 8.5}, "refuses its arguments"),
    "other stems": ({"sources": ["drums", "bass"]}, "its stems are ['drums', 'bass'], not drums, bass, other, vocals"),
    "stems of other types": ({"sources": [1, 2, 3, 4]}, "its stems are [1, 2, 3, 4]"),
    "a sample rate of 1 Hz": ({"samplerate": 1}, "its sample rate is 1 Hz, not 8000 to 192000 Hz"),
    "a segment of an hour": ({"segment": 3600}, "its segments have 3600 s, not 0.5 to 60 s"),
    "no segment": ({"segment": 0}, "its segments have 0 s, not 0.5 to 60 s"),
}


@pytest.mark.parametrize(("arguments", "says"), WRONG_ARGUMENTS.values(), ids=WRONG_ARGUMENTS)
def test_wrong_arguments(arguments: dict[str, Any], says: str, packed: bytes) -> None:
    assert says in fault_of(with_arguments(packed, **arguments))


def test_a_network_that_fails_is_one_line(packed: bytes) -> None:
    """No class checks this argument before the network is used."""
    import torch

    separator = load_separator(with_arguments(packed, t_emb="\x1b[2Jred"))
    with pytest.raises(RepriseError, match=r"^the separator HTDemucs fails \(.+\): use another one") as error:
        separator(torch.zeros(1, 2, 44_100))
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "entries",
    [{"args": "["}, {"kwargs": "[]"}, {"args": "{}"}, {"kwargs": "[" * 100_000}, {"args": json.dumps([0] * 99)}],
)
def test_arguments_that_are_not_json_arrays_and_objects(entries: dict[str, str], packed: bytes) -> None:
    assert "its arguments are" in fault_of(with_metadata(packed, **entries))


def test_an_argument_given_twice(packed: bytes) -> None:
    assert "sources is given twice" in fault_of(with_metadata(packed, args=json.dumps([list(STEMS)])))


def test_tensors_that_are_missing_unknown_or_of_another_shape_or_type(network: Any) -> None:
    import safetensors.torch

    tensors = dict(network.state_dict())
    key = sorted(tensors)[0]

    def fault(changed: Mapping[str, Any]) -> str:
        kwargs = json.dumps(ARGUMENTS, default=separators._encode_fraction)
        metadata = {"klass": KLASS, "args": "[]", "kwargs": kwargs}
        return fault_of(safetensors.torch.save(dict(changed), metadata))

    assert f"its tensor {key} is missing (1 such)" in fault({k: v for k, v in tensors.items() if k != key})
    assert "its tensor extra is unknown (1 such)" in fault({**tensors, "extra": tensors[key].clone()})
    assert f"its tensor {key} has the shape" in fault({**tensors, key: tensors[key][:1].clone()})
    assert f"its tensor {key} has the type F64" in fault({**tensors, key: tensors[key].double()})
    assert f"its tensor {key} has the type I64" in fault({**tensors, key: tensors[key].long()})
    for value in (float("nan"), float("inf")):
        changed = tensors[key].clone()
        changed.view(-1)[-1] = value
        assert f"its tensor {key} contains NaN or infinite values" in fault({**tensors, key: changed})


def test_damaged_files(packed: bytes) -> None:
    size = int.from_bytes(packed[:8], "little")
    for data in (b"", b"no model", packed[:7], packed[: 8 + size // 2], b"\xff" * 100, bytes(1000)):
        assert "it is not a separator as a safetensors file" in fault_of(data)
    for data in (packed[:-4], packed + b"0000"):
        assert "it is damaged" in fault_of(data)
    with_negative = edit(packed, lambda header: header[sorted(header)[1]].update(data_offsets=[-8, 0]))
    assert "it is damaged" in fault_of(with_negative)
    deep = b"[" * 200_000
    assert "it is not a separator" in fault_of(struct.pack("<Q", len(deep)) + deep)
    assert "it is not a separator" in fault_of(edit(packed, lambda header: header.pop("__metadata__")))
    assert "its metadata are not texts" in fault_of(edit(packed, lambda h: h["__metadata__"].update(klass=3)))


def test_a_flipped_bit_in_the_header_is_found_or_changes_nothing_that_runs(packed: bytes) -> None:
    """In the tensors it gives other samples: the checksums of the cache, the package and the warehouse find that."""
    size = int.from_bytes(packed[:8], "little")
    for position in range(8, 8 + size, 997):
        data = bytearray(packed)
        data[position] ^= 1
        with contextlib.suppress(InputError):
            assert load_separator(bytes(data)).sources == STEMS


def test_a_file_over_the_limit_is_not_read(packed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(separators, "MAX_FILE_BYTES", len(packed) - 1)
    assert "over the limit" in fault_of(packed)


def test_arguments_allocate_no_memory_before_the_tensors_are_compared(packed: bytes) -> None:
    """100,000 channels would take some terabytes."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fault_of(with_arguments(packed, channels=100_000))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, os.getpid()
