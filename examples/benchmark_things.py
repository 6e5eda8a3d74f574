#!/usr/bin/env python3
"""Time and memory of whitening and resampling THINGS-EEG2, beside scikit-learn and MNE.

    python examples/benchmark_things.py                       one session; 2.1 GB on disk meanwhile
    python examples/benchmark_things.py --conditions 1000

Whitening: the noise covariance of one session's training signals, 8,270 conditions x 2 x 63 x 250,
float64 in a memory map, and its whitener; against a plain loop over single trials with
scikit-learn's Ledoit-Wolf and scipy's matrix power, timed on 500 conditions of the same file and
multiplied. Resampling: epochs of 64 x 1,201 samples from 1000 to 250 Hz; against MNE.

Each timing is a process of its own, the two sides take turns, and the table has medians. Memory is
the peak resident of such a process, libraries included, and in brackets how much of it was pages
of the mapped file, which the kernel takes back when it needs them. Needs scikit-learn, mne, Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tinybrain import command_line
from tinybrain.command_line import positive

SHAPE = (2, 63, 250)  # repetitions in a session, sensors, time points
LOOPED = 500  # conditions of the plain loop
JOBS = {"whitening": ("tinybrain", "scikit-learn"), "resampling": ("tinybrain", "mne")}


def arguments() -> argparse.Namespace:
    cli = command_line.parser(__doc__)
    cli.add_argument("--conditions", type=positive, default=8270, help="of whitening")
    cli.add_argument("--epochs", type=positive, default=1000, help="of resampling")
    cli.add_argument("--rounds", type=positive, default=3, help="turns of each")
    cli.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)  # job, name, file: one timing
    return cli.parse_args()


def write_session(file: Path, conditions: int) -> None:
    """Signals of correlated sensors in microvolts, made and written 100 conditions at a time."""
    rng = np.random.default_rng(0)
    mixing = 5 * np.eye(SHAPE[1]) + rng.standard_normal((SHAPE[1], SHAPE[1]))
    signals = np.lib.format.open_memmap(file, "w+", np.float64, (conditions, *SHAPE))
    for start in range(0, conditions, 100):
        block = signals[start : start + 100]
        block[:] = mixing @ rng.standard_normal(block.shape)


def whitening_by_tinybrain(signals: np.ndarray) -> float:
    from tinybrain.things.whitening import noise_covariance, whitener

    began = time.perf_counter()
    whitener(noise_covariance(signals))
    return time.perf_counter() - began


def whitening_by_sklearn(signals: np.ndarray) -> float:
    """The mean of one covariance after the other, over the first conditions; seconds for all."""
    from scipy.linalg import fractional_matrix_power
    from sklearn.covariance import ledoit_wolf
    from sklearn.preprocessing import StandardScaler

    def covariance(trial):                                                          # h w
        scaler = StandardScaler()
        shrunk, _ = ledoit_wolf(scaler.fit_transform(trial.T))
        return scaler.scale_[:, None] * shrunk * scaler.scale_

    looped = signals[:LOOPED]
    began = time.perf_counter()
    mean = np.mean([covariance(trial) for row in looped for trial in row], axis=0)
    looping = time.perf_counter() - began
    fractional_matrix_power(mean, -0.5)
    return looping * len(signals) / len(looped) + time.perf_counter() - began - looping


def resampling_by_tinybrain(epochs: np.ndarray) -> float:
    from tinybrain.things.resampling import resample

    began = time.perf_counter()
    resample(epochs, 1000, 250)
    return time.perf_counter() - began


def resampling_by_mne(epochs: np.ndarray) -> float:
    import mne

    mne.set_log_level("error")
    epochs = mne.EpochsArray(epochs, mne.create_info(epochs.shape[1], 1000.0, "eeg"))
    began = time.perf_counter()
    epochs.resample(250)
    return time.perf_counter() - began


def alone(args: argparse.Namespace) -> None:
    """One timing; prints seconds, the peak of resident memory and what of it is file, GB."""
    job, name, file = args.alone
    if job == "whitening":
        run = whitening_by_tinybrain if name == "tinybrain" else whitening_by_sklearn
        data = np.load(file, mmap_mode="r")
    else:
        run = resampling_by_tinybrain if name == "tinybrain" else resampling_by_mne
        data = np.random.default_rng(0).standard_normal((args.epochs, 64, 1201))
    seconds = run(data)
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    memory = (1024 * int(status[field].split()[0]) / 1e9 for field in ("VmHWM", "RssFile"))
    print(json.dumps([seconds, *memory]))


def timings(args: argparse.Namespace, job: str, file: Path) -> dict[str, list[float]]:
    """Medians of `alone` for both sides, taking turns."""
    seen = {name: [] for name in JOBS[job]}
    for _ in range(args.rounds):
        for name in seen:
            out = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--alone", job, name, str(file)],
                check=True, stdout=subprocess.PIPE, text=True,
            ).stdout
            seen[name].append(json.loads(out.splitlines()[-1]))
    return {name: [statistics.median(column) for column in zip(*rows)]
            for name, rows in seen.items()}


def main() -> None:
    args = arguments()
    if args.alone:
        return alone(args)
    size = {
        "whitening": " x ".join(map(str, (args.conditions, *SHAPE))),
        "resampling": f"{args.epochs} x 64 x 1201",
    }
    print(f"{os.cpu_count()} cores, numpy {np.__version__}; the loop of scikit-learn: "
          f"{min(LOOPED, args.conditions)} of {args.conditions} conditions, extrapolated\n")
    print("| job | of | tinybrain | other | faster x | peak, tinybrain | peak, other |")
    print("|---|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "session.npy")
        write_session(file, args.conditions)
        for job, (name, other) in JOBS.items():
            both = timings(args, job, file)
            (ours, *mine), (theirs, *others) = both[name], both[other]
            memory = " | ".join("{:.2f} GB ({:.2f})".format(*peak) for peak in (mine, others))
            print(f"| {job} | {size[job]} | {ours:.2f} s | {theirs:.2f} s, {other} | "
                  f"{theirs / ours:.1f} | {memory} |", flush=True)


if __name__ == "__main__":
    command_line.run(main)
