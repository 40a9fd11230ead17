"""Separation on a GPU: tracks an hour and how busy the GPU is, beside demucs' own command line.

Runs on a machine without Spark and without a network::

    mkdir -p /tmp/s/reprise && ln -sfn "$PWD"/{lib,udfs,conf,jobs} /tmp/s/reprise/ && touch /tmp/s/reprise/__init__.py
    PYTHONPATH=/tmp/s python3 tests/bench/gpu_separation.py --out "$OUT/gpu.json"

The network has the size of htdemucs and random weights: the speed does not depend on the weights. Needs torch, demucs,
soundfile, soxr, tinytag and av.
"""

import argparse
import contextlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from demucs.apply import apply_model
from demucs.htdemucs import HTDemucs

from reprise.lib.covers.separate import Mix, separate_mixes
from reprise.lib.covers.stems import Stem, compile_meter, make_stems
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.nets.devices import choose_device
from reprise.lib.nets.separators import STEMS, Separator, load_separator, pack_separator
from reprise.udfs.sandbox import Sandbox
from reprise.udfs.stem_encoders import stem_encoders

PUBLISHED = {"channels": 48, "bottom_channels": 512, "t_layers": 5, "t_heads": 8, "segment": Fraction(39, 5)}
TINY = {"channels": 8, "t_layers": 1, "segment": Fraction(2, 1)}
RATE = 44_100
SPHN = """
import numpy, soundfile
def read(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return numpy.ascontiguousarray(samples.T), rate
"""
"""Stands in for the package sphn, with which demucs reads audio files, where it is not installed."""


