"""The training loop of the networks, in torch.

Equal settings, data and package versions give equal weights on a CPU, also if a run was stopped and resumed from a
checkpoint.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reprise.lib import plotting


@dataclass(frozen=True)
class Schedule:
    """Settings of a training.

    Attributes
    ----------
    steps
        Number of optimiser steps. Fewer are made if the validation does not improve, see ``patience``.
    rate
        Highest learning rate. It rises over the first ``warmup_steps`` and then falls to zero along a cosine.
    averaging
        Decay of the moving average of the weights. The average is validated and returned.
    validation_steps
        Number of steps between two validations, which also write a checkpoint.
    patience
        Number of validations without improvement after which the rate is halved; after twice as many the training ends.
    """

    steps: int
    rate: float
    seed: int
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    largest_norm: float = 5.0
    averaging: float = 0.999
    validation_steps: int = 500
    patience: int = 8


@dataclass
class History:
    """Course of a training: losses and validation scores by step, and the step with the best score."""

    losses: list[tuple[int, float]] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    best_step: int = 0

    @property
    def best_score(self) -> float:
        """Highest validation score so far."""
        return max((score for _, score in self.scores), default=-math.inf)


def train(
    network: Any,
    compute_loss: Callable[[Any, int], Any],
    validate: Callable[[Any], float],
    schedule: Schedule,
    device: str,
    checkpoint: Path | None = None,
    report: Callable[[str], None] = print,
) -> tuple[dict[str, Any], History]:
    """Train a network. Return the best averaged state, on the CPU, and the history.

    On a GPU, and on a CPU that computes in bfloat16, the loss is computed in bfloat16 where torch's autocast allows it.

    Parameters
    ----------
    network
        A torch module on ``device``, e.g. ``cpu`` or ``cuda:0``.
    compute_loss
        Returns the loss of the network at a step. It draws its batch from the number of the step alone, so that a
        resumed training sees the same batches.
    validate
        Returns the score of a network; higher is better.
    checkpoint
        File that is written at each validation and read at the start, if it exists.
    """
    import torch

    torch.manual_seed(schedule.seed)
    average = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.AdamW(
        [one for one in network.parameters() if one.requires_grad], schedule.rate, weight_decay=schedule.weight_decay
    )
    history, first, factor, stale = History(), 1, 1.0, 0
    best = average
    if checkpoint is not None and checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        average, best = saved["average"], saved["best"]
        history = read_history(saved["history"])
        first, factor, stale = saved["step"] + 1, saved["factor"], saved["stale"]
        report(f"resumed after step {saved['step']}")
    kind = device.partition(":")[0]
    is_mixed = kind == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    recent: list[Any] = []
    for step in range(first, schedule.steps + 1):
        rate = factor * schedule.rate * anneal(step, schedule)
        for group in optimizer.param_groups:
            group["lr"] = rate
        network.train()
        with torch.autocast(kind, torch.bfloat16, enabled=is_mixed):
            loss = compute_loss(network, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), schedule.largest_norm)
        optimizer.step()
        _update_average(average, network.state_dict(), min(schedule.averaging, step / (step + 10)))
        recent.append(loss.detach())
        if step % schedule.validation_steps and step != schedule.steps:
            continue
        mean_loss = float(torch.stack(recent).mean())
        recent = []
        if not math.isfinite(mean_loss):
            raise FloatingPointError(f"the loss is {mean_loss} at step {step}: train with a lower rate")
        current = network.state_dict()
        trained = {name: tensor.clone() for name, tensor in current.items()}
        network.load_state_dict(average)
        network.eval()
        with torch.inference_mode():
            score = validate(network)
        network.load_state_dict(trained)
        history.losses.append((step, mean_loss))
        is_better = score > history.best_score
        history.scores.append((step, score))
        report(f"step {step:,} of {schedule.steps:,}: loss {mean_loss:.4f}, score {score:.3f}, rate {rate:.2e}")
        if is_better:
            best, history.best_step, stale = {name: tensor.clone() for name, tensor in average.items()}, step, 0
        else:
            stale += 1
            if stale % schedule.patience == 0:
                factor /= 2
        if checkpoint is not None:
            state: dict[str, Any] = {
                "network": trained,
                "optimizer": optimizer.state_dict(),
                "average": average,
                "best": best,
            }
            state |= {"history": asdict(history), "step": step, "factor": factor, "stale": stale}
            unfinished = checkpoint.with_suffix(".part")
            torch.save(state, unfinished)
            unfinished.replace(checkpoint)
        if stale >= 2 * schedule.patience:
            report(f"stopped: no improvement since step {history.best_step:,}")
            break
    return {name: tensor.cpu() for name, tensor in best.items()}, history


def anneal(step: int, schedule: Schedule) -> float:
    """Return the factor of the learning rate at a step: it rises along a line and falls along a cosine."""
    if step < schedule.warmup_steps:
        return step / schedule.warmup_steps
    progress = (step - schedule.warmup_steps) / max(schedule.steps - schedule.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * progress))


def _update_average(average: dict[str, Any], state: dict[str, Any], decay: float) -> None:
    import torch

    floats = [name for name, tensor in average.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([average[name] for name in floats], [state[name] for name in floats], 1 - decay)
    for name, tensor in average.items():
        if not tensor.is_floating_point():
            tensor.copy_(state[name])


def read_history(saved: Mapping[str, Any]) -> History:
    """Return the history of which ``dataclasses.asdict`` was saved, also as JSON, which has no tuples."""
    losses, scores = ([(int(step), float(value)) for step, value in saved[name]] for name in ("losses", "scores"))
    return History(losses, scores, int(saved["best_step"]))


def write_history(folder: Path, history: History, title: str) -> None:
    """Write the course of a training as ``training.json`` and as a plot, ``training.png``."""
    (folder / "training.json").write_text(json.dumps(asdict(history)) + "\n", "utf-8")
    figure = plotting.new_figure(8, 4)
    axes = figure.add_subplot()
    axes.plot(*zip(*history.losses, strict=True), color=plotting.COLOURS[0])
    axes.set_xlabel("step")
    axes.set_ylabel("loss", color=plotting.COLOURS[0])
    right = axes.twinx()
    right.plot(*zip(*history.scores, strict=True), color=plotting.COLOURS[1])
    right.set_ylabel("validation score", color=plotting.COLOURS[1])
    axes.set_title(title)
    figure.savefig(folder / "training.png")
