"""Read the audio of a library track from its first copy that is readable and unchanged."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from reprise.lib.arrays import Float32Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.errors import InputError
from reprise.lib.files import local_path, printable_name
from reprise.udfs.sandbox import open_audio

_COPY_FAULTS = ("unreadable", "not_a_file", "changed")
"""Kinds of faults that affect only one copy of a track. The next copy is then tried."""

_Result = TypeVar("_Result")


def read_copies(
    track: Mapping[str, Any],
    measure: Callable[[Float32Array], _Result],
    *,
    sample_rate: int = SAMPLE_RATE,
    channel_count: int = 1,
) -> _Result:
    """Return ``measure(signal)`` for the samples of a track: float32, memory-mapped, (n,) for mono, (n, 2) for stereo.

    Parameters
    ----------
    track
        ``track_id``, ``sha256`` of the content, and ``uris``, the URIs of the copies in the order to try.
    measure
        Function of the samples. Its errors are raised.
    sample_rate, channel_count
        Sample rate in Hz and number of channels of the samples, 1 or 2.

    Raises
    ------
    InputError
        ``no_copy``: the track has no copy. Otherwise the fault of the last copy that was tried.
    """
    fault = InputError("no_copy", f"{track['track_id']} has no copy in any library: run ingest-library with its file")
    for uri in track["uris"]:
        try:
            signal = _open_copy(uri, track["sha256"], sample_rate, channel_count)
        except InputError as error:
            fault = error
            if error.kind not in _COPY_FAULTS:
                break
        else:
            return measure(signal)
    raise fault


def _open_copy(uri: str, sha256: str, sample_rate: int, channel_count: int) -> Float32Array:
    path = local_path(uri)
    if urlsplit(uri).scheme != "file":
        raise InputError(
            "unreadable", f"{printable_name(path)} is not on a local disk: mount its folder and run ingest-library"
        )
    return open_audio(path, sha256, sample_rate=sample_rate, channel_count=channel_count)[1]
