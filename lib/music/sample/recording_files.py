"""A recording as files: the tagged mix where its listeners keep it, its stems, and the notes and beats they play."""

import csv
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from reprise.lib.audio.encoding import encode, write_stem
from reprise.lib.files import sha256_of
from reprise.lib.music.compose.composition import Composition, compose
from reprise.lib.music.compose.genre_styles import PARTS
from reprise.lib.music.compose.plan import Plan
from reprise.lib.music.render.rendering import render
from reprise.lib.music.render.soundfont import Soundfont
from reprise.lib.music.render.tones import SAMPLE_RATE
from reprise.lib.music.sample.metadata import track_id
from reprise.lib.music.sample.planted import truth
from reprise.lib.music.sample.recordings import Recording, list_instruments, tag_recording

LIBRARY, STEMS, UNFINISHED = "library", "stems", "unfinished"
"""Folders below a sample's: the listeners' files, the truth about their sound, and what is being written."""

_TRUTH = ("clique", "version", "genre", "tempo_bpm", "key", "mode", "meter")


def write_recording(plan: Plan, recording: Recording, root: Path, soundfont: Soundfont | None = None) -> int:
    """Play a recording and write what is missing of its files and stems; each appears whole or not at all.

    Returns
    -------
    int
        How many audio files were written, copies included; 0 when all are there.
    """
    stems = root / STEMS / track_id(plan, recording.index)
    files = [root / LIBRARY / path for path in (recording.path, *recording.copies)]
    missing = [file for file in files if not file.exists()]
    if stems.exists() and not missing:
        return 0
    # another attempt at the same recording may be under way in another process
    scratch = root / UNFINISHED / f"{stems.name}-{os.getpid()}"
    scratch.mkdir(parents=True, exist_ok=True)
    song = compose(plan, recording.index)
    parts = render(song, soundfont=soundfont)
    if not stems.exists():
        folder = scratch / STEMS
        folder.mkdir(exist_ok=True)
        for name, stem in parts.items():
            write_stem(stem, folder / f"{name}.flac", sample_rate=SAMPLE_RATE)
        _write_score(song, folder)
        stems.parent.mkdir(parents=True, exist_ok=True)
        _move(folder, stems)
    if missing:
        first, *others = parts.values()
        for stem in others:
            first += stem
        audio = encode(first, recording.suffix, tag_recording(plan, recording.index), sample_rate=SAMPLE_RATE)
        for file in missing:
            whole = scratch / file.name
            whole.write_bytes(audio)
            file.parent.mkdir(parents=True, exist_ok=True)
            whole.replace(file)
    shutil.rmtree(scratch)
    return len(missing)


def _move(folder: Path, target: Path) -> None:
    """Rename a folder, unless another process was faster."""
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise


def _write_score(song: Composition, folder: Path) -> None:
    """Write what the stems play: ``notes.csv`` and ``beats.csv``."""
    notes = song.notes
    with (folder / "notes.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(("start_s", "duration_s", "pitch", "velocity", "part"))
        columns = (notes.start_s.round(5), notes.duration_s.round(5), notes.pitch, notes.velocity.round(4))
        parts = [PARTS[part] for part in notes.part.tolist()]
        out.writerows(zip(*(column.tolist() for column in columns), parts, strict=True))
    with (folder / "beats.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(("time", "is_bar"))
        per_bar = song.track.meter
        out.writerows((round(time, 5), int(i % per_bar == 0)) for i, time in enumerate(song.beat_s.tolist()))


def list_truth(plan: Plan, recordings: Sequence[Recording], root: Path) -> bytes:
    """Return the truth about the audio files as CSV, a line a file.

    ``file`` is relative to the folder of all libraries; ``track_id`` is the id in the dataset, ``library_id`` the one
    that a library's track gets from its content; ``instruments`` are those that are heard.
    """
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("file", "user", "track_id", "library_id", *_TRUTH, "instruments"))
    for recording in recordings:
        told = truth(plan, recording.index)
        library_id = "LB" + sha256_of(root / LIBRARY / recording.path)[:16]
        known = [told[name] for name in _TRUTH]
        instruments = list_instruments(plan, recording.index)
        for path in (recording.path, *recording.copies):
            table.writerow((path, path.partition("/")[0], told["track_id"], library_id, *known, instruments))
    return out.getvalue().encode()


def put_file(root: Path, name: str, content: bytes) -> None:
    """Write a file below root, whole or not at all; one that has this content stays as it is."""
    target = root / name
    if target.exists() and target.read_bytes() == content:
        return
    scratch = root / UNFINISHED / f"{os.getpid()}-{target.name}"
    for file in (scratch, target):
        file.parent.mkdir(parents=True, exist_ok=True)
    scratch.write_bytes(content)
    scratch.replace(target)
