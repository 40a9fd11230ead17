"""Train a model that tells genres apart, and report how well it does on tracks it has not seen.

Reads:  msd_genre_features or audio_genre_features, genre_labels, msd_tracks, library_tracks; or a file (--table).
Writes: models.
Grain:  one model.
Rerun:  a model that was trained on the same versions of the same tables with the same settings is not trained again.
        Killed at any point and started again, it ends in the same row.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.jobs._engine.pending import add_force
from reprise.jobs._engine.run import Job, Run, UsageError, run_job
from reprise.jobs._genres.datasets import (
    GENRE_KIND,
    TABLE,
    TAGS,
    Dataset,
    Labelled,
    find_labelled,
    name_labels,
)
from reprise.jobs._genres.training import FOLDS, INNER_FOLDS, LISTS, RANDOM, Setting, Trained, train_again, train_model
from reprise.lib.arrays import Int64Array, ObjectArray
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.files import sha256_of
from reprise.lib.genres.cards import make_card
from reprise.lib.genres.feature_rankings import explain_summary, rank_features
from reprise.lib.genres.feature_sets import FEATURE_SETS
from reprise.lib.genres.gtzan_table import read_list
from reprise.lib.genres.learners import LEARNERS, Learner
from reprise.lib.genres.learners import Setting as Sizes
from reprise.lib.genres.metrics import SCALARS, spread
from reprise.lib.genres.models import load
from reprise.lib.genres.reports import Report, write_report
from reprise.lib.genres.splits import rare_genres, sample_rows
from reprise.lib.tables import MODELS
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.model_cache import write_artifact, write_beside

_SHOWN = 8
"""Names that a line lists."""

_TOLD = ("learner", "candidate", "features", "labels", "split", "folds", "balanced", "seed")
"""Parameters that a report shows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--features", choices=list(FEATURE_SETS), default="msd", metavar="SET", help=_choices(FEATURE_SETS)
    )
    parser.add_argument(
        "--labels", metavar="SOURCE", help=f"a source of genre_labels, {TAGS} (of listeners' files) or {TABLE}"
    )
    parser.add_argument("--table", metavar="FILE", help=f"features and labels in GTZAN's format, for --labels {TABLE}")
    parser.add_argument(
        "--learner", choices=list(LEARNERS), default="random_forest", metavar="NAME", help=_choices(LEARNERS)
    )
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="fix a parameter that is else chosen"
    )
    parser.add_argument("--balanced", action="store_true", help="let every genre weigh the same, rare ones too")
    parser.add_argument(
        "--split",
        choices=[FOLDS, RANDOM, LISTS],
        default=FOLDS,
        help="what the figures are of: folds that keep an artist together, as the papers rows at random, or lists",
    )
    parser.add_argument("--folds", type=int, default=10, metavar="K", help="(%(default)s)")
    parser.add_argument(
        "--lists", nargs=3, metavar=("TRAIN", "VALID", "TEST"), help=f"files of ids or names for --split {LISTS}"
    )
    parser.add_argument("--reproduce", metavar="ID", help="train this model again from its row and compare the bytes")
    add_force(parser)


def _choices(known: Mapping[str, Any]) -> str:
    return f"{', '.join(known)} (%(default)s)"


def train(run: Run) -> None:
    """Train and keep the model that the arguments ask for, unless it stands in ``models`` already."""
    if run.args.reproduce:
        _reproduce(run, run.args.reproduce)
        return
    params = _check(run)
    run.count(models_trained=0)
    labelled = find_labelled(run, params["features"], params["labels"], params["table"])
    trained_on = dict(labelled.trained_on)
    # where a file lies does not change what is in it
    made_of = {**params, "table": None, "lists": [one["sha256"] for one in params["lists"]]}
    identity = json.dumps([made_of, _list_candidates(params), trained_on], sort_keys=True)
    learner = params["learner"].replace("_", "-")
    model_id = f"genre-{learner}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    known = run.warehouse.lookup(MODELS, "model_id", model_id, model_id).to_pylist()
    row = known[0] if known and not run.args.force else _train(run, model_id, params, labelled)
    if not run.args.json:
        _print(run, row)


