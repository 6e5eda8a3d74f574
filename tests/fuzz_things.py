"""Damaged inputs for every reader of THINGS files: documented errors, and nothing else.

    python -m tests.fuzz_things 20000 [seed]

Files of every form are damaged, one damage at a time, and read. What may come of it is a
recording, a ValueError or a FileNotFoundError. Memory is limited while this runs, so that no file
can ask for more, and Python's audit events tell if anything in a file was unpickled by Python,
executed or started.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests import meg_miniature as mini
from tests import raw_things, test_eeg2_variants, test_meg_files
from tinybrain.things import EEG2, MEG, layouts
from tinybrain.things.eeg2.epochs import find_events
from tinybrain.things.eeg2.raw import read_raw
from tinybrain.things.images import image_table
from tinybrain.things.meg.trials import read_trials

ROOM = 3 << 30  # bytes of address space beyond what is taken at the start
FORBIDDEN = ("pickle.find_class", "os.system", "os.exec", "subprocess.Popen", "exec", "compile")
SMALL = 200_000  # bytes; such files also lose and gain parts


class Target(NamedTuple):
    """A file, what reads it, and how often it is damaged beside others."""

    name: str
    path: Path
    read: Callable[[], object]
    weight: float


def eeg2_targets(folder: Path) -> list[Target]:
    """Every form of preprocessed THINGS-EEG2, the raw form, and the table of images."""
    found = []
    for name in ("gifford", "nice", "ubp", "ubp_tensor", "neurobridge", "neurobridge_inside",
                 "zeiss", "brainae", "own"):  # fmt: skip
        root = folder / name
        (root / "image_set").mkdir(parents=True)
        table = {}
        for split in ("train", "test"):
            concepts, files = zip(*test_eeg2_variants.images(split))
            table |= {f"{split}_img_concepts": list(concepts), f"{split}_img_files": list(files)}
        np.save(root / "image_set/image_metadata.npy", table, allow_pickle=True)
        write = getattr(test_eeg2_variants, name)
        write(root, "train", test_eeg2_variants.signals("train"))

        def read(root: Path = root) -> object:
            return EEG2(root, 1, "train")

        paths = [path for path in root.rglob("*.*") if path.is_file()]
        paths = [path for path in paths if path.name != "image_metadata.npy"]
        found += [Target(f"EEG2 {name} {path.name}", path, read, 4 / len(paths)) for path in paths]
    metadata = folder / "nice/image_set/image_metadata.npy"
    found.append(Target("image_metadata.npy", metadata, lambda: image_table(metadata, "train"), 4))
    raw = folder / "raw"
    raw_things.write_raw(raw, 1)
    path = raw / "raw_eeg_test.npy"
    found.append(Target("raw_eeg_test.npy", path, lambda: read_events(path), 4))
    return found


def read_events(path: Path) -> object:
    raw = read_raw(path)
    return find_events(raw.data[raw.stim])


def meg_targets(folder: Path) -> list[Target]:
    """Every form of THINGS-MEG, and its tables."""
    found, rows = [], mini.records()
    weights = {"fif": 1, "cosmofile": 1}
    for write in test_meg_files.PRODUCERS:
        root = folder / write.__name__
        mini.write_table(root / "sample_attributes_P1.csv", rows)
        mini.write_images(root, rows)
        write(root)

        def read(root: Path = root) -> object:
            return MEG(root, 1, "test", tmin=0.0 if root.name == "neurobridge_bare" else None,
                       crop="onset")  # fmt: skip

        kinds = (".fif", ".mat", ".pkl", ".pt", ".npy", ".json")
        paths = [path for path in root.rglob("*.*") if path.suffix in kinds]
        paths = [path for path in paths if "train" not in path.name]
        each = weights.get(write.__name__, 3) / len(paths)
        found += [Target(f"MEG {write.__name__} {path.name}", path, read, each) for path in paths]
    table = folder / "song/sample_attributes_P1.csv"
    events = folder / "sub-BIGMEG1_ses-01_task-main_run-01_events.tsv"
    events.write_text(table.read_text().replace(",", "\t"))
    found += [Target(path.name, path, lambda path=path: read_trials(path), 6)
              for path in (table, events)]  # fmt: skip
    return found


def layout_targets(folder: Path) -> list[Target]:
    path = folder / "places.csv"
    rows = (f"E{i},{np.cos(i):.4f},{np.sin(i):.4f},{i / 9:.4f}\n" for i in range(9))
    path.write_text("name,x,y,z\n" + "".join(rows))
    return [Target("layout", path, lambda: layouts.read_layout(path), 4)]


def damage(content: bytes, rng: random.Random) -> bytes:
    """One damage: bytes changed, mostly where a file says what is in it, or its end cut off."""
    size, data = len(content), bytearray(content)
    near = rng.choice([min(size, 3000), min(size, 400), size])
    start = 0 if rng.random() < 0.7 else size - near
    at = start + rng.randrange(near)
    how = rng.randrange(6 if size < SMALL else 4)
    if how == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif how == 1:
        for _ in range(rng.randrange(1, 6)):
            data[start + rng.randrange(near)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x28, 0x2E))
    elif how == 2:
        run = rng.randbytes(rng.choice((1, 2, 4, 8)))
        data[at : at + len(run)] = run[: size - at]
    elif how == 3:
        del data[at:]
    elif how == 4:
        other = rng.randrange(size)
        data[at:at] = data[other : other + rng.randrange(1, 40)]
    else:
        del data[at : at + rng.randrange(1, 40)]
    return bytes(data)


def patch(path: Path, old: bytes, new: bytes) -> None:
    """Make the file `new`, writing only what differs from `old` where their lengths agree."""
    with open(path, "r+b") as file:
        if len(old) == len(new):
            step = 1 << 16
            for at in range(0, len(old), step):
                if old[at : at + step] != new[at : at + step]:
                    file.seek(at)
                    file.write(new[at : at + step])
        else:
            file.write(new)
            file.truncate(len(new))


def run(count: int, seed: int, folder: Path) -> Counter:
    """Damage and read `count` times; what came of it, counted. Other errors are raised."""
    for name in ("eeg2", "meg"):
        (folder / name).mkdir()
    targets = eeg2_targets(folder / "eeg2") + meg_targets(folder / "meg") + layout_targets(folder)
    contents = {target.path: target.path.read_bytes() for target in targets}
    for target in targets:
        target.read()
    rng, outcome, events = random.Random(seed), Counter(), []

    def hook(event: str, args: tuple) -> None:
        if watched and event in FORBIDDEN and not (event == "exec" and _is_a_module(*args)):
            events.append((event, args))

    watched = False
    sys.addaudithook(hook)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, resource.RLIM_INFINITY))
    for number in range(count):
        target = rng.choices(targets, [target.weight for target in targets])[0]
        old = contents[target.path]
        patch(target.path, old, new := damage(old, rng))
        watched = target.path.suffix not in (".fif", ".mat")  # mne and h5py load parts when asked
        try:
            target.read()
            outcome["read"] += 1
        except (ValueError, FileNotFoundError) as error:
            outcome[type(error).__name__] += 1
        except BaseException as error:
            what = f"{target.name}, damage {number} of seed {seed}"
            raise AssertionError(f"{what}: {error!r}") from error
        finally:
            watched = False
        assert not events, f"{target.name}, damage {number} of seed {seed}: {events}"
        patch(target.path, new, old)
    return outcome


def _is_a_module(code) -> bool:
    """Whether code is of an installed module: zipfile imports a codec for odd names of entries."""
    return code.co_filename.startswith((sys.prefix, sys.base_prefix))


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("count", type=int)
    cli.add_argument("seed", type=int, nargs="?", default=0)
    args, began = cli.parse_args(), time.monotonic()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(args.count, args.seed, Path(folder))
    print(f"{sum(outcome.values())} damaged files in {time.monotonic() - began:.0f} s: "
          + ", ".join(f"{name} {times}" for name, times in outcome.most_common()))


if __name__ == "__main__":
    main()
