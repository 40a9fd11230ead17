"""The mixing desk: how loud each stem is, the room around it, fades, and a limiter."""

from dataclasses import dataclass

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.music.compose.composition import Composition
from reprise.lib.music.compose.genre_styles import GENRES
from reprise.lib.music.compose.random_draws import generator
from reprise.lib.music.render.compiled import apply_gain, find_peaks, reverberate, ride_gain
from reprise.lib.music.render.tones import SAMPLE_RATE

CEILING = 0.95
_BLOCK = 64
_HARDEST = 2.0  # the limiter takes off 6 dB at most; what needs more stays softer than its genre
_STEM_DB = np.array([-3.0, -4.0, -6.5, -3.5])  # drums, bass, harmony, lead
_WET = np.array([0.10, 0.0, 0.16, 0.17])  # the bass stays dry, or it would blur
_DELAYS = np.array([1447, 1571, 1777, 1913, 2111, 2293, 2473, 2689])  # primes, so that echoes do not coincide
_CLOSE_S = 0.03


@dataclass(frozen=True)
class Desk:
    """Settings of one mix. ``stem_db``: loudness of each stem, shape (4,). ``level_db``: loudness aimed at.

    ``room_s``: time in which the room's echo falls by 60 dB; ``damping``: see `kernels.reverberate`.
    """

    stem_db: Float64Array
    level_db: float
    room_s: float
    damping: float
    wet: Float64Array
    fade_out_s: float


def draw_desk(song: Composition) -> Desk:
    """Settings of a track's mix, drawn around its genre's habits: other engineers, other mixes."""
    rng = generator(song.plan.seed, "desk", song.track.index)
    mean, spread = GENRES[song.track.genre].level_db
    luck = rng.standard_normal(8)
    return Desk(
        stem_db=_STEM_DB + 1.6 * luck[:4],
        level_db=float(np.clip(mean - 1.0 + spread * luck[4], -26.0, -8.0)),
        room_s=float(np.clip(0.7 * np.exp(0.4 * luck[5]), 0.3, 1.8)),
        damping=float(np.clip(0.35 + 0.12 * luck[6], 0.1, 0.7)),
        wet=_WET * float(np.exp(0.35 * luck[7])),
        fade_out_s=song.fade_out_s,
    )


def measure_loudness(stem: Float32Array) -> float:
    """Loudness of the loud passages of (n, 2): the 90th percentile of the power of blocks that are not silent, in dB.

    -inf for silence.
    """
    blocks = stem[: len(stem) // 8192 * 8192].reshape(-1, 8192 * 2)
    power = np.einsum("bi,bi->b", blocks, blocks) / (8192 * 2) if len(blocks) else np.mean(stem**2, keepdims=True)
    power = power[power > 1e-9]
    return float(10 * np.log10(np.quantile(power, 0.9))) if len(power) else -np.inf


def balance_stems(stems: Float32Array, desk: Desk) -> None:
    """Mix stems of shape (4, n, 2) in place: their sum is the mix.

    Everything after the room is one gain for all of them, so that the sum stays the mix.
    """
    delays = np.round(_DELAYS * (0.7 + 0.45 * desk.room_s)).astype(np.int64)
    feedback = 10 ** (-3 * delays / (desk.room_s * SAMPLE_RATE))
    for number, stem in enumerate(stems):
        loudness = measure_loudness(stem)
        if loudness == -np.inf:
            continue
        stems[number] *= np.float32(10 ** ((desk.stem_db[number] - loudness) / 20))
        if desk.wet[number] == 0:
            continue
        send = np.float32(0.5 * desk.wet[number]) * (stem[:, 0] + stem[:, 1])
        reverberate(send, delays, feedback, desk.damping, stem)
    _limit(stems, desk)


def _limit(stems: Float32Array, desk: Desk) -> None:
    mix = stems[0] + stems[1]
    for stem in stems[2:]:
        mix += stem
    loudness = measure_loudness(mix)
    if loudness == -np.inf:
        return
    peaks = find_peaks(stems, _BLOCK)
    gain = min(10 ** ((desk.level_db - loudness) / 20), _HARDEST * CEILING / float(peaks.max()))
    curve = gain * ride_gain(peaks * gain, CEILING, 0.8, 1.004) * _fade(len(peaks), desk.fade_out_s)
    for stem in stems:
        apply_gain(stem, curve, _BLOCK)


def _fade(blocks: int, fade_out_s: float) -> Float64Array:
    """Gain at the edges of blocks: a fade that gets faster, and in any case no click at the end."""
    left_s = np.arange(blocks, -1, -1) * (_BLOCK / SAMPLE_RATE)
    gain: Float64Array = np.minimum(left_s / _CLOSE_S, 1.0)
    if fade_out_s:
        gain *= 10 ** (-40 / 20 * np.clip(1 - left_s / fade_out_s, 0.0, 1.0) ** 1.6)
    return gain
