"""Measure what the project promises and keep the figures: ``make bench``, or ``make bench ONLY="search chroma"``.

Every ratio is of two things measured in one run, interleaved, since machines differ and drift. Prints the figures
beside their goals and writes RESULTS.md and results.json next to this file; what is not measured anew stays as it was.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import bench_analysis
import bench_audio
import bench_chords
import bench_chroma
import bench_cover_bare
import bench_cover_quality
import bench_cover_search
import bench_features
import bench_genre_features
import bench_genre_scores
import bench_genres
import bench_ingest
import bench_library
import bench_prediction
import bench_separation
import bench_stems
import bench_tastes
import bench_transfer
import bench_versions
import bench_voices
import psutil
from measuring import Row

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Section:
    """A part of the report: its title, how to measure it, and the packages whose versions matter."""

    title: str
    measure: Callable[[], list[Row]]
    packages: tuple[str, ...]


_READING = ("h5py", "numpy", "isal", "tables")
_JOBS = ("pyspark", "delta-spark", "deltalake", "pyarrow", *_READING)
_NUMBERS = ("numpy", "scipy", "numba")
_AUDIO = ("soundfile", "av", "soxr", "librosa", *_NUMBERS)
_LEARNING = ("scikit-learn", "numpy", "scipy")
_COVERS = (*_NUMBERS, "scikit-learn", "torch", "pyspark")
SECTIONS: Mapping[str, Section] = {
    "reader": Section("Reading MSD files", bench_ingest.measure_reader, _READING),
    "sample": Section("Composing", bench_ingest.measure_sample, ("h5py", "numpy")),
    "ingest": Section("Ingesting MSD files", bench_ingest.measure_job, _JOBS),
    "chroma": Section("Chroma patches", bench_chroma.measure_patches, _NUMBERS),
    "audio": Section("Reading, writing and measuring audio", bench_audio.measure_audio, _AUDIO),
    "analysis": Section("Analysis of audio", bench_analysis.measure_speed, _NUMBERS),
    "truth": Section("Analysis of composed songs beside what was played", bench_analysis.measure_quality, _NUMBERS),
    "rhythm": Section("Tempo, beats and bars of POP909, rendered", bench_analysis.measure_rhythm, _NUMBERS),
    "recordings": Section("Tempo and beats of recordings", bench_analysis.measure_recordings, _NUMBERS),
    "chords": Section("Chords of POP909, rendered", bench_chords.measure_chords, (*_NUMBERS, "mir_eval")),
    "separation": Section(
        "Separation of ten rendered songs: SDR in dB", bench_separation.measure_separation, ("torch", "museval")
    ),
    "guitars": Section("Separation of guitars of recordings: SDR in dB", bench_separation.measure_guitars, ("torch",)),
    # measured on another machine, by gpu_separation.py
    "gpu": Section("Separation on a GPU", list[Row], ("torch", "demucs")),
    "transfer": Section(
        "Timbre transfer of ten rendered melodies", bench_transfer.measure_transfer, ("tensorflow", "ddsp", "swift-f0")
    ),
    "transfer_length": Section("Timbre transfer of long files", bench_transfer.measure_length, ("tensorflow", "ddsp")),
    "chord_transfer": Section(
        "Timbre transfer of chords: F of the notes that are read again",
        bench_transfer.measure_chords,
        ("tensorflow", "ddsp", "onnxruntime"),
    ),
    "voices": Section(
        "Notes of rendered chords in up to four voices: F of onset and pitch",
        bench_voices.measure_voices,
        ("onnxruntime", "basic-pitch", "mir_eval", *_NUMBERS),
    ),
    "features": Section("Features of audio", bench_features.measure_features, ("librosa", *_NUMBERS)),
    "library": Section("Listeners' music through the jobs", bench_library.measure_library, (*_JOBS, "librosa")),
    "stems": Section(
        "Stems on one core: speed and memory, a network of 1.2 million parameters",
        bench_stems.measure_stems,
        ("torch", "demucs", "numpy", "pyspark"),
    ),
    "genres": Section("Genres of the GTZAN table", bench_genres.measure_quality, (*_LEARNING, "xgboost-cpu")),
    "genre_features": Section("Genres of analyses", bench_genre_features.measure_feature_sets, _LEARNING),
    "scores": Section("Scoring genres", bench_genre_scores.measure_scores, (*_LEARNING, "pyarrow")),
    "tastes": Section("Taste profiles", bench_tastes.measure_tastes, ("pyspark", "delta-spark", "duckdb", "polars")),
    "prediction": Section("Held-out songs of composed listeners", bench_prediction.measure_prediction, ("numpy",)),
    "search": Section("Searching covers", bench_cover_search.measure_search, (*_NUMBERS, "faiss-cpu")),
    "rerank": Section("Aligning pairs", bench_chroma.measure_alignments, _NUMBERS),
    "hardness": Section(
        "How hard composed covers are: 12,960 tracks in 4,128 cliques", bench_cover_quality.measure_hardness, _COVERS
    ),
    "versions": Section(
        "Versions of works in a library: 200 works of five kinds, two decoys each",
        bench_versions.measure_versions,
        _COVERS,
    ),
    "bare": Section(
        "Songs found by one part or an excerpt: 4,320 tracks", bench_cover_bare.measure_bare, (*_NUMBERS, "torch")
    ),
    "quality": Section(
        "Covers of cliques never seen: 20,000 tracks, 500 cliques", bench_cover_quality.measure_quality, _COVERS
    ),
}


def table(rows: list[Row]) -> list[str]:
    """Rows as Markdown; the first one names the columns."""
    columns = list(rows[0])
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        cells = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def report(document: Mapping[str, dict[str, object]]) -> str:
    """RESULTS.md."""
    lines = [
        "# Measured",
        "",
        "Made by `make bench`. Every ratio is of two things measured in the same run; the figures beside it say how",
        "large they were on that machine.",
    ]
    for name, section in SECTIONS.items():
        if name in document:
            found = document[name]
            lines += ["", f"## {section.title}", "", str(found["where"]), "", *table(found["rows"])]  # type: ignore[arg-type]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Measure and keep the figures.")
    parser.add_argument("only", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    only = parser.parse_args().only
    if unknown := set(only) - set(SECTIONS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(SECTIONS)}")
    kept = HERE / "results.json"
    document = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    for name in only or SECTIONS:
        section = SECTIONS[name]
        where = (
            f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {psutil.cpu_count()} cores,"
            f" {psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}, "
            + ", ".join(f"{package} {version(package)}" for package in section.packages)
        )
        rows = section.measure()
        if not rows:  # what cannot be measured on this machine stays as it was
            continue
        print("\n".join([f"## {section.title}", "", where, "", *table(rows), ""]), flush=True)
        document[name] = {"where": where, "rows": rows}
        kept.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (HERE / "RESULTS.md").write_text(report(document), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
