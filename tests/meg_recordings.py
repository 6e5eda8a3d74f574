"""THINGS-MEG in miniature as raw recordings, and what mne alone makes of them.

Four runs of five gradiometers, 40 s each, in the folders and with the tables of ds004212.
"""

from __future__ import annotations

import csv

import mne
import numpy as np
from mne.baseline import rescale

from tests.ctf_folder import write_ctf
from tinybrain.things.meg.signal import TIMES

RATE, SAMPLES = 1200, 48_000  # 40 s: longer than the filter of 33 s
NAMES = ["SCLK01-177", "BG1-1609", "MLC11-1609", "MLO32-1609", "MRO11-1609", "MRT16-1609",
         "MZP01-1609", "UADC005-2104", "UPPT001"]  # fmt: skip
KINDS = ["misc", "reference", "meg", "meg", "meg", "meg", "meg", "misc", "stim"]
KEPT = ["MLC11-1609", "MLO32-1609", "MRT16-1609", "MZP01-1609"]
# (session, run): trial_type and image, in the order shown; 14 images a concept. In the experiment
# image 191 is test image 1, and image 148 is test image 101.
SHOWN = {
    (1, 1): [("exp", 20), ("test", 191), ("catch", 0), ("exp", 141)],
    (1, 2): [("exp", 15), ("test", 148), ("exp", 18)],
    (2, 1): [("test", 148), ("exp", 16), ("catch", 0), ("exp", 184)],
    (2, 2): [("catch", 0), ("test", 191)],
}
LEFT = [15, 16, 18, 20]  # of the concept that has no test image


def name_of(image):
    """THINGS in miniature: as many concepts and images, in as simple an order."""
    concept = min((image - 1) // 14, 1853) + 1
    return f"concept{concept:04d}/concept{concept:04d}_{image - 14 * (concept - 1):03d}s.jpg"


def write_names(root):
    """THINGS' list of its 26,107 images."""
    with open(root / "image_paths.csv", "w") as file:
        file.writelines(f"images/{name_of(image)}\n" for image in range(1, 26_108))


def signals_of(seed):
    """A run (channels, samples) in tesla: slow drifts and noise of its own for each sensor."""
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((len(NAMES), SAMPLES)) * 2e-13
    data += np.cumsum(rng.standard_normal(data.shape), axis=1) * 2e-14 + 1e-12
    data[NAMES.index("SCLK01-177")] = np.arange(1, SAMPLES + 1) / RATE
    data[-1] = 0
    return data


def write_run(path, data):
    """The recording, as a CTF folder or as the FIF that mne exports."""
    if path.suffix == ".ds":
        unit = [1e-6 if kind == "misc" else 1 if kind == "stim" else 1e-17 for kind in KINDS]
        write_ctf(path, NAMES, KINDS, data, unit)
        return
    types = [{"meg": "mag", "reference": "ref_meg"}.get(kind, kind) for kind in KINDS]
    raw = mne.io.RawArray(data, mne.create_info(NAMES, RATE, types), verbose="error")
    raw.save(path, fmt="double", verbose="error")


def write_subject(root, suffix=".fif", shown=SHOWN):
    """sub-BIGMEG1 of a data set in miniature, and THINGS' list of images; the subject's folder."""
    folder = root / "sub-BIGMEG1"
    root.mkdir(exist_ok=True)
    write_names(root)
    for (session, run), trials in shown.items():
        meg = folder / f"ses-{session:02d}" / "meg"
        meg.mkdir(parents=True, exist_ok=True)
        stem = f"sub-BIGMEG1_ses-{session:02d}_task-main_run-{run:02d}"
        data, rows = signals_of(10 * session + run), []
        for number, (kind, image) in enumerate(trials):
            onset = 3425 + 1801 * number + 7 * run
            data[-1, onset - 31 : onset + 20] = 64  # triggers come before the picture
            concept = (image - 1) // 14 + 1 if image else ""
            rows.append([onset / RATE, 0.5, kind, concept, image or "", onset])
        with open(meg / f"{stem}_events.tsv", "w", newline="") as file:
            table = csv.writer(file, delimiter="\t")
            table.writerow(
                ["onset", "duration", "trial_type", "things_category_nr", "value", "sample"]
            )
            table.writerows(rows)
        (meg / f"._{stem}_events.tsv").write_text("left by macOS")
        write_run(meg / f"{stem}_meg{suffix}", data)
    return folder


def by_mne(subject, band, dropouts=()):
    """Trials (h, 281) by (session, run, place in the run): the straight line through mne."""
    trials = {}
    for session, run in SHOWN:
        meg = subject / f"ses-{session:02d}" / "meg"
        stem = f"sub-BIGMEG1_ses-{session:02d}_task-main_run-{run:02d}"
        (path,) = meg.glob(f"{stem}_meg.*")
        read = mne.io.read_raw_ctf if path.suffix == ".ds" else mne.io.read_raw_fif
        raw = read(path, preload=True, verbose="error").drop_channels("MRO11-1609")
        for each in dropouts:
            if (each.session, each.run) == (session, run):
                start = int(np.argmin(np.abs(raw.times - each.start)))
                count = int(each.length * raw.info["sfreq"])
                median = np.median(raw.get_data(), axis=1, keepdims=True)
                raw._data[:, start : start + count] = median
        if band is not None:
            raw.filter(*band, verbose="error")
        with open(meg / f"{stem}_events.tsv") as file:
            samples = [int(row["sample"]) for row in csv.DictReader(file, delimiter="\t")]
        events = np.array([[sample, 0, number + 1] for number, sample in enumerate(samples)])
        epochs = mne.Epochs(raw, events, tmin=-0.1, tmax=1.3, picks="mag", baseline=None,
                            preload=True, verbose="error")  # fmt: skip
        data = rescale(
            epochs.get_data(), epochs.times, (None, 0), "zscore", copy=True, verbose="error"
        )
        epochs = mne.EpochsArray(data, epochs.info, events, epochs.tmin, verbose="error")
        epochs.decimate(6, verbose="error")
        np.testing.assert_allclose(epochs.times, TIMES, atol=1e-12)
        assert epochs.ch_names == KEPT
        for number, data in enumerate(epochs.get_data()):
            trials[session, run, number] = data
    return trials


def where(image, kind):
    """(session, run, place in the run) of each time an image was shown."""
    return [(*at, number) for at, trials in SHOWN.items()
            for number, trial in enumerate(trials) if trial == (kind, image)]  # fmt: skip


def close(actual, wanted):
    """Equal up to the rounding to float32."""
    np.testing.assert_allclose(actual, wanted, rtol=3e-7, atol=1e-7)
