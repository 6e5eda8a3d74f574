"""Reading THINGS-EEG2: what was recognised, averaged and refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.memory import peak_memory
from tests.test_images import TRAP_ROWS, things, write_table
from tinybrain.things import EEG2, recording
from tinybrain.things.sensors import THINGS_EEG2_63

PLACES = ["Preprocessed_data_250Hz/sub-01", "sub-01", "eeg_dataset/preprocessed_data/Sub-01"]


def signals(n=6, r=4, h=5, w=9, seed=0):
    return np.random.default_rng(seed).standard_normal((n, r, h, w))


def content(data, **other):
    h, w = data.shape[-2:]
    names = [f"S{sensor}" for sensor in range(h)]
    times = np.linspace(0, (w - 1) / 250, w)
    return {"preprocessed_eeg_data": data, "ch_names": names, "times": times} | other


def write(root: Path, value, *, place=PLACES[0], name="preprocessed_eeg_training.npy",
          container="pickle", rows=None) -> Path:  # fmt: skip
    """A subject's file and a table of as many images, in a miniature of a user's folder."""
    path = root / place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if container == "pickle":
        path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, 4))
    else:
        np.save(path, value, allow_pickle=True)
    n = len(value["preprocessed_eeg_data"]) if rows is None else rows
    table = root / "Image_set/image_metadata.npy"
    table.parent.mkdir(exist_ok=True)
    columns = {}
    for split in ("train", "test"):
        columns[f"{split}_img_concepts"] = [f"{1 + i // 2:05d}_{split}{i // 2}" for i in range(n)]
        columns[f"{split}_img_files"] = [f"{split}{i // 2}_{i:02d}s.jpg" for i in range(n)]
    np.save(table, columns, allow_pickle=True)
    return path


@pytest.mark.parametrize("container", ["pickle", "npy"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("split", "name"),
    [
        ("train", "preprocessed_eeg_training.npy"),
        ("train", "Preprocessed_EEG_train.npy"),
        ("test", "preprocessed_eeg_test.npy"),
    ],
)
def test_fields_in_every_layout_and_container(tmp_path, container, place, split, name):
    data = signals()
    write(tmp_path, content(data), place=place, name=name, container=container)
    eeg = EEG2(tmp_path, 1, split)
    assert eeg.signals.dtype == np.float32 and eeg.signals.shape == (6, 5, 9)
    np.testing.assert_allclose(eeg.signals, data.mean(axis=1), atol=1e-6)
    files = [f"{split}{i // 2}_{i:02d}s.jpg" for i in range(6)]
    assert [path.name for path in eeg.images] == files
    assert eeg.concepts == tuple(f"{1 + i // 2:05d}_{split}{i // 2}" for i in range(6))
    assert eeg.sensors == ("S0", "S1", "S2", "S3", "S4")
    assert eeg.times.dtype == np.float64 and eeg.times.shape == (9,)
    assert (eeg.repeats, eeg.kind, eeg.unit) == (4, "eeg", "a.u.")
    assert "6 images, mean of 4 repetitions, 5 sensors S0 to S4, 9 points" in eeg.summary
    assert "0.000 to 0.032 s at 250 Hz" in eeg.summary and "\n" not in eeg.summary


@pytest.mark.parametrize("subject", [1, "1", "01", "sub-01"])
def test_subject_in_every_spelling_and_root_at_every_level(tmp_path, subject):
    write(tmp_path, content(signals()))
    for root in (tmp_path, tmp_path / "Preprocessed_data_250Hz", tmp_path / PLACES[0]):
        assert EEG2(str(root), subject, "train").signals.shape == (6, 5, 9)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f8", ">f8", "f4", "f2", "i2"])
@pytest.mark.parametrize("block", [1, 800, 8_000_000])
def test_mean_equals_numpys_in_any_blocks(monkeypatch, order, dtype, block):
    data = np.asarray(100 * signals(n=7, r=3), dtype=dtype, order=order)
    monkeypatch.setattr(recording, "BLOCK", block)
    read = recording.read_signals(data, average=True)
    expected = data.astype("f8").mean(axis=1)
    np.testing.assert_allclose(read.signals, expected, rtol=1e-5, atol=1e-5)
    assert read.rms == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-5)
    single = recording.read_signals(data, average=False)
    np.testing.assert_array_equal(single.signals, data.astype("f4"))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("block", [1, 8_000_000])
def test_broken_rows_and_silent_sensors_are_seen_in_any_block(monkeypatch, order, average, block):
    data = signals(n=7, r=3)
    data[:, :, 2] = data[:, :, 4] = 0
    data[1, 2, 4, 5] = 1
    data[1, 0, 0, 0] = data[4, 1, 1, 8] = np.nan
    monkeypatch.setattr(recording, "BLOCK", block)
    read = recording.read_signals(np.asarray(data, order=order), average)
    assert np.flatnonzero(read.broken).tolist() == [1, 4]
    assert np.flatnonzero(read.silent).tolist() == [2]


def test_single_repetitions(tmp_path):
    write(tmp_path, content(data := signals()))
    eeg = EEG2(tmp_path, 1, "train", repeats="single")
    np.testing.assert_array_equal(eeg.signals, data.astype(np.float32))
    assert eeg.repeats == 4 and ", 4 repetitions" in eeg.summary


def test_three_axes_are_one_repetition(tmp_path):
    write(tmp_path, content(data := signals()[:, 0]))
    eeg = EEG2(tmp_path, 1, "train")
    np.testing.assert_array_equal(eeg.signals, data.astype(np.float32))
    assert eeg.repeats == 1 and " images, 1 repetition," in eeg.summary


def test_averaging_allocates_little_beyond_its_result(tmp_path, monkeypatch):
    data = signals(n=400, r=10, h=20, w=50)  # 32 MB, result 1.6 MB
    write(tmp_path, content(data))
    monkeypatch.setattr(recording, "BLOCK", 500_000)
    _, peak = peak_memory(lambda: EEG2(tmp_path, 1, "train"))
    assert peak < 2_500_000


def test_longer_times_keep_the_last_and_say_so(tmp_path):
    """NICE's files have 300 times, from -0.2 s, for 250 points from onset."""
    data = signals(n=2, r=2, h=63, w=250)
    times = -0.2 + np.arange(300) / 250
    write(tmp_path, content(data, times=times, ch_names=list(THINGS_EEG2_63)))
    eeg = EEG2(tmp_path, 1, "train", shape=(63, 250))
    np.testing.assert_allclose(eeg.times, np.arange(250) / 250, atol=1e-12)
    assert "(the last 250 of 300 times)" in eeg.summary and "NICE, bare pickle" in eeg.summary
    assert eeg.unit == "whitened" and eeg.sensors[:2] == ("Fp1", "Fp2")


