"""Stems of audio files, without a warehouse: decode, separate and write four FLAC files for each."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from reprise.jobs._engine.command_line import UsageError
from reprise.lib.arrays import Float32Array
from reprise.lib.audio.headers import read_header
from reprise.lib.covers.stems import (
    RAW_BYTES_PER_FRAME,
    STEM_BYTES_PER_FRAME,
    Stem,
    compile_meter,
    encode_stem,
    make_stems,
    tracks_in_work,
)
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.files import open_regular, printable_name
from reprise.lib.nets.separators import Separator
from reprise.udfs.numba_cache import compile_lock
from reprise.udfs.sandbox import local_folder, sandbox
from reprise.udfs.stem_encoders import stem_encoders

_BYTES_PER_SECOND = 16_000
"""Bytes of an audio file for each second, to estimate the length of files that do not declare it: 128 kbit/s."""


def name_folders(out: Path, names: Sequence[str]) -> list[Path]:
    """Return the folder of each track's stems, ``out`` and the name of the track.

    Raises
    ------
    UsageError
        Several tracks have the same name.
    """
    cleaned = [name.replace("/", "_").strip(". ") or "_" for name in names]
    repeated = [name for name, count in Counter(name.casefold() for name in cleaned).items() if count > 1]
    if repeated:
        raise UsageError(f"several tracks have the name {repeated[0]}: separate them into different folders (--out)")
    return [out / name for name in cleaned]


def estimate_length(path: Path) -> float:
    """Return the length of an audio file in s, as its header declares it or from its size; 0 if it is not audio."""
    try:
        with open_regular(path) as file:
            header = read_header(file.raw, printable_name(path))  # type: ignore[arg-type]
    except InputError:
        return 0.0
    declared = header.declared_duration_s
    return path.stat().st_size / _BYTES_PER_SECOND if declared is None else declared


def check_room(places: dict[Path, float]) -> None:
    """Check that folders have room for so many bytes.

    Raises
    ------
    RepriseError
        A folder does not have it.
    """
    needs: Counter[int] = Counter()
    for folder, size in places.items():
        there = folder
        while not there.exists():
            there = there.parent
        device = there.stat().st_dev
        needs[device] += int(size)
        free = shutil.disk_usage(there).free
        if needs[device] > free:
            raise RepriseError(
                f"{folder} has {free / 1e9:.1f} GB left, but {needs[device] / 1e9:.1f} GB are needed: make room, or"
                " name another folder"
            )


def separate_files(
    separator: Separator,
    files: dict[Path, Path],
    *,
    threads: int,
    on_progress: Callable[[float], None],
    on_stems: Callable[[Path, list[Stem] | InputError], None],
) -> None:
    """Separate audio files into stems.

    Parameters
    ----------
    files
        Folder for the stems of each file.
    on_stems
        Called with each file and its stems, or with the reason why it has none.
    """
    rate = separator.sample_rate

    def open_mix(path: Path) -> tuple[str, Float32Array]:
        audio = sandbox().decode(path, sample_rate=rate, channel_count=2)
        samples = audio.open_signal()
        audio.signal_path.unlink()  # the mapping stays valid, and no file remains if the process is killed
        return printable_name(path), samples

    with compile_lock("loudness"):
        compile_meter()
    with tempfile.TemporaryDirectory(prefix="stems-", dir=local_folder()) as temporary:
        for path, stems in make_stems(
            separator,
            files,
            open_mix,
            folder=files.__getitem__,
            temporary=Path(temporary),
            threads=threads,
            encode=stem_encoders(threads).encode if separator.device != "cpu" else encode_stem,
            on_progress=on_progress,
        ):
            on_stems(path, stems)


def bytes_needed(lengths_s: Sequence[float], rate: int, threads: int) -> tuple[float, float]:
    """Return the largest size of the stems of tracks of some lengths, and the size of the samples meanwhile."""
    stems = sum(lengths_s) * rate * STEM_BYTES_PER_FRAME
    longest = sorted(lengths_s)[-tracks_in_work(threads) :]
    return stems, sum(longest) * rate * RAW_BYTES_PER_FRAME
