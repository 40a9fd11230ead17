"""Fit the scale of the analysis to the dataset, or compare the two.

Usage: ``python -m reprise.jobs._shipped_models.fit_analysis_scale fit MSD DIR... > scale.py``, or
``… fit_analysis_scale compare MSD DIR...``. MSD is a folder with files of the Million Song Dataset. Every DIR is a
folder with audio files of one source: a label, a band, a game, a soundfont. A source counts as much as any other one,
however many files it has.

Features of analyses feed the same genre models, whether the dataset or this package made the analysis. So over many
recordings, a feature must have the same distribution. ``fit`` prints the module with the fitted numbers, ``compare``
prints quantiles of the dataset and of other recordings side by side.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reprise.lib import msd
from reprise.lib.analysis.analyser import analyse, measure
from reprise.lib.arrays import Float64Array
from reprise.lib.audio.decoding import decode
from reprise.lib.errors import InputError

Analysis = Mapping[str, Any]
CONFIDENCES = ("key_confidence", "mode_confidence", "time_signature_confidence", "segments_confidence")
"""Confidences from which features are computed."""
PROBABILITIES = np.linspace(0.05, 0.95, 10)
SHOWN = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
_FIELDS = (*CONFIDENCES, "loudness", "segments_timbre")
HEAD = '''"""Fitted numbers that scale timbre and confidences of the analysis to those of the Million Song Dataset.

`reprise.jobs._shipped_models.fit_analysis_scale` fits them to recordings: do not edit them by hand.
"""

import numpy as np
'''


def read_dataset(folder: Path) -> list[Analysis]:
    """Read the analyses of the dataset."""
    analyses: list[Analysis] = []
    for path in sorted(folder.rglob("*.h5")):
        with msd.open_msd(path) as file:
            read = file.read(set(_FIELDS), 0, 1)
        analyses.append({name: read[name][0] for name in _FIELDS})
    return analyses


def analyse_source(folder: Path, analyser: Callable[[Any], Analysis]) -> list[Analysis]:
    """Analyse the audio files of one source with `analyse` or `measure`. Files that cannot be decoded are skipped."""
    analyses: list[Analysis] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with tempfile.NamedTemporaryFile() as samples:
            try:
                decode(path, samples.name)
            except InputError:
                continue
            found = analyser(np.memmap(samples.name, np.float32, "r"))
            analyses.append({name: found[name] for name in _FIELDS})
        print(f"\r{folder.name}: {len(analyses)} files", end="", file=sys.stderr)
    print(file=sys.stderr)
    return analyses


def weigh(sources: Sequence[Sequence[Analysis]], name: str) -> tuple[Float64Array, Float64Array]:
    """Return all values of a field, and their weights: equal for each source, and in a source for each file."""
    values = [[np.atleast_1d(analysis[name]) for analysis in source] for source in sources]
    weights = [np.full(len(one), 1 / len(one) / len(source)) for source in values for one in source]
    return np.concatenate([one for source in values for one in source]), np.concatenate(weights)


def compute_quantiles(values: Float64Array, weights: Float64Array, probabilities: Float64Array) -> Float64Array:
    """Return the weighted quantiles of some values."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order]) - weights[order] / 2
    quantiles: Float64Array = np.interp(probabilities, below / weights.sum(), values[order])
    return quantiles


def describe_timbre(sources: Sequence[Sequence[Analysis]]) -> tuple[Float64Array, Float64Array]:
    """Return the medians over the sources of the typical mean and standard deviation within a file, each (12,)."""
    timbre = [[np.reshape(analysis["segments_timbre"], (-1, 12)) for analysis in source] for source in sources]
    means = [np.median([one.mean(axis=0) for one in source], axis=0) for source in timbre]
    spreads = [np.median([one.std(axis=0) for one in source], axis=0) for source in timbre]
    return np.median(means, axis=0), np.median(spreads, axis=0)


def fit(dataset: list[Analysis], sources: list[list[Analysis]]) -> Iterator[str]:
    """Yield the lines of the module with the fitted numbers. ``sources`` are results of `measure`."""
    yield HEAD
    yield "# quantiles of the measured values, and the same quantiles in the dataset"
    yield "CONFIDENCES = {"
    for name in CONFIDENCES:
        ours, theirs = (
            compute_quantiles(*weigh(group, name), PROBABILITIES) for group in (sources, [[one] for one in dataset])
        )
        yield f'    "{name}": ('
        for values, digits in ((ours, 6), (theirs, 3)):
            yield f"        ({', '.join(f'{value:.{digits}g}' for value in (0.0, *values, 1.0))}),"
        yield "    ),"
    yield "}"
    (mean, spread), (their_mean, their_spread) = describe_timbre(sources), describe_timbre([[one] for one in dataset])
    factors = their_spread / spread
    offsets = mean * factors - their_mean
    factors[0], offsets[0] = 1.0, 0.0  # coefficient 1 is a level, whose unit and zero are those of the dataset
    for name, values in (("FACTORS", factors), ("OFFSETS", offsets)):
        yield f"TIMBRE_{name} = np.array([{', '.join(f'{value:.4g}' for value in values)}])"


def compare(dataset: list[Analysis], sources: list[list[Analysis]]) -> Iterator[str]:
    """Yield lines with the quantiles of the dataset and of some sources side by side.

    ``sources`` are results of `analyse`. For a coefficient of the timbre, the quantiles are those of its mean and its
    standard deviation in each file.
    """
    groups = {"dataset": [[one] for one in dataset], "here": sources}
    yield f"{'':35}" + " ".join(f"{100 * probability:6.0f}%" for probability in SHOWN)
    for name in (*CONFIDENCES, "loudness"):
        for group, of_group in groups.items():
            yield f"{name:26} {group:8} {_show_quantiles(of_group, name)}"
    for i in range(12):
        for name, compute in (("mean", np.mean), ("std", np.std)):
            for group, of_group in groups.items():
                values = [
                    [{name: compute(np.reshape(one["segments_timbre"], (-1, 12))[:, i])} for one in source]
                    for source in of_group
                ]
                yield f"{f'timbre {i + 1}, {name}':26} {group:8} {_show_quantiles(values, name)}"


def _show_quantiles(sources: Sequence[Sequence[Analysis]], name: str) -> str:
    return " ".join(f"{value:7.2f}" for value in compute_quantiles(*weigh(sources, name), SHOWN))


def main() -> int:
    """Fit the scale and print the module, or compare the dataset with recordings."""
    parser = argparse.ArgumentParser(description="Fit the scale of the analysis to the dataset, or compare the two.")
    parser.add_argument("task", choices=["fit", "compare"])
    parser.add_argument("msd", type=Path, help="folder with files of the dataset")
    parser.add_argument("sources", type=Path, nargs="+", help="folders with audio, one for each source")
    args = parser.parse_args()
    make_lines, analyser = (fit, measure) if args.task == "fit" else (compare, analyse)
    sources = [analyse_source(folder, analyser) for folder in args.sources]
    print("\n".join(make_lines(read_dataset(args.msd), sources)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
