"""Evaluations: every figure is that of plain numpy on the full matrix of distances, counted both ways."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reprise.jobs import evaluate_covers, ingest_annotations
from reprise.jobs._detection.evaluation import Evaluation, evaluate_measure
from reprise.jobs._detection.models import find_embedding
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.annotations import write_cover_triplets
from reprise.lib.detect import clique_models as models
from reprise.lib.detect.alignment import RERANKERS
from reprise.lib.detect.part_network import describe_shipped_model
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, COVER_CLIQUES, COVER_VECTORS, MSD_TRACKS, Table
from reprise.udfs.arrow import arrow_schema
from tests.jobs.chain import Chain, copy_warehouse, forget_part_network, versions

RunJob = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]
SetUp = Callable[..., Evaluation]

SEED = 20110211
TEST = "shs_dataset_test"
N_CANDIDATES = 12
N_RANKED = 82
"""Tracks with chroma, three of a library among them; with each miss a mate is ranked last of them."""


@pytest.fixture(scope="session")
def trained(chain: Chain) -> Warehouse:
    """A warehouse with a trained model, to be read; two tracks of the test list are too short for a vector."""
    return Warehouse(str(chain.after("train-cover-index")))


@pytest.fixture
def warehouse(chain: Chain, tmp_path: Path) -> Warehouse:
    """A copy of it, without the part network, which is not evaluated."""
    return forget_part_network(copy_warehouse(chain.after("train-cover-index"), tmp_path / "warehouse"))


@pytest.fixture
def set_up(warehouse: Warehouse, prepare: Callable[..., Any]) -> SetUp:
    """What the job judges of a list of the copy."""

    def make(cliques: str) -> Evaluation:
        _, run = prepare(evaluate_covers, "--cliques", cliques)
        return evaluate_covers._set_up(run, find_embedding(run, None), None)

    return make


class Oracle:
    """Ranks of all tracks for each query by brute force: the order of distance and then id, without duplicates."""

    def __init__(self, warehouse: Warehouse, rows_of: Rows, source: str, reranker: str = "none") -> None:
        vectors = rows_of(warehouse, COVER_VECTORS)
        vectors = vectors[vectors["model_id"] != describe_shipped_model().model_id]
        self.ids = vectors["track_id"].tolist()
        points = np.stack(vectors["vector"].tolist()).astype("f8")
        distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
        self.plain: Any = pd.DataFrame(distances, self.ids, self.ids)
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
    for way, worst in (("published", None), ("misses", N_RANKED)):
        for name, figure in oracle.figures(worst).items():
            assert found[way][name] == pytest.approx(figure), (way, name)


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


class Evaluated(NamedTuple):
    """One run of the job on the test list: what it printed and wrote, and the triplets that it was given."""

    printed: str
    folder: Path
    triplets: list[tuple[str, str, str]]
    before: dict[str, int]
    after: dict[str, int]

    @property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``, which has to be JSON as the standard has it."""

        def fail(constant: str) -> float:
            raise AssertionError(f"{constant} is no JSON")

        found: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text(), parse_constant=fail)
        return found


