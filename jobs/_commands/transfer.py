"""Let an instrument play a melody: timbre transfer of an audio file.

The input is one voice or instrument: a recording of it, or a stem of reprise separate-stems. Its pitch and loudness are
followed, moved into the register of the instrument, and played. Chords are split into up to four voices. The result is
a FLAC file, mono, 24 bits, 44.1 kHz, with the loudness of the input. Where the input has no pitch, it is silent. The
command needs no warehouse and starts no Spark.
"""

import argparse
import os
import time
from pathlib import Path

from reprise.conf import Settings, SettingsError
from reprise.jobs._covers.instruments import choose_instrument
from reprise.jobs._engine.command_line import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    Parser,
    UsageError,
    add_models,
    add_settings_options,
    read_settings,
)
from reprise.jobs._engine.console import print_error
from reprise.lib.errors import RepriseError
from reprise.lib.files import printable_name
from reprise.lib.text import format_time

_MUCH = 0.1
"""Share of the notes outside the instrument's range from which the user is told."""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of ``reprise transfer``."""
    parser = Parser("transfer", __doc__ or "")
    parser.add_argument("--in", dest="source", required=True, metavar="FILE", help="audio file with a melody or chords")
    parser.add_argument(
        "--instrument",
        required=True,
        metavar="NAME|FILE|FOLDER",
        help="an instrument that reprise models lists, a file of train-instrument, or the folder of one of Magenta's",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="FLAC file to write")
    add_models(parser)
    add_settings_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run ``reprise transfer`` with the command line ``argv`` and return the exit code.

    The exit code is 1 if a file cannot be read or written or has no melody, and 2 for bad usage.
    """
    try:
        args = make_parser().parse_args(argv)
        settings = read_settings(args)
        source, out = Path(args.source), Path(args.out)
        if not os.path.lexists(source):
            raise UsageError(f"--in {args.source} does not exist: name an audio file")
        if out.suffix.lower() != ".flac":
            raise UsageError(f"--out {args.out} is not a .flac file: name one")
        if out.exists() and source.exists() and out.samefile(source):
            raise UsageError(f"--out {args.out} is the input: name another file")
        _transfer(settings, source, args.instrument, out)
    except (SettingsError, UsageError) as error:
        print_error("transfer", str(error))
        return EXIT_USAGE
    except (RepriseError, OSError) as error:
        print_error("transfer", str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        print_error("transfer", "interrupted: nothing was written")
        return EXIT_INTERRUPTED
    return EXIT_OK


def _transfer(settings: Settings, source: Path, name: str, out: Path) -> None:
    chosen = choose_instrument(settings, name)
    # only now, because this takes seconds to import
    from reprise.lib.covers.transfer import OUTPUT_RATE
    from reprise.udfs.transferred_parts import arrange_file, play_file

    instrument = chosen.load()
    print(f"instrument: {chosen.name} from {chosen.origin}, licence: {chosen.licence}")
    start = time.monotonic()
    arrangement = arrange_file(source, instrument)
    if not arrangement.sounding:
        raise RepriseError(f"{printable_name(source)} has no pitch that can be followed: choose a melody or chords")
    out.parent.mkdir(parents=True, exist_ok=True)
    written = play_file(arrangement, instrument, out, seed=settings.seed)
    seconds, lines = written.frame_count / OUTPUT_RATE, arrangement.lines
    octaves = lines[0].octaves
    kind = "melody" if len(lines) == 1 else f"chords in {len(lines)} voices"
    moved = f"moved {octaves:+} octave{'' if abs(octaves) == 1 else 's'}" if octaves else "as it is"
    print(f"{kind}: {format_time(seconds)}, {arrangement.sounding:.0%} of it sounds, {moved}")
    if lines[0].outside > _MUCH:
        print(f"{lines[0].outside:.0%} of the notes are outside the range of the instrument: they may sound strange")
    speed = seconds / (time.monotonic() - start)
    loudness = "silent" if written.loudness_lufs is None else f"{written.loudness_lufs:.1f} LUFS"
    print(f"written: {out}, {loudness}, at {speed:.1f} × real time")
