"""Raw THINGS-EEG2 to array: against a straight line of MNE, scikit-learn and scipy."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import mne
import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power
from sklearn.discriminant_analysis import _cov
from sklearn.utils import shuffle

from tests import raw_things
from tests.raw_things import (
    EVERY,
    EXEMPLARS,
    NAME,
    SETTINGS,
    SHOWN,
    TEST,
    pattern,
)
from tinybrain.things import preprocess, store
from tinybrain.things.preprocess import Settings, prepare
from tinybrain.things.sensors import THINGS_EEG2_63

SEED = 20200220
things, made = raw_things.things, raw_things.made  # fixtures


# The straight line


def straight_epochs(file: Path, settings: Settings, repeats: int):
    """Codes (n,) and epochs (n, r, h, w), by MNE and scikit-learn."""
    content = np.load(file, allow_pickle=True).item()
    info = mne.create_info(content["ch_names"], content["sfreq"], content["ch_types"])
    raw = mne.io.RawArray(content["raw_eeg_data"], info, verbose="error")
    events = mne.find_events(raw, stim_channel="stim", verbose="error")
    events = events[events[:, 2] != 99999]
    raw.pick(list(settings.sensors)).reorder_channels(list(settings.sensors))
    epochs = mne.Epochs(raw, events, tmin=settings.tmin, tmax=settings.tmax, baseline=(None, 0),
                        preload=True, verbose="error")  # fmt: skip
    epochs.resample(settings.rate, verbose="error")
    codes, data = epochs.events[:, 2], epochs.get_data(copy=True)
    keep = (epochs.times > settings.start - 1e-9) & (epochs.times < settings.stop + 1e-9)
    chosen = [shuffle(np.flatnonzero(codes == code), random_state=SEED, n_samples=repeats)
              for code in np.unique(codes)]  # fmt: skip
    return np.unique(codes), data[np.array(chosen)][..., keep], epochs.times


def straight_whitener(partitions: list[np.ndarray], over: str) -> np.ndarray:
    each = []
    for x in partitions:
        covs = []
        for image in x:
            single = [trial.T for trial in image]
            if over == "time":
                single = [image[:, :, point] for point in range(image.shape[-1])]
            covs.append(np.mean([_cov(z, shrinkage="auto") for z in single], axis=0))
        each.append(np.mean(covs, axis=0))
    return fractional_matrix_power(np.mean(each, axis=0), -0.5)


def straight_line(root: Path, settings: Settings) -> dict[str, np.ndarray]:
    rows: dict[str, dict] = {"train": {}, "test": {}}
    for number in SHOWN:
        folder = root / f"Raw_Data/sub-01/ses-{number:02d}"
        part = {split: straight_epochs(folder / f"raw_eeg_{NAME[split]}.npy", settings,
                                       settings.repeats(split)) for split in rows}  # fmt: skip
        used = ["train"] if settings.noise_from == "train" else ["test", "train"]
        w = straight_whitener([part[split][1] for split in used], settings.mvnn)
        for split, (codes, epochs, _) in part.items():
            for code, x in zip(codes, epochs):
                rows[split].setdefault(int(code), []).append(w @ x)
    result = {}
    for split, of_image in rows.items():
        data = np.array([np.concatenate(of_image[code]) for code in sorted(of_image)])
        result[split] = data[:, shuffle(np.arange(data.shape[1]), random_state=SEED)]
    return result


def nice(folder: Path, split: str) -> dict:
    with open(folder / f"sub-01/preprocessed_eeg_{NAME[split]}.npy", "rb") as file:
        return pickle.load(file)


def test_the_whole_chain_equals_the_straight_line(things, made):
    wanted = straight_line(things, SETTINGS)
    for split, shape in (("train", (80, 4, 63, 250)), ("test", (TEST, 12, 63, 250))):
        content = nice(made / "nice", split)
        data = content["preprocessed_eeg_data"]
        assert data.shape == wanted[split].shape == shape and data.dtype == np.float64
        np.testing.assert_allclose(data, wanted[split], rtol=0, atol=1e-8)
        assert content["ch_names"] == list(THINGS_EEG2_63)
        np.testing.assert_allclose(content["times"], np.arange(-50, 250) / 250, atol=1e-12)
        signals = store.read_card(made / "sub-01").content(split, things).data
        np.testing.assert_array_equal(signals, data.astype(np.float32))


OTHER = Settings(
    rate=100, tmax=0.8, start=0.05, stop=0.14, sensors=("Oz", "Pz", "O1", "P3", "AF7"), mvnn="time",
    noise_from="both", test_repeats=3,
)  # fmt: skip


def test_the_official_variant_equals_the_straight_line(things, tmp_path):
    card = store.read_card(prepare(things, tmp_path, 1, settings=OTHER, nice=tmp_path / "nice"))
    wanted = straight_line(things, OTHER)
    np.testing.assert_allclose(card.times, np.arange(5, 15) / 100, atol=1e-12)
    late = card.source["signal_seconds_after_its_nominal_time"]
    assert -0.005 < late[0] <= late[1] < -0.003
    for split in wanted:
        content = nice(tmp_path / "nice", split)
        assert content["preprocessed_eeg_data"].shape[2:] == (5, 10)
        np.testing.assert_allclose(content["times"], np.arange(-20, 80) / 100, atol=1e-12)
        np.testing.assert_allclose(content["preprocessed_eeg_data"], wanted[split], atol=1e-8)


@pytest.mark.parametrize("aligned", [False, True])
def test_rows_are_the_images_by_what_the_signal_says(things, tmp_path, aligned):
    settings = replace(SETTINGS, mvnn="none", aligned=aligned)
    card = store.read_card(prepare(things, tmp_path, 1, settings=settings))
    assert card.unit == "V" and card.whitening == ()
    for split in ("train", "test"):
        content = card.content(split, things)
        seen = content.data[..., 18:27].mean(axis=(1, 3))  # 72 to 104 ms  (n, h)
        images = np.array([pattern(split, code) for code in range(1, len(seen) + 1)])
        np.testing.assert_array_equal((seen @ images.T).argmax(axis=1), np.arange(len(seen)))
        prefix = "thing" if split == "train" else "other"
        per = EXEMPLARS if split == "train" else 1
        assert all(p.name.startswith(f"{prefix}{i // per}_") for i, p in
                   enumerate(content.images.paths))  # fmt: skip


def test_repetitions_say_their_session_and_can_be_unwhitened(things, made, tmp_path):
    settings = replace(SETTINGS, mvnn="none", permute=False)
    volts = store.read_card(prepare(things, tmp_path, 1, settings=settings))
    white = store.read_card(made / "sub-01")
    assert white.unit == "whitened" and [each.session for each in white.whitening] == [1, 2, 3, 4]
    order = [2, 1, 3, 0]
    plain = volts.splits["train"].sessions
    expected = [[1 if code <= 40 else 2] * 2 + [3 if code % 2 else 4] * 2 for code in EVERY]
    assert plain.tolist() == expected
    np.testing.assert_array_equal(white.splits["train"].sessions, plain[:, order])
    data = white.content("train", things).data
    back = store.unwhiten(np.asarray(data, np.float64), white, "train")
    wanted = np.asarray(volts.content("train", things).data)[:, order]
    np.testing.assert_allclose(back, wanted, atol=1e-5 * np.abs(wanted).max())


def test_the_card_says_how_it_was_made(things, made):
    card = store.read_card(made / "sub-01")
    assert Settings(**card.source["settings"]) == SETTINGS
    np.testing.assert_allclose(card.times, np.arange(250) / 250, atol=1e-12)
    assert card.sensors == THINGS_EEG2_63 and (card.kind, card.subject) == ("eeg", 1)
    late = card.source["signal_seconds_after_its_nominal_time"]
    np.testing.assert_allclose(late, [0.001, 0.001], atol=1e-9)
    first = card.source["sessions"][0]
    assert first["session"] == 1 and first["train"]["file"].endswith("raw_eeg_training.npy")
    counts = {"events": 91, "targets": 4, "beyond_the_ends": 2, "images": 40, "epochs": 80,
              "not_chosen": 5}  # fmt: skip
    assert counts.items() <= first["train"].items()
    assert not (made / "sub-01" / preprocess.PARTS).exists()


def test_settings_survive_json():
    settings = Settings(sensors=("Oz", "Pz"), rate=100, seed=3)
    assert Settings(**json.loads(json.dumps(asdict(settings)))) == settings
