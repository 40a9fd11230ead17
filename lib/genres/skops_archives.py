"""Serialise fitted estimators as skops archives: reproducible bytes, and safe loading of untrusted bytes.

An archive is a ZIP file. ``model.json`` is our header, ``schema.json`` is the object tree that skops writes, and the
``.npy`` files are the arrays of this tree.
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
"""Old attribute names in archives, by attribute name in the code.

Archives keep the old names, so that old archives can be loaded and new archives have the same bytes.
"""

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
"""Allowed pairs (skops loader, type), both by their names in archives. All other pairs are refused."""

MAX_BYTES = 1 << 30
"""Maximum size of an archive in bytes. The same limit applies to the total size of its uncompressed contents."""

_HEADER, _SCHEMA = "model.json", "schema.json"
_FORMAT = 1
_PROTOCOL = 2
"""Protocol version of skops. For another number, skops would use another reader."""
_ARRAY = re.compile(r"[0-9a-f]{32}\.npy")
_MAX_FILES = 200_000
_MAX_SCHEMA_BYTES = 1 << 28
_CHUNK_BYTES = 1 << 20
_TEXT_KEYS, _LIST_KEYS = ("learner", "feature_set"), ("features", "genres")
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_RECORDED_PACKAGES = ("scikit-learn", "skops")


def pack(header: Mapping[str, Any], estimator: Pipeline) -> bytes:
    """Serialise an estimator as an archive. The same estimator gives the same bytes.

    Parameters
    ----------
    header
        ``learner`` and ``feature_set``, str; ``features`` and ``genres``, lists of str.

    Raises
    ------
    InputError
        ``too_large``: the contents exceed ``MAX_BYTES``, or the object tree exceeds 256 MiB.
    """
    skops_io = _import_skops_io()
    with zipfile.ZipFile(io.BytesIO(skops_io.dumps(estimator))) as made:
        schema = json.loads(made.read(_SCHEMA))
        _rename(schema, _ARCHIVED_MODULES, _ARCHIVED_ATTRIBUTES)
        arrays: dict[str, bytes] = {}
        for node in _walk_nodes(schema):
            # ``__id__`` is a memory address, which differs between runs
            node.pop("__id__", None)
            if "file" in node:
                data = _zero_padding(made.read(node["file"]))
                node["file"] = f"{hashlib.sha256(data).hexdigest()[:32]}.npy"
                arrays[node["file"]] = data
    full = {**header, "format": _FORMAT, "versions": {name: version(name) for name in _RECORDED_PACKAGES}}
    texts = {_HEADER: _to_json(full, sort_keys=True), _SCHEMA: _to_json(schema)}
    if sum(map(len, (*texts.values(), *arrays.values()))) > MAX_BYTES or len(texts[_SCHEMA]) > _MAX_SCHEMA_BYTES:
        raise InputError(
            "too_large",
            f"the fitted model exceeds {MAX_BYTES >> 20} MiB, or its object tree {_MAX_SCHEMA_BYTES >> 20} MiB:"
            " use fewer trees, members or training rows",
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (*texts.items(), *sorted(arrays.items())):
            info = zipfile.ZipInfo(name, _ZIP_DATE)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def unpack(data: bytes) -> tuple[dict[str, Any], Pipeline]:
    """Load the header and the estimator of an archive.

    No code from the archive runs: only objects of the types in ``NODES`` are created. This check of the types is not
    sufficient, because compiled code uses the indices in trees and the shapes of support vectors without checks.
    Therefore our classes check both before use.

    Raises
    ------
    InputError
        ``not_a_model``: the archive is damaged, is not a genre model, has a type that is not allowed, or was written
        with another version of scikit-learn. ``missing_extra``: it needs XGBoost, which is not installed.
    """
    skops_io = _import_skops_io()
    try:
        header = _check_archive(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # skops warns about other patch versions of scikit-learn
            estimator = skops_io.loads(*_to_current_names(data))
        if not isinstance(estimator, Pipeline):
            raise TypeError("it does not contain a pipeline")
        _check_prediction(estimator, len(header["features"]), len(header["genres"]))
    except InputError:
        raise
    except Exception as error:  # libraries can raise any error when they read damaged bytes
        raise InputError(
            "not_a_model",
            f"the file is not a genre model ({type(error).__name__}: {str(error)[:200]}): train the model again",
        ) from None
    return header, estimator


def _import_skops_io() -> Any:
    """Import ``skops.io`` without its default list of allowed types, which `NODES` replaces.

    To make this list, skops imports every module of scikit-learn, and some of these modules import torch. The imports
    take seconds and hundreds of MiB in each process.
    """
    import sklearn.utils

    list_estimators = sklearn.utils.all_estimators
    sklearn.utils.all_estimators = list
    try:
        import skops.io
    finally:
        sklearn.utils.all_estimators = list_estimators
    return skops.io


def _check_archive(data: bytes) -> dict[str, Any]:
    """Check an archive without creating its objects. Return its header."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names) or len(names) > _MAX_FILES:
            raise ValueError("it contains the same file twice, or too many files")
        if any(not _ARRAY.fullmatch(name) for name in names if name not in (_HEADER, _SCHEMA)):
            raise ValueError("it contains an unexpected file")
        if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
            raise ValueError(f"its contents are larger than {MAX_BYTES >> 20} MiB")
        header = _check_header(json.loads(_read(archive, _HEADER)))
        schema = json.loads(_read(archive, _SCHEMA))
        if schema["protocol"] != _PROTOCOL:
            raise ValueError(f"unsupported skops protocol {schema['protocol']!r}")
        arrays = {name: _check_array(_read(archive, name)) for name in names if name not in (_HEADER, _SCHEMA)}
    for node in _walk_nodes(schema):
        _check_node(node, arrays)
    return header