@pytest.fixture(scope="module")
def evaluated(chain: Chain, rows_of: Rows, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The plain measure and one reranker; of the triplets one names a track that is absent."""
    folder = tmp_path_factory.mktemp("evaluated")
    warehouse = copy_warehouse(chain.after("train-cover-index"), folder / "warehouse")
    before = versions(warehouse)
    clique_of = Oracle(warehouse, rows_of, TEST).clique_of
    rng, named = np.random.default_rng(0), []
    for query, clique in clique_of.items():
        mate = rng.choice([i for i, c in clique_of.items() if c == clique and i != query])
        other = rng.choice([i for i, c in clique_of.items() if c != clique])
        named.append((query, str(mate), str(other)))
    named.append((*named[0][:2], "TRABSEN128F0000000"))
    with (folder / "triplets.txt").open("wb") as file:
        columns = dict(zip(("query_id", "cover_id", "other_id"), zip(*named, strict=True), strict=True))
        write_cover_triplets(file, columns)
    asked = ["--cliques", TEST, "--rerank", "none", "--rerank", "simple", "--candidates", str(N_CANDIDATES)]
    asked += ["--triplets", str(folder / "triplets.txt"), "--out", str(folder / "out")]
    with redirect_stdout(io.StringIO()) as printed:
        assert evaluate_covers.main([*asked, "--warehouse", warehouse.root]) == 0
    return Evaluated(printed.getvalue(), folder / "out", named, before, versions(warehouse))


def test_figures_are_those_of_brute_force(evaluated: Evaluated, trained: Warehouse, rows_of: Rows) -> None:
    found = evaluated.metrics
    oracle = Oracle(trained, rows_of, TEST)
    assert len(set(oracle.clique_of) - set(oracle.ids)) == 2  # else the two ways would be one
    assert list(found["measures"]) == ["none", "simple"]
    assert_figures(found["measures"]["none"], oracle)
    assert found["counts"] == {
        "cliques_listed": 4, "tracks_listed": 16, "tracks_present": 16, "tracks_ranked": N_RANKED
    }  # fmt: skip
    assert (found["clique_list"], found["model_id"][:11]) == (TEST, "median_pca-")
    for name in ("precision_recall.png", "ranks.png"):
        assert (evaluated.folder / name).read_bytes().startswith(b"\x89PNG")


def test_figures_of_a_reranker_are_those_of_brute_force(
    evaluated: Evaluated, trained: Warehouse, rows_of: Rows
) -> None:
    assert_figures(evaluated.metrics["measures"]["simple"], Oracle(trained, rows_of, TEST, "simple"))


@pytest.mark.parametrize("reranker", ["none", "simple"])
def test_model_2_is_that_of_the_full_matrix(
    reranker: str, evaluated: Evaluated, trained: Warehouse, rows_of: Rows
) -> None:
    found = evaluated.metrics["measures"][reranker]["published"]
    assert_model_2(found, Oracle(trained, rows_of, TEST, reranker))
    assert (found["model_1_accuracy"], found["model_1_cliques"]) == (None, 0)


def test_table_of_cliques(evaluated: Evaluated, trained: Warehouse, rows_of: Rows) -> None:
    table = pd.read_csv(evaluated.folder / "cliques.csv")
    assert table["reranker"].value_counts().to_dict() == {"none": 4, "simple": 4}
    oracle = Oracle(trained, rows_of, TEST)
    members = pd.Series(oracle.clique_of).reset_index().set_axis(["track_id", "clique"], axis=1)
    for _, row in table[table["reranker"] == "none"].iterrows():
        there = members[members["clique"] == row["clique"]]["track_id"]
        assert row["tracks"] == len(there)
        oracle.clique_of = dict.fromkeys(there, row["clique"])
        expected = oracle.figures(None)
        assert row["queries"] == expected["queries"]
        assert row["mean_average_precision"] == pytest.approx(expected["mean_average_precision"])
        assert row["mean_first_rank"] == pytest.approx(expected["mean_first_rank"])


def test_triplets_of_a_file_absent_tracks_among_them(evaluated: Evaluated, trained: Warehouse, rows_of: Rows) -> None:
    oracle, found = Oracle(trained, rows_of, TEST), evaluated.metrics["measures"]["none"]
    compared = [t for t in evaluated.triplets if set(t) <= set(oracle.ids)]
    right = sum(oracle.distance(q, c) < oracle.distance(q, o) for q, c, o in compared)
    assert (found["misses"]["triplets"], found["misses"]["triplets_compared"]) == (17, len(compared))
    assert len(compared) < 16
    assert found["published"]["binary_accuracy"] == pytest.approx(right / len(compared))
    assert found["misses"]["binary_accuracy"] == pytest.approx(right / 17)


def test_a_person_sees_the_figures_and_no_table_changes(evaluated: Evaluated) -> None:
    for words in ("MAP", "MR1", "P@10", "count as misses", f"written: {evaluated.folder}", "tracks present"):
        assert words in evaluated.printed
    assert evaluated.after == evaluated.before


def test_known_duplicates_are_no_versions_and_triplets_are_drawn_alike_each_time(
    warehouse: Warehouse, rows_of: Rows, set_up: SetUp
) -> None:
    clique_of = Oracle(warehouse, rows_of, TEST).clique_of
    two = sorted(track_id for track_id, clique in clique_of.items() if clique == "shs_dataset_test:1016")[:2]
    rows = warehouse.lookup(MSD_TRACKS, "track_id", *two).to_pylist()
    same = [r | {"song_id": "SOSAMESAMESAMESAME", "sha256": "other"} for r in rows if r["track_id"] in two]
    warehouse.merge(MSD_TRACKS, pa.Table.from_pylist(same, arrow_schema(MSD_TRACKS)), force=True)
    first, second = (set_up(TEST) for _ in range(2))
    found = evaluate_measure(first, "none").metrics
    assert_figures(found, Oracle(warehouse, rows_of, TEST))
    pd.testing.assert_frame_equal(first.triplets, second.triplets)
    assert 0 < (found["published"]["triplets_compared"] or 0) < len(first.triplets)
    assert 0.5 < (found["published"]["binary_accuracy"] or 0) <= 1


def test_model_1_is_of_large_cliques(warehouse: Warehouse, rows_of: Rows, set_up: SetUp) -> None:
    # all tracks of both lists in two works of more than 15 versions
    cliques = rows_of(warehouse, COVER_CLIQUES).assign(source="large", run_id="r")
    cliques["clique_id"] = np.where(cliques["clique_id"].str.contains("test"), "large:1", "large:2")
    table = pa.Table.from_pandas(cliques.iloc[:40], arrow_schema(COVER_CLIQUES), preserve_index=False)
    assert table.column("clique_id").value_counts().field("counts").to_pylist() == [16, 20]
    warehouse.merge(COVER_CLIQUES, table)
    found = evaluate_measure(set_up("large"), "none").metrics["published"]
    # the two of the test list that have no vector leave 14 of it, which are too few
    assert (found["model_1_cliques"], found["model_1_tracks"], found["model_1_accuracy"]) == (1, 20, 1.0)


def add_list(warehouse: Warehouse, rows_of: Rows, name: str, track_ids: list[str]) -> None:
    """A clique list of one work."""
    rows = rows_of(warehouse, COVER_CLIQUES)[: len(track_ids)]
    rows = rows.assign(source=name, clique_id=name, track_id=track_ids, run_id="r")
    warehouse.merge(COVER_CLIQUES, pa.Table.from_pandas(rows, arrow_schema(COVER_CLIQUES), preserve_index=False))


@pytest.mark.parametrize("present", [1, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_a_list_of_hardly_any_present_track(present: int, warehouse: Warehouse, rows_of: Rows, set_up: SetUp) -> None:
    ids = rows_of(warehouse, COVER_VECTORS)["track_id"].tolist()[:present]
    add_list(warehouse, rows_of, "few", [*ids, "TRABSEN128F0000000"])
    evaluation = set_up("few")
    assert evaluation.run.counts["tracks_present"] == present
    for reranker in ("none", "simple"):
        figures = evaluate_measure(evaluation, reranker).metrics["published"]
        assert figures["pairs"] == 2 * (present - 1)
        assert figures["model_2_accuracy"] is figures["model_1_accuracy"] is None
        assert (figures["mean_average_precision"] is None) == (present == 1)


def test_real_list_says_how_many_are_present(
    shared_data: Path,
    warehouse: Warehouse,
    rows_of: Rows,
    run_job: RunJob,
    set_up: SetUp,
    refusal: Callable[..., str],
    tmp_path: Path,
) -> None:
    (real,) = (shared_data / "annotations").rglob("shs_dataset_train.txt")
    (tmp_path / "real").mkdir()
    (tmp_path / "real/shs_dataset_real.txt").write_bytes(real.read_bytes())
    run_job(ingest_annotations.main, "--source", tmp_path / "real")
    said = refusal(evaluate_covers, "--cliques", "shs_dataset_real")
    advice = "ingest the tracks and run extract-chroma first"
    assert said == f"no track of shs_dataset_real (12960 listed) has chroma patches: {advice}"
    # three of the composed tracks go by names that the list has
    listed = rows_of(warehouse, COVER_CLIQUES).query("source == 'shs_dataset_real'")
    sizes = listed.groupby("clique_id")["track_id"].transform("size")
    names = listed[sizes == 3]["track_id"].tolist()[:3]
    assert len(names) == 3
    add_names(warehouse, rows_of, names)
    counts = set_up("shs_dataset_real").run.counts
    assert counts == {
        "cliques_listed": 4128, "tracks_listed": 12960, "tracks_present": 3, "tracks_ranked": N_RANKED + 3
    }  # fmt: skip


def add_names(warehouse: Warehouse, rows_of: Rows, names: list[str]) -> None:
    """Give the patches and vectors of three tracks to three more."""
    vectors = rows_of(warehouse, COVER_VECTORS)
    for table in (CHROMA_PATCHES, COVER_VECTORS):
        rows = rows_of(warehouse, table)
        rows = rows[rows["track_id"].isin(vectors["track_id"][:3])].assign(track_id=names, run_id="r")
        warehouse.merge(table, pa.Table.from_pandas(rows, arrow_schema(table), preserve_index=False))


def test_a_list_of_absent_tracks(warehouse: Warehouse, rows_of: Rows, refusal: Callable[..., str]) -> None:
    add_list(warehouse, rows_of, "absent", ["TRABSEN128F0000000", "TRABSEN128F0000001"])
    said = refusal(evaluate_covers, "--cliques", "absent")
    assert said == "no track of absent (2 listed) has chroma patches: ingest the tracks and run extract-chroma first"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--cliques", "none"), "unknown clique list none; choose from: shs_dataset_test, shs_dataset_train"),
        (("--model", "none"), "there is no cover embedding model none; choose from: median_pca-"),
        (("--candidates", "0"), "--candidates must be at least 1, not 0"),
        (("--triplets", "/nowhere"), "--triplets /nowhere does not exist"),
        (("--triplets", "empty.txt"), "contains no triplet"),
        (("--rerank", "best"), "invalid choice: 'best'"),
    ],
)
def test_what_cannot_be_evaluated(
    arguments: tuple[str, ...],
    reason: str,
    refusal: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    assert reason in refusal(evaluate_covers, *arguments)
    assert not (tmp_path / "cover_evaluation").exists()
