"""Let instruments play audio files: one file, and batches of stems on workers."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.lib.arrays import Float32Array
from reprise.lib.covers.instruments import Instrument, read_instrument
from reprise.lib.covers.performance import Performance, measure_loudness, measure_performance
from reprise.lib.covers.transfer import (
    OUTPUT_RATE,
    Line,
    WrittenAudio,
    fit_lines,
    measure_level,
    play_lines,
    write_audio,
)
from reprise.lib.covers.voices import measure_polyphony, split_voices
from reprise.lib.errors import InputError
from reprise.lib.nets.note_transcriber import SAMPLE_RATE as NOTES_RATE
from reprise.lib.nets.note_transcriber import NoteTranscriber
from reprise.lib.nets.pitch_tracker import SAMPLE_RATE, PitchTracker
from reprise.udfs.heartbeat import run_with_heartbeat
from reprise.udfs.model_cache import load_artifact
from reprise.udfs.sandbox import local_folder, sandbox
from reprise.udfs.separated_stems import copy_artifact, publish

ARTIFACTS = "_artifacts/parts"
"""Folder of the parts below the warehouse root. The name of a file is the SHA-256 of its decoded samples."""

CHORDS = 0.25
"""Share of the time with notes in which two or more sound, from which a file has chords."""

PARTS = pa.schema(
    [
        pa.field("part_id", pa.string(), nullable=False),
        pa.field("artifact", pa.string()),
        pa.field("samples_sha256", pa.string()),
        pa.field("duration", pa.float64()),
        pa.field("loudness_lufs", pa.float64()),
        pa.field("true_peak_dbtp", pa.float64()),
        pa.field("octaves", pa.int32()),
        pa.field("sounding", pa.float64()),
        pa.field("fault", pa.string()),
    ]
)
"""Rows of `transfer_parts`: the part's path below the warehouse root, or the reason why there is none."""


@dataclass(frozen=True)
class Arrangement:
    """What an instrument is to play.

    Attributes
    ----------
    lines
        The melody, or the voices of chords.
    loudness_lufs
        Integrated loudness of the file that was read; None for silence.
    """

    lines: Sequence[Line]
    loudness_lufs: float | None

    @property
    def sounding(self) -> float:
        """Share of the time in which something is played."""
        return float(np.any([line.gate > 0 for line in self.lines], axis=0).mean())


@cache
def _pitch_tracker() -> PitchTracker:
    return PitchTracker()


@cache
def _note_transcriber() -> NoteTranscriber:
    return NoteTranscriber(threads=1)


def arrange_file(path: Path, instrument: Instrument) -> Arrangement:
    """Read the melody or the chords of an audio file, and fit them to an instrument.

    Where notes sound together in more than `CHORDS` of the time, there are up to four voices.

    Raises
    ------
    InputError
        The errors of `Sandbox.decode`.
    """
    samples = _read(path, SAMPLE_RATE)
    performances = _read_voices(path, measure_loudness(samples, instrument.scale))
    if not performances:
        performances = [measure_performance(samples, _pitch_tracker(), instrument.scale)]
    return Arrangement(fit_lines(performances, instrument.range), measure_level(samples))


def play_file(arrangement: Arrangement, instrument: Instrument, out: Path, *, seed: int) -> WrittenAudio:
    """Let an instrument play, with the loudness of the file that was read. The same seed gives the same samples.

    Raises
    ------
    RepriseError
        The file cannot be written.
    """
    blocks = play_lines(instrument, arrangement.lines, seed)
    return write_audio(blocks, out, arrangement.loudness_lufs, local_folder())


def _read_voices(path: Path, loudness_db: Float32Array) -> list[Performance]:
    """Read the voices of chords; there are none if the file is a melody."""
    samples = _read(path, NOTES_RATE)
    notes = _note_transcriber().transcribe(samples)
    if measure_polyphony(notes) < CHORDS:
        return []
    voices = split_voices(notes, samples, NOTES_RATE, len(loudness_db))
    return [Performance(one.f0_hz, one.voiced, loudness_db + one.level_db) for one in voices]


def _read(path: Path, sample_rate: int) -> Float32Array:
    audio = sandbox().decode(path, sample_rate=sample_rate)
    samples = audio.open_signal()
    audio.signal_path.unlink()  # the mapping stays valid, and no file remains if the process is killed
    return samples


def transfer_parts(
    batches: Iterable[pa.RecordBatch], *, root: str, find_device: Callable[[], str]
) -> Iterator[pa.RecordBatch]:
    """Let instruments play stems below the warehouse root, and write the parts below it.

    Parameters
    ----------
    batches
        Columns ``part_id``, ``artifact`` (path of the stem below the root), ``instrument`` and ``instrument_sha256``
        (URI and checksum of the instrument's file, see `reprise.lib.covers.instruments.read_instrument`) and ``seed``.
    root
        Warehouse root.
    find_device
        Function that returns the device of this task, e.g. ``cpu`` or ``cuda:1``.

    Yields
    ------
    pyarrow.RecordBatch
        `PARTS`: one row for each part. Empty batches serve as heartbeats.
    """
    device = find_device()
    empty = pa.RecordBatch.from_pylist([], PARTS)
    with tempfile.TemporaryDirectory(prefix="parts-", dir=local_folder()) as temporary:
        for batch in batches:
            for row in batch.to_pylist():
                made = yield from run_with_heartbeat(empty, _transfer_part, row, root, device, Path(temporary))
                yield pa.RecordBatch.from_pylist([made], PARTS)


def _transfer_part(row: Mapping[str, Any], root: str, device: str, folder: Path) -> dict[str, Any]:
    source, out = folder / "stem.flac", folder / "part.flac"
    try:
        # one instrument in a worker process, in its cache of models
        instrument = load_artifact(
            row["instrument"], row["instrument_sha256"], lambda data: read_instrument(data).load(device)
        )
        copy_artifact(root, row["artifact"], source)
        arrangement = arrange_file(source, instrument)
        written = play_file(arrangement, instrument, out, seed=row["seed"])
    except FileNotFoundError:
        return _make_fault(row, f"{row['artifact']} is missing: separate the track again")
    except InputError as error:
        return _make_fault(row, error.message)
    artifact = publish(out, f"{ARTIFACTS}/{written.samples_sha256}.flac", root)
    return {
        "part_id": row["part_id"],
        "artifact": artifact,
        "samples_sha256": written.samples_sha256,
        "duration": written.frame_count / OUTPUT_RATE,
        "loudness_lufs": written.loudness_lufs,
        "true_peak_dbtp": written.true_peak_dbtp,
        "octaves": arrangement.lines[0].octaves,
        "sounding": arrangement.sounding,
        "fault": None,
    }


def _make_fault(row: Mapping[str, Any], fault: str) -> dict[str, Any]:
    return dict.fromkeys(PARTS.names) | {"part_id": row["part_id"], "fault": fault}
