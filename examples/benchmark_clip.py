#!/usr/bin/env python3
"""Images per second from JPEG files to CLIP features, beside transformers.

    python examples/benchmark_clip.py --source PHOTOS                  ViT-L/14, this device
    python examples/benchmark_clip.py --source PHOTOS --tower small    where decoding counts
    python examples/benchmark_clip.py --tower small --images 400       a minute, of the demo

Ours is `features.encode`; theirs is CLIPVisionModelWithProjection fed by transformers' own
processor, the one that uses PIL as ours does. Both have the same random weights, the same files
(crops and flips of the photographs in PHOTOS, written to a temporary folder) and batches of the
same size, and they take turns, so that whatever else the machine does falls on both. Memory is the
peak of a process of its own on a CPU (resident, less what was resident before the first image) and
of the allocator on a GPU. Needs transformers.

The features of the two differ where transformers cuts its square one pixel beside ours
(`clip/image.py` says when). On few cores OMP_WAIT_POLICY=passive in the environment helps small
towers, ours more than theirs: torch's threads then leave the cores to the decoders while they wait.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from benchmark import forget_peak, resident, where
from PIL import Image
from torch.nn import functional as F

from tinybrain import command_line
from tinybrain.clip.model import CLIP, DEMO_VISION, VisionConfig
from tinybrain.clip.names import openai_names
from tinybrain.command_line import positive
from tinybrain.features import PRECISIONS, encode
from tinybrain.parallel import pick_device
from tinybrain.things import make_demo
from tinybrain.things.images import list_images

TOWERS = {"true": VisionConfig(), "small": DEMO_VISION}
NAMES = ("tinybrain", "transformers")


def arguments() -> argparse.Namespace:
    cli = command_line.parser(__doc__)
    cli.add_argument("--source", type=Path, help="folder of photographs; without it, the demo's "
                     "pictures, which are small")
    cli.add_argument("--tower", choices=TOWERS, default="true", help="ViT-L/14, or the demo's")
    cli.add_argument("--images", type=positive, default=2000)
    cli.add_argument("--batch", type=positive, default=64)
    cli.add_argument("--rounds", type=positive, default=4, help="turns of each, by equal shares")
    cli.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    cli.add_argument("--device", help="by default a GPU if there is one")
    cli.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)  # name, precision, files: memory
    return cli.parse_args()


def write_photographs(folder: Path, source: Path, count: int) -> list[Path]:
    """Crops of 70 to 100 % a side, every other one flipped, as JPEG files."""
    rng, files = np.random.default_rng(0), []
    photos = [Image.open(path).convert("RGB") for path in list_images(source)]
    for place in range(count):
        photo = photos[place % len(photos)]
        shares = rng.uniform(0.7, 1, 2)
        width, height = (int(side * share) for side, share in zip(photo.size, shares))
        left, top = rng.integers(photo.width - width + 1), rng.integers(photo.height - height + 1)
        photo = photo.crop((left, top, left + width, top + height))
        if place % 2:
            photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        files.append(folder / f"{place:05d}.jpg")
        photo.save(files[-1], quality=90)
    return files


class Contest:
    """Both libraries with the same weights."""

    def __init__(self, args: argparse.Namespace):
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        try:  # transformers 5 has two processors; the plain name is the torchvision one
            from transformers import CLIPImageProcessorPil as CLIPImageProcessor
        except ImportError:
            from transformers import CLIPImageProcessor
        c = TOWERS[args.tower]
        torch.manual_seed(0)
        self.theirs = CLIPVisionModelWithProjection(CLIPVisionConfig(
            image_size=c.image_size, patch_size=c.patch_size, hidden_size=c.width,
            intermediate_size=4 * c.width, num_hidden_layers=c.layers,
            num_attention_heads=c.heads, projection_dim=c.embed_dim,
        )).eval()  # fmt: skip
        self.ours = CLIP(c).requires_grad_(False).eval()
        self.ours.load_state_dict(openai_names(self.theirs.state_dict()))
        self.device = pick_device(name=args.device)
        self.theirs.to(self.device)
        self.ours.to(self.device)
        self.processor = CLIPImageProcessor(
            size={"shortest_edge": c.image_size},
            crop_size={"height": c.image_size, "width": c.image_size},
        )
        self.batch = args.batch

    def run(self, name: str, precision: str, files: list[Path]) -> tuple[torch.Tensor, float]:
        """Features (n, d) of unit length, and the seconds they took."""
        began = time.perf_counter()
        if name == "tinybrain":
            z = encode(
                self.ours, files, unit_length=True, batch_size=self.batch, precision=precision
            )[:, 0]
        else:
            starts = range(0, len(files), self.batch)
            z = torch.cat([self.their_batch(files[s : s + self.batch], precision) for s in starts])
        return z, time.perf_counter() - began

    @torch.no_grad()
    def their_batch(self, files: list[Path], precision: str) -> torch.Tensor:
        images = [Image.open(file) for file in files]
        pixels = self.processor(images, return_tensors="pt")["pixel_values"].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16"):
            z = self.theirs(pixel_values=pixels).image_embeds
        return F.normalize(z.float(), dim=-1).cpu()


def peak_memory(contest: Contest, name: str, precision: str, files: list[Path]) -> list[float]:
    """Peak MiB beyond the weights over the first four batches, and over all files."""
    if contest.device.type == "cuda":
        before, peaks = torch.cuda.memory_allocated(contest.device), []
        for some in (files[: 4 * contest.batch], files):
            torch.cuda.reset_peak_memory_stats(contest.device)
            contest.run(name, precision, some)
            peaks.append((torch.cuda.max_memory_allocated(contest.device) - before) / 2**20)
        return peaks
    out = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--alone", name, precision, files[0].parent],
        check=True, capture_output=True, text=True,
    ).stdout
    return json.loads(out.splitlines()[-1])


def alone(args: argparse.Namespace) -> None:
    """Print what `peak_memory` reports of a CPU; one library in this process (Linux)."""
    name, precision, folder = args.alone
    contest, files = Contest(args), sorted(Path(folder).iterdir())[: args.images // args.rounds]
    setattr(contest, "ours" if name == "transformers" else "theirs", None)
    gc.collect()
    before, peaks = forget_peak(), []
    for some in (files[: 4 * args.batch], files):
        contest.run(name, precision, some)
        peaks.append(resident("VmHWM") - before)
    print(json.dumps(peaks))


def main() -> None:
    args = arguments()
    if args.alone:
        return alone(args)
    contest = Contest(args)
    rows = [(name, precision) for precision in args.precisions for name in NAMES]
    with tempfile.TemporaryDirectory() as folder:
        source = args.source or make_demo(Path("runs") / "demo-data")
        files = write_photographs(Path(folder), source, args.images)
        print(f"{where(contest.device)}, {args.tower} tower, {args.images} images, "
              f"batch {args.batch}\n")
        for name, precision in rows:
            contest.run(name, precision, files[: args.batch])  # warm up
        seconds = dict.fromkeys(rows, 0.0)
        features: dict[tuple[str, str], list[torch.Tensor]] = {row: [] for row in rows}
        for turn in range(args.rounds):
            for row in rows if turn % 2 else reversed(rows):
                z, took = contest.run(*row, files[turn :: args.rounds])
                features[row].append(z)
                seconds[row] += took
        share = files[: args.images // args.rounds]
        peaks = {row: peak_memory(contest, *row, share) for row in rows}
    print_table(args, rows, seconds, {row: torch.cat(z) for row, z in features.items()}, peaks)


def print_table(args, rows, seconds, features, peaks) -> None:
    print("| | images/s | x transformers | x float32 | largest difference from tinybrain float32 "
          "| peak MiB, 4 batches | peak MiB, a turn |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, precision in rows:
        took = seconds[name, precision]
        cells = [f"{args.images / took:.2f}", f"{seconds['transformers', precision] / took:.2f}"]
        plain, first = (name, "float32"), ("tinybrain", "float32")
        cells.append(f"{seconds[plain] / took:.2f}" if plain in seconds else "-")
        far = (features[name, precision] - features[first]).abs().max() if first in features else 0
        cells += [f"{far:.1e}", *(f"{peak:.0f}" for peak in peaks[name, precision])]
        print(f"| {name} {precision} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    command_line.run(main)
