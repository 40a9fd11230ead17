"""What a person sees of a listener's taste: genres beside those of all listeners, or why there are none."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from reprise.jobs import show_taste
from reprise.jobs._engine import run as _run
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import JOB_RUNS, LIBRARY_COPIES, TASTE_PROFILES, Table
from reprise.lib.tastes.plots import draw_taste
from reprise.udfs.arrow import arrow_schema
from tests.jobs.chain import versions

Show = Callable[..., str]

ANNA, BORIS, HOSTILE, EMOJI = "anna", "boris [red]", "'; DROP TABLE plays; --", "שלום 🎵 \x1b[31m"


def put(warehouse: Warehouse, table: Table, *rows: Mapping[str, Any]) -> None:
    warehouse.merge(table, pa.Table.from_pylist([{"run_id": "r", **row} for row in rows], arrow_schema(table)))


def profile(user: str, genre: str, share: float, weight: float, **told: Any) -> dict[str, Any]:
    row = {"user_id": user, "genre": genre, "share": share, "weight": weight, "confidence": 0.9, "label_share": 1.0}
    return {**row, "plays": 3, "tracks": 2, **told}


def based(label: float, tag: float, model: float) -> dict[str, float]:
    return {"label_share": label, "tag_share": tag, "model_share": model, "unknown_share": 0.25}


def held_out(kept_weight: float, tracks: int) -> dict[str, float]:
    return {"kept_weight": kept_weight, "held_out_tracks": tracks}


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """Profiles of some listeners with names of all kinds; without Spark, which the job can do without."""

    def start(_: Any) -> None:
        raise AssertionError("Spark was started")

    monkeypatch.setattr(_run, "get_session", start)
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    known = {"tempo_mean": 123.4, "tempo_std": 5.6, "loudness_mean": -8.25, "loudness_std": 1.0, "key": 3}
    known |= {"key_concentration": 0.5, "major_share": 0.625, "year_mean": 1987.0, "year_std": 2.0, "decade": 1980}
    put(
        warehouse,
        TASTE_PROFILES,
        profile(ANNA, "Jazz [b]", 0.75, 30.0, **known, plays=1234, **based(0.5, 0.25, 0.25), **held_out(30.0, 2)),
        profile(ANNA, "音楽", 0.25, 10.0, **based(1.0, 0.0, 0.0), **held_out(0.0, 0)),
        profile(BORIS, "Jazz [b]", 0.7, 14.0),
        profile(BORIS, "Rock", 0.3, 6.0),
        profile(HOSTILE, "Rock", 1.0, 20.0, **based(0.0, 0.0, 1.0), **held_out(30.0, 0)),
        profile(EMOJI, "Rock", 0.5, 10.0),
        profile(EMOJI, "Jazz [b]", 0.5, 10.0),
        profile("x" * 10_000, "Folk", 1.0, 1.0),
    )
    return warehouse


@pytest.fixture
def show(shown: Callable[..., str]) -> Show:
    """What the job prints."""
    return partial(shown, show_taste)


def cells(printed: str) -> list[list[str]]:
    """Rows of the genres' table."""
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]
    return [line for line in lines if len(line) == 11]


def test_a_person_sees_genres_beside_those_of_all(show: Show) -> None:
    printed = show("--user", ANNA)
    # all listeners' weights: 54 of Jazz, 10 of 音楽, 36 of Rock and 1 of Folk
    assert cells(printed) == [
        ["Jazz [b]", "75.0", "█" * 15, "53.5", "1,234", "2", "123 ± 6", "-8.2", "E♭", "62 %", "1980s"],
        ["音楽", "25.0", "█" * 5, "9.9", "3", "2", "", "", "", "", ""],
    ]
    assert "plays: 1,237; tracks: 4; genres: 2; confidence: 0.90" in printed
    # labels: half of 30 of 40, and all of 10; the others: a quarter of 30 of 40
    assert (
        "genres are based on expert labels (62 %), on tags of the files (19 %) and on answers of models (19 %); 25 % of"
        " all their music has no genre\n"
    ) in printed
    # the kept songs of all make Jazz as likely as Rock: (30 + 10 / 2) / (30 + 10) is 7 / 4 of that
    assert "evidence: +0.81 bits for each held-out song, beside all listeners' taste\n" in printed


