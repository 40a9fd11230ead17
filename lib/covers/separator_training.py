"""Training of the small separator of the package on rendered multitracks, in torch."""

import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise.lib.covers.multitracks import render_multitrack
from reprise.lib.covers.scores import Score, read_composition, read_pop909
from reprise.lib.music import sample
from reprise.lib.music.render.soundfont_player import SoundfontPlayer
from reprise.lib.music.render.tones import SAMPLE_RATE
from reprise.lib.nets.separators import STEMS
from reprise.lib.nets.spectrogram_unet import CHANNELS, HOP, make_spectrogram_unet
from reprise.lib.nets.training import History, Schedule, train

_FULL_SCALE = 16_384  # of a sample in the bank: peaks up to 2 fit
_PLAN = sample.SamplePlan(100_000, seed=19)
_VALIDATION_SEED = 1_000_000
_LIMITER_BLOCK, _LIMITER_REACH = 64, 8  # samples, and blocks on each side over which the gain is smoothed


@dataclass(frozen=True)
class Material:
    """What multitracks are made of.

    Attributes
    ----------
    songs
        MIDI files of POP909. The other scores are composed.
    soundfonts
        General MIDI soundfonts.
    drum_soundfonts
        Soundfonts whose program 0 is a drum kit.
    excerpt_s
        Length of a multitrack.
    song_share
        Share of the multitracks whose scores are songs of POP909, if there are any.
    """

    songs: tuple[Path, ...]
    soundfonts: tuple[str, ...]
    drum_soundfonts: tuple[str, ...] = ()
    excerpt_s: float = 40.0
    song_share: float = 0.5


@dataclass(frozen=True)
class BankPlan:
    """Numbers of multitracks: before the first step, added at each step, held at once; processes that render."""

    first: int
    each_step: float
    capacity: int
    workers: int

    def count(self, step: int) -> int:
        """Return the number of multitracks that have been rendered at a step."""
        return self.first + int(step * self.each_step)


def draw_score(material: Material, rng: np.random.Generator) -> Score:
    """Draw a song, its key and tempo, and an excerpt of it."""
    if material.songs and rng.random() < material.song_share:
        score = read_pop909(material.songs[int(rng.integers(len(material.songs)))], rng)
    else:
        score = read_composition(sample.compose(_PLAN, int(rng.integers(_PLAN.n_tracks))))
    score = score.transpose(int(rng.integers(-5, 6))).change_tempo(float(np.exp(rng.uniform(-0.25, 0.25))))
    start_s = rng.uniform(0, max(score.duration_s - material.excerpt_s, 0.01))
    return score.cut(start_s, material.excerpt_s)


_players: dict[str, SoundfontPlayer] = {}


def render_item(material: Material, seed: int) -> NDArray[np.int16]:
    """Render the multitrack with a number: int16 (stems, 2, frames)."""
    for path in (*material.soundfonts, *material.drum_soundfonts):
        if path not in _players:
            _players[path] = SoundfontPlayer(path)
    rng = np.random.default_rng([19, seed])
    players = [_players[path] for path in material.soundfonts]
    kits = [_players[path] for path in material.drum_soundfonts]
    stems = render_multitrack(draw_score(material, rng), players, kits, rng)
    frames = round(material.excerpt_s * SAMPLE_RATE)
    out = np.zeros((len(STEMS), 2, frames), dtype=np.int16)
    scaled = np.clip(stems * _FULL_SCALE, -32_768, 32_767).transpose(0, 2, 1)
    out[:, :, : scaled.shape[2]] = scaled[:, :, :frames]
    return out


