"""Files of instruments: round trips, faults, and the package's own."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest

from reprise.lib.covers.default_instruments import list_default_instruments, read_default_instrument
from reprise.lib.covers.instruments import Range, measure_range, pack_instrument, read_instrument
from reprise.lib.covers.performance import Performance
from reprise.lib.errors import InputError
from reprise.lib.nets.instrument_network import NetworkShape

SPAN = Range(200.0, 800.0, -10.0, 20.0, 5.0)
SHAPE = NetworkShape("DilatedConvDecoder", {"ch": 4, "kernel_size": 3, "layers_per_stack": 1, "stacks": 1}, 5, 9)
WEIGHTS = [np.full((2, 3), i, np.float32) for i in range(8)]


def pack(**changes: Any) -> bytes:
    values: dict[str, Any] = {"name": "kazoo", "span": SPAN, "shape": SHAPE, "weights": WEIGHTS}
    return pack_instrument(**(values | {"card": {"licence": "CC0-1.0"}} | changes))


def test_round_trip() -> None:
    file = read_instrument(pack())
    assert (file.name, file.range, file.shape, file.card) == ("kazoo", SPAN, SHAPE, {"licence": "CC0-1.0"})
    assert pack() == pack()
    assert len(file.sha256) == 64


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "not an instrument"),
        (b"\0" * 200, "not an instrument"),
        (pack()[:-5], "not an instrument"),
        (pack(shape=NetworkShape("os.system", {}, 5, 9)), "decoder"),
        (pack(shape=NetworkShape("MidiDecoder", {}, 5, 9)), "decoder"),
        (pack(shape=NetworkShape("RnnFcDecoder", {"ch": 5}, 5, 9)), "arguments"),
        (pack(shape=NetworkShape("DilatedConvDecoder", {**SHAPE.arguments, "ch": 10**9}, 5, 9)), "arguments"),
        (pack(shape=NetworkShape("DilatedConvDecoder", SHAPE.arguments, 10**9, 9)), "harmonics"),
        (pack(span=Range(0.0, 800.0, -10.0, 20.0, 5.0)), "range"),
        (pack(span=Range(900.0, 800.0, -10.0, 20.0, 5.0)), "range"),
        (pack(span=Range(200.0, float("nan"), -10.0, 20.0, 5.0)), "range"),
        (pack(weights=[np.full(3, np.nan, np.float32)]), "finite"),
        (pack(name=""), "header"),
        (pack(name=5), "header"),
    ],
)
def test_faults(data: bytes, fault: str) -> None:
    with pytest.raises(InputError, match=fault) as caught:
        read_instrument(data)
    assert "\n" not in caught.value.message


@pytest.mark.tensorflow
def test_arrays_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="do not fit"):
        read_instrument(pack()).load()


def test_any_flipped_bit_of_the_header_is_found_or_harmless() -> None:
    data = pack()
    size = int.from_bytes(data[:8], "little")
    for bit in range(0, 8 * (8 + size), 7):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(InputError):
            file = read_instrument(bytes(damaged))
            assert 0 < file.range.low_hz <= file.range.high_hz


def test_range_is_of_what_sounds() -> None:
    voiced = np.arange(1000) < 500
    performance = Performance(
        np.where(voiced, np.linspace(100, 500, 1000), 5000).astype(np.float32),
        voiced,
        np.where(voiced, np.linspace(-40, 0, 1000), -80).astype(np.float32),
    )
    span = measure_range([performance, performance])
    assert span.low_hz == pytest.approx(102, abs=1)
    assert span.high_hz == pytest.approx(298, abs=1)
    assert span.middle_db == pytest.approx(-30, abs=0.1)
    assert span.spread_db == pytest.approx(16, abs=0.1)


def test_the_package_has_eight_instruments() -> None:
    listed = list_default_instruments()
    expected = "cello clarinet double_bass electric_guitar flute tenor_saxophone trumpet violin"
    assert sorted(listed) == expected.split()
    for name, described in listed.items():
        data = read_default_instrument(name)
        assert len(data) < 5_000_000
        file = read_instrument(data)
        assert file.name == name
        assert json.dumps(file.card["trained_on"]) == json.dumps(described["trained_on"])


def test_a_changed_file_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from reprise.lib.covers import default_instruments

    listed = {"flute": {**list_default_instruments()["flute"], "sha256": "0" * 64}}
    monkeypatch.setattr(default_instruments, "list_default_instruments", lambda: listed)
    with pytest.raises(InputError, match="install reprise again"):
        read_default_instrument("flute")
