"""Songs of POP909, rendered with a soundfont at any tempo and in any key, and their true beats and chords."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio.decoding import decode
from reprise.lib.errors import RepriseError
from reprise.lib.music.render.soundfont import Soundfont

_REPORT_ONLY = 30
_SOUNDFONTS = Path("/usr/share/sounds/sf2")
_TEMPO_EVENT = re.compile(rb"\xff\x51\x03(...)", re.DOTALL)  # no other event of these files contains a byte 0xff


def list_songs(folder: Path, *, reports: bool) -> list[Path]:
    """List the MIDI files of POP909: those whose number is divisible by 30, which only report, or the others."""
    files = sorted(folder.glob("*/[0-9]*.mid"))
    return [path for path in files if (int(path.stem) % _REPORT_ONLY == 0) == reports]


def list_soundfonts() -> list[Soundfont]:
    """List the soundfonts that Debian's packages ``fluid-soundfont-gm`` and ``timgm6mb-soundfont`` install."""
    program = shutil.which("fluidsynth")
    if program is None:
        raise RepriseError("fluidsynth is not installed: install it, and a soundfont")
    return [Soundfont(program, str(path)) for path in sorted(_SOUNDFONTS.glob("[A-Z]*.sf2"))]


def render_midi(
    path: Path, soundfont: Soundfont, tempo_factor: float = 1.0, *, parts: Sequence[str] = (), semitones: int = 0
) -> Float32Array:
    """Render a MIDI file as a mono signal (samples,) at 22,050 Hz.

    Parameters
    ----------
    path, soundfont
        The file, and what plays it.
    tempo_factor
        The song is played so many times as fast as it is written.
    parts
        Names of the tracks to play: ``MELODY``, ``BRIDGE`` and ``PIANO``. By default all are played.
    semitones
        The song is played so much higher.
    """

    def change_tempo(event: re.Match[bytes]) -> bytes:
        return event[0][:3] + round(int.from_bytes(event[1], "big") / tempo_factor).to_bytes(3, "big")

    header, *tracks = _split_chunks(path.read_bytes())
    first, *others = (_TEMPO_EVENT.sub(change_tempo, track) for track in tracks)
    # registered parameter 2 of each channel is its coarse tuning in semitones; 64 is none
    tuning = b"".join(
        b"\0" + bytes([0xB0 | channel, controller, value])
        for channel in range(16)
        for controller, value in ((101, 0), (100, 2), (6, 64 + semitones))
    )
    chosen = [track for track in others if not parts or any(name.encode() in track[:16] for name in parts)]
    chunks = [tuning + first if semitones else first, *chosen]
    score_bytes = header[:2] + len(chunks).to_bytes(2, "big") + header[4:]
    score_bytes = _join_chunk(b"MThd", score_bytes) + b"".join(_join_chunk(b"MTrk", chunk) for chunk in chunks)

    with tempfile.TemporaryDirectory() as folder:
        score, sound, samples = Path(folder, "song.mid"), Path(folder, "song.wav"), Path(folder, "song.raw")
        score.write_bytes(score_bytes)
        command = [soundfont.program, "-ni", "-q", "-F", str(sound), soundfont.path, str(score)]
        subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - no shell
        decode(sound, samples)
        return np.fromfile(samples, dtype=np.float32)


def _split_chunks(data: bytes) -> list[bytes]:
    """Return the content of the header and of each track of a MIDI file."""
    chunks, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "big")
        chunks.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    return chunks


def _join_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "big") + content


def read_beats(path: Path, tempo_factor: float = 1.0) -> tuple[Float64Array, Float64Array]:
    """Return the times of the beats and of the downbeats of a song in s, (n,) and (k,)."""
    rows = np.loadtxt(path.with_name("beat_midi.txt"))
    beats_s = rows[:, 0] / tempo_factor
    return beats_s, beats_s[rows[:, 2] > 0]


def read_chords(path: Path, tempo_factor: float = 1.0) -> tuple[Float64Array, list[str]]:
    """Return the intervals of the chords of a song in s, (n, 2), and their names in the syntax of Harte et al."""
    rows = [line.split() for line in path.with_name("chord_midi.txt").read_text("utf-8").splitlines() if line.strip()]
    return np.array([row[:2] for row in rows], dtype=np.float64) / tempo_factor, [row[2] for row in rows]
