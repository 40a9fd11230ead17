"""The features of one signal as anybody would write them with librosa: what tests and benchmarks hold ours against."""

import warnings
from typing import Any

import librosa
import numpy as np

SAMPLE_RATE = 22_050


def measure_gtzan(signal: Any) -> dict[str, float]:
    """Columns of the published GTZAN table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of signals shorter than a frame
        harmony, perceptr = librosa.effects.hpss(signal)
        tempo, _ = librosa.beat.beat_track(y=signal, sr=SAMPLE_RATE)
        features = {
            "chroma_stft": librosa.feature.chroma_stft(y=signal, sr=SAMPLE_RATE),
            "rms": librosa.feature.rms(y=signal),
            "spectral_centroid": librosa.feature.spectral_centroid(y=signal, sr=SAMPLE_RATE),
            "spectral_bandwidth": librosa.feature.spectral_bandwidth(y=signal, sr=SAMPLE_RATE),
            "rolloff": librosa.feature.spectral_rolloff(y=signal, sr=SAMPLE_RATE),
            "zero_crossing_rate": librosa.feature.zero_crossing_rate(signal),
            "harmony": harmony,
            "perceptr": perceptr,
            **_numbered("mfcc", librosa.feature.mfcc(y=signal, sr=SAMPLE_RATE, n_mfcc=20)),
        }
    return {**_summarise(features), "tempo": float(np.squeeze(tempo))}


def measure_more(signal: Any) -> dict[str, float]:
    """The columns that we add to them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chroma = librosa.feature.chroma_stft(y=signal, sr=SAMPLE_RATE)
        decibels = librosa.power_to_db(librosa.feature.melspectrogram(y=signal, sr=SAMPLE_RATE))
        return _summarise(
            {
                "spectral_flatness": librosa.feature.spectral_flatness(y=signal),
                **_numbered("spectral_contrast", librosa.feature.spectral_contrast(y=signal, sr=SAMPLE_RATE)),
                "spectral_flux": librosa.onset.onset_strength(S=decibels, sr=SAMPLE_RATE, center=False),
                **_numbered("tonnetz", librosa.feature.tonnetz(chroma=chroma)),
            }
        )


def _numbered(name: str, rows: Any) -> dict[str, Any]:
    return {f"{name}{n + 1}": row for n, row in enumerate(rows)}


def _summarise(features: dict[str, Any]) -> dict[str, float]:
    kinds = (("mean", np.mean), ("var", np.var))
    return {f"{name}_{kind}": float(f(values)) for name, values in features.items() for kind, f in kinds}
