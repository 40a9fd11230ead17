"""Separate mixes into stems: overlapping segments with triangular weights, in bounded memory.

The result equals that of ``demucs.apply.apply_model`` with ``split=True``, ``shifts=0``, an overlap of a quarter and
the normalisation of ``demucs.api.Separator``. Mixes and stems lie in files; memory does not grow with their length.
"""

import contextlib
import logging
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from reprise.lib.arrays import Float32Array, release_pages
from reprise.lib.errors import InputError
from reprise.lib.nets.separators import Separator

if TYPE_CHECKING:
    import torch

GPU_BATCH_SIZE = 32
"""Largest number of segments in one batch on a GPU. A song of three minutes has 31 segments of htdemucs."""

_LOG = logging.getLogger(__name__)
_STRIDE = 0.75
_BATCHES_BEHIND = 2
"""Number of batches whose stems are being computed, copied and written at one time."""

_BLOCK_FRAMES = 1 << 20

Source = TypeVar("Source")


@dataclass(frozen=True, eq=False)
class Mix(Generic[Source]):
    """A mix to separate.

    Attributes
    ----------
    source
        Anything that identifies the mix for the caller.
    name
        Name of the mix in error messages.
    samples
        float32 (frames, 2) at the sample rate of the separator, usually memory-mapped.
    """

    source: Source
    name: str
    samples: Float32Array


@dataclass(frozen=True, eq=False)
class RawStems(Generic[Source]):
    """Stems of a mix.

    Attributes
    ----------
    mix
        The mix.
    files
        Open files of the stems by name: float32 (frames, 2) in native byte order. The files have no names in a folder:
        they end when they are closed.
    peak
        Largest absolute sample of all stems.
    fault
        Reason why there are no stems, or None.
    """

    mix: Mix[Source]
    files: Mapping[str, IO[bytes]]
    peak: float
    fault: InputError | None = None

    def path(self, name: str) -> Path:
        """Return a path by which any process of this user can open the file of a stem, as long as it is open here."""
        return Path("/proc", str(os.getpid()), "fd", str(self.files[name].fileno()))

    @property
    def samples(self) -> Mapping[str, Float32Array]:
        """Stems by name: float32 (frames, 2), memory-mapped. The arrays stay valid when the files are closed."""
        return {name: np.memmap(self.path(name), np.float32, "r").reshape(-1, 2) for name in self.files}

    def close(self) -> None:
        """Close the files."""
        for file in self.files.values():
            file.close()


