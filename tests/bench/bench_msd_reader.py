"""Milliseconds a file of the MSD reader, beside the plain ways to read the same files, in one process."""

import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import h5py
import numpy as np

from reprise.lib import msd

CHROMA_COLUMNS = ["segments_start", "segments_pitches", "beats_start", "bars_start"]


def find_files(data: Path, scratch: Path, count: int = 260) -> list[Path]:
    """The real track files under ``data / "msd"``; where there are none, as many made ones in ``scratch``."""
    files = sorted((data / "msd").rglob("*.h5"))[:count]
    if files:
        return files
    random = np.random.default_rng(0)
    for number in range(count):
        song: dict[str, object] = {"track_id": f"TRAAAAA{number:011d}", "title": f"Song {number}", "duration": 240.0}
        for name, field in msd.FIELDS.items():
            rows = 850 if name.startswith("segments") else 470
            if field.kind == "matrix":
                song[name] = random.random((rows, 12)).round(3)
            elif field.kind == "floats" and field.group == "analysis":
                values = random.random(rows).round(3)
                song[name] = np.cumsum(values) if name.endswith("_start") else values
        files.append(scratch / f"{song['track_id']}.h5")
        msd.write(files[-1], [song])
    return files


def measure(files: Sequence[Path], repeats: int = 3) -> dict[str, float]:
    """Median milliseconds a file of each way to read; the ways take turns, so that the machine's mood hits all alike.

    Parameters
    ----------
    files
        Track files of one song each.
    repeats
        Rounds over all files, after one that warms the caches.

    Returns
    -------
    dict
        ``reprise`` and ``reprise_from_bytes``: every field; ``reprise_chroma``: the four arrays that chroma needs;
        ``h5py``: every field, plainly; ``pytables``: one getter a field, where PyTables is installed;
        ``inflate``: zlib on the stored chunks and nothing else, the floor.
    """
    chunks = {path: _stored_chunks(path) for path in files}
    ways: dict[str, Callable[[Path], object]] = {
        "reprise": msd.read,
        "reprise_from_bytes": lambda path: msd.read(path.read_bytes()),
        "reprise_chroma": lambda path: msd.read(path, CHROMA_COLUMNS),
        "h5py": _plain,
        "inflate": lambda path: [zlib.decompress(chunk) for chunk in chunks[path]],
    }
    with suppress(ImportError):
        import tables

        ways["pytables"] = lambda path: _getters(tables, path)
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, read in ways.items():
            start = time.perf_counter()
            for path in files:
                read(path)
            if turn:
                spent[name].append((time.perf_counter() - start) * 1000 / len(files))
    return {name: median(times) for name, times in spent.items()}


def _plain(path: Path) -> list[object]:
    """Every field, as one would write it with h5py."""
    values = []
    with h5py.File(path, "r") as file:
        for group in ("analysis", "metadata", "musicbrainz"):
            for name, dataset in file[group].items():
                values.append(dataset[0] if name == "songs" else dataset[...])
    return values


def _getters(tables: object, path: Path) -> list[object]:
    """One access a field through PyTables, as the dataset's own getters do, the file opened once."""
    values = []
    with tables.open_file(str(path)) as file:  # type: ignore[attr-defined]
        for name, field in msd.FIELDS.items():
            if name.startswith("idx_"):
                continue
            group = file.root[field.group]
            columns = group.songs.cols
            if field.is_scalar:
                values.append(getattr(columns, name)[0])
            else:
                index = file.root[msd.FIELDS[str(field.index)].group].songs.cols
                values.append(getattr(group, name)[getattr(index, str(field.index))[0] :])
    return values


def _stored_chunks(path: Path) -> list[bytes]:
    chunks = []
    with h5py.File(path, "r") as file:
        for group in ("analysis", "metadata", "musicbrainz"):
            for dataset in file[group].values():
                for place in range(dataset.id.get_num_chunks()):
                    offset = dataset.id.get_chunk_info(place).chunk_offset
                    chunks.append(dataset.id.read_direct_chunk(offset)[1])
    return chunks
