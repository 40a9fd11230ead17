"""Evaluations: every figure is that of plain numpy on the full matrix of distances, counted both ways."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reprise.jobs import evaluate_covers, ingest_annotations
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.annotations import write_cover_triplets
from reprise.lib.detect import clique_models as models
from reprise.lib.detect.alignment import RERANKERS
from reprise.lib.music import sample
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, COVER_CLIQUES, COVER_VECTORS, JOB_RUNS, MSD_TRACKS, Table
from reprise.udfs.arrow import arrow_schema

Run = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]

PLAN = sample.Plan(80, seed=5, n_cliques=12, n_covers=36)
SEED = 20110211
TEST = ("--cliques", "shs_dataset_test", "--rerank", "none")
N_CANDIDATES = 12


@pytest.fixture(scope="session")
def trained(cover_states: dict[str, Path]) -> Path:
    """A warehouse with a trained model; two tracks of the test list are too short for a vector."""
    return cover_states["trained"]


@pytest.fixture
def warehouse(trained: Path, tmp_path: Path) -> Warehouse:
    """A copy of the trained warehouse."""
    shutil.copytree(trained, tmp_path / "warehouse")
    return Warehouse(str(tmp_path / "warehouse"))


@pytest.fixture
def evaluate(run_job: Run, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run the job; gives ``metrics.json``, which has to be JSON as the standard has it."""

    def fail(constant: str) -> float:
        raise AssertionError(f"{constant} is no JSON")

    def run(*arguments: object) -> dict[str, Any]:
        run_job(evaluate_covers.main, *arguments, "--out", tmp_path / "out")
        found: dict[str, Any] = json.loads((tmp_path / "out/metrics.json").read_text(), parse_constant=fail)
        return found

    return run


class Oracle:
    """Ranks of all tracks for each query by brute force: the order of distance and then id, without duplicates."""

    def __init__(self, warehouse: Warehouse, rows_of: Rows, source: str, reranker: str = "none") -> None:
        vectors = rows_of(warehouse, COVER_VECTORS)
        self.ids = vectors["track_id"].tolist()
        points = np.stack(vectors["vector"]).astype("f8")
        distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
        self.plain = pd.DataFrame(distances, self.ids, self.ids)
        self.chroma = rows_of(warehouse, BEAT_CHROMA).set_index("track_id")["beat_chroma"]
        self.reranker = reranker
        self.songs = rows_of(warehouse, MSD_TRACKS).set_index("track_id")["song_id"]
        listed = rows_of(warehouse, COVER_CLIQUES).query("source == @source")
        self.clique_of = dict(zip(listed["track_id"], listed["clique_id"], strict=True))

    def distance(self, one: str, other: str) -> float:
        if self.reranker == "none":
            return float(self.plain.at[one, other])
        chromas = [self.chroma[i].reshape(12, -1) for i in (one, other)]
        return RERANKERS[self.reranker](*chromas).distance

    def ranking(self, query: str) -> list[str]:
        others = [i for i in self.ids if i != query and self.songs[i] != self.songs[query]]
        order = sorted(others, key=lambda i: (self.plain.at[query, i], i))
        if self.reranker == "none":
            return order
        first = sorted(order[:N_CANDIDATES], key=lambda i: (self.distance(query, i), self.plain.at[query, i], i))
        return first + order[N_CANDIDATES:]

    def figures(self, worst: int | None) -> dict[str, float]:
        """The literal formulas of the field over all queries."""
        precisions, firsts, ranks, pages = [], [], [], []
        for query in self.clique_of:
            mates = [i for i, c in self.clique_of.items() if c == self.clique_of[query] and i != query]
            mates = [i for i in mates if self.songs[i] != self.songs[query]]
            order = self.ranking(query) if query in self.ids else []
            found = [order.index(i) + 1 for i in mates if i in order]
            lost = [] if worst is None else [worst] * (len(mates) - len(found))
            if not found + lost:
                continue
            hits = [sum(r <= one for r in found) / one for one in found]
            precisions.append(sum(hits) / len(found + lost))
            firsts.append(min(found + lost))
            ranks += found + lost
            pages.append(sum(r <= 10 for r in found) / 10)
        return {
            "queries": len(firsts),
            "pairs": len(ranks),
            "mean_average_precision": float(np.mean(precisions)),
            "mean_first_rank": float(np.mean(firsts)),
            "average_rank": float(np.mean(ranks)),
            "precision_at_10": float(np.mean(pages)),
        }


