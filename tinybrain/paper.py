"""The paper's numbers, as printed, and what follows from them alone.

Source: Xu et al., arXiv:2509.00787 version 3, Tables 1 to 9: mean squared error (MSE) and Pearson
correlation (PCC) of generated against recorded signals of the test images. The unit of the signals
and the axes of the PCC are not stated there.

    Tables 1, 4      within subject, EEG and MEG           PAPER_EEG, PAPER_MEG, within()
    Tables 2, 3, 5   trained on one, tested on another     cross_subject()
    Tables 6 to 9    ways of conditioning (Figure 5)       conditioning()

Most means and standard deviations printed beside Tables 2, 3 and 5 follow from the cells printed
there, not all: `CrossSubject.discrepancies` lists the others. The corners of Tables 2 and 3 are the
averages of the lower margin, that of Table 5(a) is the spread of all its cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import numpy as np

# Table 1 and Table 4. Subject: (MSE, PCC).
PAPER_EEG = {
    1: (0.178, 0.228), 2: (0.212, 0.191), 3: (0.189, 0.216), 4: (0.225, 0.173), 5: (0.269, 0.139),
    6: (0.247, 0.159), 7: (0.213, 0.186), 8: (0.200, 0.231), 9: (0.204, 0.140), 10: (0.234, 0.213),
}  # fmt: skip
PAPER_MEG = {1: (0.607, 0.128), 2: (0.856, 0.198), 3: (0.964, 0.061), 4: (0.623, 0.099)}
# Their last column: the averages as printed.
AVERAGE = {"eeg": (0.217, 0.188), "meg": (0.763, 0.122)}

LAST_DIGIT = 0.001  # of every number here


@dataclass(frozen=True)
class CrossSubject:
    """Tables 2, 3, 5(a) and 5(b), as printed.

    Attributes
    ----------
    table : the paper's number, "2", "3", "5(a)" or "5(b)".
    cells : (s, s) float64, row: subject trained on (source), column: subject tested on (target);
        nan on the diagonal.
    source_mean, source_std : (s,) of each row, in the right margin.
    target_mean, target_std : (s,) of each column, in the lower margin.
    mean, std : the numbers in the corner. The mean is that of Section 4.3.
    """

    table: str
    cells: np.ndarray
    source_mean: np.ndarray
    source_std: np.ndarray
    target_mean: np.ndarray
    target_std: np.ndarray
    mean: float
    std: float

    def recomputed(self) -> CrossSubject:
        """The same table with its margins computed from its cells: mean and sample standard
        deviation (n - 1) of each row, of each column, and of all cells."""
        cells = self.cells
        return CrossSubject(
            self.table, cells,
            np.nanmean(cells, axis=1), np.nanstd(cells, axis=1, ddof=1),
            np.nanmean(cells, axis=0), np.nanstd(cells, axis=0, ddof=1),
            float(np.nanmean(cells)), float(np.nanstd(cells, ddof=1)),
        )  # fmt: skip

    def discrepancies(self) -> dict[tuple[str, int | None], tuple[float, float]]:
        """The margins that do not follow from the cells, by more than rounding can explain.

        Rounding n cells moves their mean by half a unit of the last digit at most, their standard
        deviation by half a unit times sqrt(n / (n - 1)); what is printed may be cut off, a unit.

        Returns
        -------
        dictionary from (margin, subject), such as ("target_std", 9), or ("mean", None) for the
        corner, to (printed, computed from the cells).
        """
        found, computed, s = {}, self.recomputed(), len(self.cells)
        for margin in ("source_mean", "source_std", "target_mean", "target_std", "mean", "std"):
            corner = margin in ("mean", "std")
            n = s * (s - 1) if corner else s - 1
            rounding = 0.5 * (math.sqrt(n / (n - 1)) if margin.endswith("std") else 1)
            printed, ours = (np.atleast_1d(getattr(of, margin)) for of in (self, computed))
            for i in np.flatnonzero(np.abs(printed - ours) > LAST_DIGIT * (1 + rounding)):
                found[margin, None if corner else int(i) + 1] = float(printed[i]), float(ours[i])
        return found


@dataclass(frozen=True)
class Conditioning:
    """Tables 6 to 9, as printed: ways to tell the network the image.

    Attributes
    ----------
    table : the paper's number, "6" to "9".
    subjects : by way ("addition", "concatenation", "cross_attention") the value of each subject.
    average : by way the average as printed, which Figure 5 shows.
    """

    table: str
    subjects: dict[str, tuple[float, ...]]
    average: dict[str, float]


def _array(values: list) -> np.ndarray:
    """A constant that nobody changes by mistake."""
    array = np.array(values)
    array.flags.writeable = False
    return array


_CROSS_SUBJECT = {
    ("eeg", "mse"): CrossSubject(
        "2",
        _array([
            [nan,   0.204, 0.191, 0.202, 0.195, 0.193, 0.192, 0.193, 0.193, 0.195],
            [0.216, nan,   0.217, 0.220, 0.218, 0.213, 0.221, 0.215, 0.213, 0.220],
            [0.206, 0.220, nan,   0.216, 0.203, 0.204, 0.215, 0.210, 0.205, 0.209],
            [0.231, 0.241, 0.229, nan,   0.229, 0.230, 0.233, 0.230, 0.224, 0.237],
            [0.285, 0.296, 0.279, 0.288, nan,   0.279, 0.289, 0.280, 0.278, 0.288],
            [0.270, 0.280, 0.266, 0.275, 0.263, nan,   0.270, 0.265, 0.259, 0.270],
            [0.224, 0.240, 0.229, 0.230, 0.226, 0.224, nan,   0.227, 0.217, 0.233],
            [0.217, 0.225, 0.217, 0.225, 0.214, 0.209, 0.219, nan,   0.215, 0.221],
            [0.224, 0.235, 0.223, 0.228, 0.222, 0.216, 0.221, 0.225, nan,   0.230],
            [0.243, 0.253, 0.239, 0.253, 0.244, 0.242, 0.251, 0.245, 0.244, nan],
        ]),
        source_mean=_array([0.195, 0.217, 0.210, 0.232, 0.284, 0.268, 0.228, 0.218, 0.225, 0.246]),
        source_std=_array([0.005, 0.003, 0.006, 0.005, 0.006, 0.007, 0.007, 0.005, 0.006, 0.005]),
        target_mean=_array([0.235, 0.244, 0.232, 0.237, 0.224, 0.223, 0.234, 0.227, 0.219, 0.233]),
        target_std=_array([0.025, 0.027, 0.025, 0.026, 0.021, 0.022, 0.026, 0.021, 0.019, 0.025]),
        mean=0.231, std=0.024,
    ),
    ("eeg", "pcc"): CrossSubject(
        "3",
        _array([
            [nan,   0.145, 0.132, 0.152, 0.128, 0.106, 0.161, 0.151, 0.084, 0.163],
            [0.107, nan,   0.078, 0.141, 0.088, 0.096, 0.099, 0.125, 0.072, 0.122],
            [0.115, 0.096, nan,   0.120, 0.125, 0.086, 0.070, 0.096, 0.053, 0.134],
            [0.112, 0.121, 0.095, nan,   0.110, 0.087, 0.113, 0.125, 0.094, 0.108],
            [0.079, 0.087, 0.082, 0.105, nan,   0.080, 0.071, 0.111, 0.058, 0.090],
            [0.066, 0.077, 0.059, 0.098, 0.091, nan,   0.078, 0.106, 0.078, 0.098],
            [0.123, 0.099, 0.051, 0.134, 0.091, 0.086, nan,   0.106, 0.108, 0.094],
            [0.110, 0.129, 0.089, 0.142, 0.137, 0.131, 0.119, nan,   0.076, 0.125],
            [0.067, 0.081, 0.038, 0.107, 0.071, 0.074, 0.101, 0.069, nan,   0.070],
            [0.140, 0.146, 0.140, 0.132, 0.122, 0.119, 0.112, 0.132, 0.077, nan],
        ]),
        source_mean=_array([0.136, 0.103, 0.099, 0.107, 0.084, 0.083, 0.099, 0.117, 0.075, 0.124]),
        source_std=_array([0.025, 0.024, 0.027, 0.012, 0.017, 0.016, 0.024, 0.023, 0.020, 0.021]),
        target_mean=_array([0.107, 0.109, 0.085, 0.126, 0.107, 0.098, 0.106, 0.113, 0.078, 0.111]),
        target_std=_array([0.026, 0.026, 0.035, 0.018, 0.023, 0.018, 0.027, 0.023, 0.016, 0.028]),
        mean=0.104, std=0.024,
    ),
    ("meg", "mse"): CrossSubject(
        "5(a)",
        _array([
            [nan,   0.932, 1.134, 0.635],
            [0.690, nan,   1.155, 0.701],
            [0.726, 1.007, nan,   0.725],
            [0.697, 0.987, 1.173, nan],
        ]),
        source_mean=_array([0.900, 0.849, 0.819, 0.952]),
        source_std=_array([0.252, 0.264, 0.163, 0.241]),
        target_mean=_array([0.704, 0.975, 1.154, 0.687]),
        target_std=_array([0.018, 0.038, 0.020, 0.041]),
        mean=0.880, std=0.206,
    ),
    ("meg", "pcc"): CrossSubject(
        "5(b)",
        _array([
            [nan,   0.080, 0.038, 0.069],
            [0.088, nan,   0.075, 0.051],
            [0.055, 0.071, nan,   0.045],
            [0.027, 0.033, 0.020, nan],
        ]),
        source_mean=_array([0.062, 0.071, 0.057, 0.027]),
        source_std=_array([0.021, 0.019, 0.013, 0.007]),
        target_mean=_array([0.057, 0.061, 0.044, 0.055]),
        target_std=_array([0.031, 0.024, 0.028, 0.012]),
        mean=0.054, std=0.024,
    ),
}  # fmt: skip

_CONDITIONING = {
    ("eeg", "mse"): Conditioning(
        "6",
        {
            "addition": (
                0.188, 0.221, 0.206, 0.242, 0.288, 0.238, 0.230, 0.213, 0.212, 0.235),
            "concatenation": (
                0.193, 0.233, 0.209, 0.235, 0.277, 0.223, 0.237, 0.226, 0.211, 0.237),
            "cross_attention": (
                0.178, 0.212, 0.189, 0.225, 0.269, 0.247, 0.213, 0.200, 0.204, 0.234),
        },
        {"addition": 0.227, "concatenation": 0.228, "cross_attention": 0.217},
    ),
    ("eeg", "pcc"): Conditioning(
        "7",
        {
            "addition": (
                0.208, 0.157, 0.186, 0.172, 0.121, 0.126, 0.170, 0.246, 0.123, 0.211),
            "concatenation": (
                0.211, 0.203, 0.199, 0.167, 0.133, 0.134, 0.199, 0.254, 0.115, 0.182),
            "cross_attention": (
                0.228, 0.191, 0.216, 0.173, 0.139, 0.159, 0.186, 0.231, 0.140, 0.213),
        },
        {"addition": 0.172, "concatenation": 0.180, "cross_attention": 0.188},
    ),
    ("meg", "mse"): Conditioning(
        "8",
        {
            "addition": (0.622, 0.870, 1.124, 0.628),
            "concatenation": (0.599, 0.880, 1.107, 0.645),
            "cross_attention": (0.607, 0.856, 0.964, 0.623),
        },
        {"addition": 0.811, "concatenation": 0.808, "cross_attention": 0.763},
    ),
    ("meg", "pcc"): Conditioning(
        "9",
        {
            "addition": (0.142, 0.135, 0.097, 0.099),
            "concatenation": (0.162, 0.125, 0.094, 0.053),
            "cross_attention": (0.128, 0.198, 0.061, 0.099),
        },
        {"addition": 0.118, "concatenation": 0.109, "cross_attention": 0.122},
    ),
}


def within(kind: str, subject: int | None = None) -> tuple[float, float]:
    """(MSE, PCC) of one subject in Table 1 (EEG) or 4 (MEG); the printed average without one.

    Raises
    ------
    ValueError
        Another kind than "eeg" and "meg", or a subject who is not in the table.
    """
    values = {"eeg": PAPER_EEG, "meg": PAPER_MEG}[_kind(kind)]
    if subject is None:
        return AVERAGE[kind]
    if subject not in values:
        raise ValueError(f"subject {subject!r}: the paper has {kind.upper()} of subjects 1 to "
                         f"{len(values)}")
    return values[subject]


def cross_subject(kind: str, metric: str) -> CrossSubject:
    """Table 2 (EEG, MSE), 3 (EEG, PCC), 5(a) (MEG, MSE) or 5(b) (MEG, PCC).

    Raises
    ------
    ValueError
        Another kind than "eeg" and "meg", or another metric than "mse" and "pcc".
    """
    return _CROSS_SUBJECT[_kind(kind), _metric(metric)]


def conditioning(kind: str, metric: str) -> Conditioning:
    """Table 6 (EEG, MSE), 7 (EEG, PCC), 8 (MEG, MSE) or 9 (MEG, PCC); raises as `cross_subject`."""
    return _CONDITIONING[_kind(kind), _metric(metric)]


class Bounds(NamedTuple):
    """What an MSE and a PCC say of each other; see `bounds`."""

    gain: float
    target_variance: float
    size: float


def bounds(mse: float, pcc: float) -> Bounds:
    """How far predictions with this MSE and PCC can be better than predicting zero.

    Let g be generated and t recorded values, of mean zero and variances V_g and V_t, and r their
    correlation. Then

        MSE(g) = <(g - t)^2> = V_g + V_t - 2 r sqrt(V_g V_t),     MSE(zero) = <t^2> = V_t

    and with x = sqrt(V_g / V_t), for r >= 0,

        MSE(g) / MSE(zero) = x^2 - 2 r x + 1 = (1 - r^2) + (x - r)^2.

    1. It is least at x = r, where it is 1 - r^2: whatever the units and the size of g, it is below
       zero's by a fraction of at most r^2.
    2. As (1 - r^2) V_t <= MSE(g), the targets' variance, which is zero's MSE, is at most
       MSE(g) / (1 - r^2).
    3. It is below 1 only if 0 < x < 2 r: predicting zero is better unless V_g < 4 r^2 V_t.

    Means that are not zero: let t have mean m. MSE(zero) is then V_t + m^2, and "zero" above
    becomes "the constant m"; an error of g's mean only adds to MSE(g). Baseline-corrected M/EEG
    has m close to 0.

    Of which values: all that `pcc` correlates. Where the PCC printed is a mean over places (images,
    say), all this holds at every place with its own r, and the mean of r^2 exceeds the square of
    the mean r by the variance of r over places, which the paper does not print.

    Parameters
    ----------
    mse : any unit^2
    pcc : 0 <= pcc < 1

    Returns
    -------
    gain : r^2.
    target_variance : MSE / (1 - r^2), in the unit of `mse`.
    size : 4 r^2, as a fraction of the targets' variance.

    Raises
    ------
    ValueError
        A negative MSE, or a PCC outside of [0, 1): with r <= 0, zero is never worse.
    """
    if not (mse >= 0 and 0 <= pcc < 1):
        raise ValueError(f"MSE {mse} and PCC {pcc}: wanted MSE >= 0 and 0 <= PCC < 1")
    return Bounds(pcc**2, mse / (1 - pcc**2), 4 * pcc**2)


def mean_bounds(kind: str) -> Bounds:
    """`bounds` of each subject of Table 1 ("eeg") or 4 ("meg"), averaged over subjects."""
    values = {"eeg": PAPER_EEG, "meg": PAPER_MEG}[_kind(kind)]
    each = [bounds(mse, pcc) for mse, pcc in values.values()]
    return Bounds(*(float(column) for column in np.mean(each, axis=0)))


def _kind(kind: str) -> str:
    if kind not in ("eeg", "meg"):
        raise ValueError(f"kind={kind!r}: wanted 'eeg' or 'meg'")
    return kind


def _metric(metric: str) -> str:
    if metric not in ("mse", "pcc"):
        raise ValueError(f"metric={metric!r}: wanted 'mse' or 'pcc'")
    return metric