def _train(run: Run, model_id: str, params: dict[str, Any], labelled: Labelled) -> dict[str, Any]:
    rows = _Rows(run, labelled, params)
    data, setting = labelled.take(rows.places), _setting(params, _list_candidates(params))
    trained = train_model(run, data, setting, rows.lists)
    made = {**params, "candidate": trained.params, "genres": trained.genres, "genres_left_out": rows.genres_left_out}
    path, sha256 = write_artifact(run.warehouse.root, trained.data, ".skops")
    report = _report(data, rows, made, trained)
    about = _describe(rows, data, made, labelled.trained_on)
    with tempfile.TemporaryDirectory() as folder:
        write_report(Path(folder), report)
        card = make_card(report, model_id=model_id, sha256=sha256, **about)
        Path(folder, "card.md").write_text(card, "utf-8")
        folder_below = write_beside(run.warehouse.root, path, model_id, Path(folder))
    metrics = {
        "honest": _scalars(trained.figures),
        "leaky": _scalars(trained.leaky) if trained.leaky else None,
        "splits": spread(trained.splits),
        "report": folder_below,
    }
    row = {
        "model_id": model_id,
        "kind": f"{GENRE_KIND}{params['learner']}",
        "params": json.dumps(made, sort_keys=True),
        "metrics": json.dumps(metrics),
        "artifact": path,
        "sha256": sha256,
        "trained_on": json.dumps(labelled.trained_on, sort_keys=True),
        "trained_at": datetime.now(UTC),
        "run_id": run.run_id,
    }
    run.warehouse.merge(MODELS, pa.Table.from_pylist([row], arrow_schema(MODELS)))
    run.count(models_trained=1)
    return row


class _Rows:
    """Which of the labelled rows are used.

    Attributes
    ----------
    places
        Of the rows among all labelled ones, ascending.
    train
        Of the rows that train among these.
    lists
        ``train`` and the rows that test, where lists say so.
    genres_left_out
        Genres of too few groups to be measured.
    """

    def __init__(self, run: Run, labelled: Labelled, params: Mapping[str, Any]) -> None:
        least, limit = params["folds"], LEARNERS[params["learner"]].max_rows
        train, test = np.arange(len(labelled.ids)), np.empty(0, dtype=np.int64)
        if params["lists"]:
            least = INNER_FOLDS
            train, test = _place_lists(run, labelled, [Path(one["path"]) for one in params["lists"]])
        rare = rare_genres(labelled.genres[train], labelled.groups[train], least)
        kept = train[~np.isin(labelled.genres[train], sorted(rare))]
        genres = sorted(set(labelled.genres[kept].tolist()))
        if len(genres) < 2:
            raise UsageError(_too_few(labelled.genres[train], genres, least))
        drawn = kept
        if len(kept) > limit:
            drawn = kept[sample_rows(labelled.genres[kept], labelled.groups[kept], limit, params["seed"])]
        self.places = np.union1d(drawn, test)
        self.train = np.searchsorted(self.places, drawn)
        self.lists = (self.train, np.searchsorted(self.places, test)) if params["lists"] else None
        self.genres_left_out = sorted(rare)
        count = [len(set(labelled.tracks[some].tolist())) for some in (slice(None), train, kept, drawn)]
        run.count(
            tracks=count[0],
            tracks_of_rare_genres=count[1] - count[2],
            tracks_left_out=count[2] - count[3],
            rows=len(self.places),
            genres=len(genres),
            genres_left_out=len(rare),
        )


def _too_few(genres: ObjectArray, kept: Sequence[str], least: int) -> str:
    there = sorted(set(genres))
    if len(there) < 2:
        return f"there is one genre only, {there[0]}: a model needs two" if there else "there is no row to train on"
    have = "no genre has" if not kept else f"of {_name(there)} only {kept[0]} has"
    return f"{have} {least} artists or songs to be spread over as many folds: label more, or take fewer --folds"


