"""Fitted estimators as bytes: skops archives, made the same each time, and opened with distrust.

An archive is a ZIP of ``model.json``, our header; ``schema.json``, the tree of objects as skops writes it; and the
arrays it names as ``.npy``.
"""

import hashlib
import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.lib import format as npy
from sklearn.pipeline import Pipeline

from reprise.lib.errors import InputError

_ARCHIVED_MODULES = {
    "reprise.lib.genres.svm": "reprise.lib.genres.kernels",
    "reprise.lib.genres.xgboosting": "reprise.lib.genres.boosting",
}
_ARCHIVED_ATTRIBUTES = {"max_features": "features_a_split", "min_leaf_rows": "rows_a_leaf"}
"""Names in archives of what has another name in the code: archives stay readable, and the same to the byte."""

_OBJECTS = (
    "reprise.lib.genres.boosting.XgBoost",
    *(f"reprise.lib.genres.ensembles.{name}" for name in ("Stacking", "Voting")),
    "reprise.lib.genres.gaussians.Gaussians",
    *(f"reprise.lib.genres.kernels.{name}" for name in ("LeastSquares", "PairwiseSvm")),
    *(f"reprise.lib.genres.pipelines.{name}" for name in ("Bounds", "Quantiles", "Selection")),
    *(f"reprise.lib.genres.trees.{name}" for name in ("Forest", "GradientBoosting")),
    "sklearn.impute._base.SimpleImputer",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.naive_bayes.GaussianNB",
    "reprise.lib.genres.neighbours.Neighbours",
    "sklearn.pipeline.Pipeline",
    *(f"sklearn.preprocessing._data.{name}" for name in ("PowerTransformer", "StandardScaler")),
    "sklearn.svm._classes.SVC",
)

NODES = frozenset(
    {
        ("DictNode", "builtins.dict"),
        ("DTypeNode", "numpy.dtype"),
        ("JsonNode", "builtins.str"),
        ("ListNode", "builtins.list"),
        ("TupleNode", "builtins.tuple"),
        ("TypeNode", "builtins.str"),
        *(("NdArrayNode", f"numpy.{name}") for name in ("ndarray", "float64")),
        *(("ObjectNode", name) for name in _OBJECTS),
    }
)
"""Loaders of skops and the one type that each may load, by the names in archives: any other type is refused."""

MAX_BYTES = 1 << 30
"""Size of an archive and of what it holds."""

_HEADER, _SCHEMA = "model.json", "schema.json"
_FORMAT = 1
_PROTOCOL = 2
"""Of skops: other numbers choose other readers."""
_ARRAY = re.compile(r"[0-9a-f]{32}\.npy")
_MOST_FILES = 200_000
_LONGEST_SCHEMA = 1 << 28
_CHUNK = 1 << 20
_TEXTS, _LISTS = ("learner", "feature_set"), ("features", "genres")
_DATE = (1980, 1, 1, 0, 0, 0)
_VERSIONS = ("scikit-learn", "skops")


