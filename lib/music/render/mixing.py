"""Mixing: loudness balance of the stems, reverberation, fades and a limiter."""

from dataclasses import dataclass

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.music.compose.composition import Composition
from reprise.lib.music.compose.genre_styles import GENRES
from reprise.lib.music.compose.random_draws import make_generator
from reprise.lib.music.render.compiled import apply_gain, compute_limiter_gain, measure_peaks, reverberate
from reprise.lib.music.render.tones import SAMPLE_RATE

CEILING = 0.95
_BLOCK = 64
_MAX_LIMITING = 2.0  # at most 6 dB of peak reduction; a track that would need more stays below its target loudness
_STEM_DB = np.array([-3.0, -4.0, -6.5, -3.5])  # drums, bass, harmony, lead
_REVERB_LEVEL = np.array([0.10, 0.0, 0.16, 0.17])  # 0 for the bass, because reverberation would blur it
_DELAYS = np.array([1447, 1571, 1777, 1913, 2111, 2293, 2473, 2689])  # samples; primes, so that echoes do not coincide
_FINAL_FADE_S = 0.03


@dataclass(frozen=True)
class MixSettings:
    """Settings of one mix.

    Parameters
    ----------
    stem_db
        Loudness of each stem before the limiter in dB, shape (4,).
    level_db
        Target loudness of the mix in dB.
    room_s
        Reverberation time: seconds in which the reverberation falls by 60 dB.
    damping
        Loss of high frequencies, see `compiled.reverberate`.
    reverb_level
        Gain of each stem's input to the reverberation, shape (4,).
    fade_out_s
        Length of the fade at the end in seconds. 0 means no fade.
    """

    stem_db: Float64Array
    level_db: float
    room_s: float
    damping: float
    reverb_level: Float64Array
    fade_out_s: float


def draw_mix_settings(song: Composition) -> MixSettings:
    """Draw the mix settings of a track. The target loudness is drawn around the mean of its genre."""
    rng = make_generator(song.plan.seed, "desk", song.track.index)
    mean, spread = GENRES[song.track.genre].level_db
    draws = rng.standard_normal(8)
    return MixSettings(
        stem_db=_STEM_DB + 1.6 * draws[:4],
        level_db=float(np.clip(mean - 1.0 + spread * draws[4], -26.0, -8.0)),
        room_s=float(np.clip(0.7 * np.exp(0.4 * draws[5]), 0.3, 1.8)),
        damping=float(np.clip(0.35 + 0.12 * draws[6], 0.1, 0.7)),
        reverb_level=_REVERB_LEVEL * float(np.exp(0.35 * draws[7])),
        fade_out_s=song.fade_out_s,
    )


def measure_loudness(stem: Float32Array) -> float:
    """Return the loudness in dB of the loud passages of a stem (n, 2). Silence gives -inf.

    The loudness is the 90th percentile of the mean power of blocks of 8,192 frames. Silent blocks are ignored.
    """
    blocks = stem[: len(stem) // 8192 * 8192].reshape(-1, 8192 * 2)
    power = np.einsum("bi,bi->b", blocks, blocks) / (8192 * 2) if len(blocks) else np.mean(stem**2, keepdims=True)
    power = power[power > 1e-9]
    return float(10 * np.log10(np.quantile(power, 0.9))) if len(power) else -np.inf


def balance_stems(stems: Float32Array, settings: MixSettings) -> None:
    """Balance stems of shape (4, n, 2) in place, so that their sum is the mix.

    After the reverberation, the same gain curve is applied to all stems, so their sum remains the mix.
    """
    delays = np.round(_DELAYS * (0.7 + 0.45 * settings.room_s)).astype(np.int64)
    feedback = 10 ** (-3 * delays / (settings.room_s * SAMPLE_RATE))
    for number, stem in enumerate(stems):
        loudness = measure_loudness(stem)
        if loudness == -np.inf:
            continue
        stems[number] *= np.float32(10 ** ((settings.stem_db[number] - loudness) / 20))
        if settings.reverb_level[number] == 0:
            continue
        reverb_input = np.float32(0.5 * settings.reverb_level[number]) * (stem[:, 0] + stem[:, 1])
        reverberate(reverb_input, delays, feedback, settings.damping, stem)
    _limit(stems, settings)


def _limit(stems: Float32Array, settings: MixSettings) -> None:
    mix = stems[0] + stems[1]
    for stem in stems[2:]:
        mix += stem
    loudness = measure_loudness(mix)
    if loudness == -np.inf:
        return
    peaks = measure_peaks(stems, _BLOCK)
    gain = min(10 ** ((settings.level_db - loudness) / 20), _MAX_LIMITING * CEILING / float(peaks.max()))
    limiter_gain = compute_limiter_gain(peaks * gain, CEILING, 0.8, 1.004)
    gain_curve = gain * limiter_gain * _fade_gain(len(peaks), settings.fade_out_s)
    for stem in stems:
        apply_gain(stem, gain_curve, _BLOCK)


def _fade_gain(blocks: int, fade_out_s: float) -> Float64Array:
    """Return the gain at block edges, shape (blocks + 1,).

    It contains an accelerating fade-out if ``fade_out_s`` is not 0, and always a short final fade that prevents clicks.
    """
    remaining_s = np.arange(blocks, -1, -1) * (_BLOCK / SAMPLE_RATE)
    gain: Float64Array = np.minimum(remaining_s / _FINAL_FADE_S, 1.0)
    if fade_out_s:
        gain *= 10 ** (-40 / 20 * np.clip(1 - remaining_s / fade_out_s, 0.0, 1.0) ** 1.6)
    return gain
