"""Put the questions of a Markdown file to ``reprise sql`` and write its answers below them.

Each question is a folded block with its SQL; what it is asked of is a small warehouse that is made anew, the same each
time.
"""

import io
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from reprise.jobs import (
    build_taste_profiles,
    extract_genre_features,
    ingest_annotations,
    ingest_library,
    ingest_msd,
    score_genres,
    train_genre,
)
from reprise.jobs._commands import sql
from reprise.lib.music import sample
from reprise.lib.music.sample.metadata import describe

BEGIN, END = "<!-- questions -->\n", "<!-- /questions -->"
_BLOCK = re.compile(
    r"<summary>\d+\. (?P<title>[^\n]+)</summary>\n\n(?:`(?P<parameters>[^\n]+)`\n\n)?"
    r"```sql\n(?P<sql>.*?)```\n\n```\n(?P<answer>.*?)```\n\n</details>",
    re.DOTALL,
)
_PLAN = sample.SamplePlan(150, seed=7, n_listeners=40)
_HZ = 22_050
_LIBRARIES: Mapping[str, Sequence[tuple[str, str, int, float, float]]] = {
    "anna": [("Slow Water", "Ida Moss", 1994, 84.0, 10.0), ("Night Bus", "Ida Moss", 1996, 96.0, 8.0)],
    "ben": [("Concrete", "The Halyards", 2011, 132.0, 12.0)],
}
"""Title, artist, year, tempo in BPM and length in s."""


@dataclass(frozen=True)
class Question:
    """What is asked, with which parameters, and the answer that stands in the file."""

    title: str
    sql: str
    parameters: Mapping[str, str]
    answer: str


def read_questions(text: str) -> list[Question]:
    """The questions between the markers of a text."""
    found = _BLOCK.finditer(_section(text))
    return [Question(m["title"], m["sql"], _parse(m["parameters"] or ""), m["answer"]) for m in found]


def with_answers(text: str, ask: Callable[[Question], str]) -> str:
    """``text`` with the answers that ``ask`` gives now."""

    def renew(match: re.Match[str]) -> str:
        question = Question(match["title"], match["sql"], _parse(match["parameters"] or ""), match["answer"])
        start, stop = (place - match.start() for place in match.span("answer"))
        return match[0][:start] + ask(question) + match[0][stop:]

    section = _section(text)
    return text.replace(section, _BLOCK.sub(renew, section))


def ask(warehouse: Path, question: Question, *options: str) -> str:
    """What ``reprise sql`` prints."""
    told = [f"--param={name}={value}" for name, value in question.parameters.items()]
    out = io.StringIO()
    with redirect_stdout(out):
        code = sql.main([question.sql, *told, *options, "--warehouse", str(warehouse)])
    if code != 0:
        raise ValueError(f"{question.title} reprise sql exits with {code}")
    return out.getvalue()


def build(folder: Path) -> Path:
    """Make the warehouse that the questions are asked of: a composed sample, two small libraries, a broken file."""
    root = folder / "warehouse"
    for index in range(_PLAN.n_tracks):
        sample.write_track(_PLAN, index, folder / "msd")
    sample.write_annotations(_PLAN, folder / "annotations")
    strangers = [f"{'f' * 40}\tSO{number:016d}\t2\n" for number in range(3)]
    (folder / "annotations" / "strange_triplets.txt").write_text("".join(strangers))
    (folder / "msd" / "broken.h5").write_bytes(b"no HDF5")
    _write_libraries(folder / "library")
    learner = ("--learner", "naive_bayes", "--param", "scaling=quantile", "--param", "selection=none")
    labels = ("--features", "msd_scalars", "--labels", "msd_tagtraum", "--folds", "3", "--param", "smoothing=0.1")
    for main, *arguments in (
        (ingest_msd.main, "--source", folder / "msd"),
        (ingest_annotations.main, "--source", folder / "annotations"),
        (ingest_library.main, "--source", folder / "library"),
        (extract_genre_features.main,),
        (train_genre.main, *learner, *labels),
        (score_genres.main,),
        (build_taste_profiles.main,),
    ):
        with redirect_stdout(sys.stderr):
            code = main([*map(str, arguments), "--warehouse", str(root)])
        if code != 0:
            raise ValueError(f"{main.__module__} exits with {code}")
    return root


def _write_libraries(folder: Path) -> None:
    """Recordings with tags, and a playlist each: of their own tracks, songs of the sample, and one nobody has."""
    for number, (user, songs) in enumerate(_LIBRARIES.items()):
        (folder / user).mkdir(parents=True)
        lines = ["#EXTM3U"]
        for title, artist, year, tempo_bpm, length_s in songs:
            path = folder / user / f"{title}.flac"
            _write_recording(path, tempo_bpm, length_s, title=title, artist=artist, album=title, date=str(year))
            lines += [f"#EXTINF:{length_s:.0f},{artist} - {title}", path.name]
        for index in range(number, 40, 8):
            song = describe(_PLAN, _PLAN.track(index))
            lines += [f"#EXTINF:200,{song['artist_name']} - {song['title']}", f"{song['title']}.mp3"]
        lines += ["#EXTINF:200,Nobody - Never Recorded", "Never Recorded.mp3"]
        (folder / user / "Favourites.m3u8").write_text("\n".join(lines) + "\n", "utf-8")


def _write_recording(path: Path, tempo_bpm: float, length_s: float, **tags: str) -> None:
    """Chords of C major, struck on each beat."""
    time_s = np.arange(int(length_s * _HZ)) / _HZ
    beat_s = time_s % (60 / tempo_bpm)
    chord = sum(np.sin(2 * np.pi * 130.81 * 2 ** (step / 12) * time_s) for step in (0, 4, 7, 12))
    signal = 0.15 * np.exp(-8 * beat_s) * chord + 0.3 * np.exp(-200 * beat_s) * np.sin(9000 * time_s)
    with soundfile.SoundFile(path, "w", _HZ, 1, subtype="PCM_16", format="FLAC") as file:
        for name, value in tags.items():
            setattr(file, name, value)
        file.write(signal)


def _section(text: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    section, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise ValueError(f"no lines {BEGIN.strip()} and {END}, each once and in this order")
    return section


def _parse(parameters: str) -> dict[str, str]:
    return dict(re.findall(r"--param (\w+)=(\S+)", parameters))


def main(argv: list[str]) -> int:
    """Write the answers into the file that ``argv`` names."""
    if len(argv) != 1:
        print("usage: question_list.py FILE.md", file=sys.stderr)
        return 2
    path = Path(argv[0])
    try:
        text = path.read_text("utf-8")
        _section(text)
        with tempfile.TemporaryDirectory() as folder:
            warehouse = build(Path(folder))
            text = with_answers(text, lambda question: ask(warehouse, question))
    except (OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
