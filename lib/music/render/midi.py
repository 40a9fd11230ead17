"""Standard MIDI File of one part of a composition, for a player with a soundfont.

Source: The MIDI Association, "Standard MIDI Files 1.0" and the General MIDI program list.
"""

import struct

import numpy as np

from reprise.lib.arrays import Float64Array
from reprise.lib.music.compose.composition import DRUM_PART, Composition

DRUM_CHANNEL = 9
_TICKS = 1000  # ticks per quarter note; a quarter note lasts one second, so a tick is a millisecond
_TEMPO = b"\xff\x51\x03" + (1_000_000).to_bytes(3, "big")


def write_midi(song: Composition, part: int, loudness: Float64Array) -> bytes:
    """Return a part as a MIDI file with one track and times in milliseconds.

    Parameters
    ----------
    part
        Index in PARTS. Drums use the percussion channel.
    loudness
        Amplitude of each note of the part from 0 to 1, in the order of the notes.
    """
    notes, instrument = song.notes, song.instruments[part]
    rows = np.flatnonzero(notes.part == part)
    channel = DRUM_CHANNEL if part == DRUM_PART else part
    start = np.round(1000 * notes.start_s[rows]).astype(np.int64)
    end = np.maximum(np.round(1000 * (notes.start_s[rows] + notes.duration_s[rows])).astype(np.int64), start + 1)
    # MIDI players make the amplitude proportional to the square of the velocity
    velocity = np.clip(np.round(127 * np.sqrt(loudness)), 1, 127).astype(np.int64)
    pitch = notes.pitch[rows]
    # note-off events come before note-on events of the same time, because a repeated note would be cut off otherwise
    events = sorted(
        [(t, 1, bytes([0x90 | channel, p, v])) for t, p, v in zip(start.tolist(), pitch, velocity, strict=True)]
        + [(t, 0, bytes([0x80 | channel, p, 0])) for t, p in zip(end.tolist(), pitch, strict=True)]
    )
    track = bytearray(b"\0" + _TEMPO)
    track += b"\0" + bytes([0xC0 | channel, instrument.program])
    if channel != DRUM_CHANNEL:
        fine_tuning = round(8192 + 81.92 * song.track.tuning_cents)
        # registered parameter 1, channel fine tuning
        for controller, value in ((101, 0), (100, 1), (6, fine_tuning >> 7), (38, fine_tuning & 0x7F)):
            track += b"\0" + bytes([0xB0 | channel, controller, value])
    now = 0
    for time, _, event in events:
        track += _encode_delta_time(time - now) + event
        now = time
    track += _encode_delta_time(max(round(1000 * song.duration_s) - now, 0)) + b"\xff\x2f\0"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, _TICKS)
    return header + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)


def _encode_delta_time(ticks: int) -> bytes:
    """Return a MIDI variable-length quantity: seven bits per byte, the highest bit set in all bytes but the last."""
    digits = [ticks & 0x7F]
    while ticks := ticks >> 7:
        digits.append(ticks & 0x7F | 0x80)
    return bytes(reversed(digits))
