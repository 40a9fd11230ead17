"""The exploration page: correct statistics, unusual data, reproducible files, and no active content."""

import csv
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from reprise.lib.genres import exploration
from reprise.lib.genres.exploration import PERCENTILES, compute_percentiles, correlate, explore
from reprise.lib.genres.projections import project, standardise

PARTS = ("balance", "missing", "distributions", "correlation", "pca", "tsne", "umap")


def clusters(n: int = 90, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of three separate clusters, one for each genre."""
    rng = np.random.default_rng(0)
    code = rng.integers(0, 3, n)
    rows = rng.standard_normal((n, d))
    rows[np.arange(n), code] += 8
    return rows, np.array(["a", "b", "c"], dtype=object)[code]


def make(folder: Path, rows: np.ndarray, genres: Any, **options: Any) -> list[Path]:
    labels = np.asarray(genres, dtype=object)
    settings = {"counts": Counter(labels.tolist()), "title": "msd × tags", "seed": 1, **options}
    return explore(folder, rows, labels, [f"f{i}" for i in range(rows.shape[1])], **settings)


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


class Page(HTMLParser):
    """Tags, links and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


NAMES = {"a": "<script>alert(1)</script>", "b": '"><img src=x onerror=y>', "c": "ロック & Roll"}
TITLE = "<b> & \ud800"


def clusters_with_gaps() -> tuple[np.ndarray, np.ndarray]:
    """Return the clusters with unknown values and hostile genre names."""
    rows, genres = clusters()
    rows[:9, 0], rows[9, 1] = np.nan, np.inf
    return rows, np.array([NAMES[genre] for genre in genres], dtype=object)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of the page about the clusters with unknown values."""
    return make(tmp_path_factory.mktemp("page") / "a", *clusters_with_gaps(), title=TITLE)


@pytest.mark.slow
def test_the_page_links_every_plot_and_table(written: list[Path]) -> None:
    folder = written[0].parent
    assert sorted(written) == sorted(folder.iterdir())
    page = Page(written[0])
    files = {f"{part}.{suffix}" for part in PARTS for suffix in ("png", "csv")}
    assert {link for link in page.links if not link.startswith("#")} == files
    assert {path.name for path in written} == {"index.html", *files}
    assert "90 rows, 3 genres, 6 features." in page.text
    for part in PARTS:
        assert imread(folder / f"{part}.png").shape[1] > 400
    assert len(read(folder / "umap.csv")) == 91


@pytest.mark.slow
def test_the_same_data_give_the_same_files(written: list[Path], tmp_path: Path) -> None:
    first, second = (
        {path.name: path.read_bytes() for path in files}
        for files in (written, make(tmp_path, *clusters_with_gaps(), title=TITLE))
    )
    assert first == second


@pytest.mark.slow
def test_tables_match_the_rows(written: list[Path]) -> None:
    folder, (rows, genres) = written[0].parent, clusters_with_gaps()
    assert [row[:2] for row in read(folder / "balance.csv")[1:]] == [
        [name, str(n)] for name, n in Counter(genres.tolist()).most_common()
    ]
    missing = {row[0]: row[1:] for row in read(folder / "missing.csv")}
    assert missing["feature"] == ["all", *sorted(NAMES.values())]
    assert float(missing["f0"][0]) == pytest.approx(0.1)
    assert float(missing["f1"][0]) == pytest.approx(1 / 90)
    of_second = genres == sorted(NAMES.values())[1]
    assert float(missing["f0"][2]) == pytest.approx(np.isnan(rows[of_second, 0]).mean())
    spread = {(row[0], row[1]): row[2:] for row in read(folder / "distributions.csv")}
    expected = np.percentile(rows[genres == NAMES["b"], 4], PERCENTILES)
    assert [float(x) for x in spread["f4", NAMES["b"]]] == pytest.approx(expected)
    correlation = read(folder / "correlation.csv")
    assert float(correlation[5][6]) == pytest.approx(np.corrcoef(rows[:, 4], rows[:, 5])[0, 1])


@pytest.mark.slow
def test_names_are_escaped(written: list[Path]) -> None:
    page = Page(written[0])
    assert not {"script", "b"} & set(page.tags)
    assert page.tags.count("img") == len(PARTS)
    assert page.text.count("<b> & ?") == 2
    assert not [link for link in page.links if re.match(r"[a-z]+:|//", link)]


SMALL = {
    "one row": np.zeros((1, 1)),
    "unknown": np.full((3, 2), np.nan),
    "constant": np.ones((7, 3)),
    "two rows": np.random.default_rng(1).standard_normal((2, 3)),
    "one feature": np.random.default_rng(1).standard_normal((5, 1)).astype(np.float32),
    "duplicates": np.repeat(np.random.default_rng(1).standard_normal((3, 4)), 5, axis=0),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.slow
def test_projections_of_small_data(name: str) -> None:
    rows = SMALL[name]
    n_methods = {"two rows": 1, "one feature": 3, "duplicates": 3}.get(name, 0)
    found = project(rows, seed=0)
    assert [one.name for one in found] == ["PCA", "t-SNE", "UMAP"]
    points = [one.points for one in found if one.points is not None]
    assert len(points) == n_methods
    for one in points:
        assert one.shape == (len(rows), 2)
        assert np.isfinite(one).all()


@pytest.mark.parametrize(("name", "genres"), [("one row", "a"), ("unknown", "aab"), ("one feature", "aaaaa")])
@pytest.mark.slow
def test_a_page_of_small_data(tmp_path: Path, name: str, genres: str) -> None:
    assert len(make(tmp_path, SMALL[name], list(genres))) == 15


@pytest.mark.slow
def test_the_page_states_samples_and_hidden_genres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration, "MAX_PROJECTED", 50)
    rows, genres = np.random.default_rng(0).standard_normal((80, 2)), [f"tag {i % 40}" for i in range(80)]
    page = Page(make(tmp_path, rows, genres, counts={**dict.fromkeys(genres, 1000), "rare": 1})[0])
    assert "40,001 rows, 41 genres" in page.text
    assert "a sample of 80 rows" in page.text
    assert "The plots show the 30 genres with the most rows" in page.text
    assert page.text.count("50 of 40,001 rows") == 3
    assert len(read(tmp_path / "tsne.csv")) == 51
    assert read(tmp_path / "balance.csv")[-1][0] == "rare"
    assert len(read(tmp_path / "missing.csv")[0]) == 42


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (3, 2)])
def test_shapes_must_match(tmp_path: Path, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="do not match"):
        explore(tmp_path, np.zeros(shape), ["a", "b"], ["x", "y"], counts={"a": 2}, title="x", seed=0)


def test_correlation_without_unknown_values_equals_numpy() -> None:
    rows = np.random.default_rng(0).standard_normal((200, 5)) @ np.random.default_rng(1).standard_normal((5, 5))
    rows = rows * [1, 1e-9, 1e9, 1, 1] + [0, 0, 0, 1e4, 0]
    np.testing.assert_allclose(correlate(rows), np.corrcoef(rows.T), atol=1e-9)


def test_correlation_uses_the_rows_where_both_are_known() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 4)) + rng.standard_normal((60, 1))
    rows[rng.uniform(size=rows.shape) < 0.3] = np.nan
    found = correlate(rows)
    for i in range(4):
        for j in range(4):
            both = ~np.isnan(rows[:, i]) & ~np.isnan(rows[:, j])
            assert found[i, j] == pytest.approx(np.corrcoef(rows[both, i], rows[both, j])[0, 1])


def test_undefined_correlations_are_nan() -> None:
    rows = np.column_stack([np.arange(5.0), np.full(5, 0.1), np.full(5, np.nan), [1, 2, np.nan, np.nan, np.nan]])
    found = correlate(rows)
    assert found[0, 0] == 1
    assert np.isnan(found).sum() == 15


def test_percentiles_ignore_unknown_values() -> None:
    rows = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, 5.0]])
    found = compute_percentiles(rows, np.array(["a", "a", "b"], dtype=object), ["a", "b", "c"])
    assert found.shape == (3, 5, 2)
    np.testing.assert_allclose(found[0, :, 0], np.percentile([1, 3], PERCENTILES))
    assert np.all(found[1, :, 1] == 5)
    assert np.isnan(found[[0, 1, 2, 2], 0, [1, 0, 0, 1]]).all()


def test_standardised_features_have_the_same_scale() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 3)) * [1e-20, 1.0, 1e30] + [0, 1e6, 0]
    odd = np.column_stack([rows, np.full(300, 0.1), np.full(300, np.nan)])
    odd[0, 1], odd[1, 2] = np.nan, np.inf
    found = standardise(odd)
    assert found.shape == (300, 3)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-6)
    rows[5, 1] = 1e12
    assert standardise(rows).max() == 5


@pytest.mark.slow
def test_projections_keep_neighbours_and_pca_equals_scikit_learn() -> None:
    rows, _ = clusters()
    found = {one.name: one for one in project(rows, seed=3)}
    values = standardise(rows)
    fitted = PCA(2).fit(values)
    points = found["PCA"].points
    assert points is not None
    np.testing.assert_allclose(np.abs(points), np.abs(fitted.transform(values)), atol=1e-9)
    shares = [re.findall(r"\d+", axis)[1] for axis in found["PCA"].axes]
    assert shares == [f"{100 * share:.0f}" for share in fitted.explained_variance_ratio_]
    for name in ("t-SNE", "UMAP"):
        assert trustworthiness(values, found[name].points, n_neighbors=10) > 0.85
