"""Parts played by FluidSynth with a General MIDI soundfont, where both are installed."""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.errors import RepriseError
from reprise.lib.music.compose.composition import Composition
from reprise.lib.music.render.midi import write_midi
from reprise.lib.music.render.tones import SAMPLE_RATE

_DEADLINE_S = 600.0


@dataclass(frozen=True)
class Soundfont:
    """The fluidsynth program and a soundfont, as absolute paths, the same on every worker."""

    program: str
    path: str


def play_part(song: Composition, part: int, loudness: Float64Array, frames: int, soundfont: Soundfont) -> Float32Array:
    """Play a part without FluidSynth's own reverberation and chorus: shape (frames, 2).

    Raises
    ------
    RepriseError
        FluidSynth fails; its last line says why.
    """
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "part.mid"), Path(folder, "part.wav")
        score.write_bytes(write_midi(song, part, loudness))
        # -ni: no console, no midi port; -R 0 -C 0: no effects; -q: quiet
        command = [soundfont.program, "-ni", "-q", "-R", "0", "-C", "0", "-g", "0.5", "-r", str(SAMPLE_RATE)]
        command += ["-O", "float", "-T", "wav", "-F", str(sound), soundfont.path, str(score)]
        done = subprocess.run(command, capture_output=True, timeout=_DEADLINE_S, check=False)  # noqa: S603 - no shell
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        # it ends well even where it could read neither soundfont nor score
        if done.returncode or any("error" in line for line in said) or not sound.exists():
            reason = (said or [f"exit code {done.returncode}"])[-1]
            raise RepriseError(f"{soundfont.program} cannot play with {soundfont.path}: {reason}")
        played, _ = soundfile.read(sound, dtype="float32", always_2d=True)
    stem: Float32Array = np.zeros((frames, 2), dtype=np.float32)
    stem[: len(played)] = played[:frames]
    return stem
