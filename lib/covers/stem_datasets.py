"""Datasets for the training of an instrument: its clean passages as FLAC files, with a description and a plot.

A dataset is a folder with ``0001.flac`` and so on, ``dataset.json`` and ``dataset.png``, and nothing else.
"""

import json
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from reprise.lib import plotting
from reprise.lib.arrays import Float32Array, release_pages
from reprise.lib.audio.encoding import write_flac
from reprise.lib.covers.instrument_training import WINDOW, Passage
from reprise.lib.covers.performance import measure_performance
from reprise.lib.covers.solo_passages import REASONS, Material, find_solo_passages
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.files import UNFINISHED_PREFIX, read_regular, sha256_of
from reprise.lib.nets.instrument_network import FRAME_RATE, HOP, SAMPLE_RATE
from reprise.lib.nets.pitch_tracker import PitchTracker
from reprise.lib.text import PITCH_CLASSES

DESCRIPTION, PLOT = "dataset.json", "dataset.png"
PEAK = 0.9
"""Peak of the passages that `read_dataset` returns."""

_FORMAT, _VERSION = "reprise stem dataset", 1
_FILE = re.compile(r"\d{4,}\.flac")
_TOLERANCE_S = 0.01
_BLOCK = 1 << 18
_SHOWN_SOURCES = 30


@dataclass(frozen=True)
class DatasetPassage:
    """A passage in a dataset.

    Attributes
    ----------
    file
        Name of the FLAC file.
    sha256
        SHA-256 of the file.
    source
        Name of the recording.
    start_s, stop_s
        Place in the recording.
    """

    file: str
    sha256: str
    source: str
    start_s: float
    stop_s: float


@dataclass(frozen=True)
class DatasetSource:
    """A recording from which passages were taken, its material, and the gain of its passages."""

    name: str
    material: Material
    gain: float


@dataclass(frozen=True)
class Description:
    """Content of a dataset: its passages and its recordings."""

    passages: Sequence[DatasetPassage]
    sources: Sequence[DatasetSource]

    @property
    def material(self) -> Material:
        """The material of all recordings."""
        return add_material([one.material for one in self.sources])


def add_material(parts: Sequence[Material]) -> Material:
    """Return the material of several recordings together."""
    return Material(
        sum(one.kept_s for one in parts),
        {reason: sum(one.left_out_s[reason] for one in parts) for reason in REASONS},
        _add(one.pitch_s for one in parts),
        _add(one.loudness_s for one in parts),
    )


def _add(parts: Iterable[Mapping[int, float]]) -> dict[int, float]:
    total: Counter[int] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))


def cut_passages(
    name: str, samples: Float32Array, tracker: PitchTracker, folder: Path
) -> tuple[DatasetSource, list[DatasetPassage]]:
    """Write the clean passages of a recording to a folder.

    All passages of a recording have the same gain, at most 1, so that no sample exceeds full scale.

    Parameters
    ----------
    name
        Name of the recording.
    samples
        Finite mono samples at 16 kHz, which may be memory-mapped.
    folder
        Existing folder. Files that it contains remain, and the numbers of the new ones follow theirs.
    """
    found = find_solo_passages(samples, tracker)
    spans = [(HOP * start, HOP * stop) for start, stop in found.spans]
    peak = max((_find_peak(samples, start, stop) for start, stop in spans), default=0.0)
    gain = np.float32(min(1.0, 1 / peak) if peak else 1.0)
    number = len(list(folder.glob("*.flac")))
    passages = []
    pitch_s: Counter[int] = Counter()
    loudness_s: Counter[int] = Counter()
    for i, (start, stop) in enumerate(spans, number + 1):
        path = folder / f"{i:04}.flac"
        with write_flac(path, sample_rate=SAMPLE_RATE, channel_count=1, bit_depth=24, comments={}) as flac:
            for at in range(start, stop, _BLOCK):
                flac.write(np.asarray(samples[at : min(at + _BLOCK, stop)])[:, None] * gain)
                release_pages(samples)
        performance = measure_performance(np.asarray(samples[start:stop]) * gain, tracker)
        midi = np.round(69 + 12 * np.log2(performance.f0_hz[performance.voiced] / 440)).astype(int)
        decibels = np.round(performance.loudness_db[performance.voiced]).astype(int)
        for counter, values in ((pitch_s, midi), (loudness_s, decibels)):
            counter.update(values.tolist())
        passages.append(DatasetPassage(path.name, sha256_of(path), name, start / SAMPLE_RATE, stop / SAMPLE_RATE))
    material = Material(found.kept_s, found.left_out_s, _to_seconds(pitch_s), _to_seconds(loudness_s))
    return DatasetSource(name, material, float(gain)), passages


