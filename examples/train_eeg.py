#!/usr/bin/env python3
"""Train tinybrain on THINGS-EEG2, judge it beside its baselines, draw what it does.

    python examples/train_eeg.py                       the embedded demo, minutes on a CPU
    python examples/train_eeg.py --data FOLDER --subject 1
    python examples/train_eeg.py --data FOLDER --subject 1 --features FOLDER --recipe paper

CLIP features come from --features, or are made: of ViT-L/14, downloaded once, unless --clip says
otherwise. --context text or image+text tells the network the concept's name, or a caption. With
--data the network, epochs and batch size are the paper's (Section 4.2: a GPU is wanted);
--small takes the demo's. The run folder holds model.pt, report.md, report.json, log.csv and the
figures. Ctrl-C stops after the step under way; the same command continues.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from tinybrain import features, figures, report, topography
from tinybrain.clip import weights
from tinybrain.clip.model import DEMO_TEXT, DEMO_VISION, TextConfig, VisionConfig
from tinybrain.encoder import (
    CONTEXTS,
    TEMPLATE,
    Encoder,
    encode_captions,
    random_encoder,
    read_captions,
)
from tinybrain.feature_store import FeatureStore, build
from tinybrain.pipeline import ImageToBrain
from tinybrain.recipes import RECIPES
from tinybrain.things import EEG2, make_demo
from tinybrain.things.demo import read_truth
from tinybrain.things.sensors import layout
from tinybrain.train import fit, heldout_references, hold_out, pick_device
from tinybrain.unet import CONDITIONINGS, UNetConfig

# The paper's network, an eighth as wide; fewer and larger steps.
SMALL = {"channels": (16, 32, 64, 64), "layers_per_block": 1, "heads": 4, "groups": 8}
SMALL_RUN = {"epochs": 4, "lr": 1e-3}
SPLITS = {"train": "training", "test": "test"}  # folders of kept features


def arguments() -> argparse.Namespace:
    cli = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = cli.add_argument_group("data")
    what.add_argument("--data", type=Path, help="a THINGS-EEG2 folder; without it, the demo")
    what.add_argument("--subject", type=int, default=1)
    told = cli.add_argument_group("what the network is told")
    told.add_argument("--context", choices=CONTEXTS, default="image")
    told.add_argument("--features", type=Path, help="folder of clip_feature_maps_*.npy as NICE has "
                      "them, or of what encode_images.py wrote")
    told.add_argument("--clip", help="weights: ViT-L/14, a file or a folder; or random or "
                      "random-small, a tower that has learned nothing, for trying without")
    told.add_argument("--tokens", action="store_true", help="all tokens of an image, not one")
    told.add_argument("--template", default=TEMPLATE, help="of a caption: %(default)s")
    told.add_argument("--captions", type=Path, help="table with the columns image and caption")
    how = cli.add_argument_group("model and training")
    how.add_argument("--recipe", choices=sorted(RECIPES), default="tinybrain")
    how.add_argument("--small", action="store_true", help="the demo's network, epochs and tower")
    how.add_argument("--conditioning", choices=CONDITIONINGS, default="cross_attention")
    how.add_argument("--channels", type=int, nargs="+", help="widths of the U-Net's levels")
    how.add_argument("--epochs", type=int)
    how.add_argument("--batch-size", type=int)
    how.add_argument("--lr", type=float)
    how.add_argument("--seed", type=int, default=0)
    how.add_argument("--device", help="cpu, cuda, cuda:1 ...; by default a GPU if there is one")
    judge = cli.add_argument_group("evaluation")
    judge.add_argument("--trials", type=int, default=4, help="samples per test image")
    judge.add_argument("--sampler", choices=("ancestral", "ddim", "dpm_solver"))
    judge.add_argument("--steps", type=int, help="sampling steps")
    cli.add_argument("--run", type=Path, help="run folder; by default runs/demo or runs/sub-XX")
    cli.add_argument("--restart", action="store_true", help="train anew, not from where it stopped")
    return cli.parse_args()


def main() -> None:
    args, began = arguments(), time.monotonic()
    name = f"sub-{args.subject:02d}" if args.data else "demo"
    suffix = "" if args.recipe == "tinybrain" else f"-{args.recipe}"
    suffix += "" if args.context == "image" else f"-{args.context}"
    folder = args.run or Path("runs") / (name + suffix)
    if args.restart and (folder / "run.pt").exists():
        (folder / "run.pt").unlink()
    data = args.data or make_demo(Path("runs") / "demo-data", seed=0)
    train = EEG2(data, args.subject, "train")
    test = EEG2(data, args.subject, "test", repeats="single")
    print(train.summary, test.summary, sep="\n")
    device = torch.device(args.device) if args.device else pick_device()
    encoder, (context, context_test) = contexts(args, train, test, device)

    recipe, config = settings(args, context.shape[2])
    model, y0 = ImageToBrain.prepare(recipe, config, train, context, encoder)
    model.to(device)
    aside = hold_out(train.concepts, recipe.heldout, recipe.seed)
    count = sum(p.numel() for p in model.unet.parameters())
    print(f"training {count:,} parameters on {len(y0):,} images, {device}: {folder}")
    log = fit(model, y0, context, folder, heldout=aside)

    truth = None if args.data else read_truth(data).test
    print("evaluating")
    result = report.evaluate(
        model, train, context, test, context_test, trials=args.trials, truth=truth,
        subject=args.subject if args.data else None, seed=recipe.seed, progress=sys.stderr.isatty(),
    )
    references = heldout_references(model, train.signals, y0, aside) if aside is not None else {}
    drawn = draw(folder, model, log, references, train, test, context_test, result)
    result.report["seconds"] = round(time.monotonic() - began)
    model.card["report"] = report.plain(result.report)
    model.save(folder / "model.pt")
    page = report.write(result.report, folder, drawn)
    print("", report.table(result.report["rows"]), "", report.verdict(result.report), sep="\n")
    print(f"\n{page} (figures beside it), model {folder / 'model.pt'}")


def settings(args: argparse.Namespace, context_dim: int):
    """Recipe and network: the paper's sizes, or the demo's, changed where the user says so."""
    small = args.small or not args.data
    asked = {"epochs": args.epochs, "batch_size": args.batch_size, "lr": args.lr,
             "sampler": args.sampler, "sampling_steps": args.steps}
    asked = {name: value for name, value in asked.items() if value is not None}
    recipe = replace(
        RECIPES[args.recipe], **{**(SMALL_RUN if small else {}), **asked}, seed=args.seed
    )
    config = UNetConfig(
        **(SMALL if small else {}), context_dim=context_dim, conditioning=args.conditioning,
        zero_output=recipe.residual,
    )
    if args.channels:
        levels = len(args.channels)  # the two innermost attend, as the paper's do
        attention = tuple(level >= levels - 2 for level in range(levels))
        config = replace(config, channels=tuple(args.channels), attention=attention)
    return recipe, config


def contexts(args: argparse.Namespace, train, test, device: torch.device):
    """What makes the contexts, and the contexts (n, l, d) of training and test images."""
    encoder = choose_encoder(args)
    clip = cache(encoder.load_clip)  # loaded only if something is left to encode
    both = []
    for split, data in (("train", train), ("test", test)):
        parts = []
        if encoder.sees:
            parts.append(image_tokens(args, encoder, clip, data, split, device))
        if encoder.reads:
            table = args.captions and read_captions(args.captions, data.images)
            captions = table or encoder.captions(data.concepts)
            parts.append(
                encode_captions(clip().to(device), captions, unit_length=encoder.unit_length)
            )
        both.append(torch.cat(parts, dim=1))
    if args.features:
        encoder = replace(encoder, tokens=both[0].shape[1] > 2)
    print(f"context {tuple(both[0].shape[1:])}: {encoder.describe()}")
    return encoder, both


def choose_encoder(args: argparse.Namespace) -> Encoder:
    """The encoder that the arguments name."""
    told = {"context": args.context, "template": args.template, "tokens": args.tokens,
            "table": args.captions.name if args.captions else ""}
    if args.captions and args.context == "image":
        sys.exit("train_eeg.py: --captions are not read with --context image")
    if args.features and (args.clip or "").startswith("random"):
        sys.exit(f"train_eeg.py: --features were not made by --clip {args.clip}; give one of them")
    if args.features and not args.clip:
        if args.context != "image":
            sys.exit(f"train_eeg.py: --context {args.context} with --features needs --clip too")
        return Encoder("features", source=str(args.features))
    trying = args.clip is None and (args.small or not args.data)
    small = trying or args.clip == "random-small"
    if small or args.clip == "random":
        vision, text = (DEMO_VISION, DEMO_TEXT) if small else (VisionConfig(), TextConfig(514))
        return replace(random_encoder(vision, context=args.context, text=text), **told)
    name = args.clip or "ViT-L/14"
    return Encoder("clip", weights=name, sha256=weights.checksum(name), unit_length=True, **told)


def image_tokens(args: argparse.Namespace, encoder, clip, data, split: str, device) -> torch.Tensor:
    """The image's part of the context: from files, or encoded and, unless in seconds, kept."""
    show = sys.stderr.isatty()
    if args.features:
        kept = args.features / SPLITS[split]
        if not (kept / "features.json").exists():
            found = features.find_features(args.features, split)
            return features.read_features(found, len(data.images))
        store = FeatureStore.open(kept)
        made = (store.weights.get("sha256"), store.about["unit_length"])
        if encoder.name == "clip" and made != (encoder.sha256, encoder.unit_length):
            sys.exit(f"train_eeg.py: {kept} was not made by --clip {args.clip}, at unit length")
    elif encoder.name == "random":
        return features.encode(
            clip(), data.images, tokens=encoder.tokens, device=device, progress=show
        )
    else:
        store = build(
            Path("runs") / "features" / SPLITS[split], data.images, clip,
            weights=weights.locate(encoder.weights), tokens=encoder.tokens, device=device,
            progress=show,
        )
    return torch.from_numpy(store.features[store.rows(data.images)])


