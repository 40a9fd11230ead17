"""Files of a recording: the tagged mix in the listeners' libraries, the stems, and the notes and beats of the stems."""

import csv
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from reprise.lib.audio.encoding import encode, write_flac
from reprise.lib.files import sha256_of
from reprise.lib.music.compose.composition import Composition, compose
from reprise.lib.music.compose.genre_styles import PARTS
from reprise.lib.music.compose.plan import SamplePlan
from reprise.lib.music.render.rendering import render
from reprise.lib.music.render.soundfont import Soundfont
from reprise.lib.music.render.tones import SAMPLE_RATE
from reprise.lib.music.sample.ground_truth import truth
from reprise.lib.music.sample.metadata import track_id
from reprise.lib.music.sample.recordings import Recording, list_instruments, tag_recording

LIBRARY, STEMS, UNFINISHED = "library", "stems", "unfinished"
"""Folders of a synthetic dataset: audio files of the listeners, stems, and files that are still being written."""

_TRUTH_COLUMNS = ("clique", "version", "genre", "tempo_bpm", "key", "mode", "meter")


def write_recording(plan: SamplePlan, recording: Recording, root: Path, soundfont: Soundfont | None = None) -> int:
    """Render a recording and write its missing files and stems. A file or folder appears only when it is complete.

    Returns
    -------
    int
        Number of files written to the libraries, including copies. It is 0 if all of them already exist.

    Raises
    ------
    RepriseError
        FluidSynth cannot render with the soundfont.
    """
    stems = root / STEMS / track_id(plan, recording.index)
    files = [root / LIBRARY / path for path in (recording.path, *recording.copies)]
    missing = [file for file in files if not file.exists()]
    if stems.exists() and not missing:
        return 0
    # the process id is in the name because another process can be writing the same recording
    temporary = root / UNFINISHED / f"{stems.name}-{os.getpid()}"
    temporary.mkdir(parents=True, exist_ok=True)
    song = compose(plan, recording.index)
    parts = render(song, soundfont=soundfont)
    if not stems.exists():
        folder = temporary / STEMS
        folder.mkdir(exist_ok=True)
        for name, stem in parts.items():
            file = folder / f"{name}.flac"
            with write_flac(file, sample_rate=SAMPLE_RATE, channel_count=2, bit_depth=16, comments={}) as flac:
                flac.write(stem)
        _write_score(song, folder)
        stems.parent.mkdir(parents=True, exist_ok=True)
        _rename_folder(folder, stems)
    if missing:
        mix, *other_parts = parts.values()
        for stem in other_parts:
            mix += stem
        audio = encode(mix, recording.suffix, tag_recording(plan, recording.index), sample_rate=SAMPLE_RATE)
        for file in missing:
            finished = temporary / file.name
            finished.write_bytes(audio)
            file.parent.mkdir(parents=True, exist_ok=True)
            finished.replace(file)
    shutil.rmtree(temporary)
    return len(missing)


def _rename_folder(folder: Path, target: Path) -> None:
    """Rename a folder, unless another process has already created the target."""
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise


def _write_score(song: Composition, folder: Path) -> None:
    """Write the notes and beats of the stems to ``notes.csv`` and ``beats.csv``."""
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
        beats_per_bar = song.track.meter
        out.writerows((round(time, 5), int(i % beats_per_bar == 0)) for i, time in enumerate(song.beat_s.tolist()))


def format_truth_csv(plan: SamplePlan, recordings: Sequence[Recording], root: Path) -> bytes:
    """Return the ground truth of the audio files as CSV, one line per file.

    The audio files must exist. ``file`` is relative to the folder of all libraries. ``user`` is the listener.
    ``track_id`` is the id in the dataset. ``library_id`` is the content-based id that the track has in a library.
    ``instruments`` lists the instruments of the parts that play.
    """
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("file", "user", "track_id", "library_id", *_TRUTH_COLUMNS, "instruments"))
    for recording in recordings:
        true_values = truth(plan, recording.index)
        library_id = "LB" + sha256_of(root / LIBRARY / recording.path)[:16]
        values = [true_values[name] for name in _TRUTH_COLUMNS]
        instruments = list_instruments(plan, recording.index)
        for path in (recording.path, *recording.copies):
            table.writerow((path, path.partition("/")[0], true_values["track_id"], library_id, *values, instruments))
    return out.getvalue().encode()


def write_if_changed(root: Path, name: str, content: bytes) -> None:
    """Write a file below root atomically, unless it already has this content."""
    target = root / name
    if target.exists() and target.read_bytes() == content:
        return
    temporary = root / UNFINISHED / f"{os.getpid()}-{target.name}"
    for file in (temporary, target):
        file.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_bytes(content)
    temporary.replace(target)