def _find_peak(samples: Float32Array, start: int, stop: int) -> float:
    peak = 0.0
    for at in range(start, stop, _BLOCK):
        peak = max(peak, float(np.abs(samples[at : min(at + _BLOCK, stop)]).max()))
        release_pages(samples)
    return peak


def _to_seconds(frames: Mapping[int, int]) -> dict[int, float]:
    return {value: count / FRAME_RATE for value, count in sorted(frames.items())}


@contextmanager
def replace_dataset(folder: Path) -> Iterator[Path]:
    """Yield a new folder that takes the place of a dataset when the block ends. After an error, all is as before.

    Raises
    ------
    RepriseError
        There is something that is not a dataset.
    """
    folder = folder.resolve()
    check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished, old = (folder.parent / f"{UNFINISHED_PREFIX}{uuid.uuid4().hex}" for _ in range(2))
    unfinished.mkdir()
    try:
        yield unfinished
        if folder.exists():
            folder.rename(old)
        unfinished.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    finally:
        for one in (unfinished, old):
            shutil.rmtree(one, ignore_errors=True)


def check_replaceable(folder: Path) -> None:
    """Check that a folder is a dataset, empty, or absent.

    Raises
    ------
    RepriseError
        It is not.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        try:
            read_description(folder)
        except InputError as error:
            raise RepriseError(f"{folder} will not be replaced, because {error.message}: name another folder") from None
        if others := [path.name for path in sorted(folder.iterdir()) if not _is_own(path.name)]:
            raise RepriseError(f"{folder} will not be replaced, because it contains {others[0]}: name another folder")


def _is_own(name: str) -> bool:
    return name in (DESCRIPTION, PLOT) or _FILE.fullmatch(name) is not None


def write_description(folder: Path, description: Description) -> None:
    """Write ``dataset.json`` and ``dataset.png``. Equal input gives equal bytes."""
    material = description.material
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "sample_rate": SAMPLE_RATE,
        "totals": {"passages": len(description.passages), "sources": len(description.sources), **_round(material)},
        "sources": [
            {"name": one.name, "gain": round(one.gain, 6), **_round(one.material)} for one in description.sources
        ],
        "passages": [asdict(one) for one in description.passages],
    }
    (folder / DESCRIPTION).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    _draw(folder / PLOT, description)


def _round(material: Material) -> dict[str, Any]:
    return {
        "kept_s": round(material.kept_s, 3),
        "left_out_s": {reason: round(seconds, 3) for reason, seconds in material.left_out_s.items()},
        "pitch_s": {str(value): round(seconds, 3) for value, seconds in material.pitch_s.items()},
        "loudness_s": {str(value): round(seconds, 3) for value, seconds in material.loudness_s.items()},
    }


def write_dataset(folder: Path, recordings: Iterable[tuple[str, Float32Array]], tracker: PitchTracker) -> Description:
    """Cut the clean passages of recordings, and write the dataset. An existing one is replaced.

    Parameters
    ----------
    recordings
        Name and samples of each recording, see `cut_passages`. One is held at a time.

    Raises
    ------
    RepriseError
        The folder contains something else, or cannot be written.
    """
    sources: list[DatasetSource] = []
    passages: list[DatasetPassage] = []
    with replace_dataset(folder) as unfinished:
        for name, samples in recordings:
            source, cut = cut_passages(name, samples, tracker, unfinished)
            sources.append(source)
            passages += cut
        description = Description(passages, sources)
        write_description(unfinished, description)
    return description


def read_description(folder: Path) -> Description:
    """Read what a dataset contains.

    Raises
    ------
    InputError
        ``not_a_dataset``: the folder is not one, or its description is damaged.
    """
    try:
        content = json.loads(read_regular(folder / DESCRIPTION))
        if (content["format"], content["sample_rate"]) != (_FORMAT, SAMPLE_RATE):
            raise ValueError("it describes something else")
        if content["version"] != _VERSION:
            raise ValueError(f"it has the version {content['version']}, and {_VERSION} is known")
        sources = [DatasetSource(one["name"], _read_material(one), float(one["gain"])) for one in content["sources"]]
        passages = [DatasetPassage(**one) for one in content["passages"]]
        names = {one.name for one in sources}
        if not all(_FILE.fullmatch(one.file) and one.source in names for one in passages):
            raise ValueError("a passage has no file or no source")
        seconds = sum(one.stop_s - one.start_s for one in passages)
        if abs(seconds - sum(one.material.kept_s for one in sources)) > _TOLERANCE_S * (1 + len(sources)):
            raise ValueError("its passages are not those of its sources")
    except InputError:
        raise InputError(
            "not_a_dataset", f"{folder} is not a dataset of build-stem-dataset: no {DESCRIPTION}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        fault = str(error) if type(error) is ValueError else "it lacks values, or has others"
        raise InputError(
            "not_a_dataset", f"{folder} is not a dataset of build-stem-dataset: {DESCRIPTION} is not valid: {fault}"
        ) from None
    return Description(passages, sources)


def source_from_json(content: Mapping[str, Any]) -> DatasetSource:
    """Return the source that ``dataclasses.asdict`` and JSON made a mapping of."""
    return DatasetSource(content["name"], _read_material(content["material"]), content["gain"])


def _read_material(content: Mapping[str, Any]) -> Material:
    return Material(
        float(content["kept_s"]),
        {reason: float(content["left_out_s"][reason]) for reason in REASONS},
        {int(value): float(seconds) for value, seconds in content["pitch_s"].items()},
        {int(value): float(seconds) for value, seconds in content["loudness_s"].items()},
    )


def read_dataset(folder: Path) -> list[Passage]:
    """Read the passages of a dataset, in the order of its description, and measure their performances.

    All passages get the same gain, so that their peak is `PEAK`.

    Raises
    ------
    InputError
        ``not_a_dataset``: the folder is not a dataset, or is damaged.
    """
    signals = [_read_passage(folder / one.file, one.sha256) for one in read_description(folder).passages]
    peak = max((float(np.abs(one).max()) for one in signals), default=1.0)
    gain = np.float32(PEAK / peak)
    tracker = PitchTracker()
    return [Passage(one * gain, measure_performance(one * gain, tracker)) for one in signals]


def _read_passage(path: Path, sha256: str) -> Float32Array:
    if not path.is_file() or sha256_of(path) != sha256:
        fault = "has changed" if path.exists() else "is missing"
        raise InputError("not_a_dataset", f"{path} {fault}: build the dataset again")
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except soundfile.SoundFileError:
        samples, rate = np.zeros(0, np.float32), 0
    if (
        rate != SAMPLE_RATE
        or samples.ndim != 1
        or len(samples) < HOP * WINDOW
        or len(samples) % HOP
        or not samples.any()
    ):
        raise InputError("not_a_dataset", f"{path} is not a passage: build the dataset again")
    return np.asarray(samples, np.float32)


def _draw(path: Path, description: Description) -> None:
    """Plot the kept seconds of each source and those left out, and histograms of pitch and loudness."""
    from matplotlib.ticker import MaxNLocator

    sources = [(one.name, one.material) for one in description.sources]
    if len(sources) > _SHOWN_SOURCES:
        rest = [material for _, material in sources[_SHOWN_SOURCES - 1 :]]
        sources = [*sources[: _SHOWN_SOURCES - 1], (f"{len(rest)} others", add_material(rest))]
    figure = plotting.new_figure(11, 3.4 + 0.22 * len(sources))
    grid = figure.add_gridspec(2, 2, height_ratios=[0.8 + 0.22 * len(sources), 1.6], hspace=0.45)
    axes = figure.add_subplot(grid[0, :])
    left = np.zeros(len(sources))
    rows = range(len(sources))
    kept = [material.kept_s for _, material in sources]
    bars = [("kept", kept)] + [(REASONS[one], [m.left_out_s[one] for _, m in sources]) for one in REASONS]
    colours = (plotting.COLOURS[2], plotting.GRID, *(plotting.COLOURS[i] for i in (5, 1, 3, 6, 4)))
    for (label, seconds), colour in zip(bars, colours, strict=True):
        axes.barh(rows, seconds, left=left, color=colour, label=label, height=0.7)
        left += seconds
    axes.set_yticks(rows, [""] * len(rows))
    for row, (name, _) in zip(rows, sources, strict=True):
        text = axes.text(-0.01, row, "", transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=8)
        plotting.fit_text(text, name, 200)
    axes.invert_yaxis()
    axes.set_xlabel("s")
    axes.set_title(f"{description.material.kept_s:.0f} s of clean passages of {left.sum():.0f} s", loc="left")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for column, (label, seconds_by) in enumerate(
        (("pitch", description.material.pitch_s), ("loudness (dB)", description.material.loudness_s))
    ):
        histogram = figure.add_subplot(grid[1, column])
        histogram.bar(list(seconds_by), list(seconds_by.values()), width=1.0, color=plotting.COLOURS[0])
        histogram.set_xlabel(label)
        histogram.set_ylabel("s")
        histogram.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 3, 4, 5, 6, 10]))
        if label == "pitch":
            histogram.xaxis.set_major_formatter(lambda value, _: name_pitch(round(value)))
        plotting.remove_spines(histogram)
    plotting.remove_spines(axes)
    figure.subplots_adjust(
        left=0.18, right=0.74, top=1 - 0.4 / figure.get_figheight(), bottom=0.5 / figure.get_figheight()
    )
    plotting.save(figure, path)


def name_pitch(midi: int) -> str:
    """Return the name of a MIDI pitch, e.g. ``C4`` for 60."""
    return f"{PITCH_CLASSES[midi % 12]}{midi // 12 - 1}"
