"""What a person sees of a track's genres: percentages, a course over time, or why there are none."""

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
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.genres.plots import draw_timeline
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
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
COURSE = np.array([[0.7, 0.1, 0.2], [0.5, 0.4, 0.1], [0.9, 0.05, 0.05]])
GENRES = ("Été [red]", "a$b_^", "音楽 [/b]")
"""What rich and matplotlib read as markup, and names in other alphabets."""


def put(warehouse: Warehouse, table: Table, *rows: Mapping[str, Any]) -> None:
    warehouse.merge(table, pa.Table.from_pylist([{"run_id": "r", **row} for row in rows], arrow_schema(table)))


def scores(
    track_id: str, model_id: str, probabilities: Sequence[float], windows: np.ndarray | None = None
) -> list[dict[str, Any]]:
    ranks = np.argsort(np.argsort(-np.asarray(probabilities)))
    return [
        {
            "track_id": track_id,
            "model_id": model_id,
            "genre": GENRES[n],
            "probability": value,
            "rank": int(ranks[n]) + 1,
            "sha256": "s",
            "window_probabilities": None if windows is None else windows[:, n],
        }
        for n, value in enumerate(probabilities)
    ]


def model(model_id: str, day: int) -> dict[str, Any]:
    texts = dict.fromkeys(("params", "metrics", "trained_on"), "{}")
    row = {"model_id": model_id, "kind": "genre/knn", "trained_at": datetime(2026, 1, day, tzinfo=UTC)}
    return {**row, **texts, "artifact": "a", "sha256": "s"}


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """A song that three models have scored, a track without a name that one has, and one too short for windows."""
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    put(warehouse, MODELS, model("genre-old", 1), model("genre-new", 2), model("genre-other", 3))
    put(
        warehouse,
        GENRE_SCORES,
        *scores(SONG, "embedded-gtzan-0123456789ab", COURSE.mean(axis=0), COURSE),
        *scores(SONG, "genre-old", (0.1, 0.2, 0.7), COURSE[:, ::-1]),
        *scores(SONG, "genre-new", (0.2, 0.75, 0.05)),
        *scores(NAMELESS, "genre-new", (0.0, 0.0, 1.0)),
        *scores(SHORT, "embedded-gtzan-0123456789ab", (0.3, 0.3, 0.4)),
    )
    told: dict[str, Any] = {
        "title": "Ночь [live] $x_",
        "artist_name": "Zoë [b]",
        "codec": "flac",
        "length_status": "ok",
    }
    told |= {"sample_rate": 44100, "channel_count": 2, "sha256": "s"}
    put(warehouse, LIBRARY_TRACKS, *({"track_id": i, **told} for i in (SONG, "LBfeatureless", "LBunscored")))
    return warehouse


@pytest.fixture
def show(shown: Callable[..., str]) -> Show:
    """What the job prints."""
    return partial(shown, show_genres)


def test_a_person_sees_percentages_and_bars_most_likely_first(show: Show) -> None:
    lines = [
        line.split("│")[1:-1] for line in show("--track", SONG, "--model", "genre-new").splitlines() if "│" in line
    ]
    cells = [[cell.strip() for cell in line] for line in lines if len(line) == 3]
    assert [line[:2] for line in cells] == [["a$b_^", "75.0"], ["Été [red]", "20.0"], ["音楽 [/b]", "5.0"]]
    assert [line[2] for line in cells] == ["█" * 30, "█" * 8, "█" * 2]


def test_every_model_is_shown_the_last_trained_first_and_the_packages_own_last(show: Show) -> None:
    printed = show("--track", SONG)
    assert printed.count(f"{SONG}  Ночь [live] $x_  (Zoë [b])") == 3
    places = [printed.index(name) for name in ("genre-new", "genre-old", "embedded-gtzan-0123456789ab")]
    assert places == sorted(places)
    assert "genre-other" not in printed


def test_a_track_without_a_name_is_told_by_its_id(show: Show) -> None:
    printed = show("--track", NAMELESS)
    assert NAMELESS in printed
    assert "()" not in printed
    assert "100.0" in printed


def test_the_course_of_the_first_model_that_has_one_is_drawn(
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
    show("--track", SONG, "--model", "embedded-gtzan-0123456789ab", "--plot", picture)
    np.testing.assert_allclose([seen["course"][name] for name in GENRES], COURSE.T, rtol=1e-6)


@pytest.mark.parametrize("track_id", [NAMELESS, SHORT])
def test_a_track_without_a_course_is_not_drawn(track_id: str, refusal: Callable[..., str], tmp_path: Path) -> None:
    said = refusal(show_genres, "--track", track_id, "--plot", tmp_path / "course.png")
    assert said == f"--plot: {track_id} has no scores over time: only audio of at least 1.5 s has them"


def test_summaries_and_a_table_that_no_run_changes(warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    before = versions(warehouse)
    assert show_genres.main(["--track", SONG, "--warehouse", warehouse.root]) == 0
    printed = capsys.readouterr().out
    assert "genre-new" in printed
    assert "show_genres: succeeded in " in printed
    assert show_genres.main(["--track", SONG, "--warehouse", warehouse.root, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"models": 3, "genres": 9}
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


def test_an_empty_warehouse_says_what_to_run(refusal: Callable[..., str], tmp_path: Path) -> None:
    assert "LB0 is not known: run ingest-library" in refusal(show_genres, "--track", "LB0")
