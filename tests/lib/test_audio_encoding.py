"""Encoding of audio files: decoding gives the same length, signal and tags."""

import io
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reprise.lib.audio.encoding import FORMATS, encode, write_stem
from reprise.lib.audio.tag_writing import OutputTags, append_mp4_tags
from reprise.lib.music.render.tones import SAMPLE_RATE

TAGS = OutputTags(
    title="Größe (Don’t 桜)",
    artist="Łucja & The Foxes",
    album="Ночь, Ночь",
    album_artist="Łucja & The Foxes",
    track_number=7,
    date="1999",
    genre="Pop/Rock",
    bpm=123,
    recording_mbid="11111111-1111-5111-8111-111111111111",
    artist_mbid="22222222-2222-4222-a222-222222222222",
    release_mbid="33333333-3333-5333-8333-333333333333",
    isrc="ZZRAB9912345",
)
# names of the tags as Picard writes them and as tinytag reports them
MBIDS = {
    "recording": ("musicbrainz_trackid", "musicbrainz track id", "ufid"),
    "artist": ("musicbrainz_artistid", "musicbrainz artist id"),
    "release": ("musicbrainz_albumid", "musicbrainz album id"),
}


@pytest.fixture(scope="module")
def mix() -> np.ndarray:
    """A little over three seconds of a chord, swelling on the left and steady on the right."""
    rng = np.random.default_rng(4)
    t = np.arange(3 * SAMPLE_RATE + 123) / SAMPLE_RATE
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 0.7 * t)
    tone = sum(np.sin(2 * np.pi * hz * t + hz) for hz in (220.0, 277.2, 329.6, 1318.5))
    signal = np.column_stack([0.12 * swell * tone, 0.1 * tone]) + 0.003 * rng.standard_normal((len(t), 2))
    return signal.astype(np.float32)


@pytest.fixture(scope="module")
def files(mix: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("encoded")
    written = {suffix: folder / f"song.{suffix}" for suffix in FORMATS}
    for suffix, path in written.items():
        path.write_bytes(encode(mix, suffix, TAGS, sample_rate=SAMPLE_RATE))
    return written


def decode_file(path: Path) -> tuple[np.ndarray, int]:
    if path.suffix != ".m4a":
        import soundfile

        return soundfile.read(path, dtype="float32", always_2d=True)
    import av

    with av.open(str(path)) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
        return np.concatenate(blocks, axis=1).T, container.streams.audio[0].rate


@pytest.mark.parametrize("suffix", FORMATS)
def test_decoded_signal_equals_the_mix(suffix: str, mix: np.ndarray, files: dict[str, Path]) -> None:
    signal, rate = decode_file(files[suffix])
    assert rate == (48_000 if suffix == "opus" else SAMPLE_RATE)
    # AAC has whole frames of 1,024 samples; the reader above ignores where the signal ends in the last one
    assert 0 <= len(signal) / rate - len(mix) / SAMPLE_RATE < (1024 / SAMPLE_RATE if suffix == "m4a" else 1 / rate)
    for side in range(2):
        at = np.arange(len(mix)) * (rate / SAMPLE_RATE)
        resampled = np.interp(at, np.arange(len(signal)), signal[:, side])
        error = np.sqrt(np.mean((resampled - mix[:, side]) ** 2) / np.mean(mix[:, side] ** 2))
        assert error < (1e-3 if suffix in ("flac", "wav", "aiff") else 0.12), error


@pytest.mark.parametrize("suffix", FORMATS)
def test_tags_are_read_back(suffix: str, files: dict[str, Path]) -> None:
    from tinytag import TinyTag

    found = TinyTag.get(files[suffix])
    tags = (found.title, found.artist, found.album, found.albumartist, found.track, found.year, found.genre)
    assert tags == (TAGS.title, TAGS.artist, TAGS.album, TAGS.album_artist, 7, "1999", TAGS.genre)
    other = {name.lower(): values for name, values in found.other.items()}
    assert [str(int(float(value))) for value in other["bpm"]] == ["123"]
    assert other["isrc"] == [TAGS.isrc]
    for kind, names in MBIDS.items():
        values = next(other[name] for name in names if name in other)
        assert values[0].rpartition("\0")[2] == getattr(TAGS, f"{kind}_mbid")


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no ffprobe")
@pytest.mark.parametrize("suffix", FORMATS)
def test_ffprobe_reads_the_same(suffix: str, mix: np.ndarray, files: dict[str, Path]) -> None:
    command = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(files[suffix])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not done.stderr
    report = json.loads(done.stdout)
    codec = {"ogg": "vorbis", "m4a": "aac", "wav": "pcm_s16le", "aiff": "pcm_s16be"}.get(suffix, suffix)
    assert report["streams"][0]["codec_name"] == codec
    assert report["streams"][0]["channels"] == 2
    assert abs(float(report["format"]["duration"]) - len(mix) / SAMPLE_RATE) < 0.05
    tags = {**report["format"].get("tags", {}), **report["streams"][0].get("tags", {})}
    tags = {name.lower(): text for name, text in tags.items()}
    assert (tags["title"], tags["artist"], tags["track"]) == (TAGS.title, TAGS.artist, "7")


@pytest.mark.parametrize("suffix", FORMATS)
def test_same_samples_same_bytes(suffix: str, mix: np.ndarray, files: dict[str, Path]) -> None:
    assert encode(mix, suffix, TAGS, sample_rate=SAMPLE_RATE) == files[suffix].read_bytes()


@pytest.mark.parametrize("suffix", FORMATS)
def test_empty_isrc_is_not_written(suffix: str, mix: np.ndarray) -> None:
    from tinytag import TinyTag

    audio = encode(mix[:20_000], suffix, replace(TAGS, isrc=""), sample_rate=SAMPLE_RATE)
    found = TinyTag.get(f"x.{suffix}", file_obj=io.BytesIO(audio))
    assert found.title == TAGS.title
    assert "isrc" not in {name.lower() for name in found.other}
    assert TAGS.isrc.encode() not in audio


def test_unknown_suffix_raises(mix: np.ndarray) -> None:
    with pytest.raises(KeyError):
        encode(mix[:1000], "wma", TAGS, sample_rate=SAMPLE_RATE)


def test_mp4_with_another_last_box_is_rejected(files: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="moov"):
        append_mp4_tags(files["m4a"].read_bytes() + b"\0\0\0\x08free", TAGS)


def test_stem_is_16_bit_flac(mix: np.ndarray, tmp_path: Path) -> None:
    import soundfile

    write_stem(mix, tmp_path / "stem.flac", sample_rate=SAMPLE_RATE)
    assert soundfile.info(tmp_path / "stem.flac").subtype == "PCM_16"
    signal, _ = soundfile.read(tmp_path / "stem.flac", dtype="float32")
    assert np.abs(signal - mix).max() < 1 / 32_000
