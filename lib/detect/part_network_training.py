"""Training of the convolutional half of the part network, in torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from reprise.lib.arrays import Float32Array

CHANNELS = (32, 64, 96)
N_DIMENSIONS = 256
KERNELS = (5, 5, 5, 3)
TEMPERATURE = 0.07


@dataclass(frozen=True)
class Phase:
    """A phase of the training: number of steps, learning rate, and pairs of lengths in beats with their shares."""

    steps: int
    rate: float
    lengths: Sequence[tuple[int, int]]
    shares: Sequence[float]
    same_version: float  # share of the pairs whose views are of one version
    songs: bool  # whether rendered songs take part


DrawPairs = Callable[[Phase, np.random.Generator], tuple[Float32Array, Float32Array]]


def train_network(draw_pairs: DrawPairs, phases: Sequence[Phase], seed: int) -> dict[str, Float32Array]:
    """Train the network by gradient descent on NT-Xent. Return its weights, as `PartNetwork` takes them.

    ``draw_pairs`` draws a batch for a phase: inputs of the network, (n, 12, L1), and for each its partner, (n, 12, L2).
    """
    import torch
    from torch.nn import functional

    torch.manual_seed(seed)
    network = make_torch_network()
    rng = np.random.default_rng(seed)
    for number, phase in enumerate(phases, 1):
        optimizer = torch.optim.AdamW(network.parameters(), phase.rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, phase.rate, phase.steps, pct_start=0.03)
        for step in range(1, phase.steps + 1):
            left, right = (torch.from_numpy(side) for side in draw_pairs(phase, rng))
            vectors = torch.cat([network(left), network(right)])
            similarity = (vectors @ vectors.T / TEMPERATURE).fill_diagonal_(-1e9)
            loss = functional.cross_entropy(similarity, torch.arange(len(vectors)).roll(len(left)))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            if step % 100 == 0:
                print(f"phase {number}, step {step} of {phase.steps}: loss {loss.item():.3f}", flush=True)
    return export_weights(network.state_dict())


def make_torch_network() -> Any:
    """Return the layers of `PartNetwork`, with batch normalisation, as a torch module."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [12, *CHANNELS, CHANNELS[-1]]
            self.l = nn.ModuleList(
                nn.Conv1d(a, b, k, padding=k // 2) for (a, b), k in zip(pairwise(widths), KERNELS, strict=True)
            )
            self.b = nn.ModuleList(nn.BatchNorm1d(width) for width in widths[1:])
            self.bo, self.out = nn.BatchNorm1d(3 * widths[-1]), nn.Linear(3 * widths[-1], N_DIMENSIONS)

        def forward(self, columns: Any) -> Any:
            for number, (convolve, normalise) in enumerate(zip(self.l, self.b, strict=True)):
                out = torch.relu(normalise(convolve(columns)))
                pooled = nn.functional.max_pool1d(out, 2) if number < 2 else out
                columns = columns + out if number == 3 else pooled
            cubic = (columns.clamp(min=1e-6) ** 3).mean(2) ** (1 / 3)
            pooled = torch.cat([columns.mean(2), columns.amax(2), cubic], 1)
            return nn.functional.normalize(self.out(self.bo(pooled)), dim=1)

    return Network()


def export_weights(state: Mapping[str, Any]) -> dict[str, Float32Array]:
    """Return the weights of a trained network, with the batch normalisations as part of them."""
    arrays = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}

    def normalisation(name: str) -> tuple[Any, Any]:
        scale = arrays[f"{name}.weight"] / np.sqrt(arrays[f"{name}.running_var"] + 1e-5)
        return scale, arrays[f"{name}.bias"] - scale * arrays[f"{name}.running_mean"]

    weights = {}
    for number in range(len(KERNELS)):
        scale, shift = normalisation(f"b.{number}")
        kernel, bias = arrays[f"l.{number}.weight"], arrays[f"l.{number}.bias"]
        weights[f"conv{number + 1}"] = (kernel * scale[:, None, None]).reshape(len(kernel), -1).T
        weights[f"conv{number + 1}_bias"] = bias * scale + shift
    scale, shift = normalisation("bo")
    weights["output"] = (arrays["out.weight"] * scale).T
    weights["output_bias"] = arrays["out.weight"] @ shift + arrays["out.bias"]
    return {name: np.asarray(array, dtype=np.float32) for name, array in weights.items()}
