"""One run of THINGS-MEG: from its continuous signals to trials, in numpy.

    x[:, a:b] = median of x over the run        a dropout of the acquisition, repaired
    z         = (x - mean_B x) / sd_B x         B: -0.1 ... 0 s, both ends, at 1200 Hz
    y[k]      = z[6 k]                          200 Hz, 281 points, image onset at index 20

x is one trial of one sensor; mean and sd (divided by the number of points) are its own. These are
the steps of THINGS-data, MEG/step1_preprocessing.py, between and after its filter; y takes every
sixth point as it is, which is sound only after a low pass well below 100 Hz.
Letters: n trials, h sensors, w time points at 200 Hz.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...messages import first_few

RATE = 1200  # Hz, of the recording
BEFORE, AFTER = 120, 1560  # samples from image onset: -0.1 s and 1.3 s
DECIMATION = 6
TIMES = np.arange(-BEFORE, AFTER + 1, DECIMATION) / RATE  # (281,) s from image onset


def repair_dropout(signals: np.ndarray, start: float, length: float) -> None:
    """Replace a dropout by each sensor's median over the run, in place.

    Parameters
    ----------
    signals : (h, samples), at 1200 Hz, before any filter.
    start, length : seconds from the start of the run.

    Raises
    ------
    ValueError
        The dropout does not lie within the run.
    """
    first, count, samples = round(start * RATE), round(length * RATE), signals.shape[1]
    if not (first >= 0 and count > 0 and first + count <= samples):
        raise ValueError(
            f"a dropout of {length:g} s at {start:g} s; the run lasts {samples / RATE:g} s"
        )
    signals[:, first : first + count] = np.median(signals, axis=1, keepdims=True)


def baseline_scores(epoch: np.ndarray) -> np.ndarray:
    """One trial (h, 1681) in units of its own baseline: mean removed, divided by the sd, float64.

    A sensor whose baseline does not vary has no such unit: its row is NaN.
    """
    baseline = epoch[:, : BEFORE + 1]
    mean, sd = baseline.mean(axis=1, keepdims=True), baseline.std(axis=1, keepdims=True)
    flat = np.ptp(baseline, axis=1, keepdims=True) == 0  # where rounding may leave sd above 0
    scores: np.ndarray = (epoch - mean) / np.where(flat, np.nan, sd)
    return scores


def cut_epochs(
    signals: np.ndarray, onsets: Sequence[int] | np.ndarray, sensors: Sequence[str]
) -> np.ndarray:
    """Trials -0.1 ... 1.3 s around image onsets, in units of their baseline, at 200 Hz.

    Parameters
    ----------
    signals : (h, samples), at 1200 Hz.
    onsets : (n,)
        Samples from the start of the run.
    sensors : (h,)
        Their names, for messages.

    Returns
    -------
    (n, h, 281) float32; the arithmetic is float64.

    Raises
    ------
    ValueError
        A trial reaches beyond the run, or a sensor is flat in a baseline.
    """
    h, samples = signals.shape
    out = np.empty((len(onsets), h, len(TIMES)), np.float32)
    for trial, onset in enumerate(np.asarray(onsets).tolist()):
        start, stop = onset - BEFORE, onset + AFTER + 1
        if start < 0 or stop > samples:
            raise ValueError(
                f"trial {trial + 1} at sample {onset} needs samples {start} to {stop - 1}; the run "
                f"has {samples}: a truncated recording, or events of another run"
            )
        scores = baseline_scores(signals[:, start:stop])
        if not (fine := np.isfinite(scores).all(axis=1)).all():
            flat = [name for name, good in zip(sensors, fine) if not good]
            raise ValueError(
                f"trial {trial + 1} at sample {onset}: {len(flat)} of {h} sensors are flat in the "
                f"0.1 s before the image, or not finite: {first_few(flat)}; wanted signals "
                "that vary: name the time among the dropouts"
            )
        out[trial] = scores[:, ::DECIMATION]
    return out


def count_onsets(codes: np.ndarray, code: int) -> int:
    """How many times a trigger channel (samples,) rises or falls to `code`."""
    there = np.rint(codes) == code
    return int(there[:1].sum() + (there[1:] & ~there[:-1]).sum())
