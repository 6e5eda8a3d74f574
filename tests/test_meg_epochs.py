"""The distributed epochs: FIF with its continuation files, and the cosmofile made of it."""

import shutil

import h5py
import mne
import numpy as np
import pytest

from tests import meg_miniature as mini
from tests.memory import peak_memory
from tinybrain.things import recording
from tinybrain.things.meg import epochs as meg_epochs
from tinybrain.things.sensors import THINGS_MEG_271

try:
    import pandas as PANDAS  # mne keeps metadata as lists without it
except ImportError:
    PANDAS = None

ROWS = mini.records()
NAMES = [*THINGS_MEG_271[:200], "MRO11-1609", *THINGS_MEG_271[200:], "UPPT001"]
KEPT = [at for at, name in enumerate(NAMES) if name in THINGS_MEG_271]
FILE = "preprocessed_P1-epo.fif"


def write_fif(folder, data, rows, file=FILE, split_size="7MB", metadata=None):
    """The epochs of `rows` with a broken sensor and a trigger channel besides; -0.1 s at 200 Hz."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = np.full((len(rows), len(NAMES), 281), 7, np.float32)
    whole[:, KEPT] = data
    info = mne.create_info(NAMES, 200.0, ["mag"] * 272 + ["stim"])
    events = np.c_[2000 * np.arange(len(rows)), np.zeros(len(rows), int), mini.codes(rows)]
    epochs = mne.EpochsArray(whole, info, events.astype(int), tmin=-0.1, verbose="error")
    if metadata is not None:
        epochs.metadata = metadata if PANDAS is None else PANDAS.DataFrame(metadata)
    epochs.save(folder / file, split_size=split_size, verbose="error")
    return folder / file


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A FIF in four parts, never to be changed."""
    folder = tmp_path_factory.mktemp("fif")
    data = mini.signals(ROWS)
    write_fif(folder, data, ROWS)
    assert len(list(folder.iterdir())) == 4
    return folder, data


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "copy") / FILE


def test_blocks_equal_read_epochs_and_take_little_memory(whole, monkeypatch):
    folder, data = whole
    monkeypatch.setattr(recording, "BLOCK", 1_000_000)  # some three trials of 74
    came = meg_epochs.open_fif(folder / FILE)
    assert came.sensors == THINGS_MEG_271
    assert came.times[[0, 20, -1]] == pytest.approx([-0.1, 0, 1.3], abs=1e-12)
    rows = np.random.default_rng(0).permutation(len(ROWS))[:72].reshape(36, 2)
    lazy = came.pick(rows, slice(21, 221))
    out = np.empty((36, 271, 200), np.float32)
    read, peak = peak_memory(lambda: recording.read_signals(lazy, average=True, out=out))
    by_mne = mne.read_epochs(folder / FILE, verbose="error").get_data(picks=KEPT)
    assert (read.signals == by_mne[rows][..., 21:221].mean(1, dtype=np.float32)).all()
    assert (by_mne == data).all()
    assert peak < 8_000_000 < data.nbytes / 2


def test_any_part_of_a_lazy_recording(whole):
    folder, data = whole
    rows = np.arange(20).reshape(10, 2)[::-1]
    lazy = meg_epochs.open_fif(folder / FILE).pick(rows, slice(20, 40))
    at = (slice(2, 5), slice(1, 2), slice(3, 9, 2), slice(1, 7, 3))
    assert (lazy[at] == data[rows][..., 20:40][at]).all()


def test_trials_of_the_codes(whole):
    trials = meg_epochs.open_fif(whole[0] / FILE).trials
    assert trials.image_number.tolist() == [c * (c != 999999) for c in mini.codes(ROWS)]
    assert trials.kind.tolist() == [row["trial_type"] for row in ROWS]


