#!/usr/bin/env python3
"""Time and memory of the U-Net beside diffusers' `UNet2DConditionModel`, same weights, same inputs.

    python examples/benchmark.py                           63 x 250, batch 2, float32, this device
    python examples/benchmark.py --size 271 200 --batch 1
    python examples/benchmark.py --precision bf16 --compile --batch 16        on a GPU

    forward         the network
    gradient        the network and the gradient of its squared answer
    training step   all of a step: tinybrain's `train_step`, and what diffusers' training scripts
                    put together of DDPMScheduler, clip_grad_norm_, AdamW and EMAModel
    sampling        steps of the ancestral reverse process

The two take turns, so that whatever else the machine does falls on both; ratios of medians are the
result, above 1 where tinybrain is faster or smaller. Memory is the peak of a process of its own,
beyond the weights (resident memory on a CPU, the allocator's on a GPU): for a training step also
the gradient, AdamW's moments and the average of the weights. Needs diffusers.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinybrain import command_line
from tinybrain.command_line import positive
from tinybrain.ddpm import DDPM
from tinybrain.interop import unet_from_diffusers
from tinybrain.parallel import pick_device
from tinybrain.recipes import PAPER, Recipe
from tinybrain.speed import Speed, in_tf32
from tinybrain.step import State, start, train_step
from tinybrain.unet import UNetConfig

JOBS = ("forward", "gradient", "training step", "sampling")
NAMES = ("tinybrain", "diffusers")


def sizes(description: str) -> argparse.ArgumentParser:
    """A command line with what every job has: the network, its input, how often."""
    cli = command_line.parser(description)
    cli.add_argument("--size", type=positive, nargs=2, default=(63, 250), help="sensors, times")
    cli.add_argument("--batch", type=positive, default=2)
    cli.add_argument("--tokens", type=positive, default=1, help="of the context")
    cli.add_argument("--channels", type=positive, nargs="+", default=(128, 256, 512, 512))
    cli.add_argument("--rounds", type=positive, default=5,
                     help="turns of each, after one to warm up")
    cli.add_argument("--steps", type=positive, default=3, help="reverse steps of a sampling row")
    cli.add_argument("--device", help="by default a GPU if there is one")
    return cli


def arguments() -> argparse.Namespace:
    cli = sizes(__doc__)
    cli.add_argument("--precision", choices=("float32", "tf32", "bf16"), default="float32")
    cli.add_argument("--compile", action="store_true", help="torch.compile both")
    cli.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS)
    cli.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)  # (name, job): measure memory
    return cli.parse_args()


class Side:
    """One of the two libraries: its network, and the jobs that are the same for both."""

    def __init__(self, network: nn.Module, args: argparse.Namespace, device: torch.device):
        self.network, self.args, self.device = network.to(device), args, device
        self.program = torch.compile(network, dynamic=False) if args.compile else network
        generator = torch.Generator().manual_seed(1)
        shapes = (args.batch, *args.size), (args.batch, args.tokens, 768)
        y0, context = (torch.randn(shape, generator=generator).to(device) for shape in shapes)
        self.y0, self.context = y0, context
        self.t = torch.randint(1000, (args.batch,), generator=generator).to(device)

    def answer(self, y_t: Tensor, t: Tensor, context) -> Tensor:                # (b, 1, h, w)
        bf16 = self.args.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            out = self.program(y_t, t, context)
        return (out if isinstance(out, Tensor) else out.sample).float()

    @torch.no_grad()
    def forward(self) -> None:
        self.answer(self.y0[:, None], self.t, self.context)

    def gradient(self) -> None:
        self.answer(self.y0[:, None], self.t, self.context).square().mean().backward()
        self.network.zero_grad()


class Tinybrain(Side):
    @cached_property
    def recipe(self) -> Recipe:
        bf16 = self.args.precision == "bf16"
        return replace(PAPER, ema_width=0.1, bf16=bf16, batch_size=self.args.batch)

    @cached_property
    def ddpm(self) -> DDPM:
        return self.recipe.ddpm()

    @cached_property
    def state(self) -> State:
        speed = Speed(compile=self.args.compile, tf32=self.args.precision != "float32")
        state = start(self.network, self.recipe, tokens=self.args.tokens, speed=speed)
        state.denoiser.precision = torch.autocast(  # on a CPU too
            self.device.type, torch.bfloat16, enabled=self.recipe.bf16
        )
        return state

    def training_step(self) -> None:
        rows = torch.arange(self.args.batch, device=self.device)
        train_step(self.state, self.recipe, self.ddpm, self.y0, self.context, rows)

    @torch.no_grad()
    def sampling(self) -> None:
        y, context = self.y0, self.network.encode_context(self.context)
        for t in range(999, 999 - self.args.steps, -1):
            answer = self.answer(y[:, None], torch.full_like(self.t, t), context)[:, 0]
            y = self.ddpm.reverse_step(answer, y, t, torch.randn_like(y))


class Diffusers(Side):
    @cached_property
    def tools(self) -> tuple:
        from diffusers import DDPMScheduler
        from diffusers.training_utils import EMAModel

        optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4, weight_decay=1e-5)
        return DDPMScheduler(clip_sample=False), optimizer, EMAModel(self.network.parameters())

    def training_step(self) -> None:
        scheduler, optimizer, average = self.tools
        noise = torch.randn_like(self.y0)
        t = torch.randint(1000, (self.args.batch,), device=self.device)
        y_t = scheduler.add_noise(self.y0, noise, t)
        loss = F.mse_loss(self.answer(y_t[:, None], t, self.context)[:, 0], noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(self.network.parameters())

    @torch.no_grad()
    def sampling(self) -> None:
        from diffusers import DDPMScheduler

        scheduler, y = DDPMScheduler(clip_sample=False), self.y0
        for t in range(999, 999 - self.args.steps, -1):
            answer = self.answer(y[:, None], torch.full_like(self.t, t), self.context)[:, 0]
            y = scheduler.step(answer, t, y).prev_sample


def build(args: argparse.Namespace, device: torch.device) -> dict[str, Side]:
    """Both, with the same weights."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    theirs = UNet2DConditionModel(
        in_channels=1, out_channels=1, block_out_channels=args.channels,
        down_block_types=("DownBlock2D",) * 2 + ("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",) * 2,
        cross_attention_dim=768,
    )
    ours = unet_from_diffusers(theirs.state_dict(), UNetConfig(channels=tuple(args.channels)))
    sides = Tinybrain(ours, args, device), Diffusers(theirs, args, device)
    return dict(zip(NAMES, sides))


