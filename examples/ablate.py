#!/usr/bin/env python3
"""What each ingredient of the recipe brings, on the demo: one at a time is changed.

    python examples/ablate.py                              every variation, 3 seeds: hours of a core
    python examples/ablate.py --only recipe "no residual" --seeds 0
    python examples/ablate.py --context tower              features of the demo's random tower

The measure is the conditional mean's squared error against the demo's test: which share it closes
of the gap from ridge to the best possible, the noise-free signals, with a 95 % interval
(bootstrap over images of the error averaged over seeds). The epoch is chosen on held-out training
concepts; the test is looked at once, at the end. By default the network is told the attributes
that the pictures were drawn from, as an encoder would that sees everything in them: the question is
the recipe. --context tower asks the same of a tower that has learned nothing and misses much.
Ctrl-C stops; the same command continues, and what is finished is not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from tinybrain import command_line
from tinybrain.baselines import fit_ridge
from tinybrain.command_line import positive
from tinybrain.contexts import ContextOptions, make_contexts
from tinybrain.encoder import Encoder
from tinybrain.experiment import NARROW, SMALL, SMALL_RUN
from tinybrain.files import write_text
from tinybrain.heldout import hold_out
from tinybrain.metrics import variance_per_sensor
from tinybrain.pipeline import ImageToBrain
from tinybrain.recipes import TINYBRAIN
from tinybrain.things import EEG2, make_demo
from tinybrain.things.demo import read_truth
from tinybrain.train import fit
from tinybrain.uncertainty import gap_closed
from tinybrain.unet import UNetConfig

SAMPLES = 16  # whose mean stands for the conditional mean where the recipe has none
NETWORK = {**SMALL["eeg"], **NARROW, "zero_output": True}
RUN = {**SMALL_RUN["eeg"], "epochs": 40, "patience": 8}


@dataclass(frozen=True)
class Variation:
    """The recipe with something changed: in it, in the network, or in what is learned from."""

    name: str
    recipe: dict = field(default_factory=dict)
    network: dict = field(default_factory=dict)
    repeats: str = "mean"

    @property
    def slug(self) -> str:
        """The name as a folder can have it."""
        return "".join(c if c.isalnum() else "-" for c in self.name)


VARIATIONS = (
    Variation("recipe"),
    Variation("ridge without products", {"products": 0}),
    Variation("no residual", {"residual": False, "products": 0}),
    Variation("paper's process: epsilon, no zero terminal SNR",
              {"prediction": "epsilon", "zero_terminal_snr": False}),
    Variation("no average of the weights", {"ema_width": 0.0}),
    Variation("timesteps not spread over the batch", {"stratified": False}),
    Variation("context never dropped", {"drop_context": 0.0}),
    Variation("dropout 0.1", network={"dropout": 0.1}),
    Variation("noise on the context", {"context_noise": 0.2}),
    Variation("single repetitions as targets", {"epochs": 10, "patience": 2}, repeats="single"),
    Variation("network twice as wide", network={"channels": (16, 32, 64, 64)}),
    Variation("learning rate 1e-3", {"lr": 1e-3}),
    Variation("run on for 90 epochs", {"epochs": 90, "patience": 0, "products": 0}),
)


def arguments() -> argparse.Namespace:
    cli = command_line.parser(__doc__)
    names = [variation.name for variation in VARIATIONS]
    cli.add_argument("--only", nargs="+", choices=names, default=names, metavar="VARIATION",
                     help="; ".join(names).replace("%", "%%"))
    cli.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    cli.add_argument("--context", choices=("attributes", "tower"), default="attributes")
    cli.add_argument("--epochs", type=positive, default=RUN["epochs"], help="at most")
    cli.add_argument("--processes", type=positive, default=1,
                     help="trials side by side, a thread each")
    cli.add_argument("--out", type=Path, default=Path("runs") / "ablation")
    return cli.parse_args()


# -------------------------------------------------------------------------------------------------
# One trial


def data(context: str, repeats: str) -> tuple:
    """The demo: training recording, its context, test target, its context, encoder."""
    folder = make_demo(Path("runs") / "demo-data", seed=0)
    train, test = EEG2(folder, 1, "train", repeats=repeats), EEG2(folder, 1, "test")
    if context == "tower":
        encoder, told = make_contexts(
            ContextOptions(clip="random-small"), {"train": train, "test": test}
        )
        of_train, of_test = told["train"], told["test"]
    else:
        truth, encoder = read_truth(folder), Encoder("features", source="the demo's attributes")
        of_train, of_test = (
            torch.from_numpy(values).float()[:, None]
            for values in (truth.train_attributes, truth.test_attributes)
        )
    if repeats == "single":
        many = train.signals.shape[1]
        train = SimpleNamespace(**{
            name: getattr(train, name) for name in ("sensors", "times", "kind", "unit")
        }, signals=train.signals.reshape(-1, *train.signals.shape[2:]),
            concepts=tuple(np.repeat(train.concepts, many).tolist()))
        of_train = of_train.repeat_interleave(many, dim=0)
    return train, of_train, test.signals, of_test, encoder


def trial(variation: Variation, seed: int, args: argparse.Namespace) -> dict:
    """Train one variation from one seed, or read what came of it; errors of each test image."""
    folder = args.out / args.context / f"{variation.slug}-{seed}"
    recipe = replace(TINYBRAIN, **RUN | {"epochs": args.epochs} | variation.recipe, seed=seed)
    train, of_train, target, of_test, encoder = data(args.context, variation.repeats)
    config = UNetConfig(**NETWORK | variation.network, context_dim=of_train.shape[2])
    settings = json.loads(json.dumps({"recipe": asdict(recipe), "network": asdict(config)}))
    kept = folder / "result.json"
    if kept.exists() and (result := json.loads(kept.read_text()))["settings"] == settings:
        return result
    began = time.monotonic()
    model, y0 = ImageToBrain.prepare(recipe, config, train, of_train, encoder)
    aside = hold_out(train.concepts, recipe.heldout, seed, recipe.validation)
    log = fit(model, y0, of_train, folder, heldout=aside, progress=args.processes == 1)
    samples = model.generate(
        of_test, 2 if recipe.has_conditional_mean else SAMPLES, sampler="dpm_solver", steps=20
    ).data
    mean = model.mean(of_test).data[:, 0] if recipe.has_conditional_mean else samples.mean(axis=1)
    ratio = variance_per_sensor(samples) / variance_per_sensor(train.signals)
    epoch = model.card["epoch"]
    result = {
        "name": variation.name, "seed": seed, "settings": settings, "epoch": epoch,
        "errors": errors(mean, target), "base": errors(model.base(of_test).numpy(), target),
        "heldout_mse": log[epoch - 1]["heldout_mse"], "last_epoch": log[-1]["epoch"],
        "sample_variance": float(np.median(ratio)), "seconds": sum(row["seconds"] for row in log),
        "parameters": sum(p.numel() for p in model.unet.parameters()),
        "wall_seconds": time.monotonic() - began,
    }  # fmt: skip
    write_text(kept, json.dumps(result))
    return result


def errors(guess: np.ndarray, target: np.ndarray) -> list[float]:
    """Mean squared error of each image, (n,)."""
    return np.square(guess.astype(np.float64) - target).mean(axis=(1, 2)).tolist()


def one_thread() -> None:
    torch.set_num_threads(1)


# -------------------------------------------------------------------------------------------------
# All of them


def references(context: str) -> dict[str, np.ndarray]:
    """Errors (n,) of ridge and of the noise-free signals, the ends of the gap."""
    train, of_train, target, of_test, _ = data(context, "mean")
    ridge, _ = fit_ridge(of_train[:, 0], torch.from_numpy(train.signals), groups=train.concepts)
    truth = read_truth(Path("runs") / "demo-data").test
    return {"ridge": np.array(errors(ridge.predict(of_test[:, 0]).numpy(), target)),
            "truth": np.array(errors(truth, target))}


def table(results: list[dict], ends: dict[str, np.ndarray]) -> str:
    """One row for each variation, and the ends of the gap."""
    lines = [
        "| | seeds | MSE | of the gap closed | 95 % interval | each seed | held-out MSE | epochs "
        "kept | variance of samples | minutes |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        f"| ridge | | {ends['ridge'].mean():.4f} | 0 % | | | | | | |",
    ]
    products = [r["base"] for r in results if r["settings"]["recipe"]["products"]]
    if products:
        lines.append(row("ridge with products, no network", [{"errors": products[0]}], ends))
    for name in dict.fromkeys(result["name"] for result in results):
        lines.append(row(name, [result for result in results if result["name"] == name], ends))
    lines.append(f"| best possible | | {ends['truth'].mean():.4f} | 100 % | | | | | | |")
    return "\n".join(lines)


def row(name: str, results: list[dict], ends: dict[str, np.ndarray]) -> str:
    """The seeds of one variation: errors are averaged over them, image by image."""
    every = np.array([result["errors"] for result in results])                 # (seeds, n)
    closed = gap_closed(every.mean(axis=0), ends["ridge"], ends["truth"])
    cells = [name, "", f"{every.mean():.4f}", f"{closed.value:.0%}",
             f"{closed.low:.0%} to {closed.high:.0%}", *[""] * 5]
    if "seed" in results[0]:
        each = (gap_closed(one, ends["ridge"], ends["truth"], draws=10).value for one in every)
        held = [result["heldout_mse"] for result in results]
        cells[1] = str(len(results))
        cells[5:] = [
            ", ".join(f"{value:.0%}" for value in each),
            f"{np.mean(held):.4f}" if None not in held else "",
            ", ".join(f"{result['epoch']} of {result['last_epoch']}" for result in results),
            f"{np.mean([result['sample_variance'] for result in results]):.2f} x",
            f"{np.mean([result['seconds'] for result in results]) / 60:.1f}",
        ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    args = arguments()
    chosen = [variation for variation in VARIATIONS if variation.name in args.only]
    jobs = list(product(args.seeds, chosen))
    data(args.context, "mean")  # the demo is made once, not by each process
    results = []
    if args.processes > 1:
        with ProcessPoolExecutor(
            args.processes, mp_context=get_context("spawn"), initializer=one_thread
        ) as pool:
            waiting = [pool.submit(trial, variation, seed, args) for seed, variation in jobs]
            results = [job.result() for job in waiting]
    else:
        results = [trial(variation, seed, args) for seed, variation in jobs]
    text = table(results, references(args.context))
    page = write_text(args.out / f"{args.context}.md", text + "\n")
    print(f"\n{text}\n\n{page}")


if __name__ == "__main__":
    command_line.run(main, command_line.AGAIN)
