"""What a person sees of genres: those of the library; of a track its percentages, its course, or why it has none."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from reprise.jobs import show_genres
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.genres.plots import draw_timeline
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
    GENRE_LABELS,
    GENRE_SCORES,
    LIBRARY_TRACKS,
    MODELS,
    MSD_GENRE_FEATURES,
    MSD_TRACKS,
    Table,
)
from reprise.udfs.arrow import arrow_schema
from tests.jobs.chain import versions

Show = Callable[..., str]

SONG, NAMELESS, SHORT = "LB0123456789abcdef", "TRAAAAA128F0000000", "LBffffffffffffffff"
GONE = "embedded-gtzan-0123456789ab"
"""A model of a former version, which is not in ``models``."""
COURSE = np.array([[0.7, 0.1, 0.2], [0.5, 0.4, 0.1], [0.9, 0.05, 0.05]])
GENRES = ("Été [red]", "a$b_^", "音楽 [/b]")
"""What rich and matplotlib read as markup, and names in other alphabets."""


def put(warehouse: Warehouse, table: Table, *rows: Mapping[str, Any]) -> None:
    warehouse.merge(table, pa.Table.from_pylist([{"run_id": "r", **row} for row in rows], arrow_schema(table)))


def scores(
    track_id: str,
    model_id: str,
    probabilities: Sequence[float],
    windows: np.ndarray | None = None,
    genres: Sequence[str] = GENRES,
    **answer: object,
) -> list[dict[str, Any]]:
    ranks = np.argsort(np.argsort(-np.asarray(probabilities)))
    return [
        {
            "track_id": track_id,
            "model_id": model_id,
            "genre": genres[n],
            "probability": value,
            "rank": int(ranks[n]) + 1,
            "sha256": "s",
            "window_probabilities": None if windows is None else windows[:, n],
            **answer,
        }
        for n, value in enumerate(probabilities)
    ]


def model(model_id: str, day: int, quality: float | None, input_: str | None = "audio") -> dict[str, Any]:
    texts = dict.fromkeys(("params", "metrics", "trained_on"), "{}")
    row = {"model_id": model_id, "kind": "genre/knn", "trained_at": datetime(2026, 1, day, tzinfo=UTC)}
    return {**row, **texts, "artifact": "a", "sha256": "s", "quality": quality, "input": input_}


def track(track_id: str, **more: object) -> dict[str, Any]:
    told = {"artist_name": "Zoë [b]", "codec": "flac", "length_status": "ok", "sample_rate": 44100, "channel_count": 2}
    return {"track_id": track_id, "title": "Ночь [live] $x_", "sha256": "s", **told, **more}


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """A song that four models have scored, a track without a name that one has, and one too short for windows."""
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    put(
        warehouse,
        MODELS,
        model("genre-old", 1, 0.7),
        model("genre-best", 2, 0.9),
        model("genre-unknown", 4, None, None),
        model("genre-other", 3, 0.99),
    )
    put(
        warehouse,
        GENRE_SCORES,
        *scores(SONG, GONE, COURSE.mean(axis=0), COURSE),
        *scores(SONG, "genre-unknown", (0.4, 0.3, 0.3)),
        *scores(SONG, "genre-old", (0.1, 0.2, 0.7), COURSE[:, ::-1], outside=0.4, abstains=False),
        *scores(SONG, "genre-best", (0.2, 0.75, 0.05)),
        *scores(NAMELESS, "genre-best", (0.0, 0.0, 1.0)),
        *scores(SHORT, GONE, (0.3, 0.3, 0.4)),
    )
    put(warehouse, LIBRARY_TRACKS, *(track(i) for i in (SONG, "LBfeatureless", "LBunscored")))
    return warehouse


@pytest.fixture
def show(shown: Callable[..., str]) -> Show:
    """What the job prints."""
    return partial(shown, show_genres)


def test_a_person_sees_percentages_and_bars_most_likely_first(show: Show) -> None:
    lines = [
        line.split("│")[1:-1] for line in show("--track", SONG, "--model", "genre-best").splitlines() if "│" in line
    ]
    cells = [[cell.strip() for cell in line] for line in lines if len(line) == 3]
    assert [line[:2] for line in cells] == [["a$b_^", "75.0"], ["Été [red]", "20.0"], ["音楽 [/b]", "5.0"]]
    assert [line[2] for line in cells] == ["█" * 30, "█" * 8, "█" * 2]


def test_every_model_is_shown_the_best_first_and_those_of_unknown_quality_last(show: Show) -> None:
    printed = show("--track", SONG)
    assert printed.count(f"{SONG}  Ночь [live] $x_  (Zoë [b])") == 4
    places = [printed.index(name) for name in ("genre-best", "genre-old", "genre-unknown", GONE)]
    assert places == sorted(places)
    assert "genre-other" not in printed
    assert "no answer" not in printed


@pytest.mark.parametrize(
    ("outside", "reason"),
    [
        (1.25, "unlike what genre-best was trained on (1.25; 1 is the limit)"),
        (None, "unlike what genre-best was trained on (some features are missing)"),
        (0.5, "no genre is likely enough"),
        (1.0, "no genre is likely enough"),
    ],
)
def test_a_model_without_an_answer_says_why(
    outside: float | None, reason: str, warehouse: Warehouse, show: Show
) -> None:
    """Beside a model that answers, and one of a former version, which does not know whether it abstains."""
    put(
        warehouse,
        GENRE_SCORES,
        *scores("LBunsure", "genre-best", (0.3, 0.4, 0.3), outside=outside, abstains=True),
        *scores("LBunsure", "genre-old", (0.1, 0.2, 0.7), outside=0.5, abstains=False),
        *scores("LBunsure", GONE, (0.1, 0.2, 0.7)),
    )
    lines = show("--track", "LBunsure").splitlines()
    assert [line for line in lines if "no answer" in line] == [f"no answer: {reason}"]
    place = lines.index(f"no answer: {reason}")
    first = next(number for number, line in enumerate(lines) if "genre-best" in line)
    assert first < place < next(number for number, line in enumerate(lines) if "genre-old" in line)
    alone = show("--track", "LBunsure", "--model", "genre-best").splitlines()
    assert alone[-1] == f"no answer: {reason}"


def test_a_track_without_a_name_is_told_by_its_id(show: Show) -> None:
    printed = show("--track", NAMELESS)
    assert NAMELESS in printed
    assert "()" not in printed
    assert "100.0" in printed


def test_the_course_of_the_best_model_that_has_one_is_drawn(
    show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def draw(starts_s: np.ndarray, probabilities: np.ndarray, genres: Sequence[str], *, title: str, png: Path) -> None:
        seen.update(starts_s=starts_s, genres=genres, title=title)
        seen["course"] = dict(zip(genres, probabilities.T, strict=True))
        draw_timeline(starts_s, probabilities, genres, title=title, png=png)

    monkeypatch.setattr(show_genres, "draw_timeline", draw)
    picture = tmp_path / "course.png"
    assert f"drawn: {picture}" in show("--track", SONG, "--plot", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert seen["starts_s"].tolist() == [0, 3, 6]
    assert seen["title"] == "Ночь [live] $x_ – Zoë [b]"
    np.testing.assert_allclose([seen["course"][name] for name in GENRES], COURSE[:, ::-1].T, rtol=1e-6)  # genre-old
    show("--track", SONG, "--model", GONE, "--plot", picture)
    np.testing.assert_allclose([seen["course"][name] for name in GENRES], COURSE.T, rtol=1e-6)


@pytest.mark.parametrize("track_id", [NAMELESS, SHORT])
def test_a_track_without_a_course_is_not_drawn(track_id: str, refusal: Callable[..., str], tmp_path: Path) -> None:
    said = refusal(show_genres, "--track", track_id, "--plot", tmp_path / "course.png")
    assert said == f"--plot: {track_id} has no scores over time: only audio of at least 1.5 s has them"


@pytest.fixture
def library(warehouse: Warehouse) -> Warehouse:
    """Six tracks more: by a label, by a tag, by a model, and three without an answer."""
    put(
        warehouse,
        LIBRARY_TRACKS,
        track("LB1label", title="One", genre_tags=["Jazz"]),
        track("LB2tag", title="Two [b]", genre_tags=["unheard of", "Hip-Hop"]),
        track("LB3model", title="Three"),
        track("LB4outside", title="Four"),
        track("LB5unsure", title=None),
        track("LB6analyses", title="Six"),
    )
    put(warehouse, GENRE_LABELS, {"track_id": "LB1label", "source": "me", "rank": 0, "genre": "Blues"})
    put(warehouse, MODELS, model("dataset", 5, 1.0, "analyses"))
    some: dict[str, Any] = {"genres": ("metal", "reggae", "rock [b]")}
    put(
        warehouse,
        GENRE_SCORES,
        *scores("LB1label", "genre-old", (0.25, 0.15, 0.6), **some, outside=0.5, abstains=False),
        *scores("LB3model", "genre-old", (0.9, 0.1, 0.0), **some, outside=0.5, abstains=False),
        *scores("LB3model", "genre-best", (0.2, 0.7, 0.1), **some, outside=0.25, abstains=False),
        *scores("LB3model", "genre-unknown", (0.0, 0.0, 1.0), **some, outside=0.25, abstains=False),
        *scores("LB4outside", "genre-best", (0.1, 0.3, 0.6), **some, outside=1.5, abstains=True),
        *scores("LB5unsure", "genre-best", (0.34, 0.33, 0.33), **some, outside=0.75, abstains=True),
        *scores("LB6analyses", "dataset", (0.1, 0.1, 0.8), **some),
    )
    return warehouse


def read_grid(printed: str) -> list[list[str]]:
    """The cells of the rows of a grid."""
    lines = [line.split("│")[1:-1] for line in printed.splitlines() if "│" in line]
    return [[cell.strip() for cell in line] for line in lines]


@pytest.mark.usefixtures("library")
def test_the_library_is_listed_with_the_genre_and_the_guess_of_the_best_model(show: Show) -> None:
    printed = show()
    by_id = {row[0]: row[1:] for row in read_grid(printed)}
    others = ["LB1label", "LB2tag", "LB3model", "LB4outside", "LB5unsure", "LB6analyses"]
    assert list(by_id) == [SONG, *others, "LBfeatureless", "LBunscored"]
    assert by_id["LB1label"] == ["One", "Blues", "label", "rock [b]", "60", "0.50"]
    assert by_id["LB2tag"] == ["Two [b]", "Rap", "tag", "", "", ""]
    assert by_id["LB3model"] == ["Three", "Reggae", "model", "reggae", "70", "0.25"]
    assert by_id["LB4outside"] == ["Four", "no answer", "", "rock [b]", "60", "1.50"]
    assert by_id["LB5unsure"] == ["", "no answer", "", "metal", "34", "0.75"]
    # a model of the dataset's analyses does not speak for listeners' audio
    assert [cell for cell in by_id["LB6analyses"] if cell] == ["Six", "no answer"]
    assert by_id["LBunscored"][1] == "no answer"
    assert "outside: above 1" in printed
    assert "truth" not in printed


@pytest.mark.usefixtures("library")
def test_the_truth_is_shown_beside_the_answers(show: Show, tmp_path: Path) -> None:
    file = tmp_path / "truth, Ночь.csv"
    rows = ["library_id,other,genre", 'LB3model,x,"Reggae [b], Dub"', "LB4outside,,Été", "LBgone,,Jazz"]
    file.write_text("\n".join(rows), "utf-8")
    printed = show("--truth", file)
    by_id = {row[0]: row[1:] for row in read_grid(printed)}
    assert by_id["LB3model"] == ["Three", "Reggae", "model", "reggae", "70", "0.25", "Reggae [b], Dub"]
    assert by_id["LB4outside"][-1] == "Été"
    assert "LBgone" not in by_id
    assert "truth" in printed


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"track_id,genre\nLB3model,Jazz\n", b"library_id\nLB3model\n"])
def test_a_truth_that_cannot_be_read(content: bytes | None, refusal: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    if content is not None:
        file.write_bytes(content)
    said = refusal(show_genres, "--truth", file)
    assert said.startswith(f"--truth {file} cannot be read (")
    assert said.endswith("): name a CSV file with library_id and genre")


@pytest.mark.usefixtures("library")
def test_a_truth_with_a_row_that_ends_early(show: Show, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("library_id,genre\nLB3model\nLB4outside,Jazz\n", "utf-8")
    by_id = {row[0]: row[1:] for row in read_grid(show("--truth", tmp_path / "truth.csv"))}
    assert by_id["LB4outside"][-1] == "Jazz"
    assert "Jazz" not in by_id["LB3model"]


def test_counts_of_the_library(library: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    before = versions(library)
    assert show_genres.main(["--warehouse", library.root, "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert counts == {"tracks": 9, "by_label": 1, "by_tag": 1, "by_model": 2, "by_nothing": 5}
    assert versions(library) == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--model", "genre-best"), "--model needs --track"),
        (("--plot", "course.png"), "--plot needs --track"),
        (("--track", SONG, "--truth", "truth.csv"), "--truth does not go together with --track"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[str, ...], reason: str, refusal: Callable[..., str]) -> None:
    assert refusal(show_genres, *arguments) == reason


def test_summaries_and_a_table_that_no_run_changes(warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    before = versions(warehouse)
    assert show_genres.main(["--track", SONG, "--warehouse", warehouse.root]) == 0
    printed = capsys.readouterr().out
    assert "genre-best" in printed
    assert "show_genres: succeeded in " in printed
    assert show_genres.main(["--track", SONG, "--warehouse", warehouse.root, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"models": 4, "genres": 12}
    assert versions(warehouse) == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--track", SONG, "--model", "x"), f"{SONG} has no scores of x: run score-genres --model x"),
        (
            ("--track", "LBunscored"),
            "LBunscored has no scores yet: run score-genres; for a track of a dataset, run train-genre first",
        ),
        (("--track", "TRunscored"), "TRunscored has no scores yet: run score-genres; for a track of a dataset"),
        (("--track", "LBfeatureless"), "LBfeatureless has no features yet: run extract-genre-features, then"),
        (("--track", "TRfeatureless"), "TRfeatureless has no features yet: run extract-genre-features, then"),
        (("--track", "nobody"), "nobody is not known: run ingest-library or ingest-msd on its file, then extract"),
    ],
)
def test_a_track_without_scores_is_told_what_to_run(
    arguments: tuple[str, ...], reason: str, warehouse: Warehouse, refusal: Callable[..., str]
) -> None:
    named = {"track_id": "LBunscored", "sha256": "s", "window": -1, "start_s": 0, "length_s": 1}
    put(warehouse, AUDIO_GENRE_FEATURES, named)
    put(warehouse, MSD_GENRE_FEATURES, {"track_id": "TRunscored", "sha256": "s"})
    put(warehouse, MSD_TRACKS, {"track_id": "TRfeatureless", "sha256": "s", "uri": "f"})
    assert refusal(show_genres, *arguments).startswith(f"--track {reason}")


def test_an_empty_warehouse_says_what_to_run(prepare: Callable[..., Any], tmp_path: Path) -> None:
    for arguments, reason in (
        (("--track", "LB0"), "--track LB0 is not known: run ingest-library or ingest-msd on its file, then extract"),
        ((), "there are no library tracks: run ingest-library first"),
    ):
        job, run = prepare(show_genres, *arguments)
        run.warehouse = Warehouse(str(tmp_path / "empty"))
        with pytest.raises(UsageError) as refused:
            job.body(run)
        assert str(refused.value).startswith(reason)