def separate_mixes(
    separator: Separator,
    mixes: Iterable[Mix[Source]],
    *,
    folder: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Iterator[RawStems[Source]]:
    """Separate mixes and yield the stems of each, in the order of the mixes.

    Mixes are read, and stems are written, while the network computes. A batch contains segments of one mix: in a batch,
    a GPU rounds a segment differently at each position, so the samples of a stem must not depend on other mixes. If the
    device has too little memory, the unfinished mixes are separated again: in smaller batches, then in shorter
    segments, then on the CPU. A warning is logged each time.

    Parameters
    ----------
    mixes
        Read in another thread, one batch ahead.
    folder
        Folder for the stems, 8 bytes for each frame and stem. No file remains in it, even if the process is killed.
    batch_size
        Largest number of segments in a batch; by default, `GPU_BATCH_SIZE` on a GPU and 1 on the CPU.
    on_progress
        Called with seconds of audio that have been separated since the last call.

    Raises
    ------
    OSError
        The stems cannot be written.
    """
    size = batch_size or (1 if separator.device == "cpu" else GPU_BATCH_SIZE)
    unfinished: list[Mix[Source]] = []
    source = iter(mixes)
    while True:
        try:
            for stems in _separate(separator, _remember(source, unfinished), folder, size, on_progress):
                unfinished.remove(stems.mix)
                yield stems
        except _out_of_memory():
            if separator.device == "cpu":
                raise
            size = _need_less_memory(separator, size)
            source, unfinished = chain(unfinished, source), []
        else:
            return


def _remember(mixes: Iterable[Mix[Source]], unfinished: list[Mix[Source]]) -> Iterator[Mix[Source]]:
    for mix in mixes:
        unfinished.append(mix)
        yield mix


def _out_of_memory() -> type[Exception]:
    import torch

    return torch.OutOfMemoryError


def _need_less_memory(separator: Separator, batch_size: int) -> int:
    """Reduce the memory that separation needs, and return the new size of batches."""
    import torch

    torch.cuda.empty_cache()
    if batch_size > 1:
        _LOG.warning("%s has too little memory: batches of %d segments", separator.device, batch_size // 2)
        return batch_size // 2
    if separator.shorten():
        seconds = separator.segment / separator.sample_rate
        _LOG.warning("%s has too little memory: segments of %.1f s", separator.device, seconds)
        return batch_size
    _LOG.warning("%s has too little memory: separating on the CPU", separator.device)
    separator.to("cpu")
    return 1


class _Track(Generic[Source]):
    """A mix that is being separated.

    Parameters
    ----------
    mix
        The mix.
    separator
        The separator; the segments have its length.
    folder
        Folder for the stems.
    """

    def __init__(self, mix: Mix[Source], separator: Separator, folder: str | os.PathLike[str] | None) -> None:
        self.mix = mix
        self.length = len(mix.samples)
        self.segment = separator.segment
        self.stride = int(_STRIDE * self.segment)
        self.offsets = range(0, self.length, self.stride)
        self.mean, self.std = _measure(mix.samples)
        self.peak = 0.0
        self.files: dict[str, IO[bytes]] = {
            name: tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by the caller
            for name in separator.sources
        }
        self._sums: torch.Tensor | None = None
        self._weights: torch.Tensor | None = None

    def padding(self, index: int) -> int:
        """Return the number of frames by which a segment starts before its offset, because the mix ends early."""
        return max(0, self.segment - (self.length - self.offsets[index])) // 2

    def read(self, index: int, out: Float32Array) -> tuple[int, int]:
        """Write the frames of a segment to ``out`` (segment, 2), with zeros outside the mix.

        Return the first and the last frame in ``out``, exclusive, that are inside the mix.
        """
        start = self.offsets[index] - self.padding(index)
        first, last = max(0, -start), min(self.segment, self.length - start)
        out[:first], out[last:] = 0, 0
        out[first:last] = self.mix.samples[start + first : start + last]
        release_pages(self.mix.samples)
        return first, last

    def add(self, index: int, stems: "torch.Tensor", weight: "torch.Tensor") -> "torch.Tensor":
        """Add the stems of a segment (stems, 2, segment). Return the frames that are now complete (stems, frames, 2).

        The segments must be added in order.
        """
        import torch

        left, padding = self.length - self.offsets[index], self.padding(index)
        size = min(self.segment, left)
        if self._sums is None or self._weights is None:
            self._sums, self._weights = torch.zeros_like(stems), torch.zeros_like(weight)
        self._sums[..., :size] += weight[:size] * stems[..., padding : padding + size]
        self._weights[:size] += weight[:size]
        done = min(self.stride, left)
        frames = self._sums[..., :done] / self._weights[:done] * self.std + self.mean
        for sums in (self._sums, self._weights):
            kept = sums[..., done:].clone()
            sums[..., : self.segment - done] = kept
            sums[..., self.segment - done :] = 0
        return frames.transpose(1, 2).contiguous()

    def write(self, frames: "torch.Tensor") -> None:
        """Append frames (stems, frames, 2) to the files of the stems."""
        self.peak = float(np.maximum(self.peak, float(frames.abs().amax())))  # NaN remains, unlike with max()
        for file, stem in zip(self.files.values(), frames.numpy(), strict=True):
            file.write(stem.data)

    def finish(self, kind: str) -> RawStems[Source]:
        """Return the stems after the last segment. ``kind`` is the kind of the separator."""
        if not np.isfinite(self.peak):
            self.close()
            fault = f"{kind} returns NaN or infinite samples for {self.mix.name}: use another separator (--model)"
            return RawStems(self.mix, {}, self.peak, InputError("bad_stems", fault))
        for file in self.files.values():
            file.flush()
        return RawStems(self.mix, self.files, self.peak)

    def close(self) -> None:
        """Close the files of the stems."""
        for file in self.files.values():
            file.close()


def _measure(samples: Float32Array) -> tuple[float, float]:
    """Return mean and standard deviation of the mono mix over the whole track, as demucs normalises by them."""
    count = len(samples)
    mean = sum(float(block.sum(dtype=np.float64)) for block in _read_blocks(samples)) / (2 * max(count, 1))
    mono = (block.mean(axis=1, dtype=np.float64) for block in _read_blocks(samples))
    squares = sum(float(np.square(block - mean).sum()) for block in mono)
    return mean, (squares / (count - 1)) ** 0.5 + 1e-8 if count > 1 else 1.0


def _read_blocks(samples: Float32Array) -> Iterator[Float32Array]:
    for start in range(0, len(samples), _BLOCK_FRAMES):
        yield samples[start : start + _BLOCK_FRAMES]
        release_pages(samples)


class _Batch(NamedTuple):
    """Consecutive segments of a track.

    ``samples`` has the shape (batch, segment, 2). ``bounds`` contains the first and the last frame inside the mix, the
    last one exclusive, (batch, 2, 1, 1).
    """

    track: _Track[Any]
    indices: range
    samples: "torch.Tensor"
    bounds: "torch.Tensor"


def _read_batches(tracks: Iterator[_Track[Any]], separator: Separator, batch_size: int) -> Iterator[_Batch]:
    import torch

    pinned = separator.device != "cpu"
    for track in tracks:
        for start in range(0, len(track.offsets), batch_size):
            indices = range(start, min(start + batch_size, len(track.offsets)))
            samples = torch.empty((len(indices), separator.segment, 2), pin_memory=pinned)
            rows: Float32Array = samples.numpy()
            bounds = torch.tensor([track.read(index, rows[index - start]) for index in indices])[:, :, None, None]
            yield _Batch(track, indices, samples, bounds.pin_memory() if pinned else bounds)


def _separate(
    separator: Separator,
    mixes: Iterator[Mix[Source]],
    folder: str | os.PathLike[str] | None,
    batch_size: int,
    on_progress: Callable[[float], None] | None,
) -> Iterator[RawStems[Source]]:
    """Separate mixes with batches and segments of one size. Raise torch.OutOfMemoryError if they are too large."""
    started: list[_Track[Source]] = []

    def start() -> Iterator[_Track[Source]]:
        for mix in mixes:
            started.append(_Track(mix, separator, folder))
            yield started[-1]

    weight = _triangle(separator)
    batches = _read_batches(start(), separator, batch_size)
    behind: deque[Future[_Track[Source] | None]] = deque()
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        stack.callback(_close, started)  # after the threads have ended
        ahead = reader.submit(next, batches, None)
        while (batch := ahead.result()) or behind:
            if batch:
                ahead = reader.submit(next, batches, None)
                copies, event = _compute(separator, batch, weight)
                behind.append(writer.submit(_write, batch, copies, event))
                if on_progress:
                    on_progress(sum(frames.shape[1] for frames in copies) / separator.sample_rate)
            while len(behind) > (_BATCHES_BEHIND if batch else 0):
                if track := behind.popleft().result():
                    started.remove(track)
                    yield track.finish(separator.kind)


def _close(tracks: list[_Track[Source]]) -> None:
    for track in tracks:
        track.close()


def _triangle(separator: Separator) -> "torch.Tensor":
    import torch

    half, length = separator.segment // 2, separator.segment
    weight = torch.cat([torch.arange(1, half + 1), torch.arange(length - half, 0, -1)])
    return (weight / weight.max()).to(separator.device)


def _compute(separator: Separator, batch: _Batch, weight: "torch.Tensor") -> tuple[list["torch.Tensor"], Any]:
    """Separate a batch. Return the completed frames on the CPU, and an event after which they are there."""
    import torch

    device, track = separator.device, batch.track
    on_gpu = device != "cpu"
    with torch.inference_mode(), _deterministic() if on_gpu else contextlib.nullcontext():
        samples = batch.samples.to(device, non_blocking=True)
        first, last = batch.bounds.to(device, non_blocking=True).unbind(1)
        frames = torch.arange(samples.shape[1], device=device)[:, None]
        inside = (frames >= first) & (frames < last)
        mix = torch.where(inside, (samples - track.mean) / track.std, 0).transpose(1, 2)
        stems = separator(mix)
        copies = []
        for index, segment in zip(batch.indices, stems, strict=True):
            done = track.add(index, segment, weight)
            copies.append(torch.empty(done.shape, pin_memory=on_gpu).copy_(done, non_blocking=on_gpu))
        event = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
        if event:
            event.record()
    return copies, event


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Let cuDNN choose algorithms that give the same samples each time, and round the inputs of products to TF32.

    cuDNN does the latter by default. In products, it makes htdemucs faster by a quarter, with an error of -76 dB.
    """
    import torch
    from torch.backends import cudnn

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=cudnn.allow_tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _write(batch: _Batch, copies: list["torch.Tensor"], event: Any) -> _Track[Any] | None:
    """Write the completed frames of a batch. Return the track if it is complete."""
    if event:
        event.synchronize()
    for frames in copies:
        batch.track.write(frames)
    return batch.track if batch.indices.stop == len(batch.track.offsets) else None
