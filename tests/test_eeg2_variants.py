"""The same signals in the form of every producer of THINGS-EEG2: same arrays, right names."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.memory import peak_memory
from tinybrain.things import EEG2, recording, store
from tinybrain.things.sensors import THINGS_EEG2_63

N, R, H, W = 6, {"train": 4, "test": 8}, 63, 250
NAMES, FILES = {"train": "training", "test": "test"}, {"train": "01b 02s", "test": "11s 12s"}
TIMES = -0.2 + np.arange(300) / 250  # as NICE, UBP and NeuroBridge write them, for 250 points


def images(split: str) -> list[tuple[str, str]]:
    names = ("camera1", "camera_lens", "zebra")  # as `sorted` has them, not as THINGS has
    return [(f"{1 + i // 2:05d}_{names[i // 2]}",
             f"{names[i // 2]}_{FILES[split].split()[i % 2]}.jpg") for i in range(N)]  # fmt: skip


def signals(split: str) -> np.ndarray:
    """(n, r, h, w), exact in half precision, of about 1."""
    rng = np.random.default_rng(len(split))
    return rng.standard_normal((N, R[split], H, W)).astype(np.float16).astype(np.float64)


@pytest.fixture
def root(tmp_path) -> Path:
    table = {}
    for split in NAMES:
        concepts, files = zip(*images(split))
        table |= {f"{split}_img_concepts": list(concepts), f"{split}_img_files": list(files)}
    (tmp_path / "image_set").mkdir()
    np.save(tmp_path / "image_set/image_metadata.npy", table, allow_pickle=True)
    return tmp_path


def at(root: Path, place: str) -> Path:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def dump(path: Path, value: object) -> None:
    path.write_bytes(pickle.dumps(value, protocol=4))


def gifford(root, split, data):
    content = {"preprocessed_eeg_data": data, "ch_names": list(THINGS_EEG2_63), "times": TIMES}
    place = f"eeg_dataset/preprocessed_data/sub-01/preprocessed_eeg_{NAMES[split]}.npy"
    np.save(at(root, place), content, allow_pickle=True)


def nice(root, split, data):
    content = {"preprocessed_eeg_data": data, "ch_names": list(THINGS_EEG2_63), "times": TIMES}
    place = f"preprocessed_data_250hz/sub-01/preprocessed_eeg_{NAMES[split]}.npy"
    dump(at(root, place), content)


def ubp(root, split, data, protocol=5, form=lambda x: x.astype(np.float16), **other):
    names = np.array([f"{split}_images/{concept}/{file}" for concept, file in images(split)])
    shape = data.shape[:2]
    content = {
        "eeg": form(data),
        "label": np.tile(np.arange(N)[:, None], shape[1]),
        "img": np.tile(names[:, None], shape[1]),
        "text": np.full(shape, "camera"),
        "session": np.zeros(shape),
        "ch_names": list(THINGS_EEG2_63),
        "times": TIMES,
    }
    path = at(root, f"Preprocessed_data_250Hz_whiten/sub-01/{split}.pt")
    torch.save(content | other, path, pickle_protocol=protocol)
    return path


def ubp_tensor(root, split, data):
    """As somebody would save it again: a tensor, and torch's own protocol 2 for the rest."""
    ubp(root, split, data, 2, lambda x: torch.from_numpy(x.astype(np.float16)))


def ubp_text(root, split, data):
    ubp(root, split, data, 2)


