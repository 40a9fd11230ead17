"""The genre model in the package: it has ten genres and the feature set ``gtzan``, and needs no training.

``jobs/_shipped_models/fit_default_genres.py`` makes the model file and its card, both in ``default/``.
"""

import hashlib
from importlib.resources import files

from reprise.lib.errors import InputError
from reprise.lib.genres.models import GenreModel, load

DEFAULT_SHA256 = "4238e10596fc0146abfdffcfea38f13332b9708994e4c420bd415422cf5f8336"
"""SHA-256 of ``default/model.skops``."""


def load_default() -> GenreModel:
    """Load the default model.

    Raises
    ------
    InputError
        ``not_a_model``: the SHA-256 of the model file is not ``DEFAULT_SHA256``, or the file was written with another
        version of scikit-learn than the installed one.
    """
    data = files("reprise.lib.genres").joinpath("default", "model.skops").read_bytes()
    if hashlib.sha256(data).hexdigest() != DEFAULT_SHA256:
        raise InputError(
            "not_a_model", "the file of the default genre model was changed after installation: install reprise again"
        )
    return load(data)
