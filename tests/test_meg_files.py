"""Caches of THINGS-MEG: each producer's file, written small in its true form, gives the same."""

import pickle
import warnings

import numpy as np
import pytest
import torch

from tests import meg_miniature as mini
from tests.test_meg_epochs import FILE, write_cosmofile, write_fif
from tinybrain.things import MEG, store
from tinybrain.things.meg import files as meg_files
from tinybrain.things.meg import order as meg_order
from tinybrain.things.meg import reader as meg
from tinybrain.things.meg.tested import TEST_CONCEPTS
from tinybrain.things.sensors import THINGS_MEG_271

ROWS = mini.records()
DATA = mini.signals(ROWS)
TIMES = np.arange(201) / 200


def of(names):
    """(n, r, 271, 201) of these images, 0 to 1 s."""
    return mini.expected(DATA, ROWS, names)[..., 20:221]


def dump(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        pickle.dump(content, file, protocol=4)


def song(root):
    folder = root / "Preprocessed_data"
    dump(folder / "meg_sub-01_train.pkl", of(mini.TRAIN_NAMES)[:, 0].astype("f8"))
    dump(folder / "meg_sub-01_test.pkl", of(mini.PRESENTED).astype("f8"))


def atm(root):
    more = {"ch_names": list(THINGS_MEG_271), "times": TIMES}
    train = {"meg_data": of(mini.KEPT_NAMES).reshape(2, 12, 1, 271, 201)}
    test = {"meg_data": of(mini.BY_IMAGE)[:, None]}  # (n, 1, r, h, w)
    dump(root / "sub-01" / "preprocessed_meg_training.pkl", train | more)
    dump(root / "sub-01" / "preprocessed_meg_zs_test.pkl", test | more)


def ubp(root, dtype=np.float16):
    (root / "Preprocessed_data" / "sub-01").mkdir(parents=True)
    for split, names in (("train", mini.KEPT_NAMES), ("test", mini.BY_IMAGE)):
        folders = [f"{mini.CONCEPTS[each.split('/')[0]]:05d}_{each}" for each in names]
        content = {"eeg": of(names).astype(dtype), "img": [f"{split}_images/{f}" for f in folders]}
        path = root / "Preprocessed_data" / "sub-01" / f"{split}.pt"
        torch.save(content, path, pickle_protocol=5)


def neurobridge(root):
    """As its script writes: a pickled dict under a name in .npy, without the last of 201 points."""
    more = {"ch_names": [], "times": np.linspace(0, 0.995, 200)}
    train = {"data": of(mini.KEPT_NAMES).reshape(2, 12, 1, 271, 201)[..., :-1].copy()}
    dump(root / "preprocessed_meg" / "sub-01" / "train.npy", train | more)
    test = {"data": of(mini.BY_IMAGE)[:, None, ..., :-1].copy()}
    dump(root / "preprocessed_meg" / "sub-01" / "test.npy", test | more)


def neurobridge_bare(root):
    (root / "sub-01").mkdir()
    train = of(mini.KEPT_NAMES).reshape(2, 12, 1, 271, 201)[..., :-1]
    np.save(root / "sub-01" / "train.npy", train)
    np.save(root / "sub-01" / "test.npy", of(mini.BY_IMAGE)[:, None, ..., :-1])


def alignvis(root):
    """One row a trial, sorted by image; the repetitions of a test image one after another."""
    for split, names in (("train", mini.TRAIN_NAMES), ("test", mini.BY_IMAGE)):
        data = of(names)
        paths = [row["image_path"] for name in names for row in ROWS
                 if row["trial_type"] != "catch" and mini.name(row) == name]  # fmt: skip
        content = {"meg_data": data.reshape(-1, 271, 201), "meg_labels": list(range(len(paths))),
                   "meg_images": np.array(paths, object)}  # fmt: skip
        dump(root / "preprocessed_meg" / f"{split}_sub1.pkl", content)


def fif(root):
    write_fif(root / "derivatives" / "preprocessed", DATA, ROWS)


def cosmofile(root):
    write_cosmofile(root / "derivatives" / "preprocessed" / "P1_cosmofile.mat", DATA, ROWS)


def own(root):
    splits = {"train": mini.KEPT_NAMES, "test": mini.PRESENTED}
    for split, names in splits.items():
        with store.new_signals(root / "sub-01", split, of(names).shape) as signals:
            signals[:] = of(names)
    described = {s: store.Split(tuple(n), tuple(each.split("/")[0] for each in n))
                 for s, n in splits.items()}  # fmt: skip
    store.write_card(root / "sub-01", kind="meg", subject=1, sensors=THINGS_MEG_271, times=TIMES,
                     unit="baseline sd", source={}, splits=described)  # fmt: skip


PRODUCERS = {song: "Song, pickle, float64", atm: "ATM, pickle", ubp: "UBP", fif: "FIF",
             neurobridge: "NeuroBridge, pickle", neurobridge_bare: "NeuroBridge, npy",
             alignvis: "AlignVis", cosmofile: "cosmofile", own: "own store"}  # fmt: skip


def open_meg(root, split="train", **more):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return MEG(root, 1, split, **more)


@pytest.fixture
def root(tmp_path):
    """A folder with a table of trials and no recording yet, as deep as nothing else lies above."""
    root = tmp_path / "a" / "b" / "c" / "d"
    mini.write_table(root / "sourcedata" / "sample_attributes_P1.csv", ROWS)
    return root


@pytest.mark.parametrize("write", PRODUCERS, ids=lambda write: write.__name__)
def test_every_producer_gives_the_same_recording(root, write):
    write(root)
    cut = slice(0, 200) if "neurobridge" in write.__name__ else slice(1, 201)
    more = {"crop": "onset"} if "neurobridge" in write.__name__ else {}
    more |= {"tmin": 0.0} if write is neurobridge_bare else {}
    close = {"rtol": 2e-3, "atol": 2e-3} if write is ubp else {"rtol": 1e-6, "atol": 1e-6}
    train = open_meg(root, **more)
    names = ["/".join(path.parts[-2:]) for path in train.images]
    assert names == mini.KEPT_NAMES and PRODUCERS[write] in train.summary
    assert train.concepts == tuple(each.split("/")[0] for each in mini.KEPT_NAMES)
    assert train.sensors == THINGS_MEG_271 and train.unit == "baseline sd"
    assert train.signals.shape == (24, 271, 200) and train.signals.dtype == np.float32
    assert np.allclose(train.signals, of(mini.KEPT_NAMES)[:, 0, :, cut], **close)
    assert np.allclose(train.times, TIMES[cut])
    for order, wanted in (("presentation", mini.PRESENTED), ("image", mini.BY_IMAGE)):
        test = open_meg(root, "test", test_order=order, **more)
        if write is own and order == "presentation":
            wanted = mini.PRESENTED  # as stored: two images are not the 200 of the experiment
        assert ["/".join(path.parts[-2:]) for path in test.images] == wanted
        assert np.allclose(test.signals, of(wanted)[..., cut].mean(1), **close)
        assert test.repeats == 12
    single = open_meg(root, "test", repeats="single", **more)
    assert np.allclose(single.signals, of(mini.PRESENTED)[..., cut], **close)


@pytest.mark.parametrize("write", [song, fif, cosmofile, alignvis])
def test_test_concepts_are_kept_on_request(root, write):
    write(root)
    train = open_meg(root, drop_test_concepts=False, crop="closed")
    assert ["/".join(path.parts[-2:]) for path in train.images] == mini.TRAIN_NAMES
    assert np.allclose(train.signals, of(mini.TRAIN_NAMES)[:, 0], atol=1e-6)


@pytest.mark.parametrize("write", [atm, ubp, neurobridge])
def test_producers_that_left_test_concepts_out(root, write):
    write(root)
    with pytest.raises(ValueError, match="left the test concepts out"):
        open_meg(root, drop_test_concepts=False)


def test_float16_is_averaged_in_float32(root):
    ubp(root)
    test = open_meg(root, "test")
    half = of(mini.PRESENTED).astype(np.float16).astype(np.float32)[..., 1:]
    assert (test.signals == half.mean(1, dtype=np.float32)).all()
    assert "float16" in test.summary


def test_names_come_from_the_file_where_there_is_no_table(root):
    (root / "sourcedata" / "sample_attributes_P1.csv").unlink()
    fif(root)
    with pytest.raises(ValueError, match="concepts are not known"):
        open_meg(root)
    with pytest.raises(FileNotFoundError, match="which images were shown; put"):
        open_meg(root, "test")


def test_standard_order_without_a_table(root):
    """By the published formulas, on arrays of true shape that take no memory."""
    shown = {}
    for split, shape in (("train", (22248, 271, 201)), ("test", (200, 12, 271, 201))):
        data = np.broadcast_to(np.float32(0), shape)
        order, table = "presentation", meg_order.standard_trials()
        shown[split] = meg_files._shown(root, data, split, None, order, table)
    row = 12 * (shown["train"].concept_number - 1) + shown["train"].exemplar - 1
    assert (row == np.arange(22248)).all()
    assert (shown["test"].test_number - 1 == np.arange(200).repeat(12)).all()
    song(root)
    (root / "sourcedata" / "sample_attributes_P1.csv").unlink()
    with pytest.raises(ValueError, match=r"48 images x 1 .* 22248 .* 19848 .*1,854 concepts"):
        open_meg(root)


def test_200_named_images_without_a_table(root):
    """Names alone tell the experiment's order of test images, since there are all of them."""
    (root / "sourcedata" / "sample_attributes_P1.csv").unlink()
    numbers = np.random.default_rng(0).permutation(TEST_CONCEPTS)
    data = np.zeros((200, 271, 201), np.float16) + numbers[:, None, None].astype(np.float16)
    names = [f"images_test_meg/thing_{number:04d}_13s.jpg" for number in numbers]
    dump(root / "test_sub1.pkl", {"meg_data": data, "meg_images": names})
    for order, wanted in (("presentation", TEST_CONCEPTS), ("image", sorted(TEST_CONCEPTS))):
        test = open_meg(root, "test", test_order=order)
        assert test.signals[:, 3, 5].tolist() == list(wanted)
        assert [int(path.name[6:10]) for path in test.images] == list(wanted)
        stored = [names[i].split("/")[1] for i in range(200)]
        rows = meg._in_order([f"{file[:10]}/{file}" for file in stored], order)
        assert [int(stored[row][6:10]) for row in rows] == list(wanted)


def test_bare_200_points_need_their_start(root):
    neurobridge_bare(root)
    with pytest.raises(ValueError, match=r"200 points and no times.*tmin=0\.005 or tmin=0\.0"):
        open_meg(root)
    assert open_meg(root, tmin=0.005).times[[0, -1]] == pytest.approx([0.005, 1.0])
    with pytest.raises(ValueError, match="crop='paper' wants 0.005 to 1 s: take crop='onset'"):
        open_meg(root, tmin=0.0)


@pytest.mark.parametrize(
    ("times", "first", "said"),
    [
        (np.arange(-99, 201) / 200, 0.0, "the last 201 of 300 times"),
        (None, 0.0, ""),
        (np.arange(200) / 200, None, "wanted one for each of 201 points"),
        (1000 * TIMES, None, "wanted seconds"),
    ],
)
def test_times_of_another_length(root, times, first, said):
    content = {"meg_data": of(mini.KEPT_NAMES).reshape(2, 12, 1, 271, 201), "times": times}
    dump(root / "sub-01" / "preprocessed_meg_training.pkl", content)
    if first is None:
        with pytest.raises(ValueError, match=said):
            open_meg(root)
    else:
        with pytest.warns(UserWarning, match="no ch_names; taking the usual order of 271"):
            came = MEG(root, 1, "train", crop="closed")
        assert came.times[0] == pytest.approx(first, abs=1e-12) and said in came.summary


def test_201_times_for_200_points_are_ambiguous(root):
    data = of(mini.KEPT_NAMES).reshape(2, 12, 1, 271, 201)[..., 1:].copy()
    dump(root / "sub-01" / "preprocessed_meg_training.pkl", {"meg_data": data, "times": TIMES})
    with pytest.raises(ValueError, match="200 points and 201 times"):
        open_meg(root)
    with pytest.warns(UserWarning, match="no ch_names"):
        assert MEG(root, 1, "train", tmin=0.005).signals.shape == (24, 271, 200)


def test_one_sd_for_all_is_told(root):
    atm(root)
    np.savez(root / "sub-01" / "zscore_params.npz", mean=0.0, std=1.0)
    assert "zscore_params.npz" in open_meg(root).summary


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.zeros((24, 4, 63, 250)), "THINGS-EEG2, see EEG2"),
        (np.zeros((24, 271, 150)), "150 points and no times"),
        (np.zeros((5, 271, 201)), "5 images x 1 repetitions; by .* there are 48 images x 1 or 24"),
        (np.zeros((24, 271, 201), order="F"), "not in C order"),
        (np.array(["a"]), "no array of numbers"),
        ({"signals": np.zeros((24, 271, 201))}, "its keys are 'signals'"),
        ({"meg_data": [1, 2]}, "no array of numbers"),
        ({"eeg": np.zeros((24, 1, 271, 201)), "img": ["a/a_01b.jpg"]}, "1 names of images"),
        ({"eeg": np.zeros((24, 1, 271, 201)), "img": ["x"] * 24}, "no image of THINGS"),
        ({"eeg": np.zeros((24, 1, 271, 201)), "img": [3] * 24}, "no list of names"),
        ({"meg_data": np.zeros((24, 1, 271, 201)), "ch_names": ["A"]}, "1 ch_names for 271"),
    ],
)
def test_files_of_another_kind_are_refused(root, content, said):
    dump(root / "Preprocessed_data" / "meg_sub-01_train.pkl", content)
    with pytest.raises(ValueError, match=said):
        open_meg(root)