def _check_header(header: Any) -> dict[str, Any]:
    if header["format"] != _FORMAT:
        raise ValueError(f"unsupported format {header['format']!r}")
    lists = [header[name] for name in _LIST_KEYS]
    texts = [header[name] for name in _TEXT_KEYS]
    if not all(isinstance(one, list) and one and len(set(one)) == len(one) for one in lists):
        raise TypeError("features or genres are not a list of distinct names")
    if not all(isinstance(one, str) for one in (*texts, *lists[0], *lists[1])):
        raise TypeError("a name is not a string")
    if sorted(header["genres"]) != header["genres"]:
        raise ValueError("the genres are not sorted")
    written_with, installed = (
        text.split(".")[:2] for text in (header["versions"]["scikit-learn"], version("scikit-learn"))
    )
    if written_with != installed:
        raise ValueError(
            f"it was written with scikit-learn {'.'.join(written_with)}, but {'.'.join(installed)} is installed"
        )
    return dict(header)


def _check_node(node: dict[str, Any], arrays: Mapping[str, tuple[int, ...]]) -> None:
    loader, name = node["__loader__"], f"{node['__module__']}.{node['__class__']}"
    if (loader, name) not in NODES:
        raise ValueError(f"type {name} with the loader {loader} is not allowed")
    if "file" in node and node["file"] not in arrays:
        raise ValueError("an array file is missing")


def _to_current_names(data: bytes) -> tuple[bytes, list[str]]:
    """Return a checked archive with the current names, and the current names of the allowed types."""
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
    """Rename the modules and attributes of the objects in a schema, in place. The order of the attributes is kept."""
    for node in _walk_nodes(schema):
        node["__module__"] = modules.get(node["__module__"], node["__module__"])
        if node["__loader__"] == "ObjectNode" and node["__module__"].startswith("reprise."):
            state = node["content"]["content"]
            renamed = {attributes.get(name, name): value for name, value in state.items()}
            state.clear()
            state.update(renamed)


def _walk_nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all nodes of a schema. A parent comes before its children."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            if "__loader__" in one:
                yield one
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a file of an archive. Reading stops if the file is larger than its declared size."""
    size = archive.getinfo(name).file_size
    if name in (_HEADER, _SCHEMA) and size > _MAX_SCHEMA_BYTES:
        raise ValueError("the header or schema is too long")
    parts = []
    with archive.open(name) as file:
        # a read without a limit would decompress everything before zipfile compares it with the declared size
        while part := file.read(_CHUNK_BYTES):
            parts.append(part)
    return b"".join(parts)


def _check_array(data: bytes) -> tuple[int, ...]:
    """Check an array in numpy's file format and return its shape.

    The array must not contain objects, and its length must agree with its header.
    """
    file = io.BytesIO(data)
    major, _ = npy.read_magic(file)
    read = {1: npy.read_array_header_1_0, 2: npy.read_array_header_2_0}[major]
    shape, _, dtype = read(file)
    count = 1
    for length in shape:
        count *= length
    if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize != len(data) - file.tell():
        raise ValueError("an array contains objects, or its length differs from its header")
    return tuple(shape)


def _zero_padding(data: bytes) -> bytes:
    """Return a copy of an ``.npy`` file in which the padding bytes of structured dtypes are 0.

    NumPy leaves padding bytes uninitialised. Without this step, equal arrays could give different files.
    """
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.names is None:
        return data
    clean = np.zeros(array.shape, dtype=array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()


def _check_prediction(estimator: Pipeline, d: int, k: int) -> None:
    found = np.asarray(estimator.predict_proba(np.vstack([np.zeros(d), np.full(d, np.nan)])))
    if found.shape != (2, k) or not np.isfinite(found).all() or (found < 0).any() or (found.sum(axis=1) <= 0).any():
        raise ValueError("its predictions are not probabilities")


def _to_json(value: Any, *, sort_keys: bool = False) -> bytes:
    return json.dumps(value, sort_keys=sort_keys, ensure_ascii=False, separators=(",", ":")).encode()