def _place_lists(run: Run, labelled: Labelled, paths: Sequence[Path]) -> tuple[Int64Array, Int64Array]:
    """Rows of the first two lists, and those of the third: by id, by track, or by the file's name in a path."""
    side: dict[str, int] = {}
    for number, path in enumerate(paths):
        for name in _read_list(path):
            if side.setdefault(name.rpartition("/")[2], number) != number:
                raise UsageError(f"--lists: {name} stands on two of them")
    found = np.array(
        [side.get(one, side.get(track, -1)) for one, track in zip(labelled.ids, labelled.tracks, strict=True)]
    )
    there = {*labelled.ids, *labelled.tracks}
    absent = sum(name not in there for name in side)
    run.count(listed=len(side), listed_absent=absent, rows_unlisted=int((found < 0).sum()))
    train, test = np.flatnonzero((found == 0) | (found == 1)), np.flatnonzero(found == 2)
    for places, words in ((train, "first two"), (test, "last")):
        if not len(places):
            raise UsageError(f"--lists: none of the tracks of the {words} has features and a genre")
    return train, test


def _read_list(path: Path) -> list[str]:
    try:
        return read_list(path)
    except InputError as error:
        raise UsageError(f"--lists: {error}") from None


def _check(run: Run) -> dict[str, Any]:
    """The arguments as ``params`` of the model's row; what they name is there."""
    args = run.args
    if args.folds < 2:
        raise UsageError(f"--folds must be at least 2, not {args.folds}")
    if (args.lists is None) == (args.split == LISTS):
        raise UsageError(f"--split {LISTS} and --lists TRAIN VALID TEST go together")
    labels = name_labels(args.labels, args.table)
    lists = []
    for path in args.lists or ():
        _read_list(Path(path))
        lists.append({"path": str(Path(path).absolute()), "sha256": sha256_of(path)})
    return {
        "learner": args.learner,
        "fixed": _read_params(LEARNERS[args.learner], args.param),
        "balanced": args.balanced,
        "features": args.features,
        "labels": labels,
        "table": str(Path(args.table).absolute()) if args.table else None,
        "split": args.split,
        "folds": args.folds,
        "lists": lists,
        "seed": run.settings.seed % 2**32,
    }


def _read_params(learner: Learner, given: Sequence[str]) -> dict[str, Any]:
    found = {}
    for text in given:
        name, separator, value = text.partition("=")
        if name not in learner.defaults or not separator:
            raise UsageError(f"--param {text}: {learner.name} takes NAME=VALUE of {', '.join(learner.defaults)}")
        # texts stand as they are; all else is as JSON has it
        found[name] = value if isinstance(learner.defaults[name], str) else _read_json(text, value)
    try:
        learner.build(found, Sizes(genres=2, balanced=False, seed=0))
    except InputError as error:
        raise UsageError(f"--param: {error}") from None
    return found