def test_osf_files(tmp_path):
    data = signals(n=2, r=2, h=17, w=100)
    times = np.round(-0.2 + np.arange(100) / 100, 2)
    write(tmp_path, content(data, times=times), container="npy")
    eeg = EEG2(tmp_path, 1, "train")
    assert eeg.unit == "whitened" and "OSF, np.save" in eeg.summary
    assert "-0.200 to 0.790 s at 100 Hz" in eeg.summary


def test_asking_for_63_x_250_of_17_x_100_says_which_download_has_which(tmp_path):
    path = write(tmp_path, content(signals(h=17, w=100)))
    with pytest.raises(ValueError) as caught:
        EEG2(tmp_path, 1, "train", shape=(63, 250))
    message = str(caught.value)
    assert str(path) in message and "17 sensors x 100 points came (OSF" in message
    assert "wanted 63 x 250 (NICE: Preprocessed_data_250Hz" in message


@pytest.mark.parametrize(("scale", "unit"), [(1e-5, "V"), (1e-6, "V"), (0.2, "whitened"), (0, "")])
def test_unit_by_scale(tmp_path, scale, unit):
    write(tmp_path, content(scale * signals(h=63, w=250)))
    if scale == 0:
        with pytest.warns(UserWarning, match="zero throughout"):
            unit, eeg = "a.u.", EEG2(tmp_path, 1, "train")
    else:
        eeg = EEG2(tmp_path, 1, "train")
    assert eeg.unit == unit and f"unit {unit};" in eeg.summary


