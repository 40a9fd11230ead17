"""Stems of tracks as FLAC files: read mixes, separate them, measure and encode the stems, all at the same time."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from reprise.lib.arrays import Float32Array, release_pages
from reprise.lib.audio.encoding import write_flac
from reprise.lib.audio.loudness import LoudnessMeter
from reprise.lib.covers.separate import Mix, RawStems, separate_mixes
from reprise.lib.errors import InputError
from reprise.lib.nets.separators import STEMS, Separator

STEM_BYTES_PER_FRAME = 4 * len(STEMS)
"""Largest size of the stems' files, in bytes for each frame of the mix: 16 bits for each sample."""

RAW_BYTES_PER_FRAME = 8 * (1 + len(STEMS))
"""Size of a mix and its stems while it is separated, in bytes for each frame of the mix."""

ACTIVE_LUFS = -50.0
"""Momentary loudness from which on a stem sounds. What a separator leaks into a stem is often below it."""

_SILENT_DBTP = 20 * math.log10(0.5 / 32_767)
"""Below half of the smallest step of 16 bits, all samples are written as 0."""

_BLOCK_FRAMES = 1 << 18
_THREADS_PER_TRACK = len(STEMS)
_Source = TypeVar("_Source")
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Stem:
    """A stem in a FLAC file.

    Attributes
    ----------
    name
        Name of the stem, one of `STEMS`.
    path
        The file.
    samples_sha256
        SHA-256 of the decoded samples: 16 bits, little-endian, left and right channel alternating.
    sample_rate, frame_count
        Sample rate in Hz, and number of frames.
    gain_db
        Gain of the stem, at most 0 dB, so that no sample exceeds full scale. All stems of a mix have the same gain.
    loudness_lufs, true_peak_dbtp
        Integrated loudness and true peak of the samples in the file; None for silence.
    activity
        Share of the time in which the stem sounds, 0 to 1.
    """

    name: str
    path: Path
    samples_sha256: str
    sample_rate: int
    frame_count: int
    gain_db: float
    loudness_lufs: float | None
    true_peak_dbtp: float | None
    activity: float


@dataclass(frozen=True)
class StemTask:
    """A stem to encode.

    Attributes
    ----------
    name
        Name of the stem.
    source
        File of its samples: float32 (frames, 2) in native byte order, see `reprise.lib.covers.separate.RawStems`.
    path
        FLAC file to write.
    sample_rate
        Sample rate in Hz.
    gain
        Factor of the samples.
    """

    name: str
    source: Path
    path: Path
    sample_rate: int
    gain: float


def encode_stem(task: StemTask) -> Stem:
    """Write a stem as a FLAC file, and measure what is written.

    Raises
    ------
    RepriseError
        The file cannot be written.
    """
    samples = np.memmap(task.source, np.float32, "r").reshape(-1, 2)
    meter = LoudnessMeter(task.sample_rate, 2)
    with write_flac(task.path, sample_rate=task.sample_rate, channel_count=2, bit_depth=16, comments={}) as flac:
        for start in range(0, len(samples), _BLOCK_FRAMES):
            block = samples[start : start + _BLOCK_FRAMES] * np.float32(task.gain)
            flac.write(block)
            meter.add(block)
            release_pages(samples)
    true_peak = meter.true_peak_dbtp
    return Stem(
        name=task.name,
        path=task.path,
        samples_sha256=flac.samples_sha256,
        sample_rate=task.sample_rate,
        frame_count=len(samples),
        gain_db=20 * math.log10(task.gain),
        loudness_lufs=meter.integrated_lufs if math.isfinite(meter.integrated_lufs) else None,
        true_peak_dbtp=true_peak if true_peak > _SILENT_DBTP else None,
        activity=meter.active_share(ACTIVE_LUFS),
    )


