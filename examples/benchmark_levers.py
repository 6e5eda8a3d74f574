#!/usr/bin/env python3
"""What each lever on time and memory brings, alone: the same job with and without it, taking turns.

    python examples/benchmark_levers.py                      the paper's network, this device
    python examples/benchmark_levers.py --channels 32 64 128 128 --levers recompute micro-batch
    python examples/benchmark_levers.py --size 271 200 --batch 4 --tokens 257           on a GPU

Prints a table of medians; a ratio above 1 is in the lever's favour. With one context token the
network leaves cross-attention out (`unet.CrossAttention`): that has no switch and no row. TF32 and
CUDA graphs have rows on a GPU.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from unittest.mock import patch

import torch
from benchmark import peak, sizes, take_turns, where
from torch import Tensor

from tinybrain import command_line
from tinybrain import unet as unet_module
from tinybrain.parallel import pick_device
from tinybrain.recipes import PAPER
from tinybrain.speed import in_tf32, set_recompute
from tinybrain.step import start, train_step, update_average
from tinybrain.unet import UNet2D, UNetConfig
from tinybrain.upsample import in_two_steps

# What a lever gives for each of its rows: the job's name, the job without it, the job with it,
# and whether memory is to be measured too.
Rows = Iterator[tuple[str, Callable[[], object], Callable[[], object], bool]]


class Jobs:
    """A network, what it is fed, and what can be asked of it."""

    def __init__(self, args: argparse.Namespace):
        self.device = pick_device(name=args.device)
        self.steps = args.steps
        torch.manual_seed(0)
        levels = len(args.channels)
        attention = tuple(level >= levels - 2 for level in range(levels))
        self.unet = UNet2D(UNetConfig(channels=tuple(args.channels), attention=attention))
        self.unet.to(self.device)
        self.y0 = torch.randn(args.batch, *args.size, device=self.device)      # (b, h, w)
        self.context = torch.randn(args.batch, args.tokens, 768, device=self.device)
        self.t = torch.randint(1000, (args.batch,), device=self.device)
        self.recipe = replace(PAPER, ema_width=0.1, batch_size=args.batch)
        self.ddpm = self.recipe.ddpm()

    def done(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @torch.no_grad()
    def forward(self, network: Callable) -> None:
        network(self.y0[:, None], self.t, self.context)
        self.done()

    def gradient(self, network: Callable) -> None:
        network(self.y0[:, None], self.t, self.context).square().mean().backward()
        self.unet.zero_grad()
        self.done()

    @torch.no_grad()
    def sampling(self, network: Callable, rows: int | None = None, remember: bool = True) -> None:
        """The first steps of the ancestral reverse process."""
        y, context = self.y0[:rows], self.context[:rows]
        context = self.unet.encode_context(context) if remember else context
        for t in range(999, 999 - self.steps, -1):
            answer = network(y[:, None], self.t.new_full((len(y),), t), context)[:, 0]
            y = self.ddpm.reverse_step(answer, y, t, torch.randn_like(y))
        self.done()


def channels_last(jobs: Jobs) -> Rows:
    other, ours = copy.copy(jobs), copy.copy(jobs)
    other.unet = copy.deepcopy(jobs.unet).to(memory_format=torch.contiguous_format)
    ours.unet = copy.deepcopy(jobs.unet).to(memory_format=torch.channels_last)
    yield "forward", partial(other.forward, other.unet), partial(ours.forward, ours.unet), False
    yield "gradient", partial(other.gradient, other.unet), partial(ours.gradient, ours.unet), False


def fused_adamw(jobs: Jobs) -> Rows:
    def optimizer(**way: bool) -> Callable[[], object]:
        weights = [p.detach().clone().requires_grad_() for p in jobs.unet.parameters()]
        for p in weights:
            p.grad = torch.ones_like(p)
        step = torch.optim.AdamW(weights, **way).step
        return lambda: (step(), jobs.done())

    fused = optimizer(fused=True)
    yield "AdamW, against foreach", optimizer(foreach=True), fused, False
    yield "AdamW, against a loop", optimizer(foreach=False), fused, False


def foreach_average(jobs: Jobs) -> Rows:
    average = copy.deepcopy(jobs.unet).requires_grad_(False)

    @torch.no_grad()
    def loop() -> None:
        for mean, now in zip(average.parameters(), jobs.unet.parameters()):
            mean.lerp_(now, 1e-3)
        jobs.done()

    def foreach() -> None:
        update_average(average, jobs.unet, 1000, 0.1)
        jobs.done()

    yield "average of the weights", loop, foreach, False


def transposed_upsampling(jobs: Jobs) -> Rows:
    def in_two(job: Callable[[Callable], None]) -> None:
        with patch.object(unet_module, "upsample", in_two_steps):
            job(jobs.unet)

    for name, job in (("forward", jobs.forward), ("gradient", jobs.gradient)):
        yield name, partial(in_two, job), partial(job, jobs.unet), False


def context_once(jobs: Jobs) -> Rows:
    each_time = partial(jobs.sampling, jobs.unet, remember=False)
    yield "sampling", each_time, partial(jobs.sampling, jobs.unet), False


def bf16(jobs: Jobs) -> Rows:
    def network(*given) -> Tensor:
        with torch.autocast(jobs.device.type, torch.bfloat16):
            return jobs.unet(*given)

    yield "forward", partial(jobs.forward, jobs.unet), partial(jobs.forward, network), False
    yield "gradient", partial(jobs.gradient, jobs.unet), partial(jobs.gradient, network), True


def tf32(jobs: Jobs) -> Rows:
    def rounded(job: Callable[[Callable], None], on: bool) -> None:
        with in_tf32(jobs.device, on):
            job(jobs.unet)

    for name, job in (("forward", jobs.forward), ("gradient", jobs.gradient)):
        yield name, partial(rounded, job, False), partial(rounded, job, True), False


def compiled(jobs: Jobs) -> Rows:
    program = torch.compile(jobs.unet, dynamic=False)
    yield "forward", partial(jobs.forward, jobs.unet), partial(jobs.forward, program), False
    yield "gradient", partial(jobs.gradient, jobs.unet), partial(jobs.gradient, program), True


def cuda_graphs(jobs: Jobs) -> Rows:
    compiled = torch.compile(jobs.unet, dynamic=False)
    graph = torch.compile(jobs.unet, dynamic=False, mode="reduce-overhead")

    def replay(*given) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()  # the last answer may be overwritten
        return graph(*given)

    graphs = partial(jobs.sampling, replay, rows=1)
    for name, network in (("uncompiled", jobs.unet), ("compiled", compiled)):
        yield f"sampling 1 row, against {name}", partial(jobs.sampling, network, 1), graphs, False


def recompute(jobs: Jobs) -> Rows:
    def gradient(on: bool) -> None:
        set_recompute(jobs.unet, on)
        jobs.gradient(jobs.unet)

    yield "gradient", partial(gradient, False), partial(gradient, True), True


def micro_batch(jobs: Jobs) -> Rows:
    state, rows = start(jobs.unet, jobs.recipe), torch.arange(len(jobs.y0), device=jobs.device)

    def step(size: int | None) -> None:
        train_step(
            state, jobs.recipe, jobs.ddpm, jobs.y0, jobs.context, rows, micro_batch=size
        )
        state.optimizer.zero_grad()  # its memory is the job's
        jobs.done()

    yield "training step, 1 row at a time", partial(step, None), partial(step, 1), True


LEVERS = {
    "channels-last": channels_last, "fused AdamW": fused_adamw, "foreach average": foreach_average,
    "transposed upsampling": transposed_upsampling, "context once": context_once, "bf16": bf16,
    "recompute": recompute, "micro-batch": micro_batch, "TF32": tf32, "compile": compiled,
    "CUDA graphs": cuda_graphs,
}  # fmt: skip
ON_A_GPU = ("TF32", "CUDA graphs")


def arguments() -> argparse.Namespace:
    cli = sizes(__doc__)
    cli.add_argument("--levers", nargs="+", choices=LEVERS, help="by default all of the device's")
    return cli.parse_args()


def main() -> None:
    args = arguments()
    device = pick_device(name=args.device)
    print(f"{where(device)}, float32, batch {args.batch} of {args.size[0]} x "
          f"{args.size[1]}, {args.tokens} token(s), channels {tuple(args.channels)}\n")
    print("| lever | job | without | with | ratio |\n|---|---|---:|---:|---:|")
    for name in args.levers or LEVERS:
        if name in ON_A_GPU and device.type != "cuda":
            continue
        for job, without, with_it, memory in LEVERS[name](Jobs(args)):
            took = take_turns({"without": without, "with": with_it}, args.rounds)
            before, after = took["without"], took["with"]
            print(f"| {name} | {job} | {1e3 * before:,.1f} ms | {1e3 * after:,.1f} ms | "
                  f"{before / after:.2f} |", flush=True)
            if memory:
                before, after = (peak(one, device) for one in (without, with_it))
                print(f"| | {job}: memory | {before:,.0f} MiB | {after:,.0f} MiB | "
                      f"{before / after:.2f} |", flush=True)


if __name__ == "__main__":
    command_line.run(main)
