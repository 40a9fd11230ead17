"""Encoding of audio files: decoding gives the same length, signal and tags."""

import errno
import hashlib
import io
import json
import resource
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reprise.lib.audio.encoding import FORMATS, FlacEncoder, encode, write_flac
from reprise.lib.audio.tag_writing import OutputTags, append_mp4_tags
from reprise.lib.errors import InputError, RepriseError
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


def flac_bytes(signal: np.ndarray, bit_depth: int, block_frames: int) -> tuple[bytes, str]:
    out = io.BytesIO()
    channels = signal.shape[1]
    with FlacEncoder(
        out, "noise", sample_rate=44_100, channel_count=channels, bit_depth=bit_depth, comments={"TITLE": "é"}
    ) as flac:
        for start in range(0, len(signal), block_frames):
            flac.write(signal[start : start + block_frames])
    assert flac.frame_count == len(signal)
    return out.getvalue(), flac.samples_sha256


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """Noise with the peak 1, and both limits of the range."""
    signal = np.random.default_rng(5).uniform(-1, 1, (70_000, 2)).astype(np.float32)
    signal[1000:1002] = [[1, -1], [-1, 1]]
    return signal


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bit_depth", [16, 24])
@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
@pytest.mark.parametrize("n_frames", [1, 4_000, 70_000])
def test_flac_has_the_samples(
    noise: np.ndarray, tmp_path: Path, channels: int, bit_depth: int, rate: int, n_frames: int
) -> None:
    import soundfile

    path, signal = tmp_path / "Größe \n 桜.flac", noise[:n_frames, :channels]
    comments = {"ORIGINALARTIST": "Łucja", "TITLE": "two\nlines = 桜", "COMMENT": "generated"}
    with write_flac(path, sample_rate=rate, channel_count=channels, bit_depth=bit_depth, comments=comments) as flac:
        flac.write(signal)
        assert not path.exists()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    facts = soundfile.info(path)
    assert (facts.samplerate, facts.channels, facts.frames) == (rate, channels, n_frames)
    assert facts.subtype == f"PCM_{bit_depth}"
    full_scale = 2 ** (bit_depth - 1)
    integers = soundfile.read(path, dtype="float64", always_2d=True)[0] * full_scale
    np.testing.assert_allclose(integers, signal.astype(np.float64) * (full_scale - 1), rtol=0, atol=0.76)
    as_bytes = integers.astype("<i4").view(np.uint8).reshape(-1, 4)[:, : bit_depth // 8]
    assert flac.samples_sha256 == hashlib.sha256(as_bytes.tobytes()).hexdigest()
    found = soundfile.SoundFile(path)
    assert found.title == comments["TITLE"]
    assert b"ORIGINALARTIST=" + "Łucja".encode() in path.read_bytes()
    assert b"DESCRIPTION=generated" in path.read_bytes()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg")
@pytest.mark.parametrize("bit_depth", [16, 24])
def test_hash_is_that_of_the_samples_that_ffmpeg_decodes(noise: np.ndarray, tmp_path: Path, bit_depth: int) -> None:
    content, samples_sha256 = flac_bytes(noise, bit_depth, 70_000)
    (tmp_path / "noise.flac").write_bytes(content)
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "noise.flac"), "-f", f"s{bit_depth}le", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert not done.stderr
    assert hashlib.sha256(done.stdout).hexdigest() == samples_sha256


@pytest.mark.parametrize("bit_depth", [16, 24])
def test_size_of_the_blocks_does_not_change_the_file(noise: np.ndarray, bit_depth: int) -> None:
    whole = flac_bytes(noise, bit_depth, 70_000)
    assert whole == flac_bytes(noise, bit_depth, 4_097) == flac_bytes(noise, bit_depth, 30_000)
    assert whole[1] != flac_bytes(-noise, bit_depth, 70_000)[1]


def write_over(path: Path, signal: np.ndarray) -> None:
    with write_flac(path, sample_rate=44_100, channel_count=2, bit_depth=24, comments={}) as flac:
        flac.write(signal)