def neurobridge(root, split, data):
    about = {"ch_names": list(THINGS_EEG2_63), "times": TIMES.tolist(), "normalization": "mvnn"}
    at(root, "preprocessed_eeg/info.json").write_text(json.dumps(about))
    place = f"preprocessed_eeg/sub-01/{split}.npy"
    each = 2 if split == "train" else 1
    data = data.reshape(N // each, each, *data.shape[1:]).astype(np.float32)
    np.save(at(root, place), data)


def neurobridge_inside(root, split, data):
    """Its files as they were before: the names in the same file."""
    content = {"data": data.reshape(3, 2, *data.shape[1:]), "ch_names": list(THINGS_EEG2_63)}
    dump(at(root, f"preprocessed_eeg/sub-01/{split}.npy"), content | {"times": TIMES})


def conditions(split):
    """Which image (from 1) each session shows: for training every image in two sessions."""
    if split == "test":
        return [[1, 2, 3, 4, 5, 6]] * 4
    return [[1, 3, 6], [2, 4, 5], [2, 3, 4], [1, 5, 6]]


def zeiss(root, split, data, points=301, named="", dtype=np.float32):
    """Sessions; what comes before and after the 250 points is noise that must be left out."""
    codes, seen = np.array(conditions(split)), [0] * (N + 1)
    out = np.full((*codes.shape, 2, H, points), 77, dtype)
    onset = points - 251
    for s, c in np.ndindex(*codes.shape):
        image = codes[s, c]
        out[s, c, ..., onset : onset + W] = data[image - 1, seen[image] : seen[image] + 2]
        seen[image] += 2
    place = f"processed/sub-01/preprocessed_eeg_{NAMES[split]}{named}.npy"
    np.save(at(root, place), out)
    np.save(at(root, f"processed/sub-01/img_conditions_{NAMES[split]}{named}.npy"), codes)
    meta = {"ch_names": list(THINGS_EEG2_63), "times": (-0.2 + np.arange(301) / 250).tolist()}
    at(root, f"processed/sub-01/meta{named}.json").write_text(json.dumps(meta))


def zeiss_cut(root, split, data):
    zeiss(root, split, data, points=251, named="_sub-01", dtype=np.float64)


def brainae(root, split, data):
    np.save(at(root, f"BrainAE/sub-01/{split}.npy"), data.astype(np.float32))
    np.save(at(root, "BrainAE/sub-01/channel_names.npy"), np.array(THINGS_EEG2_63))
    about = {"modality": "eeg", "subject": 1, "mvnn": True}
    at(root, "BrainAE/sub-01/preprocessing.json").write_text(json.dumps(about))


def own(root, split, data):
    folder = root / "prepared/sub-01"
    with store.new_signals(folder, split, data.shape) as out:
        out[:] = data
    concepts, _ = zip(*images(split))
    rows = store.Split(tuple(map("/".join, images(split))), concepts)
    store.write_card(folder, kind="eeg", subject=1, sensors=THINGS_EEG2_63, times=TIMES[50:],
                     unit="whitened", source=None, splits={split: rows})  # fmt: skip


VARIANTS = {
    gifford: "NICE, np.save",
    nice: "NICE, bare pickle",
    ubp: "UBP, torch.save",
    ubp_tensor: "UBP, torch.save",
    ubp_text: "UBP, torch.save",
    neurobridge: "NeuroBridge, np.save",
    neurobridge_inside: "NeuroBridge, bare pickle",
    zeiss: "ZEISS, np.save, 4 sessions merged by image",
    zeiss_cut: "ZEISS, np.save, 4 sessions merged by image",
    brainae: "BrainAE, np.save",
    own: "tinybrain's own store",
}


@pytest.mark.parametrize("repeats", ["mean", "single"])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("variant", list(VARIANTS), ids=lambda variant: variant.__name__)
def test_the_same_from_everyone(root, variant, split, repeats):
    data = signals(split)
    variant(root, split, data)
    eeg = EEG2(root, 1, split, repeats=repeats, shape=(63, 250))
    expected = data.mean(axis=1) if repeats == "mean" else data
    assert eeg.signals.dtype == np.float32
    np.testing.assert_allclose(eeg.signals, expected, atol=1e-6)
    assert eeg.sensors == THINGS_EEG2_63 and eeg.repeats == R[split]
    np.testing.assert_allclose(eeg.times, np.arange(250) / 250, atol=1e-12)
    assert [(path.parent.name, path.name) for path in eeg.images] == images(split)
    assert eeg.concepts == tuple(concept for concept, _ in images(split))
    unit = "a.u." if variant is neurobridge_inside else "whitened"
    assert eeg.unit == unit and f"{N} images, " in eeg.summary and "\n" not in eeg.summary
    assert VARIANTS[variant] in eeg.summary


@pytest.mark.parametrize("variant", [ubp, nice, zeiss, brainae], ids=lambda v: v.__name__)
def test_volts_are_told_from_whitened_signals(root, variant):
    variant(root, "train", signals("train") * 1e-5)
    assert EEG2(root, 1, "train").unit == "V"


@pytest.mark.parametrize("variant", [nice, ubp, neurobridge_inside], ids=lambda v: v.__name__)
def test_sensors_in_the_order_of_the_cap_are_put_in_the_papers(root, variant, monkeypatch):
    order = np.random.default_rng(0).permutation(H)
    monkeypatch.setattr(f"{__name__}.THINGS_EEG2_63", [THINGS_EEG2_63[i] for i in order])
    variant(root, "train", signals("train")[:, :, order])
    eeg = EEG2(root, 1, "train")
    np.testing.assert_allclose(eeg.signals, signals("train").mean(axis=1), atol=1e-6)
    assert eeg.sensors[:3] == ("Fp1", "Fp2", "AF7") and "put in the order Fp1, Fp2," in eeg.summary


def test_other_sensors_keep_their_order_and_other_shapes_are_told(root):
    data = signals("train")[:, :, :17, :100]
    names = [f"S{i}" for i in range(17)]
    ubp(root, "train", data, ch_names=names, times=TIMES[:100])
    assert EEG2(root, 1, "train").sensors == tuple(names)
    with pytest.raises(ValueError, match=r"17 sensors x 100 points came \(OSF: .*63 x 250"):
        EEG2(root, 1, "train", shape=(63, 250))


def test_zeiss_leaves_out_what_the_others_lack_and_says_so(root):
    zeiss(root, "train", signals("train"))
    assert "(51 of 301 points left out)" in EEG2(root, 1, "train").summary
    (root / "processed/sub-01/meta.json").unlink()  # 63 x 301 is known without it
    with pytest.warns(UserWarning, match="no ch_names"):
        eeg = EEG2(root, 1, "train")
    np.testing.assert_allclose(eeg.signals, signals("train").mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda codes: codes[:, :2], "wanted the number of each"),
        (lambda codes: codes.astype(float), "wanted the number of each"),
        (lambda codes: codes + 1, "conditions 2 to 7, 6 different ones"),
        (lambda codes: np.where(codes == 3, 4, codes), "conditions 1 to 6, 5 different"),
        (lambda codes: np.where(codes == 6, 5, codes), "in 2 to 4 sessions"),
    ],
)
def test_zeiss_conditions_that_do_not_tell_the_images(root, change, reason):
    zeiss(root, "train", signals("train"))
    path = root / "processed/sub-01/img_conditions_training.npy"
    np.save(path, change(np.array(conditions("train"))))
    with pytest.raises(ValueError, match=rf"img_conditions_training\.npy: .*{reason}"):
        EEG2(root, 1, "train")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"img_conditions_training\.npy, which says"):
        EEG2(root, 1, "train")


