"""The log of a run: a row an epoch, in log.csv and in words; and which epoch is kept.

loss, bin0 to bin9  mean over the epoch's rows, and over those of each tenth of the timesteps
seconds             of the epoch, as far as this process has seen it, without the held-out error
images_per_second   rows learned in that time, by all ranks
memory_mb           of the first rank. On a CPU what is resident of its process at the end of the
                    epoch (macOS: the most so far), on a GPU the most that tensors have taken so far
"""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .step import BINS

TOLERANCE = 1e-3  # of the held-out error: what it takes to be worse
MACHINE = ("seconds", "images_per_second", "memory_mb")  # all else a repeated run repeats
COLUMNS = (
    "epoch", "step", "loss", "heldout_mse", "skipped", *MACHINE, *(f"bin{i}" for i in range(BINS))
)  # fmt: skip


@dataclass
class Pace:
    """Rows learned since a moment."""

    images: int = 0

    def __post_init__(self) -> None:
        self.began = time.monotonic()

    def seconds(self) -> float:
        return max(time.monotonic() - self.began, 1e-6)  # some clocks are coarse


def memory_mb(device: torch.device) -> float | None:
    """What a run on this device takes, as the log has it; None where nothing tells (Windows)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def machine_columns(pace: Pace, device: torch.device) -> dict[str, float | None]:
    """`MACHINE` at this moment. On a GPU, read a result first: the host is ahead of it."""
    seconds, memory = pace.seconds(), memory_mb(device)
    return {
        "seconds": round(seconds, 2),
        "images_per_second": round(pace.images / seconds, 2),
        "memory_mb": None if memory is None else round(memory, 1),
    }


def losses(sums: Tensor) -> dict[str, float | None]:
    """The columns of the loss, from sums and counts (2, BINS); this waits for the device."""
    sums, counts = sums.tolist()
    bins = {f"bin{i}": s / c if c else None for i, (s, c) in enumerate(zip(sums, counts))}
    return {"loss": sum(sums) / max(1, sum(counts)), **bins}


def now(sums: Tensor, pace: Pace) -> str:
    """The words of the bar: the epoch so far, as this rank sees it. This waits for the device."""
    loss = losses(sums)["loss"]
    return f"loss {loss:.4f}" + speed(machine_columns(pace, sums.device))


def describe(row: dict[str, Any]) -> str:
    """A row in words; of the held-out error as many digits as tell epochs apart.

    Examples
    --------
    >>> describe({"epoch": 3, "loss": 0.91, "heldout_mse": 0.2217, "skipped": 0,
    ...           "images_per_second": 12.3, "memory_mb": 456.0})
    'epoch 3: loss 0.9100, held-out MSE 0.22170, 12 images/s, 456 MB'
    """
    held = "" if row["heldout_mse"] is None else f", held-out MSE {row['heldout_mse']:#.5g}"
    left_out = f", {row['skipped']} steps left out" if row["skipped"] else ""
    return f"epoch {row['epoch']}: loss {row['loss']:.4f}{held}{left_out}{speed(row)}"


def speed(row: dict[str, Any]) -> str:
    """Pace and memory, behind a comma."""
    rate, memory = row["images_per_second"], row["memory_mb"]
    taken = "" if memory is None else f", {memory:,.0f} MB"
    return f", {rate:,.{0 if rate >= 10 else 2}f} images/s{taken}"


def kept_epoch(log: list[dict[str, Any]]) -> int:
    """The last epoch whose held-out error is the least or as good; simply the last without one.

    As good: within TOLERANCE. The error is that of the mean alone; while it stands still, samples
    still gain from longer training.

    Examples
    --------
    >>> errors = 0.30, 0.2200, 0.2201, 0.25
    >>> kept_epoch([{"epoch": i, "heldout_mse": e} for i, e in enumerate(errors, 1)])
    3
    """
    errors: dict[int, float | None] = {row["epoch"]: row["heldout_mse"] for row in log}
    scored = {epoch: error for epoch, error in errors.items() if error is not None}
    if not scored:
        return max(errors)
    bound = min(scored.values()) * (1 + TOLERANCE)
    return max(epoch for epoch, error in scored.items() if error <= bound)


def to_csv(log: list[dict[str, Any]]) -> str:
    """The text of log.csv: all rows; cells that were not measured are empty.

    Examples
    --------
    >>> to_csv([{"epoch": 1, "step": 50, "loss": 0.91}]).splitlines()[1][:12]
    '1,50,0.91,,,'
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(log)
    return text.getvalue()
