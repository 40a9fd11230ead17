"""The command that trains a separator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reprise.jobs._commands import train_separator

USAGE, FAILED = 2, 1


def run(*args: object) -> int:
    return train_separator.main([str(one) for one in args])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--soundfont", "{tmp}/none.sf2"], "none.sf2 is not a file: name an existing soundfont"),
        (["--soundfont", "{font}", "--midi", "{tmp}"], "contains no songs of POP909"),
        (["--soundfont", "{font}", "--steps", "0"], "must be at least 1, not 0"),
        (["--soundfont", "{font}", "--initial", "{tmp}"], "has no separator.safetensors"),
        ([], "the following arguments are required: --soundfont"),
    ],
)
def test_wrong_use_is_one_line(
    args: list[str], said: str, tmp_path: Path, soundfont: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(one.format(tmp=tmp_path, font=soundfont) for one in args)) == USAGE
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in lines[-1]


@pytest.mark.torch
@pytest.mark.slow
def test_a_training_gives_a_model_that_separates(
    tmp_path: Path, soundfont: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from reprise.lib.nets.separators import STEMS, load_separator

    out, checkpoint = tmp_path / "my model", tmp_path / "c" / "checkpoint.pt"
    size = ["--steps", 2, "--batch", 1, "--multitracks", 2]
    assert run("--soundfont", soundfont, "--out", out, "--checkpoint", checkpoint, *size) == 0
    assert "use it: reprise separate-stems --model" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {
        *("separator.json", "separator.md", "separator.safetensors", "training.json", "training.png")
    }
    assert not checkpoint.exists()
    separator = load_separator((out / "separator.safetensors").read_bytes())
    assert separator.sources == STEMS
    import torch

    mix = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 2, 30_000)).astype(np.float32))
    assert separator(mix).shape == (1, 4, 2, 30_000)
    assert train_separator._read_initial(out).keys() == separator.state.keys()
    (out / "separator.safetensors").write_bytes(b"damaged")
    again = ["--initial", out, "--out", tmp_path / "b", "--checkpoint", checkpoint, *size]
    assert run("--soundfont", soundfont, *again) == FAILED
    assert "separator.safetensors is not a separator" in capsys.readouterr().err
    described = json.loads((out / "separator.json").read_text())
    assert described["params"]["steps"] == 2
    assert "sine.sf2" in (out / "separator.md").read_text()