# -------------------------------------------------------------------------------------------------
# Measuring


def run(side: Side, job: str) -> None:
    """One job of one side, to its end."""
    with in_tf32(side.device, side.args.precision != "float32"):
        getattr(side, job.replace(" ", "_"))()
    if side.device.type == "cuda":
        torch.cuda.synchronize(side.device)


def seconds(job: Callable[[], object]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def where(device: torch.device) -> str:
    """What it runs on, in words."""
    cpu = f"CPU, {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    return f"{name}, torch {torch.__version__}"


def take_turns(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each job, all in turn, in an order that alternates; the first warms up."""
    took = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        for name in jobs if turn % 2 else reversed(jobs):
            once = seconds(jobs[name])
            took[name] += [once] if turn else []
    return {name: statistics.median(values) for name, values in took.items()}


def peak(job: Callable[[], object], device: torch.device) -> float:
    """MiB by which two rounds of a job raise the memory in use at its highest."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        job(), job()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    before = forget_peak()
    job(), job()
    return resident("VmHWM") - before


def forget_peak() -> float:
    """Have VmHWM count from here; MiB resident now."""
    ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    return resident("VmRSS")


def resident(field: str) -> float:
    """MiB from the kernel's account of this process: VmRSS now, or VmHWM at its highest (Linux)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def memory(name: str, job: str) -> float:
    """Peak MiB of one job beyond the weights, in a process of its own."""
    out = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--alone", name, job], check=True,
        capture_output=True, text=True,
    ).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    args = arguments()
    device = pick_device(name=args.device)
    sides = build(args, device)
    if args.alone:
        name, job = args.alone
        return print(json.dumps(peak(partial(run, sides[name], job), device)))
    print(f"{where(device)}, {args.precision}{', compiled' * args.compile}, "
          f"batch {args.batch} of {args.size[0]} x {args.size[1]}, {args.tokens} token(s)\n")
    print("| | tinybrain | diffusers | times as fast | peak memory | diffusers' | times smaller |")
    print("|---" + "|---:" * 6 + "|")
    for job in args.jobs:
        took = take_turns({name: partial(run, sides[name], job) for name in NAMES}, args.rounds)
        ours, theirs = (took[name] for name in NAMES)
        mine, other = (memory(name, job) for name in NAMES)
        print(f"| {job} | {ours:.3f} s | {theirs:.3f} s | {theirs / ours:.2f} | {mine:.0f} MiB | "
              f"{other:.0f} MiB | {other / mine:.2f} |", flush=True)


if __name__ == "__main__":
    command_line.run(main)