def test_metadata_names_the_images_and_must_agree_with_the_codes(tmp_path):
    """The distributed epochs carry sample_attributes; a catch trial has no number there."""
    table = [{key: row.get(key) for key in mini.COLUMNS} for row in ROWS]
    file = write_fif(tmp_path, mini.signals(ROWS), ROWS, metadata=table)
    trials = meg_epochs.open_fif(file).trials
    images = [mini.name(row) if row["trial_type"] != "catch" else "" for row in ROWS]
    assert trials.image.tolist() == images
    assert trials.test_number.tolist() == [row.get("test_image_nr", 0) for row in ROWS]
    table[5], table[6] = table[6], table[5]
    file = write_fif(tmp_path / "other", mini.signals(ROWS), ROWS, metadata=table)
    with pytest.raises(ValueError, match="trial 6 shows image .* 2 trials differ"):
        meg_epochs.open_fif(file)


def test_a_missing_continuation_file_is_named(copy):
    copy.with_name("preprocessed_P1-epo-2.fif").unlink()
    with pytest.raises(FileNotFoundError, match=r"preprocessed_P1-epo-2\.fif: missing.*2\.06 GB"):
        meg_epochs.open_fif(copy)
    with pytest.raises(FileNotFoundError, match="no such file"):
        meg_epochs.open_fif(copy.with_name("preprocessed_P9-epo.fif"))


def test_a_part_in_place_of_another_is_refused(copy):
    """mne follows a file that leads to itself for ever."""
    first, second = (copy.with_name(f"preprocessed_P1-epo-{k}.fif") for k in (1, 2))
    shutil.copy(first, second)
    with pytest.raises(ValueError, match=r"goes on in 'preprocessed_P1-epo-2\.fif', not in"):
        meg_epochs.open_fif(copy)


def test_a_part_of_another_subject_is_refused(copy, tmp_path):
    other = mini.records(seed=5)
    write_fif(tmp_path / "other", mini.signals(other), other)
    shutil.copy(tmp_path / "other" / "preprocessed_P1-epo-1.fif", copy.parent)
    with pytest.raises(ValueError, match=r"preprocessed_P1-epo\.fif"):
        meg_epochs.open_fif(copy)
    other = write_fif(tmp_path / "two", mini.signals(ROWS), ROWS, "preprocessed_P2-epo.fif")
    second = other.with_name("preprocessed_P2-epo-1.fif")
    shutil.copy(second, copy.with_name("preprocessed_P1-epo-1.fif"))
    with pytest.raises(ValueError, match=r"goes on in 'preprocessed_P2-epo-2\.fif'"):
        meg_epochs.open_fif(copy)


@pytest.mark.parametrize("part", ["", "-1", "-3"])
def test_a_truncated_part_is_refused(copy, part):
    file = copy.with_name(f"preprocessed_P1-epo{part}.fif")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises((ValueError, FileNotFoundError), match="preprocessed_P1-epo"):
        came = meg_epochs.open_fif(copy)
        came.pick(np.arange(len(came.trials))[:, None], slice(0, 281))[:, :, :, :]


def test_damaged_fif_files_raise_documented_errors(tmp_path):
    file = write_fif(tmp_path, mini.signals(ROWS[:3]), ROWS[:3], split_size="2GB")
    good, rng = file.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        bad = bytearray(good[: rng.choice([len(good), rng.integers(1, len(good))])])
        for at in rng.integers(0, min(len(bad), 20_000), 20):
            bad[at] = rng.integers(256)
        file.write_bytes(bad)
        try:
            came = meg_epochs.open_fif(file)
            came.pick(np.zeros((1, 1), int), slice(0, 2))[:, :, :, :]
        except (ValueError, FileNotFoundError) as error:
            assert "preprocessed_P1-epo" in str(error)


