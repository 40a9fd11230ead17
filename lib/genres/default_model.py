"""The model of ten genres that comes with the package, so that a library is classified before anything was trained.

It reads the feature set ``gtzan``. Made by ``python tests/bench/fit_default_genres.py``; its card stands beside it.
"""

import hashlib
from importlib.resources import files

from reprise.lib.errors import InputError
from reprise.lib.genres.models import GenreModel, load

DEFAULT_SHA256 = "4238e10596fc0146abfdffcfea38f13332b9708994e4c420bd415422cf5f8336"
"""Of ``default/model.skops``."""


def load_default() -> GenreModel:
    """Load the default model.

    Raises
    ------
    InputError
        ``not_a_model``: the file is not the one that came with the package.
    """
    data = files("reprise.lib.genres").joinpath("default", "model.skops").read_bytes()
    if hashlib.sha256(data).hexdigest() != DEFAULT_SHA256:
        raise InputError("not_a_model", "the default genre model is not as it was installed: install reprise again")
    return load(data)