class Usage:
    """Mean utilisation of the GPU in percent, every 0.2 s; a context manager. NaN where there is no ``nvidia-smi``."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float]] = []

    def __enter__(self) -> "Usage":
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
        self._process: subprocess.Popen[str] | None = None
        with contextlib.suppress(FileNotFoundError):
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        return self

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                self.samples.append((time.monotonic(), float(line)))

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()

    def mean(self, start: float, end: float) -> float:
        """Return the mean between two times of ``time.monotonic``."""
        values = [value for at, value in self.samples if start <= at <= end]
        return float(np.mean(values)) if values else math.nan


def write_tracks(folder: Path, count: int, seconds: float) -> list[Path]:
    """Write tracks of noise and tones as WAV files with 16 bits. Four are different, the others are links to them."""
    rng = np.random.default_rng(0)
    frames = int(seconds * RATE)
    noise = rng.standard_normal((frames, 2), np.float32) * 0.05
    time_s = np.arange(frames) / RATE
    paths = []
    for number in range(min(count, 4)):
        tone = 0.2 * np.sin(2 * np.pi * 110 * 2 ** (number / 12) * time_s).astype(np.float32)
        mix = np.roll(noise, 997 * number, axis=0) + (tone * (time_s % 0.5 < 0.3))[:, None]
        paths.append(folder / f"track {number:03}.wav")
        soundfile.write(paths[-1], mix, RATE, subtype="PCM_16")
    for number in range(4, count):
        paths.append(folder / f"track {number:03}.wav")
        paths[-1].hardlink_to(paths[number % 4])
    return paths


def measure_forward(separator: Separator, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return the speed of the network alone, in times real time, by batch size and precision, and the error in dB."""
    device = separator.device
    rows = []
    mixes = 0.1 * torch.randn((max(sizes), 2, separator.segment), device=device)
    exact: torch.Tensor | None = None
    modes: Mapping[str, Any] = {
        "float32": contextlib.nullcontext,
        "float32, TF32 products": tf32,
        "bfloat16": lambda: torch.autocast(device.partition(":")[0], torch.bfloat16),
        "float16": lambda: torch.autocast(device.partition(":")[0], torch.float16),
    }
    for size in sizes:
        for mode, context in modes.items():
            if mode != "float32" and size != max(sizes):
                continue
            with context():
                try:
                    stems = separator(mixes[:size])
                    synchronise(device)
                    clock = time.monotonic()
                    for _ in range(repeats := 3 if device != "cpu" else 1):
                        separator(mixes[:size])
                    synchronise(device)
                except (RuntimeError, RepriseError) as error:
                    rows.append({"batch": size, "mode": mode, "error": str(error).splitlines()[0][:120]})
                    continue
            seconds = (time.monotonic() - clock) / repeats
            if size == max(sizes) and exact is None:
                exact = stems
            row = {"batch": size, "mode": mode, "times_real_time": size * separator.segment / RATE / seconds}
            if exact is not None and size == max(sizes):
                row["error_db"] = decibels((stems - exact).square().sum() / exact.square().sum())
            if device != "cpu":
                row["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
                torch.cuda.reset_peak_memory_stats()
            rows.append(row)
    return rows


def decibels(ratio: torch.Tensor) -> float:
    """Return a power ratio in dB."""
    return 10 * math.log10(max(float(ratio), 1e-30))


@contextlib.contextmanager
def tf32() -> Iterator[None]:
    """Let matrix products round their inputs to TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def synchronise(device: str) -> None:
    """Wait until the device has no work."""
    if device != "cpu":
        torch.cuda.synchronize()


def separate(separator: Separator, paths: list[Path], folder: Path, threads: int) -> dict[str, list[Stem]]:
    """Separate files as the job does: sandbox, network, FLAC files."""
    with Sandbox(folder) as sandbox:

        def open_mix(path: Path) -> tuple[str, Any]:
            audio = sandbox.decode(path, sample_rate=RATE, channel_count=2)
            return path.name, audio.open_signal()

        made = {}
        for path, stems in make_stems(
            separator,
            paths,
            open_mix,
            folder=lambda path: folder / "ours" / path.stem,
            temporary=folder,
            threads=threads,
            encode=stem_encoders(threads).encode,
        ):
            assert not isinstance(stems, InputError), stems
            made[path.name] = stems
    return made


def measure_ours(separator: Separator, paths: list[Path], folder: Path, threads: int) -> dict[str, Any]:
    """Tracks an hour through the library's own function, and how busy the GPU was."""
    with Usage() as usage:
        clock = time.monotonic()
        made = separate(separator, paths, folder, threads)
        end = time.monotonic()
    assert len(made) == len(paths)
    return {"tracks": len(paths), "seconds": end - clock, "busy_percent": usage.mean(clock, end)}


def measure_demucs(network: HTDemucs, arguments: Mapping[str, Any], paths: list[Path], folder: Path) -> dict[str, Any]:
    """Tracks an hour through ``python -m demucs``, from its first track on: without its start."""
    models, shim = folder / "models", folder / "shim"
    models.mkdir()
    shim.mkdir()
    state = {"klass": HTDemucs, "args": (), "kwargs": dict(arguments), "state": network.state_dict()}
    torch.save(state, models / "random.th")
    if importlib.util.find_spec("sphn") is None:
        (shim / "sphn.py").write_text(SPHN)
    command = [sys.executable, "-u", "-m", "demucs", "--repo", models, "-n", "random", "--shifts", "0"]
    command += ["--overlap", "0.25", "-d", choose_device().partition(":")[0], "-o", folder / "theirs", *paths]
    path = os.pathsep.join([str(shim), os.environ.get("PYTHONPATH", "")])
    started, start = 0.0, time.monotonic()
    with Usage() as usage:
        process = subprocess.Popen(
            [*map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": path},
        )
        assert process.stdout
        said = b""
        while part := os.read(process.stdout.fileno(), 1 << 16):
            said += part
            if not started and b"Separating track" in said:
                started = time.monotonic()
        assert process.wait() == 0, said[-2000:].decode()
        end = time.monotonic()
    n_files = len(list((folder / "theirs").rglob("*.wav")))
    assert n_files == len(STEMS) * len(paths), n_files
    return {
        "tracks": len(paths),
        "seconds": end - started,
        "start_s": started - start,
        "busy_percent": usage.mean(started, end),
    }


def compare_with_apply_model(separator: Separator, network: HTDemucs, path: Path) -> float:
    """Largest difference of a sample from ``apply_model`` in one pass on the same device, as a share of the peak."""
    samples = soundfile.read(path, dtype="float32")[0]
    (raw,) = separate_mixes(separator, [Mix(None, path.name, samples)])
    stems = [np.fromfile(raw.path(name), np.float32).reshape(-1, 2) for name in separator.sources]
    raw.close()
    ours = np.stack(stems).transpose(0, 2, 1)
    mix = torch.from_numpy(samples.T.copy())
    mono = mix.mean(0)
    mean, std = mono.mean(), mono.std() + 1e-8
    network.to(separator.device)
    theirs = apply_model(network, ((mix - mean) / std)[None], device=separator.device, shifts=0, overlap=0.25)[0]
    reference = (theirs.cpu() * std + mean).numpy()
    return float(np.abs(ours - reference).max() / np.abs(reference).max())


def main() -> None:
    """Measure, print a table, and write all figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="gpu_separation.json", metavar="FILE", help="figures as JSON")
    parser.add_argument("--seconds", type=float, default=180, help="length of a track")
    parser.add_argument("--budget", type=float, default=20, help="seconds for each of the two measurements")
    parser.add_argument("--tiny", action="store_true", help="a small network, to try the script on a CPU")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads that encode")
    args = parser.parse_args()
    clock = time.monotonic()
    torch.manual_seed(0)
    arguments = {"sources": list(STEMS), **(TINY if args.tiny else PUBLISHED)}
    network = HTDemucs(**arguments).eval()
    data = pack_separator("demucs.htdemucs.HTDemucs", arguments, network.state_dict())
    device = choose_device()
    separator = load_separator(data).to(device)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "torch": torch.__version__,
        "cores": len(os.sched_getaffinity(0)),
        "track_s": args.seconds,
        "segment": separator.segment,
    }

    def say(name: str, value: Any) -> None:
        found[name] = value
        print(f"{time.monotonic() - clock:6.1f} s  {name}: {json.dumps(value)}", flush=True)
        Path(args.out).write_text(json.dumps(found, indent=1))

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        forward = measure_forward(separator, (1, 2) if device == "cpu" else (1, 4, 8, 16, 32))
        for row in forward:
            print(f"  {row}", flush=True)
        say("forward", forward)
        speed = max(row.get("times_real_time", 0) for row in forward if row["mode"] == "float32")
        count = max(3, min(64, int(args.budget * 0.75 * speed / args.seconds)))
        paths = write_tracks(folder, count, args.seconds)
        say("tracks_written", count)
        say("difference_from_apply_model", compare_with_apply_model(separator, network, paths[0]))
        compile_meter()  # before the encoders do
        first = separate(separator, paths[:1], folder, args.threads)
        say("warm", True)
        ours = measure_ours(separator, paths, folder, args.threads)
        say("ours", ours)
        again = separate(separator, [paths[1], paths[0]], folder, args.threads)
        same = all(
            a.samples_sha256 == b.samples_sha256
            for a, b in zip(first[paths[0].name], again[paths[0].name], strict=True)
        )
        say("same_samples_with_other_neighbours", same)
        few = paths[: max(2, min(len(paths), int(args.budget * len(paths) / ours["seconds"] / 3)))]
        say("demucs", measure_demucs(network, arguments, few, folder))
    print("\n".join(" · ".join(map(str, row.values())) for row in list_rows(found)))


def list_rows(found: Mapping[str, Any]) -> list[dict[str, object]]:
    """Return the figures as rows of RESULTS.md."""
    rows: list[dict[str, object]] = []
    for name, title in (("ours", "separate-stems' function"), ("demucs", "demucs' command line")):
        row = found[name]
        per_hour, times = 3600 * row["tracks"] / row["seconds"], row["tracks"] * found["track_s"] / row["seconds"]
        rows.append(
            {"what": title, "tracks an hour": per_hour, "× real time": times, "GPU busy, %": row["busy_percent"]}
        )
    rows += [
        {
            "what": f"the network alone, batches of {row['batch']}, {row['mode']}",
            "tracks an hour": "",
            "× real time": row["times_real_time"],
            "GPU busy, %": "",
        }
        for row in found["forward"]
        if "times_real_time" in row
    ]
    return rows


if __name__ == "__main__":
    main()
