"""Decoding compared with librosa and with the encoded signal, and decoding of damaged files."""

import struct
from collections.abc import Callable
from pathlib import Path

import av
import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile

from reprise.lib.arrays import Float32Array
from reprise.lib.audio import SAMPLE_RATE, decoding
from reprise.lib.audio.decoders import stereo_gains
from reprise.lib.audio.decoding import DecodedAudio, decode
from reprise.lib.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:'(aifc|audioop|sunau)' is deprecated")  # librosa's readers

RATE = 44_100
FORMATS = ["wav", "aiff", "flac", "ogg", "opus", "mp3", "m4a", "alac.m4a", "aac"]


def make_sound(seconds: float, rate: int = RATE, channels: int = 2) -> Float32Array:
    """A different sweep with a little noise in each channel, below 8 kHz or a third of the rate."""
    t = np.arange(round(seconds * rate)) / rate
    top = min(8_000, rate / 3)
    sweeps = [0.3 * np.sin(2 * np.pi * (200 + 50 * c + (top - 300) * t / (2 * seconds)) * t) for c in range(channels)]
    noise = 0.01 * np.random.default_rng(7).standard_normal((len(t), channels))
    return (np.stack(sweeps, axis=1) + noise).astype(np.float32)


def encode(path: Path, codec: str, container: str, signal: Float32Array, **options: str) -> Path:
    """Write ``signal``, mono or stereo, with FFmpeg."""
    layout = "stereo" if signal.shape[1] == 2 else "mono"
    with av.open(path, "w", format=container, options=options) as out:
        stream = out.add_stream(codec, rate=RATE, layout=layout)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(signal.T), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = RATE, 0
        resampler = av.AudioResampler(stream.format, layout, RATE, frame_size=stream.codec_context.frame_size)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            out.mux(stream.encode(part))
    return path


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three seconds in each format."""
    folder = tmp_path_factory.mktemp("clips")
    signal = make_sound(3.0)
    paths = {name: folder / f"clip.{name}" for name in FORMATS}
    for name in ("wav", "aiff", "flac", "ogg", "mp3"):
        soundfile.write(paths[name], signal, RATE)
    soundfile.write(paths["opus"], make_sound(3.0, 48_000), 48_000, format="OGG", subtype="OPUS")
    encode(paths["m4a"], "aac", "ipod", signal, movflags="faststart")
    encode(paths["alac.m4a"], "alac", "ipod", signal)
    encode(paths["aac"], "aac", "adts", signal)
    paths["bare.mp3"] = encode(folder / "bare.mp3", "libmp3lame", "mp3", signal, write_xing="0")
    return paths


def decode_file(path: Path, folder: Path) -> tuple[DecodedAudio, Float32Array]:
    facts = decode(path, folder / "signal.f32")
    return facts, np.fromfile(folder / "signal.f32", np.float32)


def decode_stereo(path: Path, folder: Path, sample_rate: int = RATE) -> tuple[DecodedAudio, Float32Array]:
    facts = decode(path, folder / "stereo.f32", sample_rate=sample_rate, channel_count=2)
    return facts, np.fromfile(folder / "stereo.f32", np.float32).reshape(-1, 2)


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate", "channels"),
    [
        *(("wav", "PCM_U8", 8_000, 1), ("wav", "PCM_16", 22_050, 2), ("wav", "PCM_24", 192_000, 6)),
        *(("wav", "FLOAT", 44_100, 2), ("wav", "DOUBLE", 11_025, 1), ("wav", "MS_ADPCM", 44_100, 2)),
        *(("flac", "PCM_16", 44_100, 2), ("flac", "PCM_24", 96_000, 3), ("flac", "PCM_16", 32_000, 1)),
        *(("ogg", "VORBIS", 44_100, 2), ("ogg", "OPUS", 48_000, 2), ("ogg", "OPUS", 24_000, 1)),
        *(
            ("aiff", "PCM_24", 44_100, 2),
            ("aiff", "FLOAT", 44_099, 1),
            ("mp3", None, 44_100, 2),
            ("mp3", None, 16_000, 1),
        ),
    ],
)
def test_samples_equal_librosa(tmp_path: Path, suffix: str, subtype: str | None, rate: int, channels: int) -> None:
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, make_sound(4.7, rate, channels), rate, subtype=subtype)
    facts, signal = decode_file(path, tmp_path)
    expected, _ = librosa.load(path)
    assert signal.shape == expected.shape
    np.testing.assert_allclose(signal, expected, rtol=0, atol=1e-6)
    assert (facts.sample_rate, facts.channel_count, facts.length_status) == (rate, channels, "ok")
    assert facts.duration_s == pytest.approx(soundfile.info(path).duration, abs=1e-9)
    assert facts.declared_duration_s == pytest.approx(facts.duration_s, abs=0.05)


def test_samples_of_a_real_recording_equal_librosa(shared_data: Path, tmp_path: Path) -> None:
    path = min((shared_data / "audio").glob("*.ogg"), key=lambda p: p.stat().st_size)
    facts, signal = decode_file(path, tmp_path)
    np.testing.assert_allclose(signal, librosa.load(path)[0], rtol=0, atol=1e-6)
    assert (facts.codec, facts.length_status) == ("vorbis", "ok")


@pytest.mark.parametrize("name", [*FORMATS, "bare.mp3"])
def test_decoded_signal_equals_the_encoded_signal(clips: dict[str, Path], tmp_path: Path, name: str) -> None:
    facts, signal = decode_file(clips[name], tmp_path)
    # these files have no header that declares the encoder delay in samples
    delay = {"aac": 1024, "bare.mp3": 1105}.get(name, 0)
    expected = scipy.signal.resample_poly(np.r_[np.zeros(delay), make_sound(3.0).mean(axis=1)], 1, 2)
    assert len(signal) == pytest.approx(len(expected), abs=0.1 * SAMPLE_RATE)
    lags = np.arange(-200, 201)
    middle = slice(SAMPLE_RATE // 2, 2 * SAMPLE_RATE)
    shifted = [signal[middle.start + lag : middle.stop + lag] for lag in lags]
    best = int(np.argmax([np.dot(one, expected[middle]) for one in shifted]))
    assert abs(lags[best]) <= 1
    assert np.corrcoef(shifted[best], expected[middle])[0, 1] > 0.98
    assert np.std(shifted[best]) == pytest.approx(np.std(expected[middle]), rel=0.1)  # LAME lowers the level slightly
    codecs = {"wav": "pcm_16", "aiff": "pcm_16", "ogg": "vorbis", "m4a": "aac", "alac.m4a": "alac", "bare.mp3": "mp3"}
    assert facts.codec == codecs.get(name, name)


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate", "channels"),
    [
        *(("wav", "PCM_16", 8_000, 1), ("wav", "FLOAT", 44_100, 2), ("wav", "PCM_24", 96_000, 2)),
        *(("flac", "PCM_16", 44_100, 1), ("flac", "PCM_24", 192_000, 2), ("aiff", "FLOAT", 44_099, 2)),
        *(("ogg", "VORBIS", 44_100, 2), ("ogg", "OPUS", 48_000, 2), ("mp3", None, 44_100, 2)),
    ],
)
def test_stereo_samples_equal_librosa(
    tmp_path: Path, suffix: str, subtype: str | None, rate: int, channels: int
) -> None:
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, make_sound(4.7, rate, channels), rate, subtype=subtype)
    facts, signal = decode_stereo(path, tmp_path)
    expected, _ = librosa.load(path, sr=RATE, mono=False)
    np.testing.assert_allclose(signal.T, np.broadcast_to(expected, (2, len(signal))), rtol=0, atol=1e-6)
    assert (facts.sample_rate, facts.channel_count, facts.length_status) == (rate, channels, "ok")


@pytest.mark.parametrize("name", [*FORMATS, "bare.mp3"])
@pytest.mark.parametrize("sample_rate", [RATE, SAMPLE_RATE])
def test_mean_of_the_stereo_channels_is_the_mono_signal(
    clips: dict[str, Path], tmp_path: Path, name: str, sample_rate: int
) -> None:
    """Also for the formats that FFmpeg decodes. Each channel is its own, and in its place."""
    facts, signal = decode_stereo(clips[name], tmp_path, sample_rate)
    assert facts == decode(clips[name], tmp_path / "mono.f32", sample_rate=sample_rate)
    np.testing.assert_allclose(signal.mean(axis=1), np.fromfile(tmp_path / "mono.f32", np.float32), rtol=0, atol=1e-6)
    # the right channel's sweep begins 50 Hz above the left's
    spectra = np.abs(np.fft.rfft(signal[: sample_rate // 4] * np.hanning(sample_rate // 4)[:, None], axis=0))
    assert spectra[:, 1].argmax() > spectra[:, 0].argmax()


def test_mono_becomes_two_equal_channels(tmp_path: Path) -> None:
    sound = make_sound(2.0, channels=1)
    soundfile.write(tmp_path / "mono.wav", sound, RATE, subtype="FLOAT")
    signal = decode_stereo(tmp_path / "mono.wav", tmp_path)[1]
    np.testing.assert_array_equal(signal, np.repeat(sound, 2, axis=1))
    signal = decode_stereo(encode(tmp_path / "mono.m4a", "alac", "ipod", sound), tmp_path)[1]
    np.testing.assert_array_equal(signal[:, 0], signal[:, 1])
    np.testing.assert_allclose(signal[:, 0], sound[:, 0], rtol=0, atol=1e-4)


SURROUND = {
    "5.1.flac": ("FLAC", "PCM_24", 6, True),
    "5.1.wav": ("WAVEX", "PCM_24", 6, True),
    "5.1.ogg": ("OGG", "VORBIS", 6, True),
    "3.0.flac": ("FLAC", "PCM_16", 3, True),
    "7.1.flac": ("FLAC", "PCM_16", 8, True),
    "unknown.wav": ("WAV", "FLOAT", 6, False),
}


@pytest.mark.parametrize("name", SURROUND)
def test_downmix_to_stereo(tmp_path: Path, name: str) -> None:
    container, subtype, channels, is_known = SURROUND[name]
    sound = make_sound(2.0, channels=channels)
    soundfile.write(tmp_path / name, sound, RATE, format=container, subtype=subtype)
    facts, signal = decode_stereo(tmp_path / name, tmp_path)
    assert (facts.channel_count, facts.length_status, len(signal)) == (channels, "ok", len(sound))
    expected = np.repeat(sound.mean(axis=1, keepdims=True), 2, axis=1)
    if is_known:
        with av.open(tmp_path / name) as opened:
            mixer = av.AudioResampler("flt", "stereo", RATE)
            parts = [part.to_ndarray() for frame in opened.decode(audio=0) for part in mixer.resample(frame)]
        # FFmpeg's gains add up to more than 1: two sides and half the power of each other channel
        expected = np.concatenate(parts, axis=1).reshape(-1, 2) / (1 + 0.5**0.5 * {3: 1, 6: 2, 8: 3}[channels])
    np.testing.assert_allclose(signal, expected, rtol=0, atol=1e-5)
    assert np.std(signal[:, 0] - signal[:, 1]) > 0.05 if is_known else (signal[:, 0] == signal[:, 1]).all()


def test_gains_of_the_downmix() -> None:
    for names in (["FL", "FR", "FC", "LFE", "BL", "BR"], ["FL", "FR", "FC", "LFE", "SL", "SR"]):
        gains = stereo_gains(names)
        np.testing.assert_allclose(gains[:, 0], np.array([1, 0, 0.5**0.5, 0, 0.5**0.5, 0]) / (1 + 2**0.5), rtol=1e-6)
        np.testing.assert_array_equal(gains[:, 1], gains[[1, 0, 2, 3, 5, 4], 0])
    np.testing.assert_array_equal(stereo_gains(["NONE"] * 5), np.full((5, 2), 0.2, np.float32))
    np.testing.assert_array_equal(stereo_gains(["FL", "FR"]), np.eye(2))
    np.testing.assert_array_equal(stereo_gains(["FC"]), [[1, 1]])
    np.testing.assert_array_equal(stereo_gains(["LFE"]), [[1, 1]])


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000])
@pytest.mark.parametrize("n_frames", [1, 2, 999, 65_537])
def test_stereo_has_the_exact_length(tmp_path: Path, rate: int, n_frames: int) -> None:
    soundfile.write(tmp_path / "few.wav", np.full((n_frames, 2), 0.5), rate)
    facts, signal = decode_stereo(tmp_path / "few.wav", tmp_path)
    assert len(signal) == -(-n_frames * RATE // rate)
    assert facts.duration_s == n_frames / rate


def test_file_name_does_not_determine_the_format(clips: dict[str, Path], tmp_path: Path) -> None:
    for name, other in zip(FORMATS, [*FORMATS[1:], FORMATS[0]], strict=True):
        misnamed = tmp_path / f"cañón \n{name}.{other}"
        misnamed.write_bytes(clips[name].read_bytes())
        assert decode_file(misnamed, tmp_path)[0] == decode_file(clips[name], tmp_path)[0]


def patch_bytes(path: Path, position: int, value: bytes) -> bytes:
    content = path.read_bytes()
    return content[:position] + value + content[position + len(value) :]


def declare_flac_length(path: Path, n_frames: int) -> bytes:
    packed = int.from_bytes(path.read_bytes()[18:26], "big") >> 36 << 36 | n_frames
    return patch_bytes(path, 18, packed.to_bytes(8, "big"))


def first_half(path: Path) -> bytes:
    return path.read_bytes()[: path.stat().st_size // 2]


def declare_wav_size(path: Path, size: int) -> bytes:
    return patch_bytes(path, path.read_bytes().index(b"data") + 4, struct.pack("<I", size))


LENGTHS: dict[str, tuple[Callable[[dict[str, Path]], bytes], str, float | None, float]] = {
    "half_wav": (lambda c: first_half(c["wav"]), "shorter", 3.0, 1.5),
    "half_aiff": (lambda c: first_half(c["aiff"]), "shorter", 3.0, 1.5),
    "half_flac": (lambda c: first_half(c["flac"]), "shorter", 3.0, 1.5),
    "half_mp3": (lambda c: first_half(c["mp3"]), "shorter", 3.0, 1.5),
    "half_m4a": (lambda c: first_half(c["m4a"]), "shorter", 3.0, 1.5),
    "half_ogg": (lambda c: first_half(c["ogg"]), "shorter", None, 1.3),
    "half_bare_mp3": (lambda c: first_half(c["bare.mp3"]), "undeclared", None, 1.5),
    "half_aac": (lambda c: first_half(c["aac"]), "undeclared", None, 1.5),
    "two_mp3": (lambda c: 2 * c["mp3"].read_bytes(), "longer", 3.0, 6.0),
    "two_ogg": (lambda c: 2 * c["ogg"].read_bytes(), "longer", 3.0, 6.0),
    "long_flac": (lambda c: declare_flac_length(c["flac"], 10 * RATE), "shorter", 10.0, 3.0),
    "short_flac": (lambda c: declare_flac_length(c["flac"], RATE), "longer", 1.0, 3.0),
    "streamed_flac": (lambda c: declare_flac_length(c["flac"], 0), "undeclared", None, 3.0),
    "streamed_wav": (lambda c: declare_wav_size(c["wav"], 0xFFFF_FFFF), "undeclared", None, 3.0),
    "unfinished_wav": (lambda c: declare_wav_size(c["wav"], 0), "undeclared", None, 3.0),
    "long_wav": (lambda c: declare_wav_size(c["wav"], 0x7000_0000), "shorter", 0x7000_0000 / (4 * RATE), 3.0),
    "flac_with_a_broken_frame": (lambda c: patch_bytes(c["flac"], 100_000, b"\0" * 9), "ok", 3.0, 2.9),
    "flac_after_id3": (lambda c: b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + c["flac"].read_bytes(), "ok", 3.0, 3.0),
    "mp3_after_a_gap": (
        lambda c: b"ID3\4\0\0\0\0\0\x0a" + bytes(3_000) + c["bare.mp3"].read_bytes(),
        *("undeclared", None, 3.0),
    ),
}


@pytest.mark.parametrize("case", LENGTHS)
def test_length_is_compared_with_the_header(clips: dict[str, Path], tmp_path: Path, case: str) -> None:
    make, status, declared_s, duration_s = LENGTHS[case]
    (tmp_path / case).write_bytes(make(clips))
    facts, signal = decode_file(tmp_path / case, tmp_path)
    assert facts.length_status == status
    assert facts.declared_duration_s == (declared_s and pytest.approx(declared_s, abs=0.03))
    assert facts.duration_s == pytest.approx(duration_s, abs=0.25)
    assert len(signal) == pytest.approx(facts.duration_s * SAMPLE_RATE, abs=1)
    # the start of a truncated file is decoded, not silence
    assert 0.1 < np.sqrt(np.mean(signal**2)) < 0.3


def test_half_a_file_gives_the_first_half(clips: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "half").write_bytes(first_half(clips["flac"]))
    whole = decode_file(clips["flac"], tmp_path)[1]
    part = decode_file(tmp_path / "half", tmp_path)[1]
    np.testing.assert_allclose(part[:-100], whole[: len(part) - 100], rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_frames", [1, 2, 3, 1000])
def test_very_short_files(tmp_path: Path, n_frames: int) -> None:
    soundfile.write(tmp_path / "few.wav", np.full(n_frames, 0.5), RATE)
    facts, signal = decode_file(tmp_path / "few.wav", tmp_path)
    np.testing.assert_allclose(signal, librosa.load(tmp_path / "few.wav")[0], rtol=0, atol=1e-6)
    assert len(signal) == -(-n_frames // 2)
    assert facts.duration_s == n_frames / RATE


def write_with_sample(folder: Path, value: float) -> Path:
    """Write a float WAV file in which one sample has this value."""
    signal = make_sound(1.0)
    signal[30_000, 1] = value
    soundfile.write(folder / "float.wav", signal, RATE, subtype="FLOAT")
    return folder / "float.wav"


def write_silence(folder: Path, n_frames: int, channels: int, rate: int) -> Path:
    soundfile.write(folder / "shape.wav", np.zeros((n_frames, channels)), rate)
    return folder / "shape.wav"


def write_bytes(folder: Path, content: bytes) -> Path:
    (folder / "named.mp3").write_bytes(content)
    return folder / "named.mp3"


FAULTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (lambda f: write_bytes(f, b""), "empty"),
    "one_byte": (lambda f: write_bytes(f, b"\xff"), "not_audio"),
    "two_bytes": (lambda f: write_bytes(f, b"\xff\xfb"), "damaged"),
    "html": (lambda f: write_bytes(f, b"<!doctype html><title>404</title>"), "not_audio"),
    "zip": (lambda f: write_bytes(f, b"PK\3\4" + bytes(100)), "not_audio"),
    "ffconcat_list": (lambda f: write_bytes(f, b"ffconcat version 1.0\nfile clip.wav\n"), "not_audio"),
    "playlist_of_urls": (lambda f: write_bytes(f, b"#EXTM3U\n#EXTINF:1,\nhttp://localhost/a.ts\n"), "not_audio"),
    "windows_media": (lambda f: write_bytes(f, b"0&\xb2u\x8ef\xcf\x11\xa6\xd9" + bytes(99)), "unsupported_format"),
    "only_an_id3_tag": (lambda f: write_bytes(f, b"ID3\4\0\0\0\0\0\x0a" + bytes(10)), "damaged"),
    "folder": (lambda f: f, "not_a_file"),
    "missing": (lambda f: f / "missing.wav", "unreadable"),
    "no_samples": (lambda f: write_silence(f, 0, 2, RATE), "no_audio"),
    "many_channels": (lambda f: write_silence(f, 100, 33, RATE), "bad_channels"),
    "low_sample_rate": (lambda f: write_silence(f, 4_000, 1, 3_999), "bad_sample_rate"),
    "high_sample_rate": (lambda f: write_silence(f, 4_000, 1, 384_001), "bad_sample_rate"),
    "nan": (lambda f: write_with_sample(f, np.nan), "bad_samples"),
    "infinite": (lambda f: write_with_sample(f, -np.inf), "bad_samples"),
    "huge": (lambda f: write_with_sample(f, 1e30), "bad_samples"),
}


@pytest.mark.parametrize("decode_as", [decode_file, decode_stereo])
@pytest.mark.parametrize("case", FAULTS)
def test_unusable_files_are_rejected(
    tmp_path: Path, case: str, decode_as: Callable[[Path, Path], tuple[DecodedAudio, Float32Array]]
) -> None:
    make, kind = FAULTS[case]
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        decode_as(path, tmp_path)
    assert caught.value.kind in {kind, "no_audio"} if kind == "damaged" else caught.value.kind == kind
    assert path.name in str(caught.value)
    assert str(caught.value).isprintable()


def test_large_float_samples_are_accepted(tmp_path: Path) -> None:
    facts, signal = decode_file(write_with_sample(tmp_path, 40_000.0), tmp_path)
    assert facts.length_status == "ok"
    assert np.abs(signal).max() > 5_000


@pytest.mark.parametrize("name", ["wav", "flac", "ogg", "mp3", "m4a", "aac", "bare.mp3"])
def test_decoding_stops_at_the_maximum_length(
    clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(decoding, "MAX_DURATION_S", 2)
    with pytest.raises(InputError, match="split it") as caught:
        decode_file(clips[name], tmp_path)
    assert caught.value.kind == "too_long"
    assert not (tmp_path / "signal.f32").exists() or (tmp_path / "signal.f32").stat().st_size <= 4 * 2 * SAMPLE_RATE


def test_truncated_long_file_is_not_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, make_sound(3.0), RATE)
    path.write_bytes(declare_flac_length(path, 5 * 3600 * RATE))
    assert decode_file(path, tmp_path)[0].length_status == "shorter"


@pytest.mark.parametrize("declares_length", [True, False])
def test_long_silence_in_few_bytes_is_a_bomb(tmp_path: Path, declares_length: bool) -> None:
    path = tmp_path / "bomb.flac"
    soundfile.write(path, np.zeros(1_000 * 8_000, np.int16), 8_000)
    if not declares_length:
        path.write_bytes(declare_flac_length(path, 0))
    with pytest.raises(InputError) as caught:
        decode_file(path, tmp_path)
    assert caught.value.kind == "bomb"
    # silence shorter than the limit is accepted
    soundfile.write(path, np.zeros(590 * 8_000, np.int16), 8_000)
    assert decode_file(path, tmp_path)[0].length_status == "ok"
