"""A thousand damaged audio files and the bombs: each decodes or is refused in one line, and nothing else suffers."""

import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from reprise.lib.arrays import Float32Array
from reprise.lib.errors import InputError
from reprise.udfs.sandbox import Audio, Sandbox

RATE = 44_100
PER_FORMAT = 100
"""Mutations of each of ten files."""

SEED = 20_090_301
KINDS = {
    *("bad_channels", "bad_sample_rate", "bad_samples", "bomb", "crashed", "damaged", "empty", "hung", "no_audio"),
    *("not_a_file", "not_audio", "too_large", "too_long", "unreadable", "unsupported_format"),
}


def sound(seconds: float) -> Float32Array:
    t = np.arange(round(seconds * RATE)) / RATE
    noise = 0.1 * np.random.default_rng(1).standard_normal(len(t))
    return np.stack([0.3 * np.sin(2 * np.pi * 440 * t) + noise, 0.3 * np.sin(2 * np.pi * 660 * t)], 1).astype(
        np.float32
    )


def encode(path: Path, codec: str, container: str, **options: str) -> Path:
    """A second and a half, tagged, by FFmpeg."""
    with av.open(path, "w", format=container, options=options) as out:
        out.metadata.update({"title": "Żółw", "artist": "Björk", "date": "2009-03-01"})
        stream: Any = out.add_stream(codec, rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound(1.5).T), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = RATE, 0
        fitting = av.AudioResampler(stream.format, "stereo", RATE, frame_size=stream.codec_context.frame_size)
        for piece in (*fitting.resample(frame), *fitting.resample(None), None):
            out.mux(stream.encode(piece))
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A second and a half in each format."""
    folder = tmp_path_factory.mktemp("clips")
    for name, subtype in (("wav", "PCM_16"), ("float.wav", "FLOAT"), ("aiff", "PCM_16"), ("flac", None), ("ogg", None)):
        soundfile.write(folder / name, sound(1.5), RATE, subtype=subtype, format=name.split(".")[-1])
    soundfile.write(folder / "opus", sound(1.5), 48_000, format="OGG", subtype="OPUS")
    encode(folder / "mp3", "libmp3lame", "mp3")
    encode(folder / "m4a", "aac", "ipod", movflags="faststart")
    encode(folder / "alac.m4a", "alac", "ipod")
    encode(folder / "aac", "aac", "adts")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("signals")) as opened:
        yield opened


def flip_bits(content: bytearray, random: np.random.Generator) -> bytearray:
    for place in random.integers(len(content), size=random.integers(1, 40)):
        content[place] ^= 1 << random.integers(8)
    return content


def edit_header(content: bytearray, random: np.random.Generator) -> bytearray:
    """Single bytes among those of the structure at the start, where each says something."""
    for place in random.integers(min(len(content), 700), size=random.integers(1, 6)):
        content[place] = random.integers(256)
    return content


def lie_about_a_size(content: bytearray, random: np.random.Generator) -> bytearray:
    """Four bytes next to a name of four letters, before or after it, as chunks, atoms and blocks have them."""
    letters = np.frombuffer(bytes(content[:4000] + content[-4000:]), np.uint8)
    texts = [i for i in range(4, len(letters) - 8) if all(48 <= c <= 122 for c in letters[i : i + 4])]
    place = int(random.choice(texts or [8]))
    place += len(content) - len(letters) if place >= 4000 else 0
    value = random.choice([0, 1, 7, 0x7FFF_FFFF, 0xFFFF_FFFF, len(content), len(content) * 2, 1 << 24])
    at = place + int(random.choice([-4, 4]))
    content[at : at + 4] = struct.pack(str(random.choice(["<I", ">I"])), int(value))
    return content


def cut(content: bytearray, random: np.random.Generator) -> bytearray:
    return content[: random.integers(len(content))]


def zero(content: bytearray, random: np.random.Generator) -> bytearray:
    place = int(random.integers(len(content)))
    run = min(int(random.integers(1, 5000)), len(content) - place)
    content[place : place + run] = bytes(run)
    return content


def insert(content: bytearray, random: np.random.Generator) -> bytearray:
    place = random.integers(len(content))
    content[place:place] = random.bytes(int(random.integers(1, 3000)))
    return content


def repeat(content: bytearray, random: np.random.Generator) -> bytearray:
    """A piece of the file a second time elsewhere, as after a failed copy."""
    start, place = random.integers(len(content), size=2)
    content[place:place] = content[start : start + random.integers(1, 20_000)]
    return content


MUTATIONS: list[Callable[[bytearray, np.random.Generator], bytearray]] = [
    *(flip_bits, edit_header, lie_about_a_size, cut, zero, insert, repeat)
]


def attempt(box: Sandbox, path: Path) -> Audio | InputError:
    """What comes of a file; asserts what must hold for any."""
    outcome: Audio | InputError
    try:
        outcome = box.decode(path)
    except InputError as error:
        outcome = error
    if isinstance(outcome, InputError):
        assert outcome.kind in KINDS, outcome
        assert str(outcome).isprintable()
        assert path.name in str(outcome)
        assert len(str(outcome)) < 300
        assert "made its decoder fail" not in str(outcome)  # an exception that we did not think of
        return outcome
    signal, decoded = outcome.open_signal(), outcome.decoded
    assert np.isfinite(signal).all()
    assert len(signal) == pytest.approx(decoded.duration_s * 22_050, abs=1)
    if decoded.declared_duration_s is None:
        assert decoded.length_status in {"undeclared", "shorter"}
    else:
        more = decoded.duration_s - decoded.declared_duration_s
        assert decoded.length_status == ("ok" if abs(more) <= 0.2 else "longer" if more > 0 else "shorter")
    return outcome


@pytest.mark.slow
def test_a_thousand_damaged_files(clips: dict[str, bytes], box: Sandbox, tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    path = tmp_path / "damaged.bin"
    for name, content in clips.items():
        for i in range(PER_FORMAT):
            mutate = MUTATIONS[i % len(MUTATIONS)]
            random = np.random.default_rng([SEED, *name.encode(), i])
            path.write_bytes(mutate(bytearray(content), random))
            outcome = attempt(box, path)
            outcomes[outcome.kind if isinstance(outcome, InputError) else outcome.decoded.length_status] += 1
    assert outcomes.total() == 1000
    # and the child is as good as new
    for name, content in clips.items():
        path.write_bytes(content)
        whole = attempt(box, path)
        assert isinstance(whole, Audio)
        assert whole.decoded.length_status in {"ok", "undeclared"}, name
    # damage is both found and lived with
    assert outcomes["ok"] > 100
    assert outcomes["shorter"] > 30
    assert sum(outcomes[kind] for kind in KINDS) > 100
    assert outcomes["crashed"] + outcomes["hung"] < 10, outcomes  # which other versions of the decoders may do


def with_total(flac: bytes, n_frames: int) -> bytes:
    packed = int.from_bytes(flac[18:26], "big") >> 36 << 36 | n_frames
    return flac[:18] + packed.to_bytes(8, "big") + flac[26:]


def wav(size: int, *, channels: int = 2, rate: int = RATE, bits: int = 16, body: bytes = b"") -> bytes:
    frame = channels * bits // 8
    head = struct.pack("<HHIIHH", 1, channels & 0xFFFF, rate, rate * frame & 0xFFFF_FFFF, frame & 0xFFFF, bits)
    return b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + head + b"data" + struct.pack("<I", size) + body


def with_table(m4a: bytes, name: bytes, count: int) -> bytes:
    """An M4A file one of whose tables claims ``count`` entries."""
    place = m4a.index(name) + (12 if name == b"stsz" else 8)
    return m4a[:place] + struct.pack(">I", count) + m4a[place + 4 :]


def m4a_with_table(clips: dict[str, bytes], *, name: bytes, count: int) -> bytes:
    return with_table(clips["m4a"], name, count)


def alias_of(path: Path) -> bytes:
    """A data reference to another file, as QuickTime has it: of the Macintosh alias only volume and path count."""
    full = b"V" + str(path).replace("/", ":").encode()
    full += b"\0" * (len(full) % 2)
    body = bytes(10) + b"\1V" + bytes(26 + 12 + 1 + 63 + 16 + 4 + 16)
    body += struct.pack(">HH", 2, len(full)) + full + b"\xff\xff\0\0"
    return struct.pack(">I4sI", len(body) + 12, b"alis", 0) + body


def nested_atoms(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = struct.pack(">I4s", len(content) + 8, b"moov") + content
    return b"\0\0\0\x14ftypM4A \0\0\0\0M4A " + content


@pytest.mark.parametrize("declared_minutes", [20, 600, 0])
def test_silence_that_becomes_gigabytes(
    box: Sandbox, tmp_path_factory: pytest.TempPathFactory, silence: bytes, declared_minutes: int
) -> None:
    """Declared as it is, as more, and not at all."""
    folder = tmp_path_factory.mktemp("bomb")
    (folder / "bomb.flac").write_bytes(with_total(silence, declared_minutes * 60 * RATE))
    outcome = attempt(box, folder / "bomb.flac")
    assert isinstance(outcome, InputError)
    assert outcome.kind == ("too_long" if declared_minutes == 600 else "bomb")


@pytest.fixture(scope="module")
def silence(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Twenty minutes of FLAC in some 200 kB."""
    path = tmp_path_factory.mktemp("silence") / "silence.flac"
    with soundfile.SoundFile(path, "w", RATE, 2) as out:
        for _ in range(20):
            out.write(np.zeros((RATE * 60, 2), np.int16))
    assert path.stat().st_size < 250_000
    return path.read_bytes()