def test_hostile_pickles_are_not_run(root, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "was_here"), "w"))

    dump(root / "meg_sub-01_train.pkl", Hostile())
    with pytest.raises(ValueError, match="refused"):
        open_meg(root)
    assert not (tmp_path / "was_here").exists()


# Finding


@pytest.mark.parametrize("subject", [1, "1", "01", "sub-01", "P1", "BIGMEG1", "sub-BIGMEG1"])
def test_ways_to_name_a_subject(subject):
    assert meg_files.subject_number(subject) == 1


def test_what_is_missing_or_too_much_is_listed(root):
    with pytest.raises(FileNotFoundError, match="no train recording of subject 1.*there: none"):
        open_meg(root)
    song(root)
    with pytest.raises(FileNotFoundError, match=r"subject 2.*meg_sub-01_train\.pkl"):
        MEG(root, 2, "train")
    atm(root)
    with pytest.raises(ValueError, match="2 recordings of subject 1"):
        open_meg(root)
    assert "Song" in open_meg(root / "Preprocessed_data").summary
    with pytest.raises(FileNotFoundError, match="no such folder"):
        open_meg(root / "elsewhere")
    with pytest.raises(ValueError, match="wanted a number"):
        MEG(root, "one", "train")


def test_fif_and_its_cosmofile_are_one_recording(root):
    fif(root)
    cosmofile(root)
    (root / "derivatives" / "preprocessed" / f"._{FILE}").write_bytes(b"\0")
    assert meg_files.find_file(root, 1, "test").name == FILE
