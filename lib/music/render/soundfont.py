"""Rendering of parts with FluidSynth and a General MIDI soundfont. Both must be installed."""

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

_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Soundfont:
    """Absolute paths of the fluidsynth program and of a soundfont. They must exist on each worker."""

    program: str
    path: str


def play_part(song: Composition, part: int, loudness: Float64Array, frames: int, soundfont: Soundfont) -> Float32Array:
    """Render a part without FluidSynth's reverberation and chorus, shape (frames, 2).

    Raises
    ------
    RepriseError
        FluidSynth is not installed, fails, or runs for more than 600 s. The message contains the reason.
    """
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "part.mid"), Path(folder, "part.wav")
        score.write_bytes(write_midi(song, part, loudness))
        # -ni: no console, no midi port; -R 0 -C 0: no effects; -q: quiet
        command = [soundfont.program, "-ni", "-q", "-R", "0", "-C", "0", "-g", "0.5", "-r", str(SAMPLE_RATE)]
        command += ["-O", "float", "-T", "wav", "-F", str(sound), soundfont.path, str(score)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603 - no shell
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RepriseError(
                f"{soundfont.program} cannot render ({error}): install it on each worker, or use another soundfont"
            ) from None
        messages = done.stderr.decode("utf-8", "replace").strip().splitlines()
        # FluidSynth's exit code is 0 even if it cannot read the soundfont or the MIDI file, so look for error messages
        if done.returncode or any("error" in line for line in messages) or not sound.exists():
            reason = (messages or [f"exit code {done.returncode}"])[-1]
            raise RepriseError(
                f"{soundfont.program} cannot render with {soundfont.path} ({reason}): use another soundfont"
            )
        samples, _ = soundfile.read(sound, dtype="float32", always_2d=True)
    stem: Float32Array = np.zeros((frames, 2), dtype=np.float32)
    stem[: len(samples)] = samples[:frames]
    return stem