def test_half_precision_is_averaged_in_single(root):
    data = np.full((N, 80, H, W), 2049.0)  # in half precision 2048 + 1 is 2048
    data[:, ::2] = 2046
    ubp(root, "test", data)
    np.testing.assert_allclose(EEG2(root, 1, "test").signals, 2047, atol=1e-3)  # 2049 is 2048


PLAIN = np.array([f"train_images/{concept}/{file}" for concept, file in images("train")])
SWAPPED = PLAIN[[1, 0, 2, 3, 4, 5]]
IMG = {
    "another order": (SWAPPED, r"row 0, where .*image_metadata.npy has 00001_camera1/camera1_01b"),
    "other numbers": (np.char.replace(PLAIN, "00002", "00247"), "00247_camera_lens.* in row 2"),
    "too few": (PLAIN[:5], "a path for each of 6 x 4"),
    "numbers": (np.zeros((6, 4)), "img is float64"),
    "not constant": (np.stack([PLAIN, PLAIN, SWAPPED, PLAIN], 1), "several images in row 0"),
    "of the test": (np.char.replace(PLAIN, "train_", "test_"), "wanted train images"),
    "outside": (np.char.add("../", PLAIN), "wanted train images"),
    "no folder": (np.array([file for _, file in images("train")]), "wanted train images"),
    "ragged": ([["a"], ["b", "c"]] * 3, "img is"),
}


