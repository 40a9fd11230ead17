"""Train a genre classifier, and report its metrics on tracks that were not used for training.

Reads:  msd_genre_features or audio_genre_features, genre_labels, msd_tracks, library_tracks; or a file (--table).
Writes: models.
Grain:  one model.
Rerun:  a model that was trained on the same versions of the same tables with the same settings is not trained again. A
        run that is killed at any point and started again writes the same row as an uninterrupted run.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reprise.jobs._engine.command_line import UsageError, add_force
from reprise.jobs._engine.models import (
    Model,
    check_reproduced,
    find_model,
    list_models,
    make_model_id,
    write_artifact,
    write_model,
    write_report_files,
)
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._genres.datasets import (
    TABLE,
    TAGS,
    Dataset,
    Labelled,
    find_labelled,
    name_labels,
)
from reprise.jobs._genres.training import TrainedModel, TrainingRequest, train_again, train_model
from reprise.lib.arrays import Int64Array, ObjectArray
from reprise.lib.errors import InputError
from reprise.lib.files import sha256_of
from reprise.lib.genres.cards import make_card
from reprise.lib.genres.feature_rankings import compute_mean_shap, rank_features
from reprise.lib.genres.feature_sets import FEATURE_SETS, name_input
from reprise.lib.genres.gtzan_table import read_list
from reprise.lib.genres.learners import LEARNERS, Learner, TrainingContext, with_former_names
from reprise.lib.genres.metrics import SCALARS, summarise_metrics
from reprise.lib.genres.models import load
from reprise.lib.genres.reports import Report, write_report
from reprise.lib.genres.split_plans import FOLDS, INNER_FOLDS, LISTS, RANDOM
from reprise.lib.genres.splits import find_rare_genres, sample_rows
from reprise.lib.tables.operations import GENRE

_MAX_NAMES = 8
"""Maximum number of names in one line of output."""

_SHOWN_PARAMS = ("learner", "candidate", "features", "labels", "split", "folds", "balanced", "seed")
"""Training parameters that a report shows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--features", choices=list(FEATURE_SETS), default="msd", metavar="SET", help=_choices(FEATURE_SETS)
    )
    parser.add_argument(
        "--labels",
        metavar="SOURCE",
        help=f"labels to use: the name of a source in genre_labels, '{TAGS}' (genre tags of the listeners' files)"
        f" or '{TABLE}' (the file of --table); with --table, this option may be omitted",
    )
    parser.add_argument(
        "--table", metavar="FILE", help="CSV file with features and labels, in the format of the GTZAN table"
    )
    parser.add_argument(
        "--learner", choices=list(LEARNERS), default="random_forest", metavar="NAME", help=_choices(LEARNERS)
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a hyperparameter instead of searching for it; repeatable",
    )
    parser.add_argument("--balanced", action="store_true", help="give every genre the same weight, however rare it is")
    parser.add_argument(
        "--split",
        choices=[FOLDS, RANDOM, LISTS],
        default=FOLDS,
        help="evaluation split: group k-fold by artist, random rows (as in the papers), or given lists",
    )
    parser.add_argument("--folds", type=int, default=10, metavar="K", help="number of folds (default: %(default)s)")
    parser.add_argument(
        "--lists",
        nargs=3,
        metavar=("TRAIN", "VALID", "TEST"),
        help=f"files of track ids or file names, for --split {LISTS}",
    )
    parser.add_argument(
        "--reproduce",
        metavar="ID",
        help="train this model again from its row in the table models, and compare the checksum; with --force, replace"
        " the stored model",
    )
    add_force(parser)


def _choices(known: Mapping[str, Any]) -> str:
    return f"one of {', '.join(known)} (default: %(default)s)"


def train(run: Run) -> None:
    """Train and write the model that the arguments specify, unless it is already in ``models``.

    With ``--force``, train it in any case. With ``--reproduce``, only train that model again and compare its checksum.
    """
    if run.args.reproduce:
        _reproduce(run, run.args.reproduce)
        return
    params = _check_arguments(run)
    run.count(models_trained=0)
    labelled = find_labelled(run, params["features"], params["labels"], params["table"])
    trained_on = dict(labelled.trained_on)
    # file paths are left out of the model's id, because a path does not determine the content of the file
    made_from = {
        **params,
        "fixed": with_former_names(params["fixed"]),
        "table": None,
        "lists": [one["sha256"] for one in params["lists"]],
    }
    learner = params["learner"].replace("_", "-")
    candidates = [with_former_names(one) for one in _list_candidates(params)]
    model_id = make_model_id(f"genre-{learner}", [made_from, candidates, trained_on])
    known = list_models(run.warehouse, GENRE).get(model_id)
    model = known if known and not run.args.force else _train(run, model_id, params, labelled)
    if not run.args.json:
        _print(run, model)


