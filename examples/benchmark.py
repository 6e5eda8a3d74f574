#!/usr/bin/env python3
"""Time and memory of the U-Net beside diffusers' `UNet2DConditionModel`, same weights, same inputs.

    python examples/benchmark.py                           63 x 250, batch 2, float32, this device
    python examples/benchmark.py --size 271 200 --batch 1
    python examples/benchmark.py --precision bf16 --compile --batch 16        on a GPU

The two take turns, so that whatever else the machine does falls on both; ratios of medians are the
result, above 1 where tinybrain is faster or smaller. Memory is the peak of a process of its own on
a CPU (resident, less what was resident before the first forward) and of the allocator on a GPU.
Needs diffusers.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time

import torch

from tinybrain.ddpm import DDPM, linear_schedule
from tinybrain.interop import unet_from_diffusers
from tinybrain.parallel import pick_device
from tinybrain.unet import UNetConfig

JOBS = ("forward", "training step", "sampling")
NAMES = ("tinybrain", "diffusers")


def arguments() -> argparse.Namespace:
    cli = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cli.add_argument("--size", type=int, nargs=2, default=(63, 250), help="sensors, time points")
    cli.add_argument("--batch", type=int, default=2)
    cli.add_argument("--tokens", type=int, default=1, help="of the context")
    cli.add_argument("--rounds", type=int, default=5, help="turns of each, after one to warm up")
    cli.add_argument("--steps", type=int, default=3, help="reverse steps of the sampling row")
    cli.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    cli.add_argument("--compile", action="store_true", help="torch.compile both")
    cli.add_argument("--device", help="by default a GPU if there is one")
    cli.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS)
    cli.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)  # (name, job): measure memory
    return cli.parse_args()


def build(args: argparse.Namespace, device: torch.device) -> dict[str, torch.nn.Module]:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    theirs = UNet2DConditionModel(
        in_channels=1, out_channels=1, block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownBlock2D",) * 2 + ("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",) * 2,
        cross_attention_dim=768,
    )
    ours = unet_from_diffusers(theirs.state_dict(), UNetConfig())
    models = {"tinybrain": ours.to(device), "diffusers": theirs.to(device)}
    return {k: torch.compile(m, dynamic=False) if args.compile else m for k, m in models.items()}


class Bench:
    """The three jobs, for either network."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.device = torch.device(args.device) if args.device else pick_device()
        generator = torch.Generator().manual_seed(1)
        self.y_t = torch.randn(args.batch, 1, *args.size, generator=generator).to(self.device)
        self.context = torch.randn(args.batch, args.tokens, 768, generator=generator).to(
            self.device
        )
        self.t = torch.randint(1000, (args.batch,), generator=generator).to(self.device)
        self.ddpm = DDPM(linear_schedule())

    def answer(self, model, y_t, t, context):
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.args.precision == "bf16"
        ):
            out = model(y_t, t, context)
        return (out if isinstance(out, torch.Tensor) else out.sample).float()

    def run(self, name: str, model, job: str) -> float:
        """Seconds of one job."""
        self.wait()
        began = time.perf_counter()
        if job == "training step":
            self.answer(model, self.y_t, self.t, self.context).square().mean().backward()
            model.zero_grad(set_to_none=True)
        elif job == "forward":
            with torch.no_grad():
                self.answer(model, self.y_t, self.t, self.context)
        else:
            self.sample(name, model)
        self.wait()
        return time.perf_counter() - began

    @torch.no_grad()
    def sample(self, name: str, model) -> None:
        """The first steps of the ancestral reverse process, each library in its own way."""
        from diffusers import DDPMScheduler

        y, scheduler = self.y_t, DDPMScheduler(clip_sample=False)
        context = self.context
        if name == "tinybrain" and not self.args.compile:
            context = model.encode_context(context)
        for t in range(999, 999 - self.args.steps, -1):
            answer = self.answer(model, y, torch.full_like(self.t, t), context)
            if name == "tinybrain":
                y = self.ddpm.reverse_step(answer, y, t, torch.randn_like(y))
            else:
                y = scheduler.step(answer, t, y).prev_sample

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def peak_memory(bench: Bench, models, name: str, job: str) -> float:
    """Peak MiB of one job beyond the weights; on a CPU in a process of its own."""
    if bench.device.type == "cuda":
        bench.run(name, models[name], job)
        before = torch.cuda.memory_allocated(bench.device)
        torch.cuda.reset_peak_memory_stats(bench.device)
        bench.run(name, models[name], job)
        return (torch.cuda.max_memory_allocated(bench.device) - before) / 2**20
    out = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--alone", name, job], check=True,
        capture_output=True, text=True,
    ).stdout
    return json.loads(out.splitlines()[-1])


def resident(field: str) -> float:
    """MiB from the kernel's account of this process: VmRSS now, or VmHWM at its highest (Linux)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def alone(args: argparse.Namespace) -> None:
    """Print the growth of the peak resident memory by two rounds of one job, MiB."""
    name, job = args.alone
    bench = Bench(args)
    model = build(args, bench.device)[name]
    ctypes.CDLL(None).malloc_trim(0)  # what building both has freed goes back to the system
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")  # forget the peak of building both
    before = resident("VmRSS")
    for _ in range(2):
        bench.run(name, model, job)
    print(json.dumps(resident("VmHWM") - before))


def main() -> None:
    args = arguments()
    if args.alone:
        return alone(args)
    bench = Bench(args)
    models = build(args, bench.device)
    where = torch.cuda.get_device_name() if bench.device.type == "cuda" else (
        f"CPU, {torch.get_num_threads()} threads"
    )
    print(f"{where}, torch {torch.__version__}, {args.precision}{', compiled' * args.compile}, "
          f"batch {args.batch} of {args.size[0]} x {args.size[1]}, {args.tokens} token(s)\n")
    print(f"| {'':13} | {'tinybrain':>10} | {'diffusers':>10} | {'faster x':>8} | "
          f"{'tinybrain':>10} | {'diffusers':>10} | {'smaller x':>9} |")
    print("|" + "-" * 15 + "|" + ("-" * 11 + ":|") * 2 + "-" * 9 + ":|" + ("-" * 11 + ":|") * 2
          + "-" * 10 + ":|")
    for job in args.jobs:
        seconds = {name: [] for name in NAMES}
        for turn in range(args.rounds + 1):
            for name in NAMES if turn % 2 else reversed(NAMES):
                took = bench.run(name, models[name], job)
                seconds[name] += [took] if turn else []
        ours, theirs = (statistics.median(seconds[name]) for name in NAMES)
        mine, other = (peak_memory(bench, models, name, job) for name in NAMES)
        print(f"| {job:13} | {ours:8.3f} s | {theirs:8.3f} s | {theirs / ours:8.2f} | "
              f"{mine:6.0f} MiB | {other:6.0f} MiB | {other / mine:9.2f} |", flush=True)


if __name__ == "__main__":
    main()