BOMBS: dict[str, tuple[Callable[[dict[str, bytes]], bytes], set[str]]] = {
    "wav_of_4_gb": (lambda c: wav(0xFFFF_FFF0, body=bytes(400_000)), {"undeclared"}),
    "wav_of_1_gb": (lambda c: wav(1 << 30, body=bytes(400_000)), {"shorter"}),
    "wav_of_1_gb_and_nothing": (lambda c: wav(1 << 30), {"damaged", "no_audio"}),
    "wav_of_65535_channels": (lambda c: wav(4_000, channels=65_535, body=bytes(4_000)), KINDS),
    "wav_of_1000_channels": (lambda c: wav(40_000, channels=1000, body=bytes(40_000)), {"bad_channels"}),
    "wav_of_4_ghz": (lambda c: wav(4_000, rate=0xFFFF_FFFF, body=bytes(4_000)), {"bad_sample_rate", "damaged"}),
    "wav_of_0_hz": (lambda c: wav(4_000, rate=0, body=bytes(4_000)), {"bad_sample_rate", "damaged"}),
    "wav_of_0_channels": (lambda c: wav(4_000, channels=0, body=bytes(4_000)), {"bad_channels", "damaged", "no_audio"}),
    "wav_of_many_chunks": (lambda c: wav(0)[:36] + b"junk\0\0\0\0" * 200_000, KINDS),
    **{
        f"m4a_{name.decode()}_{count:x}": (partial(m4a_with_table, name=name, count=count), set[str]())
        for name in (b"stsz", b"stts", b"stsc", b"stco")
        for count in (0, 0x0FFF_FFFF, 0x7FFF_FFFF, 0xFFFF_FFFF)
    },
    "atoms_in_atoms": (lambda c: nested_atoms(20_000), KINDS),
    "zip": (lambda c: b"PK\3\4" + bytes(1000), {"not_audio"}),
    "html": (lambda c: b"<!doctype html><html><body>Not found</body></html>", {"not_audio"}),
    "text_that_names_files": (lambda c: b"ffconcat version 1.0\nfile /etc/passwd\n", {"not_audio"}),
    "zeros": (lambda c: bytes(1 << 20), {"not_audio"}),
    "sync_words_only": (lambda c: b"\xff\xfb\x90\x64" * 100_000, {*KINDS, "undeclared", "hung"}),
    "id3_of_256_mb": (lambda c: b"ID3\4\0\0\x7f\x7f\x7f\x7f" + c["mp3"], KINDS),
    "ogg_heads_only": (lambda c: c["ogg"][:58] * 1000, KINDS),
    "empty": (lambda c: b"", {"empty"}),
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs(clips: dict[str, bytes], box: Sandbox, tmp_path: Path, case: str) -> None:
    make, wanted = BOMBS[case]
    path = tmp_path / f"{case}.m4a"
    path.write_bytes(make(clips))
    outcome = attempt(box, path)
    found = outcome.kind if isinstance(outcome, InputError) else outcome.decoded.length_status
    assert found in (wanted or {*KINDS, "ok", "shorter", "longer", "undeclared"}), outcome


@pytest.mark.parametrize("case", ["folder", "fifo", "loop", "null", "zero", "gone", "forbidden"])
def test_what_is_no_file_is_not_waited_for(box: Sandbox, tmp_path: Path, case: str) -> None:
    path = {"null": Path("/dev/null"), "zero": Path("/dev/zero")}.get(case, tmp_path / f"{case}.mp3")
    if case == "folder":
        path.mkdir()
    elif case == "fifo":
        os.mkfifo(path)
    elif case == "loop":
        path.symlink_to(path)
    elif case == "forbidden":
        if not os.geteuid():
            pytest.skip("root may read everything")
        path.touch(mode=0)
    outcome = attempt(box, path)
    assert isinstance(outcome, InputError)
    assert outcome.kind in {"not_a_file", "unreadable"}


def test_other_files_are_never_opened(clips: dict[str, bytes], box: Sandbox, tmp_path: Path) -> None:
    """An M4A file whose samples are said to be in another file, by name; FFmpeg can be told to follow that."""
    other = tmp_path / "other.m4a"
    other.write_bytes(clips["m4a"])
    content = clips["m4a"]
    place = content.index(b"url \0\0\0\1")
    alias = alias_of(other)
    changed = bytearray(content[: place - 4] + alias + content[place + 8 :])
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        at = changed.rindex(name, 0, place) - 4
        changed[at : at + 4] = struct.pack(">I", struct.unpack(">I", changed[at : at + 4])[0] + len(alias) - 12)
    path = tmp_path / "names_another.m4a"
    path.write_bytes(changed)
    with av.open(path, options={"enable_drefs": "1", "use_absolute_path": "1"}) as followed:
        assert sum(frame.samples for frame in followed.decode(audio=0)) > RATE
    outcome = attempt(box, path)
    assert isinstance(outcome, InputError), outcome
