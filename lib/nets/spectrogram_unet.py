"""A compact separator of stems: a convolutional U-Net over the complex spectrogram.

The input is the compressed complex spectrogram of both channels, with the frequencies folded into four bands. Each
block has two 3 × 3 convolutions and, between them, a bottleneck over the whole frequency axis (Choi et al. 2021,
"KUIELab-MDX-Net"). The output is a complex mask for each stem and channel, applied to the spectrogram of the mixture.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

N_FFT, HOP = 4096, 1024
N_BINS = N_FFT // 2
"""Number of frequencies that are read and written. The one at half the sample rate is zero."""

_BANDS = 4
_COMPRESSION = 0.5
_SMALL = 1e-8
CHANNELS = (32, 64, 112, 144, 176)
SAMPLE_RATE = 44_100
SEGMENT_S = Fraction(512 * HOP, SAMPLE_RATE)


def make_spectrogram_unet(  # noqa: C901 - the classes need torch, which is imported here
    sources: Sequence[str], channels: Sequence[int], samplerate: int = SAMPLE_RATE, segment: Fraction = SEGMENT_S
) -> Any:
    """Return the network as a torch module that maps (batch, 2, n) to (batch, stems, 2, n).

    Parameters
    ----------
    sources
        Names of the stems.
    channels
        Channels of each level. The time and frequency axes are halved from level to level.
    segment
        Length in s of the segments in which a track is to be separated.
    """
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, n_in: int, n_out: int, n_frequencies: int) -> None:
            super().__init__()
            self.first = _convolve(n_in, n_out)
            narrow = max(n_frequencies // 8, 4)
            self.across = nn.Sequential(
                nn.Linear(n_frequencies, narrow, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
                nn.Linear(narrow, n_frequencies, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
            )
            self.second = _convolve(n_out, n_out)

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            x = x + self.across(x)
            return x + self.second(x)

    def _convolve(n_in: int, n_out: int) -> Any:
        return nn.Sequential(nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU())

    def _overlap_add(frames: Any) -> Any:
        """Add frames (…, frames, N_FFT) at distances of a hop, which divides the length of a frame."""
        overlap = N_FFT // HOP
        n_frames = frames.shape[-2]
        out = frames.new_zeros(*frames.shape[:-2], n_frames + overlap - 1, HOP)
        for part in range(overlap):
            out[..., part : part + n_frames, :] += frames[..., part * HOP : (part + 1) * HOP]
        return out.flatten(-2)

    class SpectrogramUNet(nn.Module):
        window: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.sources = list(sources)
            self.samplerate = samplerate
            self.audio_channels = 2
            self.segment = segment
            self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
            n_folded, n_frequencies = 4 * _BANDS, N_BINS // _BANDS
            self.scale = nn.Parameter(torch.ones(N_BINS), requires_grad=False)
            self.read = nn.Conv2d(n_folded, channels[0], 1)
            self.encoder, self.down = nn.ModuleList(), nn.ModuleList()
            for n, n_next in pairwise(channels):
                self.encoder.append(Block(n, n, n_frequencies))
                self.down.append(nn.Conv2d(n, n_next, 2, 2))
                n_frequencies //= 2
            self.middle = nn.Sequential(*(Block(channels[-1], channels[-1], n_frequencies) for _ in range(2)))
            self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
            for n, n_next in pairwise(reversed(channels)):
                n_frequencies *= 2
                self.up.append(nn.ConvTranspose2d(n, n_next, 2, 2))
                self.decoder.append(Block(2 * n_next, n_next, n_frequencies))
            self.write = nn.Conv2d(channels[0], len(sources) * n_folded, 1)
            self.to(memory_format=torch.channels_last)  # faster on a CPU

        def transform(self, audio: Any) -> Any:
            """Return the spectrogram (…, frames, N_BINS), complex, of audio (…, n): a frame for each hop."""
            lead = (N_FFT - HOP) // 2
            n_frames = -(-audio.shape[-1] // HOP)
            right = lead + n_frames * HOP - audio.shape[-1]
            flat = nn.functional.pad(audio.reshape(-1, audio.shape[-1]), (lead, right))
            frames = flat.unfold(-1, N_FFT, HOP) * self.window
            spectrum = torch.fft.rfft(frames)[..., :N_BINS]
            return spectrum.reshape(*audio.shape[:-1], n_frames, N_BINS)

        def invert(self, spectrum: Any, n: int) -> Any:
            """Return the audio (…, n) of a spectrogram (…, frames, N_BINS), by overlap and add."""
            lead, n_frames = (N_FFT - HOP) // 2, spectrum.shape[-2]
            frames = torch.fft.irfft(nn.functional.pad(spectrum, (0, 1)), N_FFT) * self.window
            squares = (self.window**2).expand(n_frames, N_FFT)
            added = _overlap_add(frames) / _overlap_add(squares).clamp(min=_SMALL)
            return added[..., lead : lead + n]

        def compute_masks(self, spectrum: Any) -> Any:
            """Return complex masks (batch, stems, 2, frames, N_BINS) for a spectrogram (batch, 2, frames, N_BINS)."""
            n_frames = spectrum.shape[2]
            multiple = 2 ** (len(channels) - 1)
            spectrum = nn.functional.pad(spectrum, (0, 0, 0, -n_frames % multiple))
            batch, _, padded, _ = spectrum.shape
            magnitude = (spectrum.real**2 + spectrum.imag**2 + _SMALL) ** ((_COMPRESSION - 1) / 2)
            magnitude = magnitude * self.scale
            planes = torch.stack([spectrum.real * magnitude, spectrum.imag * magnitude], dim=2)
            x = planes.reshape(batch, 4, padded, _BANDS, N_BINS // _BANDS).transpose(2, 3)
            x = x.reshape(batch, 4 * _BANDS, padded, N_BINS // _BANDS)
            x = self.read(x)
            kept = []
            for block, down in zip(self.encoder, self.down, strict=True):
                x = block(x)
                kept.append(x)
                x = down(x)
            x = self.middle(x)
            for up, block in zip(self.up, self.decoder, strict=True):
                x = block(torch.cat([up(x), kept.pop()], dim=1))
            x = self.write(x).float()
            x = x.reshape(batch, len(self.sources), 2, 2, _BANDS, padded, N_BINS // _BANDS)[..., :n_frames, :]
            x = x.transpose(4, 5).reshape(batch, len(self.sources), 2, 2, n_frames, N_BINS)
            return torch.complex(x[:, :, :, 0], x[:, :, :, 1])

        def forward(self, mix: Any) -> Any:
            spectrum = self.transform(mix)
            return self.invert(self.compute_masks(spectrum) * spectrum[:, None], mix.shape[-1])

    return SpectrogramUNet()