def _read_json(text: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        raise UsageError(f"--param {text}: {value} is no number, true or false") from None


def _list_candidates(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is tried, every parameter said, in the order of the grid; those alike once."""
    learner = LEARNERS[params["learner"]]
    candidates: list[dict[str, Any]] = []
    for tried in learner.grid:
        candidate = {**learner.defaults, **tried, **params["fixed"]}
        if candidate not in candidates:
            candidates.append(candidate)
    return candidates


def _setting(params: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> Setting:
    return Setting(
        params["learner"],
        candidates,
        params["features"],
        params["balanced"],
        params["seed"],
        params["split"],
        params["folds"],
    )


def _report(data: Dataset, rows: _Rows, made: Mapping[str, Any], trained: Trained) -> Report:
    """What is known of the model, with what its features say, judged by the rows it learned from."""
    train = rows.train
    seen, genres, seed = data.rows[train], data.genres[train], made["seed"]
    title = LEARNERS[made["learner"]].title
    return Report(
        title=f"{title}, {made['features']}, {made['labels']}",
        features=data.features,
        figures=trained.figures,
        leaky=trained.leaky,
        splits=trained.splits,
        learning_curve=trained.curve,
        ranking=rank_features(seen, genres, data.features, seed=seed),
        shap=explain_summary(load(trained.data), seen, genres, seed=seed),
        params={name: made[name] for name in _TOLD},
    )


def _describe(
    rows: _Rows, data: Dataset, made: Mapping[str, Any], trained_on: Mapping[str, int | str]
) -> dict[str, str]:
    """Sentences of the card."""
    train = rows.train
    left_out = f" Left out for being too rare: {_name(made['genres_left_out'])}." if made["genres_left_out"] else ""
    source = ", ".join(f"{name} {value}" for name, value in trained_on.items())
    figures = {
        FOLDS: f"{made['folds']} folds that keep what is of one artist together, where the artist is known",
        RANDOM: "rows drawn at random, 20 times a fifth of them" if len(set(data.groups)) == len(data.groups) else
        f"{made['folds']} folds that keep one artist together; the leaky ones are of 20 random fifths",
        LISTS: "the third list, after training on the first two",
    }  # fmt: skip
    return {
        "purpose": f"It tells {len(made['genres'])} genres apart by the features {made['features']} of a track:"
        f" {', '.join(made['genres'])}.",
        "data": f"{len(train):,} rows in {len(set(data.groups[train])):,} groups, which are artists, or where those are"
        f" not known songs or tracks; labelled by {made['labels']} ({source}).{left_out}",
        "chosen": f"Candidates were compared by macro F1 in {INNER_FOLDS} folds of the rows that train. The figures are"
        f" of {figures[made['split']]}; those rows neither chose nor trained the model that they judge.",
        "licence": "Features and labels stand under the terms of where they came from; none of them is in the model.",
    }


def _scalars(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: figures[name] for name in ("rows", *SCALARS)}


def _name(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _print(run: Run, row: Mapping[str, Any]) -> None:
    params, metrics = json.loads(row["params"]), json.loads(row["metrics"])
    if params["genres_left_out"]:
        print(f"left out, being too rare: {_name(params['genres_left_out'])}")
    print(f"model: {row['model_id']}")
    print(f"candidate: {json.dumps(params['candidate'], ensure_ascii=False)}")
    honest, leaky = metrics["honest"], metrics["leaky"]
    around = metrics["splits"]["macro_f1"]["deviation"]
    print(f"macro F1: {honest['macro_f1']:.3f} (± {around:.3f} over splits), accuracy {honest['accuracy']:.3f}")
    if leaky:
        print(f"leaky, for comparison: macro F1 {leaky['macro_f1']:.3f}, accuracy {leaky['accuracy']:.3f}")
    print(f"report: {run.warehouse.root}/{metrics['report']}")


def _reproduce(run: Run, model_id: str) -> None:
    found = run.warehouse.lookup(MODELS, "model_id", "", "\U0010ffff").to_pylist()
    rows = {row["model_id"]: row for row in found if row["kind"].startswith(GENRE_KIND)}
    if model_id not in rows:
        raise UsageError(f"there is no genre model {model_id}; there are: {_name(sorted(rows)) or 'none'}")
    row, params = rows[model_id], json.loads(rows[model_id]["params"])
    trained_on = json.loads(row["trained_on"])
    for one in params["lists"]:
        if not Path(one["path"]).is_file() or sha256_of(one["path"]) != one["sha256"]:
            raise UsageError(f"{one['path']} is not the list that {model_id} was trained with")
    labelled = find_labelled(run, params["features"], params["labels"], params["table"], trained_on)
    if labelled.trained_on != trained_on:
        raise UsageError(f"{params['table']} is not the file that {model_id} was trained on")
    used = _Rows(run, labelled, params)
    setting = _setting(params, [params["candidate"]])
    data = train_again(run, labelled.take(used.places), setting, used.train)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != row["sha256"]:
        raise RepriseError(
            f"trained again, {model_id} has SHA-256 {sha256[:12]}… and not {row['sha256'][:12]}…: other packages,"
            " or another kind of machine"
        )
    run.count(models_reproduced=1)


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job("train_genre", __doc__ or "", add_arguments, train), argv)


if __name__ == "__main__":
    sys.exit(main())
