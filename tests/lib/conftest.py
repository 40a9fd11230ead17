"""Fixtures of the tests of plots and of soundfonts."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collect every figure that is saved, in order."""
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _write_soundfont(path: Path) -> Path:
    """Write a soundfont with program 5 and drum kit 8, both a looped sine of 440 Hz at key 69."""
    period = 100
    tone = np.round(20_000 * np.sin(2 * np.pi * np.arange(20 * period) / period)).astype("<i2").tobytes()
    info = _chunk(b"ifil", struct.pack("<HH", 2, 1)) + _chunk(b"INAM", b"sine\0\0")
    name = b"sine".ljust(20, b"\0")

    def preset(number: int, bank: int, bag: int) -> bytes:
        return name + struct.pack("<HHHIII", number, bank, bag, 0, 0, 0)

    gens = [(54, 1), (53, 0)]  # loop, and the sample
    pdta = _chunk(b"phdr", preset(5, 0, 0) + preset(8, 128, 1) + preset(0, 0, 2))
    pdta += _chunk(b"pbag", struct.pack("<6H", 0, 0, 1, 0, 2, 0)) + _chunk(b"pmod", b"\0" * 10)
    pdta += _chunk(b"pgen", struct.pack("<6H", 41, 0, 41, 0, 0, 0))
    pdta += _chunk(b"inst", name + struct.pack("<H", 0) + b"EOI".ljust(20, b"\0") + struct.pack("<H", 1))
    pdta += _chunk(b"ibag", struct.pack("<4H", 0, 0, len(gens), 0)) + _chunk(b"imod", b"\0" * 10)
    pdta += _chunk(b"igen", b"".join(struct.pack("<HH", *gen) for gen in gens) + b"\0" * 4)
    sample = name + struct.pack("<IIIIIBbHH", 0, 20 * period, 0, 20 * period, 44_100, 69, 0, 0, 1)
    pdta += _chunk(b"shdr", sample + b"EOS".ljust(46, b"\0"))
    body = b"sfbk" + _chunk(b"LIST", b"INFO" + info) + _chunk(b"LIST", b"sdta" + _chunk(b"smpl", tone + b"\0" * 92))
    path.write_bytes(_chunk(b"RIFF", body + _chunk(b"LIST", b"pdta" + pdta)))
    return path


@pytest.fixture(scope="session")
def soundfont(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A soundfont whose program 5 and drum kit 8 are a sine."""
    return _write_soundfont(tmp_path_factory.mktemp("soundfont") / "sine.sf2")
