"""BrainVision source files, written by hand, made into raw recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tinybrain.things import pickles
from tinybrain.things.eeg2 import brainvision
from tinybrain.things.eeg2 import raw as raw_eeg
from tinybrain.things.sensors import THINGS_EEG2_63

SENSORS = (*THINGS_EEG2_63[::-1],)
SCALE = 0.1  # microvolts per bit


def marker(number: int, split: str) -> int:
    if number == 0:
        return 255
    return number if split == "test" else int(str(number)[:2])


def write_part(stem: Path, split: str, onsets, numbers, *, samples=400, seed=0) -> np.ndarray:
    """One part as the recorder and the experiment leave it; its signals (63, samples) in volts."""
    (stem.parent.parent / "beh").mkdir(parents=True, exist_ok=True)
    stem.parent.mkdir(parents=True, exist_ok=True)
    bits = np.random.default_rng(seed).integers(-999, 999, (len(SENSORS), samples)).astype("<i2")
    name = stem.name
    Path(f"{stem}_eeg.eeg").write_bytes(bits.tobytes("F"))  # multiplexed
    channels = "\n".join(f"Ch{i}={s},,{SCALE},µV" for i, s in enumerate(SENSORS, start=1))
    Path(f"{stem}_eeg.vhdr").write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={name}_eeg.eeg\nMarkerFile={name}_eeg.vmrk\nDataFormat=BINARY\n"
        f"DataOrientation=MULTIPLEXED\nNumberOfChannels={len(SENSORS)}\nSamplingInterval=1000\n\n"
        f"[Binary Infos]\nBinaryFormat=INT_16\n\n[Channel Infos]\n{channels}\n",
        encoding="utf-8",
    )
    lines = ["Mk1=New Segment,,1,1,0,20200101120000000000"]
    for i, (onset, number) in enumerate(zip(onsets, numbers), start=2):
        lines.append(f"Mk{i}=Stimulus,S{marker(number, split):3d},{onset + 1},1,0")  # from 1
    Path(f"{stem}_eeg.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={name}_eeg.eeg\n\n[Marker Infos]\n" + "\n".join(lines) + "\n",
        encoding="utf-8",
    )
    trials = np.zeros(len(numbers), [("block", "O"), ("tot_img_number", "O"), ("trigger_1", "O")])
    for trial, number in zip(trials, numbers):
        trial["block"], trial["tot_img_number"] = 1.0, float(number)
        trial["trigger_1"] = float(marker(number, split))
    data = {"paradigm_info": {"SOA": 0.2}, "subject_info": {"ID": 1.0}, "images": trials}
    savemat(stem.parent.parent / f"beh/{name}_beh.mat", {"data": data})
    return bits * SCALE * 1e-6


TRAIN = {1: [16540, 7, 0, 120], 2: [35, 7, 120]}
TEST = [200, 3, 0, 3]
ONSETS = [0, 60, 120, 350]


@pytest.fixture
def source(tmp_path):
    """Two training parts and a test, and their signals."""
    folder = tmp_path / "source_data/sub-03/ses-02/eeg"
    signals = [
        write_part(folder / f"sub-03_ses-02_task-train_part-{part:02d}", "train", ONSETS, numbers,
                   seed=part) for part, numbers in TRAIN.items()
    ]  # fmt: skip
    test = write_part(folder / "sub-03_ses-02_task-test", "test", ONSETS, TEST, samples=500)
    return tmp_path, np.concatenate(signals, axis=1), test


@pytest.mark.parametrize("block", [37, 20_000])
def test_signals_and_codes_come_back(source, monkeypatch, block):
    root, train, test = source
    monkeypatch.setattr(brainvision, "BLOCK", block)
    lines = []
    folder = brainvision.convert(root, root / "raw_data", 3, report=lines.append)
    assert folder == root / "raw_data/sub-03" and len(lines) == 2
    files = raw_eeg.find_sessions(root / "raw_data", 3)[2]
    codes = {
        "train": {0: 16540, 60: 7, 120: 99999, 350: 120, 400: 35, 460: 7, 520: 120},
        "test": {0: 200, 60: 3, 120: 99999, 350: 3},
    }
    for split, signals in (("train", train), ("test", test)):
        raw = raw_eeg.read_raw(files[split])
        assert raw.rate == 1000 and raw.sensors == (*SENSORS, "stim") and raw.stim == 63
        np.testing.assert_allclose(raw.data[:63], signals, rtol=0, atol=1e-15)
        stim = np.zeros(signals.shape[1])
        stim[list(codes[split])] = list(codes[split].values())
        np.testing.assert_array_equal(raw.data[63], stim)


def test_the_file_is_the_dict_that_numpy_reads(source):
    root, _, _ = source
    folder = brainvision.convert(root, root / "raw_data", 3)
    file = folder / "ses-02/raw_eeg_training.npy"
    content = np.load(file, allow_pickle=True).item()
    assert list(content) == ["raw_eeg_data", "ch_names", "ch_types", "sfreq", "highpass", "lowpass"]
    assert content["raw_eeg_data"].shape == (64, 800)
    assert content["raw_eeg_data"].dtype == np.float64
    assert content["ch_types"] == ["eeg"] * 63 + ["stim"] and content["sfreq"] == 1000
    mine = pickles.read(file)
    np.testing.assert_array_equal(mine["raw_eeg_data"], content["raw_eeg_data"])
    again = []
    before = file.stat().st_mtime_ns
    brainvision.convert(root, root / "raw_data", 3, report=again.append)
    assert file.stat().st_mtime_ns == before and all("there already" in line for line in again)


def test_markers_out_of_step_are_refused(source):
    root, _, _ = source
    stem = root / "source_data/sub-03/ses-02/eeg/sub-03_ses-02_task-train_part-02"
    numbers = np.array(TRAIN[2])
    write_part(stem, "train", ONSETS, numbers[::-1], samples=400)
    header = Path(f"{stem}_eeg.vmrk").read_text()
    write_part(stem, "train", ONSETS, numbers, samples=400)
    Path(f"{stem}_eeg.vmrk").write_text(header)
    with pytest.raises(ValueError, match="2 of 3 markers do not fit .* first trial 1: marker 12,"):
        brainvision.convert(root, root / "raw", 3)
    assert not (root / "raw/sub-03/ses-02/raw_eeg_training.npy").exists()
    brainvision.convert(root, root / "raw", 3, check_markers=False)


@pytest.mark.parametrize("shown", [[35, 7], [35, 7, 120, 1]])
def test_another_number_of_trials_is_refused(source, shown):
    root, _, _ = source
    stem = root / "source_data/sub-03/ses-02/eeg/sub-03_ses-02_task-train_part-02"
    markers = Path(f"{stem}_eeg.vmrk").read_text()
    write_part(stem, "train", ONSETS, shown)
    Path(f"{stem}_eeg.vmrk").write_text(markers)
    with pytest.raises(ValueError, match=rf"3 stimulus markers, but .* has {len(shown)} trials"):
        brainvision.convert(root, root / "raw", 3)


def test_missing_parts_and_partners_are_named(source):
    root, _, _ = source
    with pytest.raises(FileNotFoundError, match="no source files of subject 4"):
        brainvision.convert(root, root / "raw", 4)
    stem = root / "source_data/sub-03/ses-02/eeg/sub-03_ses-02_task-train_part-0"
    behaviour = root / "source_data/sub-03/ses-02/beh/sub-03_ses-02_task-train_part-01_beh.mat"
    whole = behaviour.read_bytes()
    behaviour.write_bytes(whole[:200])
    with pytest.raises(ValueError, match="part-01_beh.mat: wanted MATLAB's data.images"):
        brainvision.convert(root, root / "raw", 3)
    behaviour.unlink()
    with pytest.raises(FileNotFoundError, match="part-01_eeg.vhdr: without its partner .*beh.mat"):
        brainvision.convert(root, root / "raw", 3)
    Path(f"{stem}1_eeg.vhdr").unlink()
    with pytest.raises(FileNotFoundError, match="part 1 of 2 is missing"):
        brainvision.convert(root, root / "raw", 3)


def test_damaged_headers_are_named(source):
    root, _, _ = source
    header = root / "source_data/sub-03/ses-02/eeg/sub-03_ses-02_task-test_eeg.vhdr"
    header.write_text("Brain Vision")
    with pytest.raises(ValueError, match="task-test_eeg.vhdr: MNE cannot read it"):
        brainvision.convert(root, root / "raw", 3)


def test_without_mne_the_remedy_is_named(source, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mne", None)
    with pytest.raises(ImportError, match=r"pip install 'tinybrain-ddpm\[mne\]'"):
        brainvision.convert(source[0], source[0] / "raw", 3)