def test_what_is_not_known_of_a_profile_is_said(show: Show) -> None:
    """Profiles of older versions have no shares of tags and models; and without held-out songs there is no evidence."""
    printed = show("--user", BORIS)
    assert "expert labels (100 %), on tags of the files (?) and on answers of models (?); ? of all" in printed
    assert "evidence" not in printed
    printed = show("--user", HOSTILE)
    assert "expert labels (0 %), on tags of the files (0 %) and on answers of models (100 %); 25 % of all" in printed
    assert "evidence" not in printed


def test_nearest_listeners_are_named_the_nearest_first(show: Show) -> None:
    # cosines of (0.75, 0.25) with (0.7, 0.3 of another genre), and with (0.5, 0.5 of another): worked out by hand
    near = f"{0.525 / ((0.5625 + 0.0625) ** 0.5 * (0.49 + 0.09) ** 0.5):.2f}"
    far = f"{0.375 / ((0.5625 + 0.0625) ** 0.5 * 0.5**0.5):.2f}"
    said = show("--user", ANNA)
    assert f"most similar listeners: {BORIS} ({near}), שלום 🎵 �[31m ({far})\n" in said
    assert "most similar listeners: none\n" in show("--user", "x" * 10_000)


def test_genres_come_in_the_order_of_taste_top_genres(warehouse: Warehouse, show: Show) -> None:
    # so unsure that what all like decides
    rows = [profile("new", "音楽", 0.6, 0.3, confidence=0.1), profile("new", "Rock", 0.4, 0.2, confidence=0.1)]
    put(warehouse, TASTE_PROFILES, *rows)
    assert [row[0] for row in cells(show("--user", "new"))] == ["Rock", "音楽"]


@pytest.mark.parametrize("user", [HOSTILE, EMOJI, BORIS, "x" * 10_000])
def test_names_are_text(user: str, show: Show, tmp_path: Path) -> None:
    printed = show("--user", user, "--plot", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) < 400
    assert user.partition("\x1b")[0][:90] in printed


def test_the_picture_has_the_same_figures(show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def draw(*values: Any, title: str, png: Path) -> None:
        seen.extend([*values, title])
        draw_taste(*values, title=title, png=png)

    monkeypatch.setattr(show_taste, "draw_taste", draw)
    assert f"drawn: {tmp_path / 'a.png'}" in show("--user", ANNA, "--plot", tmp_path / "a.png")
    genres, share, population, tempo, year, title = seen
    assert (genres, share, title) == (["Jazz [b]", "音楽"], [0.75, 0.25], ANNA)
    assert population == pytest.approx([54 / 101, 10 / 101])
    assert str(tempo) == "[[123.4, 5.6], [nan, nan]]"
    assert str(year) == "[[1987.0, 2.0], [nan, nan]]"


def test_summaries_and_tables_that_no_run_changes(warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    before = versions(warehouse)
    assert show_taste.main(["--user", ANNA, "--warehouse", warehouse.root]) == 0
    printed = capsys.readouterr().out
    assert "most similar listeners" in printed
    assert "show_taste: succeeded in " in printed
    assert show_taste.main(["--user", ANNA, "--warehouse", warehouse.root, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"genres": 2, "plays": 1237, "tracks": 4}
    assert versions(warehouse) == before


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("owner", "owner has no taste profile: run build-taste-profiles; if the genres of their tracks are not"),
        ("ANNA", "ANNA is not known; did you mean anna? Otherwise run ingest-annotations or ingest-library with"),
        ("bors [red]", "bors [red] is not known; did you mean boris [red]? Otherwise run ingest-annotations or"),
        ("' OR 1=1 --", "' OR 1=1 -- is not known: run ingest-annotations or ingest-library with their music, then"),
        ("", "is not known: run ingest-annotations or"),
        ("\x1b[2J\n", "�[2J� is not known: run"),
        ("y" * 10_000, "y" * 100 + "… is not known: run"),
    ],
)
def test_an_unknown_listener_is_told_what_to_run(
    user: str, reason: str, warehouse: Warehouse, refusal: Callable[..., str]
) -> None:
    owned = {"user_id": "owner", "track_id": "LB0123456789abcdef", "uri": "f", "sha256": "s"}
    put(warehouse, LIBRARY_COPIES, owned)
    said = refusal(show_taste, "--user", user)
    assert said.startswith("--user ")
    assert reason in said
    assert "\n" not in said
    assert "\x1b" not in said


def test_an_empty_warehouse_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_taste.main(["--user", ANNA, "--warehouse", str(tmp_path / "new")]) == 2
    assert "anna is not known: run ingest-annotations" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "new").iterdir()] == [JOB_RUNS.name]
