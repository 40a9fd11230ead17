"""The training loop: it learns, resumes with equal weights, halves the rate and stops."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprise.lib.nets.training import History, Schedule, train, write_history

pytestmark = pytest.mark.torch


def make_network() -> Any:
    import torch

    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 1))


def draw(seed: int) -> tuple[Any, Any]:
    import torch

    x = np.random.default_rng(seed).standard_normal((64, 3)).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(x[:, :1] * x[:, 1:2])


def compute_loss(network: Any, step: int) -> Any:
    x, y = draw(step)
    return (network(x) - y).abs().mean()


def validate(network: Any) -> float:
    x, y = draw(10**6)
    return -float((network(x) - y).detach().abs().mean())


def run(schedule: Schedule, **options: Any) -> tuple[dict[str, Any], History]:
    options = {"validate": validate, "report": lambda _: None} | options
    network = make_network()
    return train(network, compute_loss, options.pop("validate"), schedule, "cpu", **options)


PLAN = Schedule(300, 0.02, 5, warmup_steps=20, validation_steps=50, averaging=0.9)


def test_it_learns_and_returns_the_best_average() -> None:
    state, history = run(PLAN)
    assert [step for step, _ in history.scores] == list(range(50, 301, 50))
    assert history.best_score > history.scores[0][1] > -0.7
    network = make_network()
    network.load_state_dict(state)
    assert validate(network.eval()) == pytest.approx(history.best_score, abs=1e-6)
    assert dict(history.scores)[history.best_step] == history.best_score


def test_a_resumed_training_gives_equal_weights(tmp_path: Path) -> None:
    whole, history = run(PLAN)
    checkpoint = tmp_path / "checkpoint.pt"

    class KilledError(Exception):
        pass

    def killed(text: str) -> None:
        if text.startswith("step 200"):
            raise KilledError

    with pytest.raises(KilledError):
        run(PLAN, checkpoint=checkpoint, report=killed)
    assert checkpoint.exists()
    said: list[str] = []
    resumed, again = run(PLAN, checkpoint=checkpoint, report=said.append)
    assert said[0] == "resumed after step 150"
    assert again == history
    assert all(np.array_equal(whole[name].numpy(), resumed[name].numpy()) for name in whole)


def test_equal_seeds_give_equal_weights() -> None:
    first, second = (run(Schedule(30, 0.01, 5, validation_steps=15))[0] for _ in range(2))
    assert all(np.array_equal(first[name].numpy(), second[name].numpy()) for name in first)


def test_without_improvement_the_rate_falls_and_the_training_stops() -> None:
    said: list[str] = []
    plan = Schedule(10_000, 0.01, 5, warmup_steps=1, validation_steps=5, patience=2)
    _, history = run(plan, validate=lambda _: 1.0, report=said.append)
    assert len(history.scores) == 5
    assert history.best_step == 5
    assert said[-1] == "stopped: no improvement since step 5"
    assert float(said[-2].rpartition(" ")[2]) == pytest.approx(0.005, rel=0.01)


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match="at step 10: train with a lower rate"):
        train(
            make_network(),
            lambda network, _: network(draw(1)[0]).mean() * math.inf,
            validate,
            Schedule(20, 0.01, 5, validation_steps=10),
            "cpu",
            report=lambda _: None,
        )


def test_the_course_is_written(tmp_path: Path, drawn: list[Any]) -> None:
    write_history(tmp_path, History([(1, 0.5), (2, 0.4)], [(1, 1.0), (2, 2.0)], 2), "title")
    assert json.loads((tmp_path / "training.json").read_text())["best_step"] == 2
    assert (tmp_path / "training.png").stat().st_size > 1000
    assert len(drawn) == 1
