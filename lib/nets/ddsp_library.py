"""The library ddsp (Engel et al. 2020), imported with the parts that instruments need."""

import contextlib
import importlib.abc
import importlib.machinery
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from reprise.lib.errors import RepriseError

_UNUSED = ("crepe", "google.cloud", "hypertune", "note_seq", "tensorflow_datasets")
"""Packages that ddsp imports for what reprise does not use: pitch by crepe, cloud storage, MIDI files, datasets."""


@cache
def import_ddsp() -> Any:
    """Return the package ddsp, with ``ddsp.training``. The first call in a process takes several seconds.

    It runs on Keras 2, and on one thread for each operation, because Spark runs one worker on each core.

    Raises
    ------
    RepriseError
        ddsp or TensorFlow is not installed.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), _silence():
            warnings.simplefilter("ignore")
            import tensorflow as tf
            import tensorflow.compat.v2 as tf2
            import tf_keras

            # ddsp is written for Keras 2, and TensorFlow contains Keras 3
            tf.keras = tf2.keras = tf_keras
            sys.modules["tensorflow.compat.v2.keras"] = tf_keras
            if not tf.config.threading.get_intra_op_parallelism_threads():
                tf.config.threading.set_intra_op_parallelism_threads(1)
                tf.config.threading.set_inter_op_parallelism_threads(1)
            with _PlaceholderFinder():
                import ddsp
                import ddsp.training
            for gpu in tf.config.list_physical_devices("GPU"):
                # otherwise the process takes all memory of each GPU
                tf.config.experimental.set_memory_growth(gpu, enable=True)
            tf.constant(0)  # looks for devices, and says what it does not find
    except ImportError as error:
        raise RepriseError(
            f"ddsp, which plays instruments, cannot be imported ({error}): run pip install --no-deps ddsp==3.7.0"
        ) from None
    return ddsp


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard what this process writes to its standard error: TensorFlow's C++ code logs there while it is imported."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


class _Placeholder(ModuleType):
    """A package that is imported and never called."""

    __path__: list[str] = []  # noqa: RUF012 - of a package

    def __getattr__(self, name: str) -> "_Placeholder":
        if name.startswith("__"):
            raise AttributeError(name)
        return _Placeholder(f"{self.__name__}.{name}")


class _PlaceholderFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import placeholders for unused packages within a ``with`` block, whether they are installed or not."""

    def __enter__(self) -> None:
        self._hidden = {name: module for name, module in sys.modules.items() if _is_unused(name)}
        for name in self._hidden:
            del sys.modules[name]
        sys.meta_path.insert(0, self)

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)
        for name in [name for name in sys.modules if _is_unused(name)]:
            del sys.modules[name]
        sys.modules.update(self._hidden)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - of the interface
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if _is_unused(fullname) else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Placeholder(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: a placeholder has no code."""


def _is_unused(name: str) -> bool:
    return any(name == unused or name.startswith(f"{unused}.") for unused in _UNUSED)