@pytest.mark.parametrize(
    ("sample", "kind"),
    [(np.nan, "bad_samples"), (-np.inf, "bad_samples"), (1.001, "over_scale"), (-7.0, "over_scale")],
)
def test_samples_that_flac_cannot_store_leave_no_file(
    noise: np.ndarray, tmp_path: Path, sample: float, kind: str
) -> None:
    signal = noise.copy()
    signal[-1, 1] = sample
    path = tmp_path / "stem.flac"
    for existing in (b"", b"the former file"):
        if existing:
            path.write_bytes(existing)
        with pytest.raises(InputError, match=r"stem\.flac") as caught:
            write_over(path, signal)
        assert caught.value.kind == kind
        assert [file.read_bytes() for file in tmp_path.iterdir()] == [existing] * bool(existing)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("sample", "kind"), [(np.nan, "bad_samples"), (1.5, "over_scale")])
def test_no_format_hides_samples_out_of_range(mix: np.ndarray, suffix: str, sample: float, kind: str) -> None:
    bad = mix[:5_000].copy()
    bad[4_000, 0] = sample
    with pytest.raises(InputError) as caught:
        encode(bad, suffix, TAGS, sample_rate=SAMPLE_RATE)
    assert caught.value.kind == kind


@pytest.mark.parametrize("bit_depth", [16, 24])
def test_layout_in_memory_does_not_matter(noise: np.ndarray, bit_depth: int) -> None:
    expected = flac_bytes(noise, bit_depth, 70_000)
    assert flac_bytes(np.asfortranarray(noise), bit_depth, 70_000) == expected
    assert flac_bytes(np.repeat(noise, 2, axis=0)[::2], bit_depth, 70_000) == expected


@pytest.mark.parametrize("shape", [(10,), (10, 1), (2, 10)])
def test_other_shape_is_an_error(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"not \(n, 2\)"):
        write_over(tmp_path / "a.flac", np.zeros(shape, np.float32))
    assert list(tmp_path.iterdir()) == []


def test_other_error_in_the_block_is_not_called_a_failed_write(tmp_path: Path) -> None:
    def read_what_is_not_there() -> None:
        with write_flac(tmp_path / "a.flac", sample_rate=44_100, channel_count=2, bit_depth=16, comments={}) as flac:
            flac.write(np.fromfile(tmp_path / "missing", np.float32).reshape(-1, 2))

    with pytest.raises(FileNotFoundError, match="missing"):
        read_what_is_not_there()
    assert list(tmp_path.iterdir()) == []


def test_signal_divided_by_its_peak_fits(noise: np.ndarray, tmp_path: Path) -> None:
    for gain in (1.7, 3.3, 11.1):
        loud = noise * np.float32(gain)
        write_over(tmp_path / "loud.flac", loud * np.float32(1 / np.abs(loud).max()))
    write_over(tmp_path / "loud.flac", np.full((10, 2), 1.0000005, np.float32))


def test_no_samples_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stem\.flac has no samples"):
        write_over(tmp_path / "stem.flac", np.zeros((0, 2), np.float32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [0, 1_000, 9_000, 150_000, 390_000])
def test_failed_write_leaves_no_file(noise: np.ndarray, tmp_path: Path, limit: int) -> None:
    """The limit is that of a process, which fails as a full disk does: at the start, in the middle, or in the end."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, former[1]))
    try:
        with pytest.raises(RepriseError) as caught:
            write_over(tmp_path / "stem.flac", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert str(caught.value).startswith(f"{tmp_path}/stem.flac cannot be written (File too large): ")
    assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []
    write_over(tmp_path / "stem.flac", noise)
    assert (tmp_path / "stem.flac").stat().st_size > 390_000


def test_full_disk_while_the_header_is_completed(noise: np.ndarray) -> None:
    """FFmpeg writes the length and the checksum at the end, over the first bytes."""

    class FullDisk(io.BytesIO):
        def seek(self, offset: int, whence: int = 0, /) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(OSError, match="No space left"),
        FlacEncoder(FullDisk(), "x", sample_rate=8_000, channel_count=2, bit_depth=16, comments={}) as flac,
    ):
        flac.write(noise)


def test_folder_that_does_not_exist(noise: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(RepriseError, match=r"none/a\.flac cannot be written \(No such file or directory\)"):
        write_over(tmp_path / "none" / "a.flac", noise)


def test_interrupted_writing_leaves_no_file(noise: np.ndarray, tmp_path: Path) -> None:
    def interrupt() -> None:
        with write_flac(tmp_path / "a.flac", sample_rate=44_100, channel_count=2, bit_depth=16, comments={}) as flac:
            flac.write(noise)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert list(tmp_path.iterdir()) == []
