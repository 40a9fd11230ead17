"""Conversion of models that others have published to safetensors, by the names in ``conf/models.yaml``."""

from collections.abc import Callable, Mapping

from reprise.lib.nets import musicnn

CONVERTERS: Mapping[str, Callable[[Mapping[str, bytes]], bytes]] = {"musicnn": musicnn.convert_checkpoint}
"""Functions that convert the published files of a model, by their paths, to the bytes of one safetensors file."""
