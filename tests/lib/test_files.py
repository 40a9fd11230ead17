"""Opening untrusted paths: no call hangs, and every error is one line."""

import os
import pickle
import socket
from pathlib import Path

import pytest

from reprise.lib.errors import InputError, RepriseError
from reprise.lib.files import open_regular, read_regular, replace_file


def make_folder(path: Path) -> None:
    path.mkdir()


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def test_regular_file_is_read(tmp_path: Path) -> None:
    content = bytes(range(256)) * 999
    (tmp_path / "song.h5").write_bytes(content)
    assert read_regular(tmp_path / "song.h5") == content
    assert read_regular(os.fspath(tmp_path / "song.h5")) == content
    with open_regular(tmp_path / "song.h5") as file:
        assert file.read(3) == content[:3]
    (tmp_path / "empty").touch()
    assert read_regular(tmp_path / "empty") == b""


def test_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "song.h5").write_bytes(b"x")
    (tmp_path / "link").symlink_to("song.h5")
    assert read_regular(tmp_path / "link") == b"x"


@pytest.mark.parametrize("make", [make_folder, os.mkfifo, make_socket, lambda path: path.symlink_to("/dev/zero")])
def test_other_file_types_are_rejected_at_once(make: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain open() would wait for a writer of the FIFO, and reading /dev/zero would not end."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "odd.h5")  # type: ignore[operator]
    with pytest.raises(InputError, match=r"odd\.h5") as caught:
        read_regular(tmp_path / "odd.h5")
    assert caught.value.kind in ("not_a_file", "unreadable")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "message"), [("gone.h5", "No such file"), ("a\0b", "null"), ("n" * 300, "too long")])
def test_path_that_cannot_be_opened_is_unreadable(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_regular(tmp_path / name)
    assert caught.value.kind == "unreadable"


def test_link_to_itself_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="cannot open loop") as caught:
        read_regular(tmp_path / "loop")
    assert caught.value.kind == "unreadable"


def test_name_that_is_not_utf8_is_printable_in_messages(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.h5")
    with pytest.raises(InputError, match=r"cannot open caf\N{REPLACEMENT CHARACTER}\.h5"):
        read_regular(odd)
    odd.symlink_to("/proc/self/mem")  # a regular file whose first page cannot be read
    with pytest.raises(InputError, match=r"cannot read caf\N{REPLACEMENT CHARACTER}\.h5: Input/output error"):
        read_regular(odd)
    odd.unlink()
    odd.mkdir()
    with pytest.raises(InputError, match=r"caf\N{REPLACEMENT CHARACTER}\.h5 is a folder"):
        read_regular(odd)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    for _ in range(5):
        with pytest.raises(InputError):
            read_regular(tmp_path)
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_replaced_file_is_complete_or_as_before(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)  # the longest name
    for content in (b"first", b"second"):
        with replace_file(path) as file:
            file.write(content)
        assert [(p, p.read_bytes()) for p in tmp_path.iterdir()] == [(path, content)]
    path.with_name("plain").touch()
    assert path.stat().st_mode == path.with_name("plain").stat().st_mode
    path.with_name("plain").unlink()
    with pytest.raises(TypeError), replace_file(path) as file:
        file.writelines([b"third", "text"])  # type: ignore[list-item]
    assert [(p, p.read_bytes()) for p in tmp_path.iterdir()] == [(path, b"second")]
    with pytest.raises(OSError, match="none"), replace_file(tmp_path / "none" / "a"):
        raise AssertionError


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(InputError("not_hdf5", "song.h5 is not an HDF5 file")))  # noqa: S301
    assert (error.kind, error.message, str(error)) == (
        "not_hdf5",
        "song.h5 is not an HDF5 file",
        "song.h5 is not an HDF5 file",
    )
    assert isinstance(error, RepriseError)