class StemBank:
    """The newest multitracks, on the device. Others are rendered meanwhile by further processes.

    Which multitracks it holds depends on the number of the step only.
    """

    def __init__(self, material: Material, plan: BankPlan, device: str, first_step: int = 1) -> None:
        import torch

        self.material, self.plan, self.device = material, plan, device
        frames = round(material.excerpt_s * SAMPLE_RATE)
        self.stems = torch.zeros((plan.capacity, len(STEMS), 2, frames), dtype=torch.int16, device=device)
        # forked workers would inherit torch's threads
        self._pool = ProcessPoolExecutor(plan.workers, mp_context=get_context("spawn"))
        self._done = max(plan.count(first_step) - plan.capacity, 0)
        self._numbers = itertools.count(self._done)
        self._pending: list[Future[NDArray[np.int16]]] = []
        self.advance(first_step)

    def advance(self, step: int) -> None:
        """Add the multitracks that belong to a step. Wait for them if necessary."""
        import torch

        while self._done < self.plan.count(step):
            while len(self._pending) < 4 * self.plan.workers:
                self._pending.append(self._pool.submit(render_item, self.material, next(self._numbers)))
            item = self._pending.pop(0).result()
            self.stems[self._done % self.plan.capacity] = torch.from_numpy(item).to(self.device)
            self._done += 1

    def __len__(self) -> int:
        return min(self._done, self.plan.capacity)

    def draw(self, batch: int, frames: int, rng: np.random.Generator) -> Any:
        """Draw a batch of stems, float32 (batch, stems, 2, frames). In half of it each stem is of another song."""
        import torch

        n_stems, length = len(STEMS), self.stems.shape[-1]
        song = rng.integers(len(self), size=(batch, n_stems))
        start = rng.integers(length - frames, size=(batch, n_stems))
        together = rng.random(batch) < 0.5
        song[together] = song[together, :1]
        start[together] = start[together, :1]
        out = torch.empty((batch, n_stems, 2, frames), dtype=torch.float32, device=self.device)
        for row in range(batch):
            for stem in range(n_stems):
                at = int(start[row, stem])
                out[row, stem] = self.stems[int(song[row, stem]), stem, :, at : at + frames]
        return out / _FULL_SCALE

    def close(self) -> None:
        """Stop rendering."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def augment(stems: Any, rng: np.random.Generator) -> Any:
    """Return stems (batch, stems, 2, n) as another mixing desk might have made them; their sum is the mixture.

    Speed, equaliser, reverberation, pan and gain of each stem; equaliser and limiter of the mixture.
    """
    import torch

    batch, n_stems, _, n = stems.shape
    device = stems.device

    def uniform(low: float, high: float, *shape: int) -> Any:
        return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32)).to(device)

    def chance(share: float, *shape: int) -> Any:
        return torch.from_numpy((rng.random(shape) < share).astype(np.float32)).to(device)

    flat = stems.reshape(batch * n_stems, 2, n)
    flat = _change_speed(flat, uniform(0.88, 1.0, batch * n_stems) ** chance(0.4, batch * n_stems))
    spectrum = torch.fft.rfft(flat, 2 * n)
    curve = _draw_equaliser(uniform, (batch * n_stems,), n, 5.0)
    room = _draw_rooms(uniform, rng, batch * n_stems, n, device)
    # a bass is rarely reverberated
    is_wet = chance(0.5, batch, n_stems) * torch.tensor([1.0, 0.2, 1.0, 1.0], device=device)
    wet = (10 ** (uniform(-26, -6, batch, n_stems) / 20) * is_wet).reshape(-1, 1, 1)
    dry_and_wet = spectrum * curve[:, None] * (1 + wet * room)
    flat = torch.fft.irfft(dry_and_wet, 2 * n)[..., :n]
    swap = chance(0.5, batch * n_stems)[:, None, None]
    flat = swap * flat.flip(1) + (1 - swap) * flat
    middle = flat.mean(1, keepdim=True)
    width = (uniform(0, 1.3, batch * n_stems) ** chance(0.5, batch * n_stems))[:, None, None]
    flat = middle + width * (flat - middle)
    pan = uniform(-0.5, 0.5, batch * n_stems) * chance(0.3, batch * n_stems)
    flat = flat * torch.stack([1 - pan, 1 + pan], 1)[..., None]
    gain = 10 ** (uniform(-8, 5, batch, n_stems) / 20) * (1 - chance(0.08, batch, n_stems))
    sign = 1 - 2 * chance(0.5, batch, n_stems)
    out = flat.reshape(stems.shape) * (gain * sign)[..., None, None]
    master = _draw_equaliser(uniform, (batch,), n, 3.0) * _draw_cut(uniform, chance, batch, n)
    out = torch.fft.irfft(torch.fft.rfft(out, 2 * n) * master[:, None, None], 2 * n)[..., :n]
    return _limit(out, uniform, chance)


def _change_speed(flat: Any, speed: Any) -> Any:
    """Play each signal (k, 2, n) at a speed up to 1, by linear interpolation."""
    import torch

    n = flat.shape[-1]
    at = torch.arange(n, device=flat.device)[None] * speed[:, None]
    low = at.floor().long().clamp(max=n - 2)
    share = (at - low)[:, None]
    index = low[:, None].expand(-1, 2, -1)
    return flat.gather(2, index) * (1 - share) + flat.gather(2, index + 1) * share


def _octaves(n: int, device: Any) -> Any:
    """Return the frequencies of the spectrum of 2 n samples in octaves above 20 Hz, (n + 1,)."""
    import torch

    hz = torch.arange(n + 1, device=device) * (SAMPLE_RATE / (2 * n))
    return torch.log2(hz.clamp(min=20.0) / 20.0)


def _draw_equaliser(uniform: Callable[..., Any], shape: tuple[int, ...], n: int, spread_db: float) -> Any:
    """Return gains (*shape, n + 1): a tilt and three bells in octaves."""
    import torch

    tilt = uniform(-0.2 * spread_db, 0.2 * spread_db, *shape, 1)
    octave = _octaves(n, tilt.device)
    level = tilt * (octave - 5)
    for _ in range(3):
        centre, width = uniform(0.5, 9.5, *shape, 1), uniform(0.4, 1.5, *shape, 1)
        level = level + uniform(-spread_db, spread_db, *shape, 1) * torch.exp(-(((octave - centre) / width) ** 2))
    return 10 ** (level / 20)


def _draw_cut(uniform: Callable[..., Any], chance: Callable[..., Any], batch: int, n: int) -> Any:
    """Return gains (batch, n + 1) of a steep low-pass, as of lossy compression, for some of the batch."""
    octave = uniform(8.2, 9.8, batch, 1)
    is_cut = chance(0.2, batch, 1)
    return 1 - is_cut * (_octaves(n, octave.device) > octave)


def _draw_rooms(uniform: Callable[..., Any], rng: np.random.Generator, k: int, n: int, device: Any) -> Any:
    """Return spectra (k, 2, n + 1) of the impulse responses of rooms: noise that decays, after a short delay."""
    import torch

    length = min(n, 2 * SAMPLE_RATE)
    seconds = torch.arange(length, device=device) / SAMPLE_RATE
    generator = torch.Generator(device=device).manual_seed(int(rng.integers(2**31)))
    noise = torch.randn((k, 2, length), generator=generator, device=device)
    decay = (6.9 / uniform(0.15, 2.2, k, 1, 1)) * seconds
    delay = uniform(0, 0.04, k, 1, 1)
    noise = noise * torch.exp(-decay) * (seconds > delay)
    noise = noise / noise.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-6)
    damping = 1 / (1 + 2 ** (_octaves(n, device) - uniform(7.0, 9.5, k, 1, 1)))
    return torch.fft.rfft(noise, 2 * n) * damping


def _limit(stems: Any, uniform: Callable[..., Any], chance: Callable[..., Any]) -> Any:
    """Limit some mixtures by one gain curve for all their stems, so that the stems still add up to the mixture."""
    from torch.nn import functional

    n = stems.shape[-1]
    mix = stems.sum(1)
    ceiling = mix.std(dim=(1, 2))[:, None] * uniform(2.0, 5.0, len(stems), 1)
    blocks = functional.pad(mix.abs().amax(1), (0, -n % _LIMITER_BLOCK)).reshape(len(stems), -1, _LIMITER_BLOCK)
    wanted = (ceiling / blocks.amax(-1).clamp(min=1e-6)).clamp(max=1)
    # the mean of a minimum over a wider window never exceeds what is wanted, and changes slowly
    width = 2 * _LIMITER_REACH + 1
    lowest = -functional.max_pool1d(-wanted[:, None], width + 2, 1, _LIMITER_REACH + 1)
    curve = functional.avg_pool1d(lowest, width, 1, _LIMITER_REACH, count_include_pad=False)
    curve = functional.interpolate(curve, scale_factor=_LIMITER_BLOCK, mode="linear")[..., :n]
    is_limited = chance(0.5, len(stems), 1, 1)
    return stems * (is_limited * curve + (1 - is_limited))[:, None]


def compute_loss(network: Any, stems: Any, rng: np.random.Generator) -> Any:
    """Return the mean absolute error of the stems, of their samples and of their spectra at two resolutions.

    The mixture is scaled to a deviation of about 1; the level of an excerpt differs from that of its track.
    """
    import torch

    mix = stems.sum(1)
    level = mix.std(dim=(1, 2)).clamp(min=1e-3)
    jitter = torch.from_numpy(10 ** (rng.uniform(-6, 6, len(stems)) / 20)).to(mix.device, torch.float32)
    scale = (1 / (level * jitter))[:, None, None]
    estimate = network(mix * scale)
    error = (estimate - stems * scale[:, None]) * jitter[:, None, None, None]
    loss = error.abs().mean()
    flat = error.flatten(0, 2)
    for size in (2048, 512):
        window = torch.hann_window(size, device=mix.device)
        spectrum = torch.stft(flat, size, size // 4, window=window, return_complex=True, normalized=True)
        loss = loss + 0.5 * torch.view_as_real(spectrum).abs().mean()
    return loss


def measure_sdr(estimate: Any, truth: Any) -> Any:
    """Return 10·log10 of signal over error in dB for stems (…, 2, n): (…,). NaN where the truth is silent."""
    import torch

    signal = truth.square().sum((-1, -2))
    error = (truth - estimate).square().sum((-1, -2))
    return torch.where(signal > 1e-3, 10 * torch.log10(signal / error.clamp(min=1e-9)), torch.nan)


def set_scale(network: Any, stems: Any) -> None:
    """Set the scale of each frequency of the network's input from stems (batch, stems, 2, n)."""
    import torch

    with torch.inference_mode():
        mix = stems.sum(1)
        mix = mix / mix.std(dim=(1, 2), keepdim=True).clamp(min=1e-3)
        magnitude = network.transform(mix).abs().sqrt().mean(dim=(0, 1, 2))
        # frequencies without sound keep a finite scale
        network.scale.data = 1 / magnitude.clamp(min=0.05 * float(magnitude.mean())).clone()


