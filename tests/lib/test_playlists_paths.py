"""Paths in playlists resolve to files under the root or to None."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib.playlists import PathIndex, resolve

NFD = unicodedata.normalize("NFD", "Björk")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A library next to files that must not be reached."""
    for name in (
        "lib/ann/Björk/Jóga 100%.mp3",
        "lib/ann/Lists/x.m3u",
        "lib/ann/a#b?.mp3",
        "lib/bob/b.mp3",
        "secret.mp3",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    ann = tmp_path / "lib" / "ann"
    (ann / f"{NFD} 2.mp3").write_bytes(b"")
    (ann / "out.mp3").symlink_to(tmp_path / "secret.mp3")
    (ann / "outside").symlink_to(tmp_path)
    (ann / "loop").symlink_to(ann / "loop")
    (ann / "inside.mp3").symlink_to(ann / "a#b?.mp3")
    os.mkfifo(ann / "pipe.mp3")
    return tmp_path / "lib" / "ann"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("../Björk/Jóga 100%.mp3", "Björk/Jóga 100%.mp3"),
        ("./..//Björk/../Björk/Jóga 100%.mp3", "Björk/Jóga 100%.mp3"),
        ("..\\Björk\\Jóga 100%.mp3", "Björk/Jóga 100%.mp3"),
        ("../Bj%C3%B6rk/J%C3%B3ga%20100%25.mp3", "Björk/Jóga 100%.mp3"),
        (f"../{NFD}/{unicodedata.normalize('NFD', 'Jóga')} 100%.mp3", "Björk/Jóga 100%.mp3"),
        ("../Björk 2.mp3", f"{NFD} 2.mp3"),
        ("../a#b?.mp3", "a#b?.mp3"),
        ("../inside.mp3", "a#b?.mp3"),
        ("x.m3u", "Lists/x.m3u"),
        ("{root}/a#b?.mp3", "a#b?.mp3"),
        ("file://{root}/a%23b%3F.mp3", "a#b?.mp3"),
        ("file://localhost{root}/a%23b%3F.mp3", "a#b?.mp3"),
        ("{root}/../ann/a#b?.mp3", "a#b?.mp3"),
    ],
)
def test_paths_inside_the_library_resolve(root: Path, path: str, expected: str) -> None:
    assert resolve(path.replace("{root}", str(root)), root / "Lists", root) == root / expected


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "/", "missing.mp3", "../Björk", "a\0b.mp3", "x" * 5_000, "x/" * 5_000, "\ud800.mp3"),
        *("../../bob/b.mp3", "../../../secret.mp3", "..\\..\\..\\secret.mp3", "%2e%2e/%2e%2e/%2e%2e/secret.mp3"),
        *("../out.mp3", "../outside/secret.mp3", "../loop/x.mp3", "../pipe.mp3", "{root}/../bob/b.mp3"),
        *("/etc/passwd", "/dev/zero", "//etc/passwd", "file:///etc/passwd", "file:////etc/passwd", "{top}/secret.mp3"),
        *("file://{top}/secret.mp3", "FILE://LOCALHOST{top}/secret.mp3", "file:{top}/secret.mp3"),
        *("http://x.example/x.m3u", "smb://nas/x.m3u", "data:,x", "\\\\nas\\music\\x.m3u", "//nas/music/x.m3u"),
        *("\\\\.\\PhysicalDrive0", "\\\\?\\C:\\x.m3u", "C:\\x.m3u", "c:x.m3u", "CON", "~/x.m3u", "$HOME/x.m3u"),
    ],
)
def test_other_paths_resolve_to_none(root: Path, path: str) -> None:
    spelled = path.replace("{root}", str(root)).replace("{top}", str(root.parent.parent))
    assert resolve(spelled, root / "Lists", root) is None


def test_root_that_is_a_link_is_kept_as_given(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert resolve("../a#b?.mp3", link / "Lists", link) == link / "a#b?.mp3"
    assert resolve(f"{root}/a#b?.mp3", link, link) == link / "a#b?.mp3"


PIECES = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "\\",
        "%2e%2e",
        "%2f",
        "%5c",
        "outside",
        "out.mp3",
        "secret.mp3",
        "a#b?.mp3",
        "Lists",
        "x.m3u",
        "b.mp3",
    ]
)


@given(st.lists(PIECES | st.text(max_size=3), max_size=12), st.sampled_from(["", "/"]))
@settings(max_examples=300, deadline=None)
def test_no_path_leaves_the_root(tmp_path_factory: pytest.TempPathFactory, pieces: list[str], joint: str) -> None:
    top = tmp_path_factory.getbasetemp() / "no_path_leaves"
    library = top / "lib"
    if not top.exists():
        (library / "Lists").mkdir(parents=True)
        for name in ("lib/a#b?.mp3", "lib/Lists/x.m3u", "secret.mp3", "b.mp3"):
            (top / name).write_bytes(b"")
        (library / "outside").symlink_to(top)
        (library / "out.mp3").symlink_to(top / "secret.mp3")
    found = resolve(joint.join(pieces), library / "Lists", library)
    assert found in (None, library / "a#b?.mp3", library / "Lists" / "x.m3u")


# ---------------------------------------------------------------- libraries from another computer

KNOWN = ["Björk/Homogenic/02 Jóga.m4a", "X/Best/01 Intro.mp3", "Y/Best/01 Intro.mp3", "Z/01 Intro.mp3", "top.mp3",
         "a/Z/01 INTRO.mp3", "Same/a.mp3", "same/A.mp3"]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("C:/Users/ann/Music/Björk/Homogenic/02 Jóga.m4a", KNOWN[0]),
        ("C:\\MUSIC\\BJÖRK\\HOMOGENIC\\02 JÓGA.M4A", KNOWN[0]),
        (f"/Volumes/Disk/{NFD}/Homogenic/{unicodedata.normalize('NFD', '02 Jóga')}.m4a", KNOWN[0]),
        ("file://localhost/Users/a/homogenic/02%20J%C3%B3ga.m4a", KNOWN[0]),
        ("//nas/music/Homogenic/02 Jóga.m4a", KNOWN[0]),
        ("/Volumes/D/X/Best/01 Intro.mp3", KNOWN[1]),
        ("/Volumes/D/Best/01 Intro.mp3", None),  # matches files of two artists
        ("/Volumes/D/W/Best/01 Intro.mp3", None),
        ("/m/a/z/01 intro.mp3", KNOWN[5]),
        ("/m/z/01 intro.mp3", None),
        ("D:/top.mp3", None),  # a file name alone is not sufficient
        ("same/a.mp3", None),
        ("/m/Homogenic/../Homogenic/02 Jóga.m4a", None),
        ("http://x.example/Homogenic/02 Jóga.m4a", None),
        ("", None),
        ("/", None),
    ],
)
def test_path_index(path: str, expected: str | None) -> None:
    assert PathIndex(KNOWN).find(path) == expected
    assert PathIndex(reversed(KNOWN)).find(path) == expected


def test_duplicate_paths_are_one_path() -> None:
    assert PathIndex(["a/b.mp3", "a/b.mp3"]).find("/x/a/b.mp3") == "a/b.mp3"
    assert PathIndex([]).find("a/b.mp3") is None
    deep = "/".join("abcdefghijkl")
    assert PathIndex([deep]).find(f"C:/{deep}") == deep
