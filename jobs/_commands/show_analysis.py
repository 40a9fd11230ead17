"""Show the analysis of a track: tempo, key, meter, and its chords by bar; with --plot as a picture over its time.

The track is an id of the warehouse, or an audio file, which is analysed at once and needs no warehouse. The picture
shows the waveform; for tracks without audio on this machine, the loudness of their segments. The command starts no
Spark and adds no row to job_runs.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reprise.conf import Settings, SettingsError
from reprise.jobs._engine.command_line import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    Parser,
    UsageError,
    absolute_location,
    add_settings_options,
    read_settings,
)
from reprise.jobs._engine.console import print_error
from reprise.lib.analysis.charts import format_chart, list_bars
from reprise.lib.analysis.chords import Chords, estimate_chords
from reprise.lib.arrays import Float32Array
from reprise.lib.errors import RepriseError
from reprise.lib.files import printable_name
from reprise.lib.text import PITCH_CLASSES, format_time, make_printable

if TYPE_CHECKING:
    from reprise.jobs._engine.warehouse import Warehouse

_BARS_SHOWN = 16


@dataclass(frozen=True)
class _Track:
    """One track to show.

    Attributes
    ----------
    title
        One line: name and artist.
    analysis
        Fields with the names of the columns of tracks and analyses; a field that is missing or None is unknown.
    chords
        Chord of each beat.
    signal
        Mono samples at 22,050 Hz; None if there is no audio on this machine.
    """

    title: str
    analysis: Mapping[str, Any]
    chords: Chords
    signal: Float32Array | None


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of ``reprise show-analysis``."""
    parser = Parser("show-analysis", __doc__ or "")
    parser.add_argument(
        "--track", required=True, metavar="ID|FILE", help="id of a track in the warehouse, or an audio file"
    )
    parser.add_argument("--plot", metavar="PNG", help="draw waveform, beats, bars, chords and sections over time")
    add_settings_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run ``reprise show-analysis`` with the command line ``argv`` and return the exit code.

    The exit code is 1 if an audio file cannot be read or the plot cannot be written, and 2 for bad usage.
    """
    try:
        args = make_parser().parse_args(argv)
        settings = read_settings(args)
        track = _read_file(Path(args.track)) if os.path.lexists(args.track) else _read_track(args.track, settings)
        print("\n".join(_describe(track)))
        if args.plot is not None:
            _plot(track, args.plot)
            print(f"drawn: {args.plot}")
    except (SettingsError, UsageError) as error:
        print_error("show-analysis", str(error))
        return EXIT_USAGE
    except (RepriseError, OSError) as error:
        print_error("show-analysis", str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        print_error("show-analysis", "interrupted")
        return EXIT_INTERRUPTED
    return EXIT_OK


def _read_file(path: Path) -> _Track:
    """Decode and analyse an audio file."""
    from reprise.lib.analysis.analyser import analyse
    from reprise.udfs.numba_cache import compile_lock
    from reprise.udfs.sandbox import sandbox

    audio = sandbox().decode(path)
    signal = audio.open_signal()
    audio.signal_path.unlink()  # the mapping stays valid
    with compile_lock("analysis"):
        analysis = analyse(signal)
    title = _join(audio.tags.title or printable_name(path), audio.tags.artist_name)
    return _Track(title, analysis, _estimate(analysis), signal)


def _read_track(track_id: str, settings: Settings) -> _Track:
    """Read a track of the warehouse, and its audio if it is a library track with a readable file."""
    from reprise.jobs._engine.warehouse import Warehouse
    from reprise.lib.tables import BEAT_CHORDS, LIBRARY_ANALYSIS, LIBRARY_TRACKS, MSD_ANALYSIS, MSD_TRACKS

    warehouse = Warehouse(absolute_location(settings.warehouse))
    for tracks, analyses in ((LIBRARY_TRACKS, LIBRARY_ANALYSIS), (MSD_TRACKS, MSD_ANALYSIS)):
        track, analysis = (_find(warehouse, table, track_id) for table in (tracks, analyses))
        if track and analysis:
            break
    else:
        raise UsageError(
            f"--track {track_id} is neither an audio file nor a track of the warehouse {settings.warehouse}: name an"
            " existing file, or run ingest-library or ingest-msd first"
        )
    stored = _find(warehouse, BEAT_CHORDS, track_id)
    if stored and stored["sha256"] == analysis["sha256"]:
        chords = Chords(tuple(stored["chords"]), np.asarray(stored["probabilities"], np.float32))
    else:
        chords = _estimate(analysis)
    signal = _read_audio(warehouse, track_id, track["sha256"]) if tracks is LIBRARY_TRACKS else None
    return _Track(f"{track_id}  {_join(track['title'], track['artist_name'])}", track | analysis, chords, signal)


def _find(warehouse: "Warehouse", table: Any, track_id: str) -> dict[str, Any]:
    """Return the row of a track; an empty dictionary if it has none."""
    rows = warehouse.lookup(table, "track_id", track_id, track_id).to_pylist() if warehouse.exists(table) else []
    return rows[0] if rows else {}


def _read_audio(warehouse: "Warehouse", track_id: str, sha256: str) -> Float32Array | None:
    from reprise.lib.errors import InputError
    from reprise.lib.tables import LIBRARY_COPIES
    from reprise.udfs.library_copies import read_copies

    copies = warehouse.lookup(LIBRARY_COPIES, "track_id", track_id, track_id, ["uri"])
    track = {"track_id": track_id, "sha256": sha256, "uris": sorted(copies["uri"].to_pylist())}
    try:
        return read_copies(track, lambda signal: signal)
    except InputError:
        return None


def _estimate(analysis: Mapping[str, Any]) -> Chords:
    """Estimate the chords of an analysis, as the job `estimate_chords` does."""
    from reprise.lib.detect.chroma import beat_chroma

    beats = _array(analysis, "beats_start")
    chroma = beat_chroma(
        _array(analysis, "segments_pitches"),
        _array(analysis, "segments_loudness_start"),
        _array(analysis, "segments_start"),
        beats,
    )
    return estimate_chords(chroma, beats[: chroma.shape[1]], _array(analysis, "bars_start"))


def _describe(track: _Track) -> list[str]:
    """Return the lines that summarise a track. What is unknown is left out."""
    analysis, beats = track.analysis, _array(track.analysis, "beats_start")
    lines = [track.title, f"duration        {format_time(analysis['duration'])}"]
    if len(beats):
        lines.append(f"tempo           {_describe_tempo(analysis)}")
    key = _describe_key(analysis)
    if key:
        lines.append(f"key             {key} ({_confidence(analysis, 'key')}, mode {_confidence(analysis, 'mode')})")
    if len(beats) and analysis.get("time_signature"):
        meter = f"{analysis['time_signature']}/4"
        lines.append(f"time signature  {meter} ({_confidence(analysis, 'time_signature')})")
    lines.append(f"found           {', '.join(_count_events(analysis))}")
    chart = list_bars(track.chords.names, beats[: len(track.chords.names)], _array(analysis, "bars_start"))
    for row, text in enumerate(format_chart(chart[:_BARS_SHOWN])):
        lines.append(f"{'' if row else 'chords':16}{text}")
    if len(chart) > _BARS_SHOWN:
        lines.append(f"{'':16}… {len(chart) - _BARS_SHOWN} more bars")
    return lines


def _count_events(analysis: Mapping[str, Any]) -> list[str]:
    counts = {kind: len(_array(analysis, f"{kind}s_start")) for kind in ("beat", "bar", "section")}
    return [f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items()]


def _describe_tempo(analysis: Mapping[str, Any]) -> str:
    text = f"{analysis['tempo']:.1f} BPM"
    tempos, shares = (_array(analysis, f"tempo_{name}") for name in ("candidates", "probabilities"))
    candidates = list(zip(tempos, shares, strict=True))
    if not candidates:
        return text
    return f"{text}; candidates: " + ", ".join(f"{tempo:.1f} ({share:.0%})" for tempo, share in candidates)


def _describe_key(analysis: Mapping[str, Any]) -> str:
    if analysis.get("key") is None:
        return ""
    return f"{PITCH_CLASSES[analysis['key']]} {'major' if analysis['mode'] else 'minor'}"


def _confidence(analysis: Mapping[str, Any], name: str) -> str:
    value = analysis.get(f"{name}_confidence")
    return "confidence unknown" if value is None else f"confidence {value:.2f}"


def _array(analysis: Mapping[str, Any], name: str) -> Any:
    """Return an array of the analysis; an empty one if it is missing."""
    values = analysis.get(name)
    return np.zeros(0) if values is None else np.asarray(values, np.float64)


def _join(title: str | None, artist: str | None) -> str:
    """Return title and artist on one line of printable text."""
    return make_printable(" – ".join(filter(None, (title, artist))))


def _plot(track: _Track, png: str) -> None:
    from reprise.lib.analysis.sheets import Sheet, draw_sheet, loudness_envelope, measure_envelope

    analysis = track.analysis
    beats, bars, sections = (_array(analysis, f"{kind}_start") for kind in ("beats", "bars", "sections"))
    facts = [format_time(analysis["duration"])]
    if len(beats):
        facts += [f"{analysis['tempo']:.1f} BPM", f"{analysis['time_signature']}/4"]
    facts.append(_describe_key(analysis))
    facts += _count_events(analysis)
    if track.signal is None:
        starts, loudness = _array(analysis, "segments_start"), _array(analysis, "segments_loudness_max")
        envelope = loudness_envelope(starts, loudness, analysis["duration"])
    else:
        envelope = measure_envelope(track.signal)
    draw_sheet(
        Sheet(
            title=track.title,
            summary="  ·  ".join(filter(None, facts)),
            duration=analysis["duration"],
            envelope=envelope,
            has_audio=track.signal is not None,
            beats_s=beats[: len(track.chords.names)],
            bars_s=bars,
            sections_s=sections,
            chords=track.chords,
        ),
        Path(png),
    )
