#!/usr/bin/env python3
"""CLIP features of images, kept in a folder: made once, continued after a stop.

    python examples/encode_images.py PHOTOS --out FEATURES
    python examples/encode_images.py THINGS --out FEATURES --nice
    python examples/encode_images.py THINGS-MEG --out FEATURES
    python examples/encode_images.py PHOTOS --out FEATURES --clip ViT-L-14.pt --tokens
    python examples/encode_images.py PHOTOS --out FEATURES --clip random-small     without weights

PHOTOS is a folder, searched with its subfolders, or a list of files. THINGS is a folder with
Image_set in it: its training and test images go to FEATURES/training and FEATURES/test, one row
per image in the order of image_metadata.npy, which is that of the recordings' rows. With --nice
the same rows are also written to FEATURES/clip_feature_maps_training.npy and ..._test.npy, the
files that train_eeg.py --features takes. THINGS-MEG is a folder with images_meg and
images_test_meg in it; they go to FEATURES/training and FEATURES/test, by name.

FEATURES holds features.npy, (images, tokens, width) float32, and features.json, which says what
made them. The same command continues after Ctrl-C, a crash or a broken image; once all is there it
only looks for images that have changed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from tinybrain import command_line
from tinybrain.clip import weights
from tinybrain.clip.model import DEMO_VISION, VisionConfig, random_clip
from tinybrain.command_line import positive
from tinybrain.feature_store import FeatureStore, build
from tinybrain.features import PRECISIONS
from tinybrain.files import write_atomically
from tinybrain.parallel import pick_device
from tinybrain.things.images import IMAGE_SET, SPLIT_FOLDER, image_table, list_images, visible

SPLITS = {"training": "train", "test": "test"}
MEG_FOLDERS = {"training": "images_meg", "test": "images_test_meg"}


def arguments() -> argparse.Namespace:
    cli = command_line.parser(__doc__)
    cli.add_argument("images", type=Path, nargs="+", help="a folder, files, or a THINGS folder")
    cli.add_argument("--out", type=Path, required=True, help="folder of the features")
    tower = cli.add_mutually_exclusive_group()
    tower.add_argument("--clip", "--weights", default="ViT-L/14", help="as in training: ViT-L/14 "
                       "(fetched once), a file or a folder of weights; or random or random-small, "
                       "a tower that has learned nothing, for trying without")  # fmt: skip
    tower.add_argument("--random", type=int, metavar="SEED", help="as --clip random, by this seed")
    tower.add_argument("--random-small", type=int, metavar="SEED", help="likewise")
    cli.add_argument("--tokens", action="store_true", help="all 257 tokens, not the class token")
    cli.add_argument("--no-unit-length", action="store_true", help="leave the vectors' lengths")
    cli.add_argument("--anew", action="store_true", help="replace features that were made "
                     "otherwise: by other weights, of other tokens")
    cli.add_argument("--nice", action="store_true", help="also write files in the form of NICE")
    cli.add_argument("--precision", choices=PRECISIONS, default="float32")
    cli.add_argument("--batch-size", type=positive, default=64)
    cli.add_argument("--device", help="cpu, cuda, cuda:1 ...; by default a GPU if there is one")
    return cli.parse_args()


def main() -> None:
    args = arguments()
    if args.nice and (args.tokens or args.no_unit_length or not is_things(args.images)):
        raise ValueError("--nice: NICE's files hold the class token, of unit length, of a THINGS "
                         "image set")
    clip, identity = tower(args)
    if is_things(args.images):
        for name, split in SPLITS.items():
            paths = image_table(args.images[0], split).paths
            store = encode(args, args.out / name, paths, paths[0].parents[1], clip, identity)
            if args.nice:
                write_nice(store, args.out / f"clip_feature_maps_{name}.npy")
    elif is_things_meg(args.images):
        for name, folder in MEG_FOLDERS.items():
            root = args.images[0] / folder
            encode(args, args.out / name, list_images(root), root, clip, identity)
    else:
        root = args.images[0] if len(args.images) == 1 and args.images[0].is_dir() else None
        encode(args, args.out, list_images(args.images), root, clip, identity)


def is_things(images: list[Path]) -> bool:
    patterns = (IMAGE_SET, *SPLIT_FOLDER.values())
    inside = visible(images[0]) if len(images) == 1 else []
    return any(pattern.fullmatch(path.name) for path in inside for pattern in patterns)


def is_things_meg(images: list[Path]) -> bool:
    return len(images) == 1 and all((images[0] / name).is_dir() for name in MEG_FOLDERS.values())


def tower(args: argparse.Namespace):
    """A function that loads CLIP, and what tells its weights from others."""
    large = 0 if args.clip == "random" else args.random
    if large is not None:
        return lambda: random_clip(VisionConfig(), large), {"random": "ViT-L/14", "seed": large}
    small = 0 if args.clip == "random-small" else args.random_small
    if small is not None:
        return lambda: random_clip(DEMO_VISION, small), {"random": "small", "seed": small}
    path = weights.locate(args.clip)
    return lambda: weights.load(path), path


def encode(args: argparse.Namespace, out: Path, paths, root, clip, identity) -> FeatureStore:
    began = time.monotonic()
    store = build(
        out, paths, clip, weights=identity, root=root, tokens=args.tokens,
        unit_length=not args.no_unit_length, batch_size=args.batch_size, precision=args.precision,
        device=pick_device(name=args.device), anew=args.anew, progress=sys.stderr.isatty(),
    )
    seconds = time.monotonic() - began
    n, tokens, width = store.features.shape
    rate = f", {store.encoded / seconds:.1f} images per second" if store.encoded else ""
    print(f"{n} rows of {tokens} x {width}, {store.encoded} encoded in {seconds:.1f} s{rate}: "
          f"{out / 'features.npy'}")
    return store


def write_nice(store: FeatureStore, path: Path) -> None:
    write_atomically(path, lambda file: np.save(file, store.features))
    print(f"{len(store.features)} rows in the form of NICE: {path}")


if __name__ == "__main__":
    command_line.run(main, command_line.AGAIN)