@pytest.mark.parametrize(("h", "expected"), [(63, THINGS_EEG2_63), (3, ("E1", "E2", "E3"))])
def test_missing_names_are_taken_with_a_warning(tmp_path, h, expected):
    value = content(signals(h=h))
    del value["ch_names"]
    path = write(tmp_path, value)
    with pytest.warns(UserWarning, match=f"{path.name}: no ch_names"):
        assert EEG2(tmp_path, 1, "train").sensors == expected


def test_zero_sensors_are_warned_of(tmp_path):
    data = signals()
    data[:, :, 2] = 0
    write(tmp_path, content(data))
    with pytest.warns(UserWarning, match=r"training\.npy: zero throughout: S2$"):
        EEG2(tmp_path, 1, "train")


@pytest.mark.parametrize("repeats", ["mean", "single"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_that_are_not_finite_are_named(tmp_path, repeats, order):
    data = signals()
    data[2, 3, 4, 8], data[5, 0, 0, 0], data[5, 1, 0, 0] = np.nan, np.inf, -np.inf
    write(tmp_path, content(np.asarray(data, order=order)))
    with pytest.raises(ValueError, match=r"training.npy: NaN.* 2 of 6 rows") as caught:
        EEG2(tmp_path, 1, "train", repeats=repeats)
    assert "2 (train1_02s.jpg), 5 (train2_05s.jpg);" in str(caught.value)


WRONG = {
    "no signals": ({"signals": signals(), "times": [0.0]}, "'signals', 'times'; wanted prepr"),
    "no times": ({"preprocessed_eeg_data": signals(), "ch_names": []}, "wanted times"),
    "bare array": (signals(), "nothing beside it that says"),
    "raw data": ({"raw_eeg_data": signals()[0, 0], "sfreq": 1000}, "prepare_eeg.py"),
    "five axes": ({"data": signals()[:, None, 0], "times": [0.0]}, "'data', 'times'; wanted pr"),
    "two axes": (content(signals()[0, 0]), r"shape \(5, 9\)"),
    "objects": (content(signals().astype(object)), "object"),
    "complex": (content(signals() * 1j), "complex"),
    "empty": (content(signals(r=0)), r"\(6, 0, 5, 9\)"),
    "few names": (content(signals(), ch_names=["a"]), "1 ch_names for 5 sensors"),
    "same names": (content(signals(), ch_names=list("abcda")), "a more than once"),
    "numbers as names": (content(signals(), ch_names=[1, 2, 3, 4, 5]), "list of names"),
    "few times": (content(signals(), times=np.arange(4.0)), "each of 9 points"),
    "times in ms": (content(signals(), times=np.arange(9) * 4.0), "not ms"),
    "uneven times": (content(signals(), times=np.arange(9.0) ** 2 / 90), "evenly"),
    "standing times": (content(signals(), times=np.zeros(9)), "evenly"),
    "one time of NaN": (content(signals(w=1), times=[np.nan]), "each of 1 points"),
    "falling times": (content(signals(), times=-np.arange(9.0) / 9), "evenly"),
    "times of NaN": (content(signals(), times=np.full(9, np.nan)), "times"),
    "times of text": (content(signals(), times=list("abcdefghi")), "times are not numbers"),
}


@pytest.mark.parametrize("container", ["pickle", "npy"])
@pytest.mark.parametrize("name", list(WRONG))
def test_wrong_content_is_refused_with_the_file_and_the_reason(tmp_path, name, container):
    value, reason = WRONG[name]
    write(tmp_path, value, container=container, rows=6)
    with pytest.raises(ValueError, match=rf"preprocessed_eeg_training\.npy: .*{reason}"):
        EEG2(tmp_path, 1, "train")


def test_broken_and_hostile_files_are_refused(tmp_path):
    whole = write(tmp_path, content(signals())).read_bytes()
    write(tmp_path, whole[:-100], rows=6)
    with pytest.raises(ValueError, match="training.npy: truncated"):
        EEG2(tmp_path, 1, "train")
    write(tmp_path, b"\x80\x04cbuiltins\nexec\n.", rows=6)
    with pytest.raises(ValueError, match=r"training.npy: refused.*builtins\.exec"):
        EEG2(tmp_path, 1, "train")


def test_images_that_do_not_match_are_refused_before_the_signals_are_read(tmp_path):
    write(tmp_path, content(signals(n=6)), rows=7)
    with pytest.raises(ValueError, match=r"image_metadata.npy: 7 train images.*6 rows"):
        EEG2(tmp_path, 1, "train")


def test_folders_without_numbers_are_aligned_for_all_concepts_of_the_sorting_trap(tmp_path):
    """Row i holds the number i: it must end up at the image of row i of the table, by name."""
    data = np.arange(40.0)[:, None, None, None] * np.ones((1, 2, 5, 9))
    write(tmp_path, content(data))
    things(tmp_path, [(concept[6:], file) for concept, file in TRAP_ROWS], table=False)
    write_table(tmp_path / "Image_set/image_metadata.npy", TRAP_ROWS[::-1])
    eeg = EEG2(tmp_path, 1, "train")
    found = {path.name: signal[0, 0] for path, signal in zip(eeg.images, eeg.signals)}
    assert found == {file: 39 - row for row, (_, file) in enumerate(TRAP_ROWS)}
    assert all(path.is_file() for path in eeg.images)


def test_several_files_of_a_subject_are_listed(tmp_path):
    write(tmp_path, content(signals()), place="preprocessed_data_250hz/sub-01")
    write(tmp_path, content(signals(seed=1)), place="preprocessed_eeg_data_100hz/sub-01")
    with pytest.raises(ValueError, match=r"2 train files.*250hz.*100hz.*pass the folder") as caught:
        EEG2(tmp_path, 1, "train")
    assert f"--data {tmp_path / 'preprocessed_data_250hz'}" in str(caught.value)
    write(tmp_path, content(signals()), place="x/sub-02", name="preprocessed_eeg_train.npy")
    write(tmp_path, content(signals()), place="x/sub-02")
    with pytest.raises(ValueError, match="2 train files of subject 2 .*leave one of them there"):
        EEG2(tmp_path, 2, "train")
    eeg = EEG2(tmp_path / "preprocessed_eeg_data_100hz", 1, "train")
    np.testing.assert_allclose(eeg.signals, signals(seed=1).mean(axis=1), atol=1e-6)


def test_a_missing_subject_or_split_lists_what_is_there(tmp_path):
    write(tmp_path, content(signals()), place="Preprocessed_data_250Hz/sub-02")
    with pytest.raises(FileNotFoundError, match="of subject 1, .*train files there: .*sub-02"):
        EEG2(tmp_path, 1, "train")
    with pytest.raises(FileNotFoundError, match="eeg_test.npy of subject 2.*files there: none"):
        EEG2(tmp_path, 2, "test")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        EEG2(tmp_path / "gone", 1, "train")


@pytest.mark.parametrize(
    ("file", "said"),
    [("eeg.h5", "BERG.*do not mix"), ("ses-01", r"raw data; .*prepare_eeg\.py makes")],
)
def test_what_is_not_read_is_named(tmp_path, file, said):
    folder = tmp_path / "Preprocessed_data_250Hz_whiten/sub-01"
    folder.mkdir(parents=True)
    (folder / file).touch()
    with pytest.raises(FileNotFoundError, match=said):
        EEG2(tmp_path, 1, "train")


def test_unknown_arguments(tmp_path):
    for arguments in ((1, "validation"), ("P1", "train"), (1, "train", "median")):
        with pytest.raises(ValueError, match="wanted"):
            EEG2(tmp_path, *arguments[:2], **dict(zip(["repeats"], arguments[2:])))
