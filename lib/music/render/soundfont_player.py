"""Player of a soundfont in this process, without an installed program: TinySoundFont, dry."""

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.files import printable_name
from reprise.lib.music.render.tones import SAMPLE_RATE

_DRUM_BANK, _DRUM_CHANNEL = 128, 9
_SILENCE_BLOCK = 2048


class SoundfontPlayer:
    """A loaded soundfont (``.sf2`` or ``.sf3``).

    Raises
    ------
    InputError
        ``not_a_soundfont``: the file cannot be read as a soundfont.
    RepriseError
        The package tinysoundfont is not installed. It is installed without its dependencies, one of which plays sound.
    """

    def __init__(self, path: str) -> None:
        try:
            from tinysoundfont import SoundFontException, Synth
        except ImportError:
            raise RepriseError(
                "tinysoundfont, which plays soundfonts, is not installed: run pip install --no-deps tinysoundfont"
            ) from None
        self._synth = Synth(samplerate=SAMPLE_RATE)
        try:
            self._font = self._synth.sfload(path)
        except (SoundFontException, OSError, RuntimeError) as error:
            raise InputError("not_a_soundfont", f"{printable_name(path)} is not a soundfont: {error}") from None
        self.programs = self._list_presets(0)
        self.kits = self._list_presets(_DRUM_BANK)
        if not self.programs:
            raise InputError("not_a_soundfont", f"{printable_name(path)} has no instruments: use another soundfont")

    def _list_presets(self, bank: int) -> tuple[int, ...]:
        """Return the numbers of the presets of a bank."""
        return tuple(number for number in range(128) if self._name(bank, number))

    def _name(self, bank: int, number: int) -> str | None:
        try:
            return str(self._synth.sfpreset_name(self._font, bank, number) or "") or None
        except RuntimeError:
            return None

    def play(
        self,
        start_s: Float64Array,
        duration_s: Float64Array,
        pitch: Int64Array,
        loudness: Float64Array,
        frames: int,
        preset: int,
        *,
        is_drums: bool = False,
        bank: int | None = None,
    ) -> Float32Array:
        """Play notes with a preset, dry. The result is float32 (frames, 2) at 44,100 Hz.

        Parameters
        ----------
        start_s, duration_s, pitch, loudness
            Notes, (n,), in any order. The loudness is an amplitude from 0 to 1.
        preset
            General MIDI program from 0, or number of a drum kit. If the soundfont does not have it, the nearest one is
            played.
        is_drums
            The pitches are keys of a drum kit.
        bank
            Bank of the preset, by default 128 for drums, if the soundfont has drum kits, and 0 otherwise.
        """
        channel = _DRUM_CHANNEL if is_drums else 0
        synth = self._synth
        if bank is None:
            bank = _DRUM_BANK if is_drums and self.kits else 0
        presets = self.kits if bank == _DRUM_BANK else self.programs
        nearest = min(presets, key=lambda number: abs(number - preset))
        synth.program_select(channel, self._font, bank, nearest, is_drums)
        velocity = np.clip(np.round(127 * np.sqrt(loudness)), 1, 127).astype(int)
        start = np.round(start_s * SAMPLE_RATE).astype(int)
        end = np.maximum(np.round((start_s + duration_s) * SAMPLE_RATE).astype(int), start + 64)
        rows = range(len(pitch))
        # a repeated note ends before it starts again
        events = sorted([(int(start[i]), 1, i) for i in rows] + [(int(end[i]), 0, i) for i in rows])
        out = np.zeros((frames, 2), dtype=np.float32)
        now = 0
        for at, is_start, row in events:
            if min(at, frames) > now:
                self._generate(out[now : min(at, frames)])
                now = min(at, frames)
            if at >= frames:
                break
            if is_start:
                synth.noteon(channel, int(pitch[row]), int(velocity[row]))
            else:
                synth.noteoff(channel, int(pitch[row]))
        if now < frames:
            self._generate(out[now:])
        self._silence(channel)
        return out

    def _silence(self, channel: int) -> None:
        """End all notes and discard their releases."""
        self._synth.sounds_off(channel)
        block = np.ones((_SILENCE_BLOCK, 2), dtype=np.float32)
        while block.any():
            self._generate(block)

    def _generate(self, out: Float32Array) -> None:
        out[:] = np.frombuffer(self._synth.generate(len(out)), dtype=np.float32).reshape(-1, 2)
