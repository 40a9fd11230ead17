"""Train an instrument on a dataset of build-stem-dataset, and write it to a folder with a report.

The network of ddsp learns to play the passages of the dataset again. About a tenth of them only validates. A training
that was stopped goes on from its checkpoint. The command starts no Spark and adds no row to job_runs.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprise.jobs._engine.command_line import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    Parser,
    UsageError,
    positive_int,
)
from reprise.jobs._engine.console import print_error
from reprise.lib.errors import RepriseError

if TYPE_CHECKING:  # imported only for type checking, so that wrong usage is answered at once
    from reprise.lib.arrays import Float32Array
    from reprise.lib.covers.instrument_training import Passage
    from reprise.lib.covers.stem_datasets import Description

_VALIDATION_SHARE, _LARGEST_VALIDATION_SHARE = 0.1, 0.34
_NAME = re.compile(r"[\w-]{1,64}", re.ASCII)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of ``reprise train-instrument``."""
    parser = Parser("train-instrument", __doc__ or "")
    parser.add_argument("--dataset", required=True, metavar="DIR", help="folder that build-stem-dataset wrote")
    parser.add_argument(
        "--name", required=True, metavar="NAME", help="name of the instrument: letters, digits, _ and -"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the instrument and its report")
    parser.add_argument("--steps", type=positive_int, default=1100, metavar="N", help="number of steps (default: 1100)")
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="file to go on from (default: ~/.cache/reprise/train_instrument_NAME.safetensors); deleted at the end",
    )
    parser.add_argument("--seed", type=int, default=20, metavar="N", help="seed of all random numbers (default: 20)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run ``reprise train-instrument`` with the command line ``argv`` and return the exit code.

    The exit code is 1 if the dataset is not enough, the training fails or the folder cannot be written, and 2 for bad
    usage.
    """
    try:
        args = make_parser().parse_args(argv)
        if not _NAME.fullmatch(args.name):
            raise UsageError(f"--name {args.name} is not a name: use letters from a to z, digits, _ and -")
        if not Path(args.dataset).is_dir():
            raise UsageError(f"--dataset {args.dataset} is not a folder: name one that build-stem-dataset wrote")
        _train(args)
    except UsageError as error:
        print_error("train-instrument", str(error))
        return EXIT_USAGE
    except (RepriseError, OSError) as error:
        print_error("train-instrument", str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        print_error("train-instrument", "interrupted: the same command goes on from the checkpoint")
        return EXIT_INTERRUPTED
    return EXIT_OK


def _train(args: argparse.Namespace) -> None:
    from reprise.lib.covers.instrument_training import BATCH, choose_shape, make_schedule, train_instrument
    from reprise.lib.covers.instruments import measure_range, pack_instrument, read_instrument
    from reprise.lib.covers.solo_passages import check_dataset
    from reprise.lib.covers.stem_datasets import DESCRIPTION, read_dataset, read_description
    from reprise.lib.files import sha256_of
    from reprise.lib.nets.training import write_history

    dataset, out = Path(args.dataset), Path(args.out)
    description = read_description(dataset)
    for warning in check_dataset(description.material):
        print_error("train-instrument", f"warning: {warning}")
    dataset_sha256 = sha256_of(dataset / DESCRIPTION)
    passages = read_dataset(dataset)
    count = choose_validation(description)
    training, validation = passages[:-count], passages[-count:]
    span = measure_range([one.performance for one in training])
    shape = choose_shape(span.low_hz)
    schedule = make_schedule(args.steps, args.seed)
    checkpoint = Path(args.checkpoint or f"~/.cache/reprise/train_instrument_{args.name}.safetensors").expanduser()
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    print(f"{_sum_seconds(training):.0f} s train, {_sum_seconds(validation):.0f} s validate", flush=True)
    weights, history = train_instrument(
        training,
        validation,
        shape,
        schedule,
        batch=BATCH,
        checkpoint=checkpoint,
        identity=hashlib.sha256(repr((dataset_sha256, shape, schedule, BATCH)).encode()).hexdigest(),
        report=lambda line: print(line, flush=True),
    )
    card = {
        "title": args.name.replace("_", " "),
        "trained_on": f"{_sum_seconds(training):.0f} s of {len(description.sources)} recordings",
        "dataset_sha256": dataset_sha256,
        "params": {"steps": args.steps, "best_step": history.best_step, "batch": BATCH, "seed": args.seed},
        "metrics": {"validation_loss": round(-history.best_score, 3)},
    }
    data = pack_instrument(args.name, span, shape, weights, card)
    (out / f"{args.name}.safetensors").write_bytes(data)
    write_history(out, history, f"{card['title']}: loss, and negative loss of passages that did not train")
    _report(out, read_instrument(data).load(), validation, card)
    checkpoint.unlink(missing_ok=True)
    print(f"written: {out / args.name}.safetensors, report.json and report.png, original.flac and resynthesis.flac")


def choose_validation(description: "Description") -> int:
    """Return how many of the last passages validate: whole recordings if that is not too much, about a tenth."""
    lengths_s = [one.stop_s - one.start_s for one in description.passages]
    sources = [one.source for one in description.passages]
    total_s = sum(lengths_s)
    seconds = 0.0
    count = 0
    while seconds < _VALIDATION_SHARE * total_s:
        count += 1
        seconds += lengths_s[-count]
    whole = len(sources) - sources.index(sources[-count])
    is_fair = sum(lengths_s[-whole:]) <= _LARGEST_VALIDATION_SHARE * total_s
    return whole if is_fair else min(count, len(sources) - 1)


def _sum_seconds(passages: "Sequence[Passage]") -> float:
    from reprise.lib.nets.instrument_network import FRAME_RATE

    return sum(len(one.performance) for one in passages) / FRAME_RATE


def _report(out: Path, instrument: Any, validation: "Sequence[Passage]", card: dict[str, Any]) -> None:
    """Let the instrument play the validation passages, and write how near they are, and the longest one as audio."""
    from reprise.lib.covers.instrument_reports import compare, draw_resynthesis, resynthesise
    from reprise.lib.covers.transfer import OUTPUT_RATE
    from reprise.lib.nets.instrument_network import SAMPLE_RATE

    played = resynthesise(instrument, sorted(validation, key=lambda one: -len(one.samples)))
    metrics = card["metrics"] | compare(played)
    (out / "report.json").write_text(
        json.dumps(card | {"metrics": metrics}, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    _write_audio(out / "original.flac", played[0].passage.samples, SAMPLE_RATE)
    _write_audio(out / "resynthesis.flac", played[0].audio, OUTPUT_RATE)
    draw_resynthesis(out / "report.png", played[0], f"{card['title']}: a passage that did not train")
    for name, value in metrics.items():
        print(f"{name.replace('_', ' ')}: {value}")


def _write_audio(path: Path, samples: "Float32Array", sample_rate: int) -> None:
    import numpy as np

    from reprise.lib.audio.encoding import write_flac

    gain = np.float32(1 / max(1.0, float(np.abs(samples).max())))
    with write_flac(path, sample_rate=sample_rate, channel_count=1, bit_depth=24, comments={}) as flac:
        flac.write(samples[:, None] * gain)
