"""What changes the time and memory of a run, but not what it learns, except for rounding.

compile     torch.compile makes one program of the network, for one size of batch; that takes
            minutes.
recompute   A `Block` keeps its inputs and forgets all that it computed of them; it is computed once
            more when its gradient is asked for (Chen et al. 2016).
tf32        Float32 products on a GPU round their factors to the 10 bits that its tensor cores take.

None is part of what a run is: it may be continued with others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class Speed:
    """The choices; each is measured alone by `examples/benchmark_levers.py`.

    Parameters
    ----------
    compile, recompute, tf32 : bool
        See the top of this module; tf32 where the device has it.

    Raises
    ------
    ValueError
        With `compile` and `recompute` together: torch 2.13 then gives wrong gradients on a CPU
        (attention in a recomputed block), without a word.

    Examples
    --------
    >>> Speed(recompute=True)
    Speed(compile=False, recompute=True, tf32=True)
    """

    compile: bool = False
    recompute: bool = False
    tf32: bool = True

    def __post_init__(self) -> None:
        if self.compile and self.recompute:
            raise ValueError(
                "Speed: compile and recompute do not go together, torch gives wrong gradients; to "
                "spare memory take recompute alone, or fewer rows at a time"
            )


class Block(nn.Module):
    """A part of a network that can be computed twice instead of remembered."""

    recompute = False

    def __call__(self, *inputs: Any) -> Any:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(super().__call__, *inputs, use_reentrant=False)
        return super().__call__(*inputs)


def set_recompute(network: nn.Module, recompute: bool) -> None:
    """Whether the blocks of a network are computed twice. Dropout draws the same both times.

    Examples
    --------
    >>> from tinybrain.unet import UNet2D, UNetConfig
    >>> unet = UNet2D(UNetConfig(channels=(32, 64), attention=(False, True)))
    >>> set_recompute(unet, True)
    >>> sum(isinstance(part, Block) and part.recompute for part in unet.modules())
    18
    """
    for block in network.modules():
        if isinstance(block, Block):
            block.recompute = recompute


@contextmanager
def in_tf32(device: torch.device, on: bool) -> Iterator[None]:
    """Products and convolutions in TF32, or not, on a GPU and while the block runs.

    torch has one setting for the whole process; it is put back.
    """
    before = tf32_settings() if device.type == "cuda" else []
    older = [value for _, name, value in before if name == "allow_tf32"]
    if not before or older == [on, on]:
        yield
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


def tf32_settings() -> list[tuple[Any, str, Any]]:
    """All that torch has for it, (place, name, value), in the order in which it is put back.

    Since 2.9 there are two generations of names. Setting an older one sets the newer one too; a
    program that has set a newer one may not even read the older ones.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    places = [(matmul, "allow_tf32"), (cudnn, "allow_tf32"), (matmul, "fp32_precision")]
    places += [(getattr(cudnn, part, None), "fp32_precision") for part in ("conv", "rnn")]
    found = []
    for place, name in places:
        try:
            found.append((place, name, getattr(place, name)))
        except (AttributeError, RuntimeError):
            continue
    return found


@cache
def check_compiler(device: torch.device) -> None:
    """Raise ValueError if torch.compile cannot work on this device, before minutes are spent."""
    try:
        torch.compile(torch.sin, dynamic=False)(torch.zeros(8, device=device))
    except RuntimeError as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"compile does not work on {device}: {reason}\nit needs a C++ compiler (g++, Python's "
            "headers), on a GPU triton too; without them leave it out"
        ) from error