def test_a_fif_that_is_not_things_meg(tmp_path):
    info = mne.create_info(["MLC11", "MLC12"], 200.0, "mag")
    epochs = mne.EpochsArray(np.zeros((1, 2, 5)), info, verbose="error")
    epochs.save(tmp_path / FILE, verbose="error")
    with pytest.raises(ValueError, match="2 gradiometers"):
        meg_epochs.open_fif(tmp_path / FILE)


# The cosmofile


def write_cosmofile(path, data, rows, attributes=True, chan=None):
    """As MATLAB saves the struct: (features, trials), text by reference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        flat = data.transpose(2, 1, 0).reshape(281 * 271, len(rows))
        file.create_dataset("ds/samples", data=flat.astype("f8"), chunks=(271, len(rows)))
        file["ds/fa/chan"] = (np.tile(np.arange(1.0, 272), 281) if chan is None else chan)[:, None]
        file["ds/fa/time"] = np.repeat(np.arange(1.0, 282), 271)[:, None]
        for key in ("things_image_nr", "things_category_nr", "test_image_nr", "session_nr"):
            if attributes:
                file[f"ds/sa/{key}"] = np.array([[row.get(key, np.nan) for row in rows]], float)
        for key in ("trial_type", "image_path"):
            if attributes:
                refs = file.create_dataset(f"ds/sa/{key}", (1, len(rows)), h5py.ref_dtype)
                for at, row in enumerate(rows):
                    text = np.frombuffer(row[key].encode("utf-16-le"), "u2")[:, None]
                    refs[0, at] = file.create_dataset(f"#refs#/{key}{at}", data=text).ref
    return path


def test_a_cosmofile_says_the_same_as_the_fif(tmp_path):
    data = mini.signals(ROWS)
    came = meg_epochs.open_cosmofile(write_cosmofile(tmp_path / "P1_cosmofile.mat", data, ROWS))
    rows = np.random.default_rng(0).permutation(len(ROWS))[:30].reshape(15, 2)
    lazy = came.pick(rows, slice(21, 221))
    at = (slice(2, 9), slice(0, 2), slice(5, 200, 3), slice(10, 190, 7))
    assert lazy.shape == (15, 2, 271, 200) and lazy.outer == 3
    assert (lazy[at] == data[rows][..., 21:221][at]).all()
    read = recording.read_signals(lazy, average=False)
    assert (read.signals == data[rows][..., 21:221]).all()
    images = [mini.name(row) if row["trial_type"] != "catch" else "" for row in ROWS]
    assert came.trials.image.tolist() == images
    assert came.trials.concept_number.tolist() == [r.get("things_category_nr", 0) for r in ROWS]


def test_cosmofiles_in_other_forms(tmp_path):
    data, path = mini.signals(ROWS[:4]), tmp_path / "P1_cosmofile.mat"
    assert meg_epochs.open_cosmofile(write_cosmofile(path, data, ROWS[:4], False)).trials is None
    write_cosmofile(path, data, ROWS[:4], chan=np.repeat(np.arange(1.0, 272), 281))
    with pytest.raises(ValueError, match="ds/fa/chan orders the rows in another way"):
        meg_epochs.open_cosmofile(path)
    with h5py.File(path, "w") as file:
        file["ds/samples"] = np.zeros((5, 4))
    with pytest.raises(ValueError, match=r"shape \(5, 4\)"):
        meg_epochs.open_cosmofile(path)
    for content in (b"", b"\x89HDF\r\n\x1a\n" + b"\0" * 100, b"MATLAB 5.0"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"P1_cosmofile\.mat"):
            meg_epochs.open_cosmofile(path)


@pytest.mark.parametrize(("module", "extra"), [("mne", "mne"), ("h5py", "hdf5")])
def test_without_the_library_the_extra_is_named(monkeypatch, tmp_path, module, extra):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    opened = meg_epochs.open_fif if module == "mne" else meg_epochs.open_cosmofile
    with pytest.raises(ModuleNotFoundError, match=rf"tinybrain-ddpm\[{extra}\]"):
        opened(tmp_path / "x")