def assert_figures(found: dict[str, Any], oracle: Oracle) -> None:
    for way, worst in (("published", None), ("misses", 80)):
        for name, figure in oracle.figures(worst).items():
            assert found[way][name] == pytest.approx(figure), (way, name)


def test_figures_are_those_of_brute_force(warehouse: Warehouse, rows_of: Rows, evaluate: Run, tmp_path: Path) -> None:
    found = evaluate(*TEST)
    oracle = Oracle(warehouse, rows_of, "shs_dataset_test")
    assert len(set(oracle.clique_of) - set(oracle.ids)) == 2  # else the two ways would be one
    assert_figures(found["measures"]["none"], oracle)
    assert found["counts"] == {"cliques_listed": 4, "tracks_listed": 16, "tracks_present": 16, "tracks_ranked": 80}
    assert (found["clique_list"], found["model_id"][:11]) == ("shs_dataset_test", "median_pca-")
    for name in ("precision_recall.png", "ranks.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_figures_of_a_reranker_are_those_of_brute_force(warehouse: Warehouse, rows_of: Rows, evaluate: Run) -> None:
    found = evaluate(*TEST, "--rerank", "simple", "--candidates", N_CANDIDATES)["measures"]
    assert list(found) == ["none", "simple"]
    assert_figures(found["none"], Oracle(warehouse, rows_of, "shs_dataset_test"))
    oracle = Oracle(warehouse, rows_of, "shs_dataset_test", "simple")
    assert_figures(found["simple"], oracle)
    assert_model_2(found["simple"]["published"], oracle)


def test_known_duplicates_are_no_versions(warehouse: Warehouse, rows_of: Rows, evaluate: Run) -> None:
    clique_of = Oracle(warehouse, rows_of, "shs_dataset_test").clique_of
    two = sorted(track_id for track_id, clique in clique_of.items() if clique == "shs_dataset_test:1016")[:2]
    rows = warehouse.lookup(MSD_TRACKS, "track_id", *two).to_pylist()
    same = [r | {"song_id": "SOSAMESAMESAMESAME", "sha256": "other"} for r in rows if r["track_id"] in two]
    warehouse.merge(MSD_TRACKS, pa.Table.from_pylist(same, arrow_schema(MSD_TRACKS)), force=True)
    assert_figures(evaluate(*TEST)["measures"]["none"], Oracle(warehouse, rows_of, "shs_dataset_test"))


def assert_model_2(found: dict[str, Any], oracle: Oracle) -> None:
    ids = [i for i in oracle.ids if i in oracle.clique_of]
    labels = np.array([oracle.clique_of[i] for i in ids], dtype=object)
    asked = models.draw_questions(labels, seed=SEED)

    def measure(rows: Any, others: Any) -> Any:
        return np.array([oracle.distance(ids[a], ids[b]) for a, b in zip(rows, others, strict=True)])

    score = models.score_checks(models.check_versions(measure, labels, asked), asked)
    assert found["model_2_questions"] == score.questions > 0
    assert found["model_2_accuracy"] == pytest.approx(score.accuracy)
    assert found["model_2_roc_area"] == pytest.approx(score.roc_area)


def test_model_2_is_that_of_the_full_matrix_and_model_1_of_large_cliques(
    warehouse: Warehouse, rows_of: Rows, evaluate: Run
) -> None:
    found = evaluate(*TEST)["measures"]["none"]["published"]
    assert_model_2(found, Oracle(warehouse, rows_of, "shs_dataset_test"))
    assert (found["model_1_accuracy"], found["model_1_cliques"]) == (None, 0)
    # all tracks of both lists in two works of more than 15 versions
    cliques = rows_of(warehouse, COVER_CLIQUES).assign(source="large", run_id="r")
    cliques["clique_id"] = np.where(cliques["clique_id"].str.contains("test"), "large:1", "large:2")
    table = pa.Table.from_pandas(cliques.iloc[:40], arrow_schema(COVER_CLIQUES), preserve_index=False)
    assert table.column("clique_id").value_counts().field("counts").to_pylist() == [16, 20]
    warehouse.merge(COVER_CLIQUES, table)
    found = evaluate("--cliques", "large", "--rerank", "none")["measures"]["none"]["published"]
    # the two of the test list that have no vector leave 14 of it, which are too few
    assert (found["model_1_cliques"], found["model_1_tracks"], found["model_1_accuracy"]) == (1, 20, 1.0)


def test_table_of_cliques(warehouse: Warehouse, rows_of: Rows, evaluate: Run, tmp_path: Path) -> None:
    evaluate(*TEST, "--rerank", "qmax", "--candidates", 1)
    table = pd.read_csv(tmp_path / "out/cliques.csv")
    assert table["reranker"].value_counts().to_dict() == {"none": 4, "qmax": 4}
    oracle = Oracle(warehouse, rows_of, "shs_dataset_test")
    members = pd.Series(oracle.clique_of).reset_index().set_axis(["track_id", "clique"], axis=1)
    for _, row in table[table["reranker"] == "none"].iterrows():
        there = members[members["clique"] == row["clique"]]["track_id"]
        assert row["tracks"] == len(there)
        oracle.clique_of = dict.fromkeys(there, row["clique"])
        expected = oracle.figures(None)
        assert row["queries"] == expected["queries"]
        assert row["mean_average_precision"] == pytest.approx(expected["mean_average_precision"])
        assert row["mean_first_rank"] == pytest.approx(expected["mean_first_rank"])


def test_triplets_of_a_file_absent_tracks_among_them(
    warehouse: Warehouse, rows_of: Rows, evaluate: Run, tmp_path: Path
) -> None:
    oracle = Oracle(warehouse, rows_of, "shs_dataset_test")
    rng, named = np.random.default_rng(0), []
    for query, clique in oracle.clique_of.items():
        mate = rng.choice([i for i, c in oracle.clique_of.items() if c == clique and i != query])
        other = rng.choice([i for i, c in oracle.clique_of.items() if c != clique])
        named.append((query, str(mate), str(other)))
    named.append((*named[0][:2], "TRABSEN128F0000000"))
    with (tmp_path / "triplets.txt").open("wb") as file:
        columns = dict(zip(("query_id", "cover_id", "other_id"), zip(*named, strict=True), strict=True))
        write_cover_triplets(file, columns)
    found = evaluate(*TEST, "--triplets", tmp_path / "triplets.txt")["measures"]["none"]
    compared = [t for t in named if set(t) <= set(oracle.ids)]
    right = sum(oracle.distance(q, c) < oracle.distance(q, o) for q, c, o in compared)
    assert (found["misses"]["triplets"], found["misses"]["triplets_compared"]) == (17, len(compared))
    assert len(compared) < 16
    assert found["published"]["binary_accuracy"] == pytest.approx(right / len(compared))
    assert found["misses"]["binary_accuracy"] == pytest.approx(right / 17)


def test_triplets_are_drawn_alike_each_time(evaluate: Run) -> None:
    first = evaluate(*TEST)["measures"]
    assert evaluate(*TEST)["measures"] == first
    assert 0 < first["none"]["published"]["triplets_compared"] < first["none"]["published"]["triplets"]
    assert 0.5 < first["none"]["published"]["binary_accuracy"] <= 1


def test_second_run_changes_no_table(evaluate: Run, warehouse: Warehouse) -> None:
    before = Warehouse(warehouse.root).versions()
    evaluate(*TEST)
    after = Warehouse(warehouse.root).versions()
    assert {n: v for n, v in after.items() if n != JOB_RUNS.name} == {
        n: v for n, v in before.items() if n != JOB_RUNS.name
    }


def add_list(warehouse: Warehouse, rows_of: Rows, name: str, track_ids: list[str]) -> None:
    """A clique list of one work."""
    rows = rows_of(warehouse, COVER_CLIQUES)[: len(track_ids)]
    rows = rows.assign(source=name, clique_id=name, track_id=track_ids, run_id="r")
    warehouse.merge(COVER_CLIQUES, pa.Table.from_pandas(rows, arrow_schema(COVER_CLIQUES), preserve_index=False))


@pytest.mark.parametrize("present", [1, 2])
def test_a_list_of_hardly_any_present_track(present: int, warehouse: Warehouse, rows_of: Rows, evaluate: Run) -> None:
    ids = rows_of(warehouse, COVER_VECTORS)["track_id"].tolist()[:present]
    add_list(warehouse, rows_of, "few", [*ids, "TRABSEN128F0000000"])
    found = evaluate("--cliques", "few", "--rerank", "none", "--rerank", "simple")
    assert found["counts"]["tracks_present"] == present
    figures = found["measures"]["none"]["published"]
    assert (figures["pairs"], figures["model_2_accuracy"], figures["model_1_accuracy"]) == (
        2 * (present - 1),
        None,
        None,
    )
    assert (figures["mean_average_precision"] is None) == (present == 1)


def test_a_list_of_absent_tracks_is_said_in_one_line(warehouse: Warehouse, rows_of: Rows, run_job: Run) -> None:
    add_list(warehouse, rows_of, "absent", ["TRABSEN128F0000000", "TRABSEN128F0000001"])
    said = run_job(evaluate_covers.main, "--cliques", "absent", exit_code=2)["error"]
    assert said == "reprise evaluate-covers: none of the 2 tracks of absent is there: ingest them first\n"


def test_real_list_says_how_many_are_present(
    shared_data: Path, warehouse: Warehouse, rows_of: Rows, run_job: Run, evaluate: Run, tmp_path: Path
) -> None:
    (real,) = (shared_data / "annotations").rglob("shs_dataset_train.txt")
    (tmp_path / "real").mkdir()
    (tmp_path / "real/shs_dataset_real.txt").write_bytes(real.read_bytes())
    run_job(ingest_annotations.main, "--source", tmp_path / "real")
    said = run_job(evaluate_covers.main, "--cliques", "shs_dataset_real", exit_code=2)["error"]
    assert said == "reprise evaluate-covers: none of the 12960 tracks of shs_dataset_real is there: ingest them first\n"
    # three of the composed tracks go by names that the list has
    listed = rows_of(warehouse, COVER_CLIQUES).query("source == 'shs_dataset_real'")
    sizes = listed.groupby("clique_id")["track_id"].transform("size")
    names = listed[sizes == 3]["track_id"].tolist()[:3]
    assert len(names) == 3
    add_names(warehouse, rows_of, names)
    counts = evaluate("--cliques", "shs_dataset_real", "--rerank", "none")["counts"]
    assert counts == {"cliques_listed": 4128, "tracks_listed": 12960, "tracks_present": 3, "tracks_ranked": 83}


def add_names(warehouse: Warehouse, rows_of: Rows, names: list[str]) -> None:
    """Give the patches and vectors of three tracks to three more."""
    vectors = rows_of(warehouse, COVER_VECTORS)
    for table in (CHROMA_PATCHES, COVER_VECTORS):
        rows = rows_of(warehouse, table)
        rows = rows[rows["track_id"].isin(vectors["track_id"][:3])].assign(track_id=names, run_id="r")
        warehouse.merge(table, pa.Table.from_pandas(rows, arrow_schema(table), preserve_index=False))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--cliques", "none"), "there is no clique list none; there are: shs_dataset_test, shs_dataset_train"),
        (("--model", "none"), "there is no model none; there are: median_pca-"),
        (("--candidates", "0"), "--candidates must be at least 1, not 0"),
        (("--triplets", "/nowhere"), "--triplets /nowhere does not exist"),
        (("--triplets", "empty.txt"), "holds no triplet"),
        (("--rerank", "best"), "invalid choice: 'best'"),
    ],
)
def test_bad_usage_is_said_in_one_line(
    arguments: tuple[str, ...], reason: str, run_job: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    said = run_job(evaluate_covers.main, *arguments, exit_code=2)["error"]
    assert said.startswith("reprise evaluate-covers: ")
    assert reason in said
    assert said.count("\n") == 1
    assert not (tmp_path / "cover_evaluation").exists()


def test_a_person_sees_the_figures(warehouse: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*TEST, "--out", str(tmp_path / "out"), "--warehouse", warehouse.root]
    assert evaluate_covers.main(arguments) == 0
    printed = capsys.readouterr().out
    for words in ("MAP", "MR1", "P@10", "counted as misses", f"written: {tmp_path / 'out'}", "tracks present"):
        assert words in printed
