"""Train a small separator of stems on music that the project renders itself, and write it to a folder.

Composed songs, and with --midi the songs of POP909, are played by the given soundfonts and by the instruments of
reprise; half of the vocals are sung by formant synthesis. No recording takes part. The folder can be given to
reprise separate-stems --model. A training that was stopped goes on from its checkpoint. The command starts no Spark and
adds no row to job_runs.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.files import printable_name

MODEL_FILE = "separator.safetensors"
_REPORT_ONLY = 30
_WARMUP_SHARE, _VALIDATIONS = 0.05, 20


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of ``reprise train-separator``."""
    parser = Parser("train-separator", __doc__ or "")
    parser.add_argument(
        "--soundfont",
        action="append",
        required=True,
        metavar="FILE",
        help="General MIDI soundfont, .sf2 or .sf3; can be repeated",
    )
    parser.add_argument(
        "--drum-soundfont",
        action="append",
        default=[],
        metavar="FILE",
        help="soundfont whose first program is a drum kit; can be repeated",
    )
    parser.add_argument(
        "--midi",
        metavar="DIR",
        help=f"folder of POP909; songs whose number is divisible by {_REPORT_ONLY} are left out",
    )
    parser.add_argument("--initial", metavar="DIR", help="folder of a trained separator to start from")
    parser.add_argument("--out", default="separator", metavar="DIR", help="folder for the model (default: separator)")
    parser.add_argument(
        "--checkpoint",
        default="~/.cache/reprise/train_separator.pt",
        metavar="FILE",
        help="file to go on from (default: ~/.cache/reprise/train_separator.pt); deleted at the end",
    )
    parser.add_argument("--steps", type=positive_int, default=2000, metavar="N", help="number of steps (default: 2000)")
    parser.add_argument(
        "--batch", type=positive_int, default=16, metavar="N", help="number of mixtures of 6 s in a step (default: 16)"
    )
    parser.add_argument(
        "--multitracks",
        type=positive_int,
        default=200,
        metavar="N",
        help="number of multitracks of 40 s that are held in memory at once, 28 MB each (default: 200)",
    )
    parser.add_argument("--seed", type=int, default=19, metavar="N", help="seed of all random numbers (default: 19)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run ``reprise train-separator`` with the command line ``argv`` and return the exit code.

    The exit code is 1 if the training fails or the folder cannot be written, and 2 for bad usage.
    """
    try:
        args = make_parser().parse_args(argv)
        songs = _list_songs(args.midi)
        for path in (*args.soundfont, *args.drum_soundfont):
            if not Path(path).is_file():
                raise UsageError(f"{printable_name(path)} is not a file: name an existing soundfont")
        if args.initial is not None and not Path(args.initial, MODEL_FILE).is_file():
            raise UsageError(f"--initial {args.initial} has no {MODEL_FILE}: name the --out of a former training")
        _train(args, songs)
    except UsageError as error:
        print_error("train-separator", str(error))
        return EXIT_USAGE
    except (RepriseError, OSError, FloatingPointError) as error:
        print_error("train-separator", str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        print_error("train-separator", "interrupted: the same command goes on from the checkpoint")
        return EXIT_INTERRUPTED
    return EXIT_OK


def _list_songs(folder: str | None) -> tuple[Path, ...]:
    if folder is None:
        return ()
    songs = sorted(Path(folder).glob("*/[0-9]*.mid"))
    songs = [path for path in songs if path.stem.isdigit() and int(path.stem) % _REPORT_ONLY]
    if not songs:
        raise UsageError(f"--midi {folder} contains no songs of POP909 (NUMBER/NUMBER.mid): name its folder")
    return tuple(songs)


def _train(args: argparse.Namespace, songs: tuple[Path, ...]) -> None:
    from reprise.lib.covers.separator_training import BankPlan, Material, train_separator
    from reprise.lib.nets.devices import choose_device
    from reprise.lib.nets.training import Schedule, write_history

    out, checkpoint = Path(args.out), Path(args.checkpoint).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    material = Material(songs, tuple(args.soundfont), tuple(args.drum_soundfont))
    device = choose_device()
    workers = max((os.cpu_count() or 2) - (device == "cpu"), 1)
    initial = None if args.initial is None else _read_initial(Path(args.initial))
    # each multitrack is held for half of the steps
    plan = BankPlan(args.multitracks, 2 * args.multitracks / args.steps, args.multitracks, workers)
    schedule = Schedule(
        args.steps,
        rate=7e-4,
        seed=args.seed,
        warmup_steps=max(1, round(_WARMUP_SHARE * args.steps)),
        averaging=0.995,
        validation_steps=max(1, args.steps // _VALIDATIONS),
    )
    state, history = train_separator(
        material,
        plan,
        schedule,
        device,
        batch=args.batch,
        checkpoint=checkpoint,
        n_validation=max(2, args.multitracks // 8),
        initial=initial,
    )
    write_history(out, history, "Separator: loss and SDR in dB of multitracks that did not train")
    write_separator(
        out,
        state,
        params={"steps": history.scores[-1][0], "best_step": history.best_step, "batch": args.batch, "seed": args.seed},
        score=history.best_score,
        soundfonts=[Path(path).name for path in (*args.soundfont, *args.drum_soundfont)],
        n_songs=len(songs),
    )
    checkpoint.unlink(missing_ok=True)
    print(f"written: {out / MODEL_FILE}; use it: reprise separate-stems --model {out}")


def _read_initial(folder: Path) -> dict[str, Any]:
    """Return the state of the separator in a folder that this command wrote."""
    from reprise.lib.nets.separators import SMALL_CLASS, load_separator

    path = folder / MODEL_FILE
    try:
        separator = load_separator(path.read_bytes())
    except InputError as error:
        raise RepriseError(f"{path} is not a separator: {error.message}") from None
    if separator.kind != SMALL_CLASS.rpartition(".")[2]:
        raise UsageError(f"--initial {folder} contains another network: name the --out of a former training")
    return separator.state


def write_separator(
    folder: Path,
    state: dict[str, Any],
    *,
    params: dict[str, Any],
    score: float,
    soundfonts: Sequence[str],
    n_songs: int,
) -> None:
    """Write the model file, its description and its card to a folder.

    Parameters
    ----------
    state
        State of the network.
    params
        Settings of the training.
    score
        Mean SDR in dB of the multitracks that only validated.
    soundfonts
        Names of the soundfonts.
    n_songs
        Number of songs of POP909.
    """
    from reprise.lib.nets.separators import SMALL_CLASS, STEMS, pack_separator
    from reprise.lib.nets.spectrogram_unet import CHANNELS

    data = pack_separator(SMALL_CLASS, {"sources": list(STEMS), "channels": list(CHANNELS)}, state)
    sha256 = hashlib.sha256(data).hexdigest()
    (folder / MODEL_FILE).write_bytes(data)
    trained_on = {"data": f"composed songs, {n_songs} songs of POP909", "soundfonts": list(soundfonts)}
    described = {
        "sha256": sha256,
        "params": params,
        "metrics": {"validation_sdr_db": round(score, 2)},
        "trained_on": trained_on,
    }
    (folder / "separator.json").write_text(json.dumps(described, indent=2) + "\n", "utf-8")
    card = CARD.format(
        sha256=sha256,
        size=len(data) / 1e6,
        n_songs=n_songs,
        soundfonts=", ".join(soundfonts),
        score=score,
        settings=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in params.items()),
    )
    (folder / "separator.md").write_text(card, "utf-8")


CARD = """# Separator of stems

Separates a song into drums, bass, other and vocals. `reprise separate-stems` uses it where htdemucs has not been
fetched.

- **File**: `separator.safetensors`, {size:.1f} MB, SHA-256 `{sha256}`.
- **Network**: a convolutional U-Net over the complex spectrogram (`reprise.lib.nets.spectrogram_unet`). Stereo,
  44,100 Hz.
- **Data**: multitracks that `reprise train-separator` renders: composed songs and {n_songs} songs of POP909 (Wang et
  al. 2020, MIT), whose numbers are not divisible by 30, with a bass and drums of our own. They are played by
  {soundfonts} and by the instruments of reprise, with random effects. Half of the vocals are sung by formant
  synthesis, the others are played by choirs and solo instruments. **No human voice
  and no recording was in the training.**
- **Training**: {settings}.
- **Quality**: {score:.1f} dB mean SDR on rendered multitracks that did not train, with the same soundfonts. Figures
  with another soundfont, and of recordings: `make bench ONLY=separation`.
- **Limits**: voices and guitars of recordings differ from what it was trained on. It confuses a solo instrument with
  vocals, because a melody stood for the vocals in half of the training. For recordings, fetch htdemucs.
- **Licence**: Apache-2.0.
"""