def make_stems(
    separator: Separator,
    sources: Iterable[_Source],
    open_mix: Callable[[_Source], tuple[str, Float32Array]],
    *,
    folder: Callable[[_Source], Path],
    temporary: Path,
    threads: int = 1,
    encode: Callable[[StemTask], Stem] = encode_stem,
    on_progress: Callable[[float], None] | None = None,
) -> Iterator[tuple[_Source, list[Stem] | InputError]]:
    """Make the stems of tracks. Yield each track with its stems or with the reason why it has none.

    Tracks are read ahead in one thread, separated in this thread and encoded in ``threads`` threads. Separated tracks
    keep their order.

    Parameters
    ----------
    sources
        The tracks.
    open_mix
        Function that returns the name of a track for messages, and its samples, float32 (frames, 2) at the sample rate
        of the separator. Called in another thread. If it raises InputError, the track has no stems.
    folder
        Function that returns the folder for the stems of a track, ``drums.flac`` and so on. The folder is created.
    temporary
        Folder for samples, `RAW_BYTES_PER_FRAME` for each frame of `tracks_in_work` tracks.
    threads
        Number of threads that measure and encode stems.
    encode
        Function that does it. With a GPU, it should work in another process, see `reprise.udfs.stem_encoders`: threads
        that compute would delay the commands to the GPU.
    on_progress
        Called with the seconds of audio that were separated since the last call.

    Raises
    ------
    OSError, RepriseError
        A file cannot be written, or the separator fails.
    """
    faults: deque[tuple[_Source, InputError]] = deque()

    def read() -> Iterator[Mix[_Source]]:
        for source in sources:
            try:
                name, samples = open_mix(source)
            except InputError as error:
                faults.append((source, error))
            else:
                yield Mix(source, name, samples)

    encoding: deque[tuple[RawStems[_Source], list[Future[Stem]]]] = deque()
    with ExitStack() as stack, ThreadPoolExecutor(threads) as encoders:
        stack.callback(_close, encoding)  # after the threads have ended
        for raw in separate_mixes(separator, _one_ahead(read()), folder=temporary, on_progress=on_progress):
            if raw.fault:
                faults.append((raw.mix.source, raw.fault))
            else:
                tasks = _list_tasks(raw, folder(raw.mix.source), separator.sample_rate)
                encoding.append((raw, [encoders.submit(encode, task) for task in tasks]))
            while faults:
                yield faults.popleft()
            while len(encoding) > _tracks_behind(threads):
                yield _collect(encoding)
        while encoding:
            yield _collect(encoding)
    yield from faults


def tracks_in_work(threads: int) -> int:
    """Return how many tracks `make_stems` works on at the same time: read, separated and encoded."""
    return 3 + _tracks_behind(threads)


def compile_meter() -> None:
    """Compile what measures loudness, or load it from numba's cache."""
    meter = LoudnessMeter(44_100, 2)
    meter.add(np.zeros((44_100, 2), np.float32))
    meter.true_peak_dbtp  # noqa: B018 - computed when it is read


def _tracks_behind(threads: int) -> int:
    return 1 + threads // _THREADS_PER_TRACK


def _close(encoding: Iterable[tuple[RawStems[_Source], object]]) -> None:
    for raw, _ in encoding:
        raw.close()


def _list_tasks(raw: RawStems[_Source], folder: Path, sample_rate: int) -> list[StemTask]:
    folder.mkdir(parents=True, exist_ok=True)
    gain = min(1.0, 1 / raw.peak) if raw.peak else 1.0
    return [StemTask(name, raw.path(name), folder / f"{name}.flac", sample_rate, gain) for name in STEMS]


def _collect(encoding: deque[tuple[RawStems[_Source], list[Future[Stem]]]]) -> tuple[_Source, list[Stem]]:
    raw, work = encoding[0]
    stems = [future.result() for future in work]
    encoding.popleft()
    raw.close()
    return raw.mix.source, stems


def _one_ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """Yield the items. While the caller uses one, the next is made in a thread."""
    with ThreadPoolExecutor(1) as thread:
        end = object()
        ahead = thread.submit(next, items, end)
        while (item := ahead.result()) is not end:
            ahead = thread.submit(next, items, end)
            yield item  # type: ignore[misc]
