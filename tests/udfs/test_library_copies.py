"""Audio of a track from the first of its copies that is readable and unchanged."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from reprise.lib.errors import InputError
from reprise.udfs.library_copies import read_copies


@pytest.fixture
def copies(tmp_path: Path) -> tuple[list[str], str]:
    """URIs of two equal files, and their checksum."""
    paths = [tmp_path / name for name in ("a.flac", "b.flac")]
    soundfile.write(paths[0], np.sin(np.arange(2000) / 9), 22_050, format="FLAC")
    paths[1].write_bytes(paths[0].read_bytes())
    return [path.as_uri() for path in paths], hashlib.sha256(paths[0].read_bytes()).hexdigest()


def track(uris: list[str], sha256: str) -> dict[str, Any]:
    return {"track_id": "LBx", "sha256": sha256, "uris": uris}


def test_the_next_copy_is_read_if_one_is_missing_or_has_changed(copies: tuple[list[str], str], tmp_path: Path) -> None:
    uris, sha256 = copies
    assert read_copies(track(uris, sha256), len) == 2000
    assert read_copies(track([(tmp_path / "gone").as_uri(), "s3://bucket/a.flac", *uris], sha256), len) == 2000
    soundfile.write(tmp_path / "a.flac", np.zeros(100), 22_050, format="FLAC")
    assert read_copies(track(uris, sha256), len) == 2000


def test_the_last_fault_is_raised(copies: tuple[list[str], str], tmp_path: Path) -> None:
    uris, _ = copies
    for given, sha256, kind in (
        ([], "0", "no_copy"),
        (["s3://bucket/a.flac"], "0", "unreadable"),
        (uris, "0", "changed"),
    ):
        with pytest.raises(InputError) as error:
            read_copies(track(given, sha256), len)
        assert error.value.kind == kind


def test_an_error_of_the_measure_is_raised_and_no_other_copy_is_tried(copies: tuple[list[str], str]) -> None:
    calls = []

    def fail(signal: Any) -> None:
        calls.append(len(signal))
        raise InputError("unreadable", "why")

    with pytest.raises(InputError, match="why"):
        read_copies(track(*copies), fail)
    assert calls == [2000]
