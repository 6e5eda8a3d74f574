"""Several processes on one job, one a device, as torchrun starts them.

    torchrun --nproc-per-node=2 examples/train_eeg.py ...

Every rank holds the whole network and takes its share of each batch; gradients are averaged by
torch's DistributedDataParallel. Without torchrun there is one rank and nothing to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")
PATIENCE = timedelta(hours=2)  # of a rank that waits, as the others do while the first evaluates


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is, and which of its machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this one writes and speaks for all."""
        return self.rank == 0


def ranks() -> Ranks:
    """From the environment that torchrun sets; one rank without it.

    Raises ValueError if the variables contradict each other.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    given = {name: os.environ[name] for name in names if name in os.environ}
    if not given:
        return Ranks()
    if len(given) < 3 or not all(value.isdecimal() for value in given.values()):
        raise ValueError(f"{given}: wanted RANK, WORLD_SIZE and LOCAL_RANK, as torchrun sets them")
    here = Ranks(*(int(given[name]) for name in names))
    if here.rank >= here.size:
        raise ValueError(f"RANK {here.rank} of WORLD_SIZE {here.size}; wanted less")
    return here


def pick_device(here: Ranks = Ranks(), name: str | None = None) -> torch.device:
    """The device of a name; without one the GPU of this rank if its machine has one, else the CPU.

    Raises ValueError if torch has no such device here.

    Examples
    --------
    >>> pick_device(name="cpu")
    device(type='cpu')
    """
    if not name:
        has_gpu = torch.cuda.is_available()
        return torch.device("cuda", here.local) if has_gpu else torch.device("cpu")
    try:
        torch.zeros(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name!r} cannot be used by torch {torch.__version__}: "
            f"{str(error).splitlines()[0]}; wanted cpu, or a GPU that it sees, such as cuda; "
            "without --device it takes what there is"
        ) from None
    return torch.device(name)


@contextmanager
def process_group(device: torch.device) -> Iterator[Ranks]:
    """Join the other ranks for as long as the block runs: gloo on the CPU, nccl on GPUs."""
    here = ranks()
    if here.size == 1 or dist.is_initialized():
        yield here
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield here
    finally:
        dist.destroy_process_group()


def share(items: Sequence[Item], here: Ranks) -> Sequence[Item]:
    """The items of this rank: contiguous, as many as the others' or one more.

    Examples
    --------
    >>> [share("abcde", Ranks(rank, size=2)) for rank in (0, 1)]
    ['ab', 'cde']
    """
    ends = [len(items) * rank // here.size for rank in (here.rank, here.rank + 1)]
    return items[ends[0] : ends[1]]


def barrier() -> None:
    """Wait for the others."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def in_turn(here: Ranks) -> Iterator[None]:
    """The first rank goes through the block, then all others."""
    if not here.first:
        barrier()
    yield
    if here.first:
        barrier()


def total(values: Tensor) -> Tensor:
    """The sum over ranks, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether any rank says yes; all hear the same answer."""
    return bool(total(torch.tensor(float(flag), device=device)))