def _train(run: Run, model_id: str, params: dict[str, Any], labelled: Labelled) -> Model:
    rows = _Rows(run, labelled, params)
    data, request = labelled.take(rows.indices), _make_request(params, _list_candidates(params))
    trained = train_model(run, data, request, rows.lists)
    made = {**params, "candidate": trained.params, "genres": trained.genres, "genres_left_out": rows.genres_left_out}
    path, sha256 = write_artifact(run.warehouse.root, trained.data, ".safetensors")
    report = _report(data, rows, made, trained)
    about = _describe_data(rows, data, made, labelled.trained_on)
    with tempfile.TemporaryDirectory() as folder:
        write_report(Path(folder), report)
        card = make_card(report, model_id=model_id, sha256=sha256, **about)
        Path(folder, "card.md").write_text(card, "utf-8")
        folder_below = write_report_files(run.warehouse.root, path, model_id, Path(folder))
    metrics = {
        "honest": _scalars(trained.metrics),
        "leaky": _scalars(trained.leaky) if trained.leaky else None,
        "splits": summarise_metrics(trained.splits),
        "report": folder_below,
    }
    run.count(models_trained=1)
    kind = f"genre/{params['learner']}"
    return _write_row(run, model_id, kind, made, metrics, path, sha256, trained.data, labelled.trained_on)


def _write_row(
    run: Run,
    model_id: str,
    kind: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any],
    artifact: str,
    sha256: str,
    data: bytes,
    trained_on: Mapping[str, Any],
) -> Model:
    """Write the row of a model. ``data`` is the content of its file."""
    domain = load(data).domain
    return write_model(
        run,
        model_id=model_id,
        task=GENRE,
        kind=kind,
        params=params,
        metrics=metrics,
        artifact=artifact,
        sha256=sha256,
        trained_on=trained_on,
        input_=name_input(params["features"], from_library=params["labels"] == TAGS),
        quality=metrics["honest"]["macro_f1"],
        domain=domain.describe() if domain else None,
    )


class _Rows:
    """Labelled rows selected for training and evaluation.

    Attributes
    ----------
    indices
        Indices of the selected rows among all labelled rows, ascending.
    train
        Indices of the training rows within the selection.
    lists
        A tuple of ``train`` and the indices of the test rows; None if ``--lists`` is not given.
    genres_left_out
        Genres with too few groups (artists or songs) to be evaluated.
    """

    def __init__(self, run: Run, labelled: Labelled, params: Mapping[str, Any]) -> None:
        least, limit = params["folds"], LEARNERS[params["learner"]].max_rows
        train, test = np.arange(len(labelled.ids)), np.empty(0, dtype=np.int64)
        if params["lists"]:
            least = INNER_FOLDS
            train, test = _find_listed_rows(run, labelled, [Path(one["path"]) for one in params["lists"]])
        rare = find_rare_genres(labelled.genres[train], labelled.groups[train], least)
        kept = train[~np.isin(labelled.genres[train], sorted(rare))]
        genres = sorted(set(labelled.genres[kept].tolist()))
        if len(genres) < 2:
            raise UsageError(_too_few_line(labelled.genres[train], genres, least))
        drawn = kept
        if len(kept) > limit:
            drawn = kept[sample_rows(labelled.genres[kept], labelled.groups[kept], limit, params["seed"])]
        self.indices = np.union1d(drawn, test)
        self.train = np.searchsorted(self.indices, drawn)
        self.lists = (self.train, np.searchsorted(self.indices, test)) if params["lists"] else None
        self.genres_left_out = sorted(rare)
        count = [len(set(labelled.tracks[some].tolist())) for some in (slice(None), train, kept, drawn)]
        run.count(
            tracks=count[0],
            tracks_of_rare_genres=count[1] - count[2],
            tracks_left_out=count[2] - count[3],
            rows=len(self.indices),
            genres=len(genres),
            genres_left_out=len(rare),
        )