def train_separator(
    material: Material,
    plan: BankPlan,
    schedule: Schedule,
    device: str,
    *,
    batch: int,
    segment_frames: int = 256,
    checkpoint: Path | None = None,
    n_validation: int = 24,
    initial: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = print,
) -> tuple[dict[str, Any], History]:
    """Train the network of `spectrogram_unet` on multitracks. Return its state and the history.

    Parameters
    ----------
    batch
        Number of mixtures in a step.
    segment_frames
        Length of a mixture in hops of the network.
    n_validation
        Number of multitracks that only validate. They are rendered with the same soundfonts and not augmented. The
        score is the mean over the stems of the median SDR in dB.
    initial
        State of a trained network to start from.
    """
    import torch

    torch.manual_seed(schedule.seed)
    network = make_spectrogram_unet(STEMS, CHANNELS).to(device)
    first_step = 1
    if checkpoint is not None and checkpoint.exists():
        first_step = int(torch.load(checkpoint, map_location="cpu", weights_only=True)["step"]) + 1
    bank = StemBank(material, plan, device, first_step)
    report(f"{len(bank)} multitracks")
    held_out = _render_validation(material, n_validation, plan.workers, device)
    n = segment_frames * HOP
    if initial is not None:
        network.load_state_dict(initial)
    else:
        set_scale(network, bank.draw(min(len(bank), 32), n, np.random.default_rng([schedule.seed, 0])))

    def loss_at(network: Any, step: int) -> Any:
        bank.advance(step)
        rng = np.random.default_rng([schedule.seed, step])
        with torch.no_grad(), torch.autocast(device.partition(":")[0], enabled=False):
            stems = augment(bank.draw(batch, n, rng), rng)
        return compute_loss(network, stems, rng)

    def validate(network: Any) -> float:
        scores = []
        for stems in held_out:
            mix = stems.sum(0)
            scale = mix.std().clamp(min=1e-4)
            estimate = network((mix / scale)[None])[0] * scale
            scores.append(measure_sdr(estimate, stems))
        by_stem = torch.nanmedian(torch.stack(scores), dim=0).values.cpu().numpy()
        report("SDR " + ", ".join(f"{name} {value:.2f}" for name, value in zip(STEMS, by_stem, strict=True)))
        return float(np.nanmean(by_stem))

    try:
        return train(network, loss_at, validate, schedule, device, checkpoint, report)
    finally:
        bank.close()


def _render_validation(material: Material, n: int, workers: int, device: str) -> list[Any]:
    """Render multitracks that do not train, 16 s of each: float32 (stems, 2, frames)."""
    import torch

    frames = 16 * SAMPLE_RATE
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        items = pool.map(render_item, itertools.repeat(material), range(_VALIDATION_SEED, _VALIDATION_SEED + n))
        return [torch.from_numpy(one[:, :, :frames] / np.float32(_FULL_SCALE)).to(device) for one in items]
