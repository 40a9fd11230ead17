"""Train an instrument: the network of ddsp learns to play passages of a recorded instrument again.

Equal settings, passages and package versions give equal weights on a CPU, also if a run was stopped and resumed from a
checkpoint.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reprise.lib.arrays import Float32Array
from reprise.lib.covers.performance import Performance
from reprise.lib.errors import RepriseError
from reprise.lib.files import replace_file
from reprise.lib.nets.ddsp_library import import_ddsp
from reprise.lib.nets.instrument_network import HOP, SAMPLE_RATE, NetworkShape, make_autoencoder
from reprise.lib.nets.training import History, Schedule, anneal, read_history
from reprise.lib.tensors import pack_tensors, unpack_tensors

WINDOW = 500
"""Frames that are played at once: 2 s."""

BATCH = 4
"""Number of windows in a step."""

_VALIDATION_WINDOWS = 16
_CHANNELS, _MAX_HARMONICS, _NOISE_BANDS = 96, 80, 65


@dataclass(frozen=True, eq=False)
class Passage:
    """A passage of a recording in which an instrument plays alone.

    Attributes
    ----------
    samples
        float32 (64 · frames,), mono at 16 kHz.
    performance
        Its pitch and loudness, at least `WINDOW` frames.
    """

    samples: Float32Array
    performance: Performance


def choose_shape(low_hz: float) -> NetworkShape:
    """Return a network with as many harmonics as the lowest pitch has below 8 kHz, at most 80."""
    arguments = {"ch": _CHANNELS, "kernel_size": 3, "layers_per_stack": 5, "stacks": 2}
    harmonics = max(2, min(_MAX_HARMONICS, int(SAMPLE_RATE / 2 // low_hz)))
    return NetworkShape("DilatedConvDecoder", arguments, harmonics, _NOISE_BANDS)


def make_schedule(steps: int, seed: int) -> Schedule:
    """Return the settings of the training of an instrument."""
    return Schedule(
        steps,
        rate=1.5e-3,
        seed=seed,
        warmup_steps=max(1, min(150, steps // 7)),
        largest_norm=3.0,
        averaging=0.99,
        validation_steps=max(1, min(100, steps // 10)),
        patience=4,
    )


def train_instrument(
    passages: Sequence[Passage],
    validation: Sequence[Passage],
    shape: NetworkShape,
    schedule: Schedule,
    *,
    batch: int,
    checkpoint: Path | None = None,
    identity: str = "",
    report: Callable[[str], None] = print,
) -> tuple[list[Float32Array], History]:
    """Train the network of an instrument. Return its best averaged weights, and the history.

    The score of a validation is the negative spectral loss, in which differences of levels and of their logarithms
    count, at six resolutions.

    Parameters
    ----------
    batch
        Number of windows in a step.
    checkpoint
        File that is written at each validation and read at the start, if it exists.
    identity
        What the training depends on. A checkpoint of a training with another identity is refused.

    Raises
    ------
    RepriseError
        The loss is not finite, or the checkpoint cannot be used.
    """
    trainer = _Trainer(shape, schedule)
    windows = _draw_windows(validation, np.random.default_rng(schedule.seed), _VALIDATION_WINDOWS)
    history, first, factor, stale = History(), 1, 1.0, 0
    best = trainer.average
    if checkpoint is not None and checkpoint.exists():
        saved, arrays = _read_checkpoint(checkpoint, identity)
        first, factor, stale = saved["step"] + 1, saved["factor"], saved["stale"]
        history = read_history(saved["history"])
        best = trainer.restore(arrays)
        report(f"resumed after step {saved['step']}")
    losses: list[float] = []
    for step in range(first, schedule.steps + 1):
        rate = factor * schedule.rate * anneal(step, schedule)
        drawn = _draw_windows(passages, np.random.default_rng([schedule.seed, step]), batch)
        losses.append(trainer.step(drawn, step, rate))
        if step % schedule.validation_steps and step != schedule.steps:
            continue
        mean_loss, losses = float(np.mean(losses)), []
        if not np.isfinite(mean_loss):
            raise RepriseError(f"the loss is {mean_loss} at step {step}: train with other recordings")
        score = -trainer.validate(windows)
        history.losses.append((step, mean_loss))
        if score > history.best_score:
            best, history.best_step, stale = trainer.average, step, 0
        else:
            stale += 1
            if stale % schedule.patience == 0:
                factor /= 2
        history.scores.append((step, score))
        report(f"step {step:,} of {schedule.steps:,}: loss {mean_loss:.3f}, score {score:.3f}, rate {rate:.2e}")
        if checkpoint is not None:
            header = {"identity": identity, "step": step, "factor": factor, "stale": stale, "history": asdict(history)}
            with replace_file(checkpoint) as file:
                file.write(pack_tensors(trainer.state(best), header))
        if stale >= 2 * schedule.patience:
            report(f"stopped: no improvement since step {history.best_step:,}")
            break
    return best, history


def _read_checkpoint(path: Path, identity: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        header, arrays = unpack_tensors(path.read_bytes())
    except ValueError as error:
        raise RepriseError(f"the checkpoint {path} is damaged ({error}): delete it") from None
    if header.get("identity", "") != identity:
        raise RepriseError(f"the checkpoint {path} is of a training with other data or settings: delete it")
    return header, arrays


class _Trainer:
    """The network, its optimiser (Adam) and the moving average of its weights."""

    def __init__(self, shape: NetworkShape, schedule: Schedule) -> None:
        import_ddsp()
        import tensorflow as tf
        import tf_keras

        tf_keras.utils.set_random_seed(schedule.seed)
        self._largest_norm, self._averaging = schedule.largest_norm, schedule.averaging
        self._warmup = schedule.warmup_steps
        self._model = make_autoencoder(shape, WINDOW)
        self._noise_seed = tf.Variable([schedule.seed, 0], dtype=tf.int32)
        self._noise_gain = tf.Variable(1.0)
        _replace_noise(self._model.processor_group.filtered_noise, self._noise_seed, self._noise_gain)
        silence = tf.zeros((1, WINDOW, 1)) - 80.0
        self._model(
            {"audio": tf.zeros((1, HOP * WINDOW)), "f0_hz": tf.ones((1, WINDOW, 1)), "loudness_db": silence},
            training=False,
        )
        self._variables = self._model.trainable_variables
        self._rate = tf.Variable(0.0)
        self._optimizer = tf_keras.optimizers.legacy.Adam(self._rate)
        self._optimizer.apply_gradients([(tf.zeros_like(one), one) for one in self._variables])  # creates its state
        self.average = [one.numpy() for one in self._variables]
        self._update = tf.function(self._compute_update)
        self._loss = tf.function(self._compute_loss)

    def _compute_loss(self, samples: Any, f0_hz: Any, loudness_db: Any) -> Any:
        features = {"audio": samples, "f0_hz": f0_hz, "loudness_db": loudness_db}
        return self._model(features, return_losses=True, training=True)[1]["total_loss"]

    def _compute_update(self, samples: Any, f0_hz: Any, loudness_db: Any) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = self._compute_loss(samples, f0_hz, loudness_db)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, self._variables), self._largest_norm)
        self._optimizer.apply_gradients(zip(gradients, self._variables, strict=True))
        return loss

    def step(self, windows: tuple[Float32Array, ...], step: int, rate: float) -> float:
        """Update the weights and their average. Return the loss."""
        self._noise_seed.assign([int(self._noise_seed[0]), step])
        # noise joins after the first steps: otherwise it can play a low instrument alone, and the harmonics stay silent
        self._noise_gain.assign(np.clip(step / max(self._warmup, 1) - 1, 0, 1))
        self._rate.assign(rate)
        loss = float(self._update(*windows))
        decay = np.float32(min(self._averaging, step / (step + 10)))
        self.average = [
            decay * old + (1 - decay) * one.numpy() for old, one in zip(self.average, self._variables, strict=True)
        ]
        return loss

    def validate(self, windows: tuple[Float32Array, ...]) -> float:
        """Return the loss of the averaged weights."""
        trained = [one.numpy() for one in self._variables]
        self._assign(self.average)
        self._noise_seed.assign([int(self._noise_seed[0]), 0])
        self._noise_gain.assign(1)
        # a few at a time: a window takes 60 MB
        parts = [tuple(part[i : i + 4] for part in windows) for i in range(0, len(windows[0]), 4)]
        loss = float(np.mean([float(self._loss(*part)) for part in parts]))
        self._assign(trained)
        return loss

    def _assign(self, arrays: Sequence[Float32Array]) -> None:
        for variable, array in zip(self._variables, arrays, strict=True):
            variable.assign(array)

    def state(self, best: Sequence[Float32Array]) -> dict[str, Any]:
        """Return everything that `restore` needs, by name."""
        groups = {
            "weights": [one.numpy() for one in self._variables],
            "optimizer": self._optimizer.get_weights(),
            "average": self.average,
            "best": best,
        }
        return {f"{name}.{i:03}": np.asarray(one) for name, arrays in groups.items() for i, one in enumerate(arrays)}

    def restore(self, arrays: dict[str, Any]) -> list[Float32Array]:
        """Go back to a state. Return the best weights."""

        def select(name: str) -> list[Any]:
            return [arrays[key] for key in sorted(arrays) if key.startswith(f"{name}.")]

        self._assign(select("weights"))
        shapes = [one.shape for one in self._optimizer.get_weights()]
        self._optimizer.set_weights([one.reshape(s) for one, s in zip(select("optimizer"), shapes, strict=True)])
        self.average = select("average")
        return select("best")


def _replace_noise(synth: Any, seed: Any, gain: Any) -> None:
    """Let the noise depend on a seed alone, so that a resumed training hears the same noise, and on a gain."""
    import tensorflow as tf

    ddsp = import_ddsp()

    def play(magnitudes: Any) -> Any:
        shape = (magnitudes.shape[0], synth.n_samples)
        white = gain * tf.random.stateless_uniform(shape, seed, minval=-1.0, maxval=1.0)
        return ddsp.core.frequency_filter(white, magnitudes, window_size=synth.window_size)

    synth.get_signal = play


def _draw_windows(passages: Sequence[Passage], rng: np.random.Generator, count: int) -> tuple[Float32Array, ...]:
    """Return samples (count, n), pitch and loudness (count, frames, 1) of windows at random places."""
    room = np.array([len(one.performance) - WINDOW + 1 for one in passages])
    chosen = rng.choice(len(passages), count, p=room / room.sum())
    samples, f0_hz, loudness_db = [], [], []
    for i in chosen:
        start = int(rng.integers(room[i]))
        performance = passages[i].performance
        samples.append(passages[i].samples[HOP * start : HOP * (start + WINDOW)])
        f0_hz.append(performance.f0_hz[start : start + WINDOW, None])
        loudness_db.append(performance.loudness_db[start : start + WINDOW, None])
    return np.stack(samples), np.stack(f0_hz), np.stack(loudness_db)
