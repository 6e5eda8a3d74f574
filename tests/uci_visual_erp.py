"""Real recordings of pictures seen, turned into a folder in the shape of THINGS-EEG2.

    python -m tests.uci_visual_erp uci_smni_train.npz FOLDER [--figure topographies.png]

The UCI EEG database (H. Begleiter): one or two line drawings, of which the second matches the first
or does not. The .npz has single trials, `eeg_uv` (trials, channels, w) in microvolts from onset at
256 Hz, `ch_names`, `subject`, `condition`, `trial`, `sfreq` and `t0`. Which drawing was seen is not
known, so that a condition stands for an image, and a picture that is made up for the drawings.

Signals are in volts; channels of the eyes (X, Y) and of no known place (nd) are left out; the mean
of the first 50 ms, before the cortex answers, is taken from each trial, as there is nothing before
onset. A condition's trials are dealt out by turns to training and test.
Letters: n conditions, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image, ImageDraw

from tinybrain.ceilings import noise_ceiling
from tinybrain.things import EEG2
from tinybrain.things.sensors import layout
from tinybrain.things.twin import writing
from tinybrain.topography import plot_topographies

NO_SENSORS = ("X", "Y", "nd")
KEYS = ("eeg_uv", "ch_names", "subject", "condition", "trial", "sfreq", "t0")
BASELINE = 0.05  # s
WINDOW = 0.12, 0.22  # s, in which an N1 is looked for
SPLITS = {"training": slice(0, None, 2), "test": slice(1, None, 2)}


def write_things_folder(npz: str | Path, root: str | Path) -> dict[str, str]:
    """Write FOLDER/Image_set and FOLDER/Preprocessed_data_256Hz/sub-XX for every person.

    Returns
    -------
    dict : the person's name in the .npz by subject, such as {"sub-01": "co2a0000364"}.

    Raises
    ------
    ValueError : keys are missing, or numbers of trials differ between conditions.
    """
    content, root = _load(npz), Path(root)
    keep = [i for i, name in enumerate(content["ch_names"].tolist()) if name not in NO_SENSORS]
    sensors = content["ch_names"][keep].tolist()
    times = content["t0"] + np.arange(content["eeg_uv"].shape[-1]) / content["sfreq"]
    conditions = sorted(set(content["condition"].tolist()))
    people = dict.fromkeys(content["subject"].tolist())
    trials = [_trials(content, person, conditions)[:, :, keep] for person in people]
    shown = {condition.replace(" ", "_"): [condition] for condition in conditions}
    writing.write_images(root / "Image_set", {"train": shown, "test": shown}, draw)
    folder = root / f"Preprocessed_data_{content['sfreq']:g}Hz"
    subjects = {f"sub-{i:02d}": person for i, person in enumerate(people, start=1)}
    for subject, microvolts in zip(subjects, trials):
        volts = 1e-6 * microvolts.astype(float)                                # (n, r, h, w)
        volts -= volts[..., times < BASELINE].mean(axis=-1, keepdims=True)
        for split, turns in SPLITS.items():
            data = volts[:, turns]
            path = folder / subject / f"preprocessed_eeg_{split}.npy"
            writing.write_recording(path, data.shape, [data], sensors, times, "pickle")
    return subjects


def draw(condition: str) -> Image.Image:
    """A picture that stands for a condition: one outline, or two that match or do not."""
    image = Image.new("RGB", (200, 200), "black")
    pen = ImageDraw.Draw(image)
    if "match" not in condition:
        pen.ellipse((50, 50, 150, 150), outline="white", width=4)
        return image
    pen.ellipse((15, 60, 95, 140), outline="white", width=4)
    second = pen.rectangle if "nomatch" in condition else pen.ellipse
    second((105, 60, 185, 140), outline="white", width=4)
    return image


def read_trials(root: str | Path, subject: str) -> tuple[np.ndarray, EEG2]:
    """All trials of a person from the folder, (n, r, h, w) in volts, and the recording."""
    splits = [EEG2(root, subject, split, repeats="single") for split in ("train", "test")]
    return np.concatenate([split.signals for split in splits], axis=1), splits[0]


def find_n1(mean: np.ndarray, sensors: tuple[str, ...], times: np.ndarray) -> tuple[str, float]:
    """Sensor and seconds at which a mean recording (h, w) is lowest between 120 and 220 ms."""
    inside = np.flatnonzero((times >= WINDOW[0]) & (times <= WINDOW[1]))
    h, w = np.unravel_index(mean[:, inside].argmin(), (len(mean), len(inside)))
    return sensors[h], float(times[inside[w]])


def reliability(trials: np.ndarray) -> tuple[float, float]:
    """Split-half correlation of a person's mean, and the reliability of the mean of all trials.

    Trials (n, r, h, w) of all conditions are halved at random 100 times; means of the halves are
    correlated over sensors and time. By Spearman-Brown the mean of all has 2 r / (1 + r).
    """
    ceiling = noise_ceiling(rearrange(trials, "n r h w -> 1 (n r) h w"))
    return ceiling.lower["pattern"], ceiling.corrected["pattern"] ** 2


def odd_even(npz: str | Path) -> dict[str, float]:
    """Correlation of the mean of odd with that of even trials, whatever was shown, by person.

    Over time at each sensor, then averaged over sensors. Conditions alternate in the experiment, so
    that odd trials saw others than even ones: lower than `reliability`, whose halves are random.
    """
    content, found = _load(npz), {}
    keep = ~np.isin(content["ch_names"], NO_SENSORS)
    for person in dict.fromkeys(content["subject"].tolist()):
        rows = np.flatnonzero(content["subject"] == person)
        rows = rows[np.argsort(content["trial"][rows], kind="stable")]
        halves = [content["eeg_uv"][half][:, keep].mean(axis=0) for half in (rows[::2], rows[1::2])]
        found[person] = np.mean([np.corrcoef(one, two)[0, 1] for one, two in zip(*halves)])
    return found


def plot(root: str | Path, subjects: list[str], path: str | Path) -> Path:
    """Topographies from 80 to 320 ms: the mean over everybody, and the first people."""
    means = {}
    for subject in subjects:
        trials, recording = read_trials(root, subject)
        means[subject] = 1e6 * trials.mean(axis=(0, 1))
    everyone = {f"Mean of {len(means)}": np.mean(list(means.values()), axis=0)}
    inside = (recording.times > 0.078) & (recording.times < 0.322)
    rows = everyone | {name: means[name] for name in subjects[:4]}
    return plot_topographies(
        {name: signals[:, inside] for name, signals in rows.items()},
        sensors=recording.sensors, xy=layout(recording.sensors), times=recording.times[inside],
        every=0.04, unit="\N{MICRO SIGN}V", path=path, title="Pictures seen (UCI EEG database)",
    )  # fmt: skip


def _load(npz: str | Path) -> dict[str, np.ndarray]:
    with np.load(npz) as file:
        if missing := [key for key in KEYS if key not in file]:
            raise ValueError(f"{npz}: no {', '.join(missing)} in it; wanted {', '.join(KEYS)}")
        return {key: file[key] for key in KEYS}


def _trials(content: dict, person: str, conditions: list[str]) -> np.ndarray:
    """A person's trials (n, r, channels, w), condition after condition, in the order of trials."""
    mine = content["subject"] == person
    rows = [np.flatnonzero(mine & (content["condition"] == each)) for each in conditions]
    counts = dict(zip(conditions, map(len, rows)))
    if len(set(counts.values())) > 1 or len(rows[0]) < 2:
        raise ValueError(f"{person}: trials are {counts}; wanted as many of each, two at least")
    in_order = [each[np.argsort(content["trial"][each], kind="stable")] for each in rows]
    return content["eeg_uv"][np.stack(in_order)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("npz", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args(arguments)
    subjects, found = write_things_folder(args.npz, args.folder), []
    alternate = odd_even(args.npz)
    print("person; lowest sensor, time, volts; time at PO7 and PO8; r of random halves, reliability"
          " of the mean of all; r of odd and even trials")  # fmt: skip
    for subject, person in subjects.items():
        trials, recording = read_trials(args.folder, subject)
        mean = trials.mean(axis=(0, 1))
        found.append((mean, *reliability(trials)))
        print(f"{subject} {person}  {_describe(mean, recording)}  "
              f"{found[-1][1]:.2f} {found[-1][2]:.2f}; {alternate[person]:.2f}")  # fmt: skip
    means, halves, whole = (np.mean(each, axis=0) for each in zip(*found))
    print(f"mean of {len(found)}  {_describe(means, recording)}  {halves:.3f} {whole:.3f}; "
          f"{np.mean(list(alternate.values())):.3f}")  # fmt: skip
    if args.figure:
        print(plot(args.folder, list(subjects), args.figure))


def _describe(mean: np.ndarray, recording: EEG2) -> str:
    """Where a mean recording is lowest, and when the mean of PO7 and PO8 is."""
    sensors, times = recording.sensors, recording.times
    sensor, seconds = find_n1(mean, sensors, times)
    depth = mean[sensors.index(sensor), np.searchsorted(times, seconds)]
    both = mean[[sensors.index("PO7"), sensors.index("PO8")]].mean(axis=0)[None]
    _, there = find_n1(both, ("both",), times)
    return f"{sensor:4s} {1000 * seconds:3.0f} ms {depth:.1e} V; {1000 * there:3.0f} ms"


if __name__ == "__main__":
    main()