def draw(folder: Path, model, log, references, train, test, context_test, result) -> dict[str, str]:
    """Write the figures; their files by caption."""
    sensors, times, unit = model.sensors, model.times, model.unit
    real = test.signals.mean(axis=1)                                           # (n, h, w)
    figures.plot_loss(log, folder / "loss.png", references, kept=model.card["epoch"])
    figures.plot_evoked(
        real, result.samples, sensors=sensors, times=times, unit=unit, path=folder / "evoked.png",
        picks=figures.informative_sensors(real, sensors), conditional_mean=result.mean,
    )
    captions = {
        "Mean evoked response to the test images, recorded and generated": "evoked.png",
        "Training: loss by timestep" + ", and the conditional mean on held-out concepts"
        * model.recipe.has_conditional_mean: "loss.png",
    }
    maps = {"Training": train.signals.mean(axis=0), "Test": real.mean(axis=0),
            "Generated": result.samples.mean(axis=(0, 1))}
    maps["Training - test"] = maps["Training"] - maps["Test"]
    try:
        topography.plot_topographies(
            maps, sensors=sensors, xy=layout(sensors), times=times, unit=unit,
            path=folder / "topographies.png",
        )
        captions["Topographies every 100 ms, as the paper's Figure 3"] = "topographies.png"
    except ValueError as error:  # sensors without a known position
        print(f"no topographies: {error}")
    steps = list(model.denoise_steps(context_test[:1], seed=0))
    states = [(f"t = {t}" if t >= 0 else "signal", y.numpy()) for t, y in steps]
    few = [states[round(i * (len(states) - 1) / 5)] for i in range(6)]
    some = [states[round(i * (len(states) - 1) / 29)] for i in range(30)]
    look = {"sensors": sensors, "times": times, "unit": unit}
    figures.plot_denoising(few, path=folder / "denoising.png", **look)
    figures.animate_denoising(some, path=folder / "denoising.gif", **look)
    captions["One signal being denoised (moving: denoising.gif)"] = "denoising.png"
    return captions


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError, KeyboardInterrupt) as problem:
        sys.exit(f"train_eeg.py: {problem}")
