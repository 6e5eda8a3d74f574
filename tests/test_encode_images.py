"""examples/encode_images.py as a person runs it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import torch

from tests.test_feature_store import image_set, photo
from tests.test_store_files import HERE
from tinybrain.clip import DEMO_VISION, random_clip
from tinybrain.contexts import ContextOptions, choose_encoder
from tinybrain.feature_store import FeatureStore
from tinybrain.features import encode, find_features, read_features

SPLIT = {"training": "train", "test": "test"}


def run_example(*args, tower=("--random-small", 3)):
    command = [sys.executable, "examples/encode_images.py", *map(str, args), *map(str, tower)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **HERE)


def things(root):
    """A THINGS image set whose table has its own order."""
    columns = {}
    for split, folder, count in (("train", "training_images", 5), ("test", "test_images", 3)):
        paths = [photo(root / f"Image_set/{folder}/{i % 2:05d}_c{i % 2}/{split}{i}.png", i)
                 for i in range(count)][::-1]  # fmt: skip
        columns[f"{split}_img_concepts"] = [path.parent.name for path in paths]
        columns[f"{split}_img_files"] = [path.name for path in paths]
    np.save(root / "Image_set/image_metadata.npy", columns, allow_pickle=True)


def test_example_writes_the_files_of_nice_in_the_order_of_the_table(tmp_path):
    things(tmp_path / "things")
    out = tmp_path / "out"
    done = run_example(tmp_path / "things", "--out", out, "--nice", "--batch-size", 2)
    assert not done.returncode, done.stderr
    for name, folder, count in (("training", "training_images", 5), ("test", "test_images", 3)):
        nice = read_features(find_features(out, SPLIT[name]), count)
        store = FeatureStore.open(out / name)
        split = name.replace("ing", "")
        rows = [f"{i % 2:05d}_c{i % 2}/{split}{i}.png" for i in range(count)][::-1]
        assert list(store.names) == rows
        paths = [tmp_path / "things/Image_set" / folder / row for row in rows]
        wanted = encode(random_clip(DEMO_VISION, 3), paths, unit_length=True)
        torch.testing.assert_close(nice, wanted, rtol=1e-5, atol=1e-6)
        assert f"{count} rows of 1 x 256, {count} encoded" in done.stdout
    again = run_example(tmp_path / "things", "--out", out)
    assert "3 rows of 1 x 256, 0 encoded" in again.stdout


def test_example_keeps_the_images_of_things_meg_by_split_and_name(tmp_path):
    photo(tmp_path / "things/images_meg/dog/dog_01b.jpg", 1)
    photo(tmp_path / "things/images_meg/cat/cat_12s.jpg", 2)
    photo(tmp_path / "things/images_test_meg/fox_13s.jpg", 3)
    done = run_example(tmp_path / "things", "--out", tmp_path / "out")
    assert not done.returncode, done.stderr
    training = FeatureStore.open(tmp_path / "out/training")
    assert training.names == ("cat/cat_12s.jpg", "dog/dog_01b.jpg")
    assert training.row("elsewhere/images_meg/dog/dog_01b.jpg") == 1
    assert FeatureStore.open(tmp_path / "out/test").names == ("fox_13s.jpg",)


def test_random_towers_are_called_as_in_training(tmp_path):
    """And with --weights, as they were called before."""
    images = image_set(tmp_path / "set")
    given = (tmp_path / "set", "--out", tmp_path / "out")
    done = run_example(*given, tower=("--clip", "random-small"))
    assert not done.returncode, done.stderr
    store = FeatureStore.open(tmp_path / "out")
    tower = choose_encoder(ContextOptions(clip="random-small")).load_clip()
    wanted = encode(tower, images, unit_length=True)
    torch.testing.assert_close(torch.tensor(store.features), wanted, rtol=1e-5, atol=1e-6)
    assert store.weights == {"random": "small", "seed": 0}
    bad = run_example(*given, tower=("--weights", "README.md"))
    assert bad.returncode == 1 and bad.stderr.count("\n") == 1, bad.stderr
    assert "encode_images.py: README.md" in bad.stderr and "changed" not in bad.stderr
    assert FeatureStore.open(tmp_path / "out").names == store.names
    other = run_example(*given)
    assert other.returncode == 1 and "weights changed: all 7 images would be" in other.stderr
    assert "--anew" in other.stderr and FeatureStore.open(tmp_path / "out").weights == store.weights
    other = run_example(*given, "--anew")
    line = f"encode_images.py: warning: {tmp_path / 'out'}: weights changed: all 7 images are "
    assert other.stderr == f"{line}encoded anew\n"


def test_example_says_what_is_wrong(tmp_path):
    image_set(tmp_path / "set")
    bad = run_example(tmp_path / "set", "--out", tmp_path / "set", "--no-unit-length")
    assert bad.returncode == 1 and "and no features.json of features" in bad.stderr
    assert "Traceback" not in bad.stderr
    bad = run_example(tmp_path / "set", "--out", tmp_path / "out", "--nice")
    assert bad.returncode == 1 and "of a THINGS image set" in bad.stderr
