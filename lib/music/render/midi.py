"""A part of a composition as a Standard MIDI File, for a player with a soundfont.

Source: The MIDI Association, "Standard MIDI Files 1.0" and the General MIDI program list.
"""

import struct

import numpy as np

from reprise.lib.arrays import Float64Array
from reprise.lib.music.compose.composition import DRUM_PART, Composition

DRUM_CHANNEL = 9
_TICKS = 1000  # a quarter note of one second: a tick is a millisecond
_TEMPO = b"\xff\x51\x03" + (1_000_000).to_bytes(3, "big")


def write_midi(song: Composition, part: int, loudness: Float64Array) -> bytes:
    """Return a part as a file of one track, its times in milliseconds.

    Parameters
    ----------
    part
        Position in PARTS; drums go to the percussion channel.
    loudness
        Amplitude of each of the part's notes, in their order, against a full one.
    """
    notes, instrument = song.notes, song.instruments[part]
    rows = np.flatnonzero(notes.part == part)
    channel = DRUM_CHANNEL if part == DRUM_PART else part
    start = np.round(1000 * notes.start_s[rows]).astype(np.int64)
    end = np.maximum(np.round(1000 * (notes.start_s[rows] + notes.duration_s[rows])).astype(np.int64), start + 1)
    # players' amplitude goes with the square of velocity
    velocity = np.clip(np.round(127 * np.sqrt(loudness)), 1, 127).astype(np.int64)
    pitch = notes.pitch[rows]
    # at one time notes end before others begin, so that a repeated note is not cut off
    events = sorted(
        [(t, 1, bytes([0x90 | channel, p, v])) for t, p, v in zip(start.tolist(), pitch, velocity, strict=True)]
        + [(t, 0, bytes([0x80 | channel, p, 0])) for t, p in zip(end.tolist(), pitch, strict=True)]
    )
    track = bytearray(b"\0" + _TEMPO)
    track += b"\0" + bytes([0xC0 | channel, instrument.program])
    if channel != DRUM_CHANNEL:
        fine = round(8192 + 81.92 * song.track.tuning_cents)
        # registered parameter 1, channel fine tuning
        for controller, value in ((101, 0), (100, 1), (6, fine >> 7), (38, fine & 0x7F)):
            track += b"\0" + bytes([0xB0 | channel, controller, value])
    now = 0
    for time, _, event in events:
        track += _delta(time - now) + event
        now = time
    track += _delta(max(round(1000 * song.duration_s) - now, 0)) + b"\xff\x2f\0"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, _TICKS)
    return header + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)


def _delta(ticks: int) -> bytes:
    """Variable-length quantity: seven bits a byte, the highest bit set on all but the last."""
    digits = [ticks & 0x7F]
    while ticks := ticks >> 7:
        digits.append(ticks & 0x7F | 0x80)
    return bytes(reversed(digits))
