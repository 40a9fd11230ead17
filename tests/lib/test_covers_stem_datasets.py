"""Datasets of passages: files, determinism, replacement, damage, and the plot."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from reprise.lib.covers.solo_passages import REASONS, Material
from reprise.lib.covers.stem_datasets import (
    DatasetPassage,
    DatasetSource,
    Description,
    add_material,
    name_pitch,
    read_dataset,
    read_description,
    write_dataset,
    write_description,
)
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.files import sha256_of
from reprise.lib.nets.pitch_tracker import PitchTracker
from tests.lib.test_covers_solo_passages import chords, melody

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATE = 16_000
Recordings = list[tuple[str, Any]]


@pytest.fixture(scope="module")
def tracker() -> PitchTracker:
    return PitchTracker()


@pytest.fixture(scope="module")
def recordings() -> Recordings:
    loud = 3 * np.concatenate([0.2 * melody(5, 1), np.zeros(2 * RATE, np.float32), melody(5, 2)])
    return [("Ä 日本.wav", melody(40)), ("chords.flac", chords(6)), ("loud.mp3", 1.5 * loud / np.abs(loud).max())]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, recordings: Recordings, tracker: PitchTracker) -> Path:
    folder = tmp_path_factory.mktemp("original") / "dataset"
    write_dataset(folder, recordings, tracker)
    return folder


@pytest.fixture
def dataset(original: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    import shutil

    return Path(shutil.copytree(original, tmp_path / "dataset"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_the_passages_of_the_recordings(original: Path, recordings: Recordings) -> None:
    description = read_description(original)
    names = [f"{number:04}.flac" for number in range(1, len(description.passages) + 1)]
    assert sorted(contents(original)) == [*names, "dataset.json", "dataset.png"]
    assert [one.file for one in description.passages] == names
    assert [one.name for one in description.sources] == [name for name, _ in recordings]
    samples = dict(recordings)
    gains = {one.name: one.gain for one in description.sources}
    for one in description.passages:
        info = soundfile.info(original / one.file)
        assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_24")
        written, _ = soundfile.read(original / one.file, dtype="float32")
        start, stop = round(one.start_s * RATE), round(one.stop_s * RATE)
        assert np.abs(written).max() <= 1
        np.testing.assert_allclose(written, samples[one.source][start:stop] * gains[one.source], atol=2e-6)
    assert gains["Ä 日本.wav"] == 1
    assert gains["loud.mp3"] == pytest.approx(1 / 1.5, rel=0.01)
    assert gains["chords.flac"] == 1
    for source in description.sources:
        material = source.material
        total_s = material.kept_s + sum(material.left_out_s.values())
        assert total_s == pytest.approx(len(samples[source.name]) / RATE, abs=0.01)
        assert sum(material.pitch_s.values()) == pytest.approx(sum(material.loudness_s.values()), abs=0.02)
        assert sum(material.pitch_s.values()) <= material.kept_s
    assert set(description.material.pitch_s) >= {55, 60, 70}
    assert str(original.parent) not in (original / "dataset.json").read_text()


def test_passages_keep_their_dynamics(original: Path) -> None:
    passages, description = read_dataset(original), read_description(original)
    assert max(float(np.abs(one.samples).max()) for one in passages) == pytest.approx(0.9)
    assert all(len(one.samples) == 64 * len(one.performance) >= 64 * 500 for one in passages)
    soft, loud = (
        float(np.abs(passage.samples).max())
        for passage, one in zip(passages, description.passages, strict=True)
        if one.source == "loud.mp3"
    )
    assert soft / loud == pytest.approx(0.2, rel=0.35)


def test_equal_recordings_give_equal_files(
    dataset: Path, original: Path, recordings: Recordings, tracker: PitchTracker
) -> None:
    write_dataset(dataset, recordings, tracker)
    assert contents(dataset) == contents(original)
    assert [path.name for path in dataset.parent.iterdir()] == ["dataset"]
    write_dataset(dataset, recordings[1:2], tracker)  # a smaller one leaves no file of the former
    assert sorted(contents(dataset)) == ["dataset.json", "dataset.png"]
    assert read_dataset(dataset) == []


def test_an_error_leaves_the_old_dataset(dataset: Path, recordings: Recordings, tracker: PitchTracker) -> None:
    def fail() -> Iterator[tuple[str, Any]]:
        yield recordings[0]
        raise KeyboardInterrupt

    before = contents(dataset)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(dataset, fail(), tracker)
    assert contents(dataset) == before
    assert [path.name for path in dataset.parent.iterdir()] == ["dataset"]


def test_only_datasets_are_replaced(dataset: Path, tmp_path: Path, tracker: PitchTracker) -> None:
    (dataset / "mine.txt").write_text("mine")
    with pytest.raises(RepriseError, match=r"will not be replaced, because it contains mine\.txt: name another"):
        write_dataset(dataset, [], tracker)
    for make in (Path.mkdir, Path.touch):
        place = tmp_path / make.__name__
        make(place)
        (place / "file").write_text("mine") if place.is_dir() else None
        with pytest.raises(RepriseError, match="will not be replaced, because"):
            write_dataset(place, [], tracker)
        assert place.exists()
    (tmp_path / "empty").mkdir()
    write_dataset(tmp_path / "empty", [], tracker)
    write_dataset(tmp_path / "new" / "deep", [], tracker)
    (tmp_path / "link").symlink_to("empty")
    write_dataset(tmp_path / "link", [], tracker)
    assert (tmp_path / "link").is_symlink()
    assert read_description(tmp_path / "empty") == Description([], [])


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        content = json.loads((folder / "dataset.json").read_text())
        change(content)
        (folder / "dataset.json").write_text(json.dumps(content))

    return damage


def replace_audio(samples: Any, rate: int) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        soundfile.write(folder / "0001.flac", samples, rate)
        edit(lambda d: d["passages"][0].update(sha256=sha256_of(folder / "0001.flac")))(folder)

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no description": (lambda d: (d / "dataset.json").unlink(), "is not a dataset of build-stem-dataset: no dataset"),
    "no JSON": (lambda d: (d / "dataset.json").write_text("{"), "dataset.json is not valid"),
    "a list": (lambda d: (d / "dataset.json").write_text("[]"), "dataset.json is not valid"),
    "not UTF-8": (lambda d: (d / "dataset.json").write_bytes(b"\xff\xfe{}"), "dataset.json is not valid"),
    "nested": (lambda d: (d / "dataset.json").write_text("[" * 100_000), "dataset.json is not valid"),
    "other JSON": (lambda d: (d / "dataset.json").write_text('{"format": "x", "sample_rate": 1}'), "something else"),
    "later version": (edit(lambda d: d.update(version=2)), "it has the version 2, and 1 is known"),
    "no sources": (edit(lambda d: d.update(sources=[])), "a passage has no file or no source"),
    "a missing passage": (edit(lambda d: d["passages"].pop()), "its passages are not those of its sources"),
    "a missing value": (edit(lambda d: d["sources"][0].pop("kept_s")), "it lacks values, or has others"),
    "a path": (edit(lambda d: d["passages"][0].update(file="../0001.flac")), "a passage has no file"),
    "a missing file": (lambda d: (d / "0001.flac").unlink(), "0001.flac is missing: build the dataset again"),
    "a changed file": (lambda d: (d / "0001.flac").write_bytes(b"x"), "0001.flac has changed: build the dataset"),
    "too short": (replace_audio(np.full(64, 0.1), RATE), "0001.flac is not a passage"),
    "another rate": (replace_audio(np.full(64_000, 0.1), 44_100), "0001.flac is not a passage"),
    "stereo": (replace_audio(np.full((64_000, 2), 0.1), RATE), "0001.flac is not a passage"),
    "silent": (replace_audio(np.zeros(64_000), RATE), "0001.flac is not a passage"),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_datasets_are_refused(damage: Callable[[Path], object], says: str, dataset: Path) -> None:
    damage(dataset)
    with pytest.raises(InputError) as refused:
        read_dataset(dataset)
    assert refused.value.kind == "not_a_dataset"
    assert says in refused.value.message
    assert "\n" not in refused.value.message


def test_no_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with pytest.raises(InputError, match=f"{name} is not a dataset of build-stem-dataset"):
            read_dataset(tmp_path / name)


def test_the_plot_shows_at_most_thirty_sources(tmp_path: Path, drawn: "list[Figure]") -> None:
    left = dict.fromkeys(REASONS, 1.0)
    sources = [DatasetSource(f"$take$ {i}.flac", Material(i, left, {60: 1.0}, {-20: 1.0}), 1.0) for i in range(40)]
    passages = [DatasetPassage("0001.flac", "0", "$take$ 0.flac", 0, 780)]
    write_description(tmp_path, Description(passages, sources))
    axes = drawn[0].axes[0]
    shown = [text.get_text() for text in axes.texts]
    assert len(shown) == 30
    assert (shown[0], shown[-1]) == ("$take$ 0.flac", "11 others")
    kept = axes.containers[0]
    assert [bar.get_width() for bar in kept][-1] == sum(range(29, 40))
    assert axes.get_title(loc="left") == "780 s of clean passages of 1020 s"
    before = (tmp_path / "dataset.png").read_bytes()
    write_description(tmp_path, read_description(tmp_path))
    assert (tmp_path / "dataset.png").read_bytes() == before


def test_material_adds_up() -> None:
    left = dict.fromkeys(REASONS, 1.0)
    both = add_material([Material(1, left, {60: 1.0}, {-3: 2.0}), Material(2, left, {60: 1.0, 61: 4.0}, {})])
    assert both == Material(3, dict.fromkeys(REASONS, 2.0), {60: 2.0, 61: 4.0}, {-3: 2.0})
    assert add_material([]) == Material(0, dict.fromkeys(REASONS, 0), {}, {})
    assert [name_pitch(one) for one in (21, 60, 70)] == ["A0", "C4", "B♭4"]
