"""Separators with random weights, as files in the format of the Hugging Face hub."""

import subprocess
import sys
from pathlib import Path

TINY = "dict(channels=8, t_layers=1, segment=Fraction(2, 1))"
"""Two minutes of audio take a few seconds of a core."""

SMALL = "dict(channels=16, growth=2, depth=4, bottom_channels=64, t_layers=1, segment=Fraction(39, 5))"
PUBLISHED = "dict(channels=48, bottom_channels=512, t_layers=5, t_heads=8, segment=Fraction(39, 5))"
"""The size of htdemucs: 41.5 million parameters."""

_CODE = """
import sys
from fractions import Fraction
from pathlib import Path
import torch
from demucs.htdemucs import HTDemucs
from reprise.lib.nets.separators import STEMS, pack_separator
torch.manual_seed(int(sys.argv[3]))
arguments = {"sources": list(STEMS), **eval(sys.argv[2])}
packed = pack_separator("demucs.htdemucs.HTDemucs", arguments, HTDemucs(**arguments).state_dict())
Path(sys.argv[1]).write_bytes(packed)
"""


def write_separator(path: Path, size: str = TINY, seed: int = 0) -> Path:
    """Write an HTDemucs of some size, in a process of its own: this one stays without torch."""
    subprocess.run([sys.executable, "-c", _CODE, str(path), size, str(seed)], check=True)
    return path
