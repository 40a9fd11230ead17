"""Models that are published as safetensors files: download from a local server, pin, check, and list."""

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reprise.conf import ExternalFile, list_external_files
from reprise.jobs._commands import models as command
from reprise.jobs._engine import external_files
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.external_files import fetch_file, file_path, load_file, pin_path
from reprise.lib.errors import InputError, RepriseError
from tests.separators import write_separator

NAME = "htdemucs"


class Server(http.server.ThreadingHTTPServer):
    """Serves one file, by way of a redirect as the hub does; ``cut`` bytes are missing at its end."""

    data, cut, status = b"the model", 0, 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/HTDemucs/resolve/main/955717e8.safetensors"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if "resolve" in self.path:
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.data)))
        self.end_headers()
        self.wfile.write(self.server.data[: len(self.server.data) - self.server.cut])

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The only place from which a model can be downloaded."""
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        listed = {name: file.model_copy(update={"url": running.url}) for name, file in list_external_files().items()}
        for module in (external_files, command):
            monkeypatch.setattr(module, "list_external_files", lambda: listed)
        yield running
        running.shutdown()
        thread.join()


def fetch(folder: Path, *, max_bytes: int = 1000) -> tuple[Path, str]:
    return fetch_file(folder, NAME, lambda data: None, max_bytes=max_bytes)


@pytest.mark.torch
def test_the_listed_file_is_the_one_that_demucs_downloads() -> None:
    """Its repository, the default namespace, and the signature in the bag of this name."""
    import yaml
    from demucs import hf, pretrained

    bag = yaml.safe_load((pretrained.REMOTE_ROOT / f"{NAME}.yaml").read_text())
    place = f"{hf.DEFAULT_NAMESPACE}/{hf.hf_repo_name(NAME)}"
    (signature,) = bag["models"]
    assert list_external_files()[NAME].url == f"https://huggingface.co/{place}/resolve/main/{signature}.safetensors"
    assert list_external_files()[NAME].licence == "MIT"


def test_the_first_download_is_pinned_and_said(server: Server, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(server.data).hexdigest()
    path, said = fetch(tmp_path / "new/models")
    assert path == file_path(tmp_path / "new/models", NAME)
    assert said == f"SHA-256 {sha256}; no checksum is published: pinned in {pin_path(path.parent, NAME)}"
    assert load_file(path.parent, NAME) == server.data
    assert fetch(path.parent)[1] == f"SHA-256 {sha256}, as in the first download"
    assert sorted(file.name for file in path.parent.iterdir()) == ["htdemucs.safetensors", "htdemucs.sha256"]


def test_another_download_is_refused(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path)
    first, server.data = server.data, b"another model"
    with pytest.raises(RepriseError, match=r"but the first download had [0-9a-f]{64}: find out why, and remove"):
        fetch(tmp_path)
    assert load_file(tmp_path, NAME) == first
    pin_path(tmp_path, NAME).unlink()
    fetch(tmp_path)
    assert load_file(tmp_path, NAME) == b"another model"


def test_a_changed_file_is_found(server: Server, tmp_path: Path) -> None:
    path, _ = fetch(tmp_path)
    path.write_bytes(b"the mudel")
    with pytest.raises(RepriseError, match=rf"^{re.escape(str(path))} has changed: remove it, and run reprise models"):
        load_file(tmp_path, NAME)
    pin_path(tmp_path, NAME).unlink()
    with pytest.raises(UsageError, match="run reprise models --fetch htdemucs"):
        load_file(tmp_path, NAME)


def test_a_file_that_is_not_the_model_is_not_kept(server: Server, tmp_path: Path) -> None:
    def refuse(data: bytes) -> None:
        raise InputError("not_a_model", "it names the class os.system: get the model again")

    with pytest.raises(RepriseError, match=r"resolve.+ is not the model htdemucs: it names the class os\.system"):
        fetch_file(tmp_path, NAME, refuse, max_bytes=1000)
    assert list(tmp_path.iterdir()) == []


def test_failed_downloads_are_one_line_and_leave_nothing(server: Server, tmp_path: Path) -> None:
    server.cut = 3
    with pytest.raises(RepriseError, match=r"ended after 6 of 9 bytes: try again|cannot be downloaded"):
        fetch(tmp_path)
    server.cut, server.status = 0, 404
    with pytest.raises(RepriseError, match=r"cannot be downloaded \(.*404.*\): check the network") as error:
        fetch(tmp_path)
    assert "\n" not in str(error.value)
    server.status = 200
    with pytest.raises(RepriseError, match=r"has more than 0\.0 GB: it is not the model"):
        fetch(tmp_path, max_bytes=8)
    assert list(tmp_path.iterdir()) == []


def test_no_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = list_external_files()[NAME].model_copy(update={"url": "http://127.0.0.1:1/x"})
    monkeypatch.setattr(external_files, "list_external_files", lambda: {NAME: closed})
    with pytest.raises(RepriseError, match=r"127\.0\.0\.1:1/x cannot be downloaded \(.*refused.*\)"):
        fetch(tmp_path)


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("not a folder")
    with pytest.raises(RepriseError, match=r"cannot be written \(.+\): name another folder with --models"):
        fetch(tmp_path / "models")


def test_only_web_addresses_are_accepted() -> None:
    values = list_external_files()[NAME].model_dump() | {"url": "file:///etc/passwd"}
    with pytest.raises(ValueError, match="url"):
        ExternalFile.model_validate(values)


def find_row(printed: str) -> str:
    """The first line of the model's row."""
    return next(line for line in printed.splitlines() if f"│ {NAME} " in line)


@pytest.mark.torch
def test_the_command_fetches_checks_and_lists(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    server.data = write_separator(tmp_path / "model").read_bytes()
    folder = tmp_path / "models"
    assert command.main(["--models", str(folder)]) == 0
    assert "not here" in find_row(capsys.readouterr().out)
    assert command.main(["--models", str(folder), "--fetch", NAME]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"fetched: {file_path(folder, NAME)}\nSHA-256 ")
    assert "pinned in" in printed
    assert "not here" not in find_row(printed)
    assert "1.5 MB" in printed
    assert load_file(folder, NAME) == server.data
    server.data = b"no model"
    pin_path(folder, NAME).unlink()
    assert command.main(["--models", str(folder), "--fetch", NAME]) == 1
    assert "is not the model htdemucs: it is not a separator" in capsys.readouterr().err


def test_the_separator_of_the_package_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    described = {"sha256": "s", "metrics": {"validation_sdr_db": 6.25}}
    monkeypatch.setattr(command, "find_default_separator", lambda: described)
    monkeypatch.setattr(command, "read_default_separator", lambda sha256: bytes(12_300_000))
    assert command.main(["--models", str(tmp_path)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "shipped" in line]
    assert "validation sdr db" in line  # the number is on the next line
    assert "12.3 MB" in line
    monkeypatch.setattr(command, "find_default_separator", lambda: None)
    assert command.main(["--models", str(tmp_path)]) == 0
    assert "shipped" not in capsys.readouterr().out
