"""The public face of THINGS-MEG: what a user asks, gets, and is told."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from tests import meg_miniature as mini
from tests.test_meg_files import atm, dump, of, own, song
from tinybrain.things.demo import make_demo
from tinybrain.things.meg.reader import MEG
from tinybrain.things.meg.selection import CROPS, Selection
from tinybrain.things.sensors import THINGS_MEG_271

ROWS = mini.records()


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "a" / "b" / "c" / "d"
    mini.write_table(root / "sample_attributes_P1.csv", ROWS)
    song(root)
    return root


def test_what_a_recording_says_of_itself(root):
    mini.write_images(root, ROWS)
    meg = MEG(root, "P1", "train")
    assert meg.kind == "meg" and meg.repeats == 1 and meg.unit == "baseline sd"
    assert meg.times == pytest.approx(np.arange(1, 201) / 200)
    assert meg.sensors[0] == "MLC11-1609" and len(meg.sensors) == 271
    assert all(path.is_file() for path in meg.images) and len(meg.images) == 24
    assert repr(meg) == f"<MEG {meg.summary}>"
    for word in ("THINGS-MEG train", "Song", "24 images", "1 repetition", "271 sensors",
                 "200 points 0.005 to 1.000 s at 200 Hz", "baseline sd", "images_meg"):  # fmt: skip
        assert word in meg.summary


def test_images_need_not_be_there_but_must_not_be_incomplete(root):
    meg = MEG(root, 1, "test")
    assert "not there" in meg.summary and meg.concepts == ("alligator", "aircraft_carrier")
    mini.write_images(root, ROWS)
    (root / "images_test_meg" / "alligator_14s.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images are missing.*alligator_14s\.jpg"):
        MEG(root, 1, "test")


def test_numbered_folders_keep_their_names(root):
    for name in mini.PRESENTED:
        concept, file = name.split("/")
        folder = root / "image_set" / "test_images" / f"{mini.CONCEPTS[concept]:05d}_{concept}"
        folder.mkdir(parents=True)
        (folder / file).touch()
    meg = MEG(root, 1, "test")
    assert meg.concepts == ("00013_alligator", "00010_aircraft_carrier")
    assert meg.images[0].parent.name == "00013_alligator"


@pytest.mark.parametrize("crop", CROPS)
def test_crops(crop):
    """By brute force on the times of the distributed epochs."""
    times = np.arange(-20, 261) / 200
    first, last, count = {"paper": (1, 200, 200), "onset": (0, 199, 200), "closed": (0, 200, 201),
                          "all": (-20, 260, 281)}[crop]  # fmt: skip
    at = Selection(crop).window(Path("file"), times)
    assert times[at].tolist() == [k / 200 for k in range(first, last + 1)]
    assert at.stop - at.start == count


@pytest.mark.parametrize(
    ("times", "crop", "said"),
    [
        (np.arange(200) / 200, "paper", "crop='onset' or 'all'"),
        (np.arange(1, 201) / 200, "onset", "crop='paper' or 'all'"),
        (np.arange(1, 201) / 200, "closed", "crop='paper' or 'all'"),
        (np.arange(10) / 200, "paper", "take crop='all'"),
    ],
)
def test_crops_that_a_file_does_not_have(times, crop, said):
    with pytest.raises(ValueError, match=said):
        Selection(crop).window(Path("file"), times)


def test_shape_that_the_caller_needs(root):
    assert MEG(root, 1, "train", shape=(271, 200)).signals.shape == (24, 271, 200)
    with pytest.raises(ValueError, match=r"271 sensors x 201 points .*crop='closed'.*271 x 200"):
        MEG(root, 1, "train", crop="closed", shape=(271, 200))


@pytest.mark.parametrize(
    "more",
    [{"crop": "long"}, {"test_order": "file"}, {"repeats": "all"}],
    ids=lambda more: next(iter(more)),
)
def test_words_that_are_not_known(root, more):
    with pytest.raises(ValueError, match="wanted"):
        MEG(root, 1, "train", **more)
    with pytest.raises(ValueError, match="wanted split"):
        MEG(root, 1, "validation")


def test_broken_values_are_refused_and_silent_sensors_told(root):
    data = of(mini.TRAIN_NAMES)[:, 0]
    data[:, 5] = 0
    dump(root / "Preprocessed_data" / "meg_sub-01_train.pkl", data)
    with pytest.warns(UserWarning, match=f"zero throughout: {THINGS_MEG_271[5]}"):
        MEG(root, 1, "train")
    data[40, 7, 9] = np.nan
    dump(root / "Preprocessed_data" / "meg_sub-01_train.pkl", data)
    with pytest.raises(ValueError, match=rf"1 of 24 rows, the first 16 \({ROW_40}"), \
            warnings.catch_warnings():  # fmt: skip
        warnings.simplefilter("ignore")
        MEG(root, 1, "train")


ROW_40 = mini.TRAIN_NAMES[40].split("/")[1]


def test_float32_that_is_in_order_is_not_copied(root):
    for file in (root / "Preprocessed_data").iterdir():
        file.unlink()
    atm(root)
    meg = MEG(root, 1, "train", crop="closed")
    base = meg.signals
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)


def test_store_with_test_concepts_in_it(root):
    """Written with all concepts, read without those of the test, and cropped."""
    for file in (root / "Preprocessed_data").iterdir():
        file.unlink()
    kept = mini.KEPT_NAMES
    try:
        mini.KEPT_NAMES = mini.TRAIN_NAMES
        own(root)
    finally:
        mini.KEPT_NAMES = kept
    whole = MEG(root, 1, "train", drop_test_concepts=False, crop="onset")
    assert (whole.signals == of(mini.TRAIN_NAMES)[:, 0, :, :200]).all()
    dropped = MEG(root, 1, "train")
    assert ["/".join(path.parts[-2:]) for path in dropped.images] == kept
    assert (dropped.signals == of(kept)[:, 0, :, 1:]).all()


def test_the_demo_is_read(tmp_path):
    make_demo(tmp_path / "demo", "meg", train_concepts=2, test_concepts=2, image_size=8)
    demo = tmp_path / "demo"
    train, test = (MEG(demo, 1, split, shape=(271, 200)) for split in ("train", "test"))
    assert len(train.images) == 24 and len(test.images) == 2 and test.repeats == 12
    assert not set(train.concepts) & set(test.concepts)