def _too_few_line(genres: ObjectArray, kept: Sequence[str], least: int) -> str:
    there = sorted(set(genres))
    if len(there) < 2:
        return (
            f"all rows have the genre {there[0]}: label tracks of another genre, because a model needs two"
            if there
            else "there are no rows to train on"
        )
    have = "no genre has" if not kept else f"of the genres {_name(there)}, only {kept[0]} has"
    return (
        f"{have} {least} artists or songs, one for each fold: label more tracks or, without --lists, use fewer --folds"
    )


def _find_listed_rows(run: Run, labelled: Labelled, paths: Sequence[Path]) -> tuple[Int64Array, Int64Array]:
    """Return the indices of the training rows (the first two lists) and of the test rows (the third list).

    Each line of a list is the id of a row, the id of a track, or a path. Of a path, only the name after the last ``/``
    is used.
    """
    side: dict[str, int] = {}
    for number, path in enumerate(paths):
        for name in _read_list(path):
            if side.setdefault(name.rpartition("/")[2], number) != number:
                raise UsageError(f"--lists: {name} is on two lists: remove it from one of them")
    found = np.array(
        [side.get(one, side.get(track, -1)) for one, track in zip(labelled.ids, labelled.tracks, strict=True)]
    )
    there = {*labelled.ids, *labelled.tracks}
    absent = sum(name not in there for name in side)
    run.count(listed=len(side), listed_absent=absent, rows_unlisted=int((found < 0).sum()))
    train, test = np.flatnonzero((found == 0) | (found == 1)), np.flatnonzero(found == 2)
    for indices, words in ((train, "first two lists"), (test, "last list")):
        if not len(indices):
            raise UsageError(
                f"--lists: no track of the {words} has features and a genre: list labelled tracks, or run"
                " extract-genre-features first"
            )
    return train, test


def _read_list(path: Path) -> list[str]:
    try:
        return read_list(path)
    except InputError as error:
        raise UsageError(f"--lists: {error}") from None


def _check_arguments(run: Run) -> dict[str, Any]:
    """Check the arguments and the files of ``--lists``. Return the arguments as ``params`` for the model's row."""
    args = run.args
    if args.folds < 2:
        raise UsageError(f"--folds must be at least 2, not {args.folds}")
    if (args.lists is None) == (args.split == LISTS):
        raise UsageError(f"--split {LISTS} and --lists TRAIN VALID TEST go together: give both or neither")
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
            raise UsageError(
                f"--param {text}: {learner.name} takes NAME=VALUE, where NAME is one of {', '.join(learner.defaults)}"
            )
        # the value of a string parameter is taken literally; all other values are parsed as JSON
        found[name] = value if isinstance(learner.defaults[name], str) else _read_json(text, value)
    try:
        learner.build(found, TrainingContext(n_genres=2, balanced=False, seed=0))
    except InputError as error:
        raise UsageError(f"--param: {error}") from None
    return found