@pytest.mark.parametrize("name", list(IMG))
def test_image_names_that_cannot_be_are_refused(root, name):
    value, reason = IMG[name]
    ubp(root, "train", signals("train"), img=value)
    with pytest.raises(ValueError, match=rf"train\.pt: .*{reason}"):
        EEG2(root, 1, "train")


@pytest.mark.parametrize("slash", ["/", "\\"])
def test_names_of_ubp_stand_alone_if_folders_were_numbered(root, slash):
    (root / "image_set/image_metadata.npy").unlink()
    ubp(root, "train", signals("train"), img=np.char.replace(PLAIN, "/", slash))
    eeg = EEG2(root, 1, "train")
    assert [(path.parent.name, path.name) for path in eeg.images] == images("train")
    assert "names from" in eeg.summary and "images are not there" in eeg.summary
    bare = [f"train_images/{concept[6:]}/{file}" for concept, file in images("train")]
    ubp(root, "train", signals("train"), img=np.array(bare))
    with pytest.raises(ValueError, match=r"train\.pt: concept folders without numbers \(camera1"):
        EEG2(root, 1, "train")


def test_a_store_without_the_split_or_of_somebody_else(root):
    own(root, "test", signals("test"))
    with pytest.raises(FileNotFoundError, match="train files there: none"):
        EEG2(root, 1, "train")
    (root / "prepared/sub-01").rename(root / "prepared/sub-02")
    with pytest.raises(ValueError, match="eeg of subject 1; wanted EEG of 2"):
        EEG2(root, 2, "test")


def test_neurobridge_knows_its_unit(root):
    neurobridge(root, "train", signals("train"))
    path = root / "preprocessed_eeg/info.json"
    path.write_text(path.read_text().replace("mvnn", "zscore"))
    assert EEG2(root, 1, "train").unit == "z-score"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="info.json: damaged"):
        EEG2(root, 1, "train")
    path.unlink()
    with pytest.warns(UserWarning, match="no ch_names"):
        eeg = EEG2(root, 1, "train")
    assert eeg.unit == "a.u." and eeg.times[0] == 0 and len(eeg.times) == 250


@pytest.mark.parametrize("variant", [ubp, ubp_tensor, zeiss_cut], ids=lambda v: v.__name__)
def test_files_are_averaged_in_little_memory(root, variant, monkeypatch):
    """The mean has 0.4 MB and a block 0.5 MB at most, the files have 3 to 8 MB."""
    data = np.tile(signals("train"), (1, 4 if variant is zeiss_cut else 10, 1, 1))
    variant(root, "train", data)
    monkeypatch.setattr(recording, "BLOCK", 100_000)
    _, peak = peak_memory(lambda: EEG2(root, 1, "train"))
    assert peak < 2_000_000


def test_truncated_torch_files(root):
    whole = ubp(root, "train", signals("train")).read_bytes()
    path = root / "Preprocessed_data_250Hz_whiten/sub-01/train.pt"
    for damaged in (whole[:-100], whole[: len(whole) // 2], whole[:30]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"train\.pt: .*(truncated|damaged)"):
            EEG2(root, 1, "train")
