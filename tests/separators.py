"""Separators with random weights, as files in the format of the Hugging Face hub.

As a program, it writes one: ``separators.py FILE SIZE SEED``. So processes that need a file stay without torch.
"""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    # the package's own kind of network: 20 minutes of audio take a minute of a core
    "own": {"channels": [4, 4]},
    # two minutes of audio take a few seconds of a core
    "tiny": {"channels": 8, "t_layers": 1, "segment": Fraction(2, 1)},
    "small": {"channels": 16, "bottom_channels": 64, "t_layers": 1, "segment": Fraction(39, 5)},
    # the size of htdemucs: 41.5 million parameters
    "published": {"channels": 48, "bottom_channels": 512, "t_layers": 5, "segment": Fraction(39, 5)},
}


def write_separator(path: Path, size: str = "tiny", seed: int = 0) -> Path:
    """Write a network of a size in `SIZES`, in a process of its own."""
    subprocess.run([sys.executable, __file__, str(path), size, str(seed)], check=True)
    return path


def main() -> None:
    import torch

    from reprise.lib.nets.separators import SMALL_CLASS, STEMS, _find_class, pack_separator

    path, size, seed = sys.argv[1:]
    torch.manual_seed(int(seed))
    arguments = {"sources": list(STEMS), **SIZES[size]}
    name = SMALL_CLASS if size == "own" else "demucs.htdemucs.HTDemucs"
    packed = pack_separator(name, arguments, _find_class(name)(**arguments).state_dict())
    Path(path).write_bytes(packed)


if __name__ == "__main__":
    main()