def _read_json(text: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        raise UsageError(f"--param {text}: expected a number, true or false, got {value!r}") from None


def _list_candidates(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the candidates in the order of the grid, without duplicates.

    A candidate maps each hyperparameter to its value.
    """
    learner = LEARNERS[params["learner"]]
    candidates: list[dict[str, Any]] = []
    for tried in learner.grid:
        candidate = {**learner.defaults, **tried, **params["fixed"]}
        if candidate not in candidates:
            candidates.append(candidate)
    return candidates


def _make_request(params: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> TrainingRequest:
    return TrainingRequest(
        params["learner"],
        candidates,
        params["features"],
        params["balanced"],
        params["seed"],
        params["split"],
        params["folds"],
    )


def _report(data: Dataset, rows: _Rows, made: Mapping[str, Any], trained: TrainedModel) -> Report:
    """Make the report of the model. Feature rankings and SHAP values are computed on the training rows."""
    train = rows.train
    seen, genres, seed = data.rows[train], data.genres[train], made["seed"]
    title = LEARNERS[made["learner"]].title
    return Report(
        title=f"{title}, {made['features']}, {made['labels']}",
        features=data.features,
        metrics=trained.metrics,
        leaky=trained.leaky,
        splits=trained.splits,
        learning_curve=trained.curve,
        ranking=rank_features(seen, genres, data.features, seed=seed),
        shap=compute_mean_shap(load(trained.data), seen, genres, seed=seed),
        params={name: made[name] for name in _SHOWN_PARAMS},
    )


def _describe_data(
    rows: _Rows, data: Dataset, made: Mapping[str, Any], trained_on: Mapping[str, int | str]
) -> dict[str, str]:
    """Return the paragraphs of the model card, by name."""
    train = rows.train
    left_out = f" Left out because too rare: {_name(made['genres_left_out'])}." if made["genres_left_out"] else ""
    source = ", ".join(f"{name} {value}" for name, value in trained_on.items())
    evaluation = {
        FOLDS: f"{made['folds']} folds that keep an artist's tracks together, where the artist is known",
        RANDOM: "20 random fifths of the rows" if len(set(data.groups)) == len(data.groups) else
        f"{made['folds']} folds that keep an artist's tracks together; the leaky metrics are of 20 random fifths",
        LISTS: "the third list, after training on the first two",
    }  # fmt: skip
    return {
        "purpose": f"Classifies a track into {len(made['genres'])} genres by the feature set {made['features']}:"
        f" {', '.join(made['genres'])}.",
        "data": f"{len(train):,} rows in {len(set(data.groups[train])):,} groups (artists; where the artist is"
        f" unknown, songs or tracks); labelled by {made['labels']} ({source}).{left_out}",
        "chosen": f"Candidates were compared by macro F1 in {INNER_FOLDS} folds of the training rows. The metrics are"
        f" of {evaluation[made['split']]}; these rows were used neither to choose nor to train the measured model.",
        "licence": "Features and labels have the licence of their source; the model contains none of them.",
    }


def _scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: metrics[name] for name in ("rows", *SCALARS)}


def _name(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _print(run: Run, model: Model) -> None:
    params, metrics = model.params, model.metrics
    if params["genres_left_out"]:
        print(f"left out because too rare: {_name(params['genres_left_out'])}")
    print(f"model: {model.model_id}")
    print(f"candidate: {json.dumps(params['candidate'], ensure_ascii=False)}")
    honest, leaky = metrics["honest"], metrics["leaky"]
    around = metrics["splits"]["macro_f1"]["deviation"]
    print(f"macro F1: {honest['macro_f1']:.3f} (± {around:.3f} over splits), accuracy {honest['accuracy']:.3f}")
    if leaky:
        print(f"leaky, for comparison: macro F1 {leaky['macro_f1']:.3f}, accuracy {leaky['accuracy']:.3f}")
    print(f"report: {run.warehouse.root}/{metrics['report']}")


def _reproduce(run: Run, model_id: str) -> None:
    model = find_model(run, GENRE, model_id, train_with="train-genre")
    if "lists" not in model.params:
        raise UsageError(f"{model_id} came with the package: only models that train-genre trained can be reproduced")
    params, trained_on = model.params, model.trained_on
    for one in params["lists"]:
        if not Path(one["path"]).is_file() or sha256_of(one["path"]) != one["sha256"]:
            raise UsageError(f"{one['path']} is not the list that {model_id} was trained with: restore that list")
    labelled = find_labelled(run, params["features"], params["labels"], params["table"], trained_on)
    if labelled.trained_on != trained_on:
        raise UsageError(f"{params['table']} is not the file that {model_id} was trained on: restore that file")
    used = _Rows(run, labelled, params)
    request = _make_request(params, [params["candidate"]])
    data = train_again(run, labelled.take(used.indices), request, used.train)
    if run.args.force:
        _replace(run, model, data)
    else:
        check_reproduced(model, data)
    run.count(models_reproduced=1)


def _replace(run: Run, model: Model, data: bytes) -> None:
    """Write a model that was trained again in the place of the stored one, e.g. of one in a former file format."""
    path, sha256 = write_artifact(run.warehouse.root, data, ".safetensors")
    _write_row(run, model.model_id, model.kind, model.params, model.metrics, path, sha256, data, model.trained_on)


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job("train_genre", __doc__ or "", add_arguments, train), argv)


if __name__ == "__main__":
    sys.exit(main())