def pack(header: Mapping[str, Any], estimator: Pipeline) -> bytes:
    """Archive of an estimator; the same one gives the same bytes.

    Parameters
    ----------
    header
        ``learner``, ``feature_set``; ``features``, ``genres``, lists of str.

    Raises
    ------
    InputError
        ``too_large``: of more than ``MAX_BYTES``.
    """
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(estimator))) as made:
        schema = json.loads(made.read(_SCHEMA))
        _rename(schema, _ARCHIVED_MODULES, _ARCHIVED_ATTRIBUTES)
        arrays: dict[str, bytes] = {}
        for node in _walk(schema):
            # where an object stood in memory says nothing of it
            node.pop("__id__", None)
            if "file" in node:
                data = _without_padding(made.read(node["file"]))
                node["file"] = f"{hashlib.sha256(data).hexdigest()[:32]}.npy"
                arrays[node["file"]] = data
    full = {**header, "format": _FORMAT, "versions": {name: version(name) for name in _VERSIONS}}
    texts = {_HEADER: _to_json(full, sort_keys=True), _SCHEMA: _to_json(schema)}
    if sum(map(len, (*texts.values(), *arrays.values()))) > MAX_BYTES or len(texts[_SCHEMA]) > _LONGEST_SCHEMA:
        raise InputError(
            "too_large", f"is a model of more than {MAX_BYTES >> 20} MiB: make it of fewer or smaller parts"
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (*texts.items(), *sorted(arrays.items())):
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def unpack(data: bytes) -> tuple[dict[str, Any], Pipeline]:
    """Header and estimator of an archive.

    Nothing in it is run: only objects of the types in ``NODES`` are made. Types alone are not enough, since compiled
    code follows the indices in trees and support vectors without looking where they lead: our classes check theirs
    before they follow them.

    Raises
    ------
    InputError
        ``not_a_model``.
    """
    import skops.io

    try:
        header = _check_archive(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of patch versions of scikit-learn
            estimator = skops.io.loads(*_to_current_names(data))
        if not isinstance(estimator, Pipeline):
            raise TypeError("holds no pipeline")
        _try(estimator, len(header["features"]), len(header["genres"]))
    except InputError:
        raise
    except Exception as error:  # damaged bytes can fail anywhere in what reads them
        raise InputError("not_a_model", f"is no genre model ({type(error).__name__}: {str(error)[:200]})") from None
    return header, estimator


def _check_archive(data: bytes) -> dict[str, Any]:
    """Look through an archive without making anything of what it holds; its header."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names) or len(names) > _MOST_FILES:
            raise ValueError("files twice, or too many")
        if any(not _ARRAY.fullmatch(name) for name in names if name not in (_HEADER, _SCHEMA)):
            raise ValueError("files that are none of ours")
        if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 20} MiB in it")
        header = _check_header(json.loads(_read(archive, _HEADER)))
        schema = json.loads(_read(archive, _SCHEMA))
        if schema["protocol"] != _PROTOCOL:
            raise ValueError(f"protocol {schema['protocol']!r} of skops")
        arrays = {name: _check_array(_read(archive, name)) for name in names if name not in (_HEADER, _SCHEMA)}
    for node in _walk(schema):
        _check_node(node, arrays)
    return header


def _check_header(header: Any) -> dict[str, Any]:
    if header["format"] != _FORMAT:
        raise ValueError(f"format {header['format']!r}")
    lists = [header[name] for name in _LISTS]
    texts = [header[name] for name in _TEXTS]
    if not all(isinstance(one, list) and one and len(set(one)) == len(one) for one in lists):
        raise TypeError("no list of features or genres")
    if not all(isinstance(one, str) for one in (*texts, *lists[0], *lists[1])):
        raise TypeError("a name that is no text")
    if sorted(header["genres"]) != header["genres"]:
        raise ValueError("genres not in their order")
    made, here = (text.split(".")[:2] for text in (header["versions"]["scikit-learn"], version("scikit-learn")))
    if made != here:
        raise ValueError(f"made with scikit-learn {'.'.join(made)}, here is {'.'.join(here)}: train it again")
    return dict(header)


def _check_node(node: dict[str, Any], arrays: Mapping[str, tuple[int, ...]]) -> None:
    loader, name = node["__loader__"], f"{node['__module__']}.{node['__class__']}"
    if (loader, name) not in NODES:
        raise ValueError(f"an object of type {name} by {loader}")
    if "file" in node and node["file"] not in arrays:
        raise ValueError("an array that is not there")


def _to_current_names(data: bytes) -> tuple[bytes, list[str]]:
    """A checked archive with the names that the code has now, and the types in it that may be made."""
    modules = {archived: current for current, archived in _ARCHIVED_MODULES.items()}
    attributes = {archived: current for current, archived in _ARCHIVED_ATTRIBUTES.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(buffer, "w") as renamed:
        for name in archive.namelist():
            content = _read(archive, name)
            if name == _SCHEMA:
                schema = json.loads(content)
                _rename(schema, modules, attributes)
                content = _to_json(schema)
            renamed.writestr(name, content)
    types = (name.rpartition(".") for _, name in NODES)
    return buffer.getvalue(), sorted(f"{modules.get(module, module)}.{name}" for module, _, name in types)


def _rename(schema: Any, modules: Mapping[str, str], attributes: Mapping[str, str]) -> None:
    """Rename modules and attributes of objects in a schema, in place and in the same order."""
    for node in _walk(schema):
        node["__module__"] = modules.get(node["__module__"], node["__module__"])
        if node["__loader__"] == "ObjectNode" and node["__module__"].startswith("reprise."):
            state = node["content"]["content"]
            renamed = {attributes.get(name, name): value for name, value in state.items()}
            state.clear()
            state.update(renamed)


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    """All nodes in a schema, parents first."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if "__loader__" in one:
                yield one
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """Content of a file, never more of it in memory than it says that it has."""
    size = archive.getinfo(name).file_size
    if name in (_HEADER, _SCHEMA) and size > _LONGEST_SCHEMA:
        raise ValueError("a longer schema than any")
    parts = []
    with archive.open(name) as file:
        # a read without a limit would inflate all that is there before it is counted
        while part := file.read(_CHUNK):
            parts.append(part)
    return b"".join(parts)


def _check_array(data: bytes) -> tuple[int, ...]:
    """Shape of an array in the format of numpy, which is as long as it says."""
    file = io.BytesIO(data)
    major, _ = npy.read_magic(file)
    read = {1: npy.read_array_header_1_0, 2: npy.read_array_header_2_0}[major]
    shape, _, dtype = read(file)
    count = 1
    for side in shape:
        count *= side
    if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize != len(data) - file.tell():
        raise ValueError("an array of objects, or of another length than it says")
    return tuple(shape)


def _without_padding(data: bytes) -> bytes:
    """The same array; bytes between the fields of records, which hold whatever was in memory, are 0."""
    found = np.load(io.BytesIO(data), allow_pickle=False)
    if found.dtype.names is None:
        return data
    clean = np.zeros(found.shape, dtype=found.dtype)
    for name in found.dtype.names:
        clean[name] = found[name]
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()


def _try(estimator: Pipeline, d: int, k: int) -> None:
    found = np.asarray(estimator.predict_proba(np.vstack([np.zeros(d), np.full(d, np.nan)])))
    if found.shape != (2, k) or not np.isfinite(found).all() or (found < 0).any() or (found.sum(axis=1) <= 0).any():
        raise ValueError("answers that are no probabilities")


def _to_json(value: Any, *, sort_keys: bool = False) -> bytes:
    return json.dumps(value, sort_keys=sort_keys, ensure_ascii=False, separators=(",", ":")).encode()
