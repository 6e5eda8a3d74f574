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
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .margins import Margins, margins

# Table 1 and Table 4. Subject: (MSE, PCC).
PAPER_EEG = {
    1: (0.178, 0.228), 2: (0.212, 0.191), 3: (0.189, 0.216), 4: (0.225, 0.173), 5: (0.269, 0.139),
    6: (0.247, 0.159), 7: (0.213, 0.186), 8: (0.200, 0.231), 9: (0.204, 0.140), 10: (0.234, 0.213),
}  # fmt: skip
PAPER_MEG = {1: (0.607, 0.128), 2: (0.856, 0.198), 3: (0.964, 0.061), 4: (0.623, 0.099)}
# Their last column: the averages as printed.
AVERAGE = {"eeg": (0.217, 0.188), "meg": (0.763, 0.122)}
# Test images, sensors, time points: what all tables are of.
FORM = {"eeg": (200, 63, 250), "meg": (200, 271, 200)}

LAST_DIGIT = 0.001  # of every number here


@dataclass(frozen=True)
class CrossSubject(Margins):
    """Tables 2, 3, 5(a) and 5(b), as printed; the mean in the corner is that of Section 4.3.

    Attributes
    ----------
    table : the paper's number, "2", "3", "5(a)" or "5(b)".
    cells : (s, s) float64, row: subject trained on (source), column: subject tested on (target);
        nan on the diagonal.
    """

    table: str
    cells: np.ndarray

    def recomputed(self) -> CrossSubject:
        """The same table with its margins computed from its cells; see `margins.margins`."""
        return replace(self, **vars(margins(self.cells)))

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


def _cross_subject(table: str, printed: str) -> CrossSubject:
    """A table from its lines: of each source its cells, then mean and deviation; then two lines of
    the targets' means and deviations, each with the corner's. Nobody changes it by mistake."""
    *lines, means, stds = (
        [math.nan if word == "-" else float(word) for word in line.split()]
        for line in printed.strip().splitlines()
    )
    of_sources, s = np.array(lines), len(lines)
    arrays = of_sources[:, :s], *of_sources[:, s:].T, np.array(means[:s]), np.array(stds[:s])
    for array in arrays:
        array.flags.writeable = False
    cells, source_mean, source_std, target_mean, target_std = arrays
    return CrossSubject(
        source_mean, source_std, target_mean, target_std, means[s], stds[s], table, cells
    )


def _conditioning(table: str, printed: str) -> Conditioning:
    """A table from its lines: a way, the value of each subject, the average."""
    lines = (line.split() for line in printed.strip().splitlines())
    rows = {way: tuple(map(float, values)) for way, *values in lines}
    return Conditioning(table, {way: values[:-1] for way, values in rows.items()},
                        {way: values[-1] for way, values in rows.items()})


_CROSS_SUBJECT = {
    ("eeg", "mse"): _cross_subject("2", """
          -   0.204 0.191 0.202 0.195 0.193 0.192 0.193 0.193 0.195   0.195 0.005
        0.216   -   0.217 0.220 0.218 0.213 0.221 0.215 0.213 0.220   0.217 0.003
        0.206 0.220   -   0.216 0.203 0.204 0.215 0.210 0.205 0.209   0.210 0.006
        0.231 0.241 0.229   -   0.229 0.230 0.233 0.230 0.224 0.237   0.232 0.005
        0.285 0.296 0.279 0.288   -   0.279 0.289 0.280 0.278 0.288   0.284 0.006
        0.270 0.280 0.266 0.275 0.263   -   0.270 0.265 0.259 0.270   0.268 0.007
        0.224 0.240 0.229 0.230 0.226 0.224   -   0.227 0.217 0.233   0.228 0.007
        0.217 0.225 0.217 0.225 0.214 0.209 0.219   -   0.215 0.221   0.218 0.005
        0.224 0.235 0.223 0.228 0.222 0.216 0.221 0.225   -   0.230   0.225 0.006
        0.243 0.253 0.239 0.253 0.244 0.242 0.251 0.245 0.244   -     0.246 0.005
        0.235 0.244 0.232 0.237 0.224 0.223 0.234 0.227 0.219 0.233   0.231
        0.025 0.027 0.025 0.026 0.021 0.022 0.026 0.021 0.019 0.025   0.024
    """),
    ("eeg", "pcc"): _cross_subject("3", """
          -   0.145 0.132 0.152 0.128 0.106 0.161 0.151 0.084 0.163   0.136 0.025
        0.107   -   0.078 0.141 0.088 0.096 0.099 0.125 0.072 0.122   0.103 0.024
        0.115 0.096   -   0.120 0.125 0.086 0.070 0.096 0.053 0.134   0.099 0.027
        0.112 0.121 0.095   -   0.110 0.087 0.113 0.125 0.094 0.108   0.107 0.012
        0.079 0.087 0.082 0.105   -   0.080 0.071 0.111 0.058 0.090   0.084 0.017
        0.066 0.077 0.059 0.098 0.091   -   0.078 0.106 0.078 0.098   0.083 0.016
        0.123 0.099 0.051 0.134 0.091 0.086   -   0.106 0.108 0.094   0.099 0.024
        0.110 0.129 0.089 0.142 0.137 0.131 0.119   -   0.076 0.125   0.117 0.023
        0.067 0.081 0.038 0.107 0.071 0.074 0.101 0.069   -   0.070   0.075 0.020
        0.140 0.146 0.140 0.132 0.122 0.119 0.112 0.132 0.077   -     0.124 0.021
        0.107 0.109 0.085 0.126 0.107 0.098 0.106 0.113 0.078 0.111   0.104
        0.026 0.026 0.035 0.018 0.023 0.018 0.027 0.023 0.016 0.028   0.024
    """),
    ("meg", "mse"): _cross_subject("5(a)", """
          -   0.932 1.134 0.635   0.900 0.252
        0.690   -   1.155 0.701   0.849 0.264
        0.726 1.007   -   0.725   0.819 0.163
        0.697 0.987 1.173   -     0.952 0.241
        0.704 0.975 1.154 0.687   0.880
        0.018 0.038 0.020 0.041   0.206
    """),
    ("meg", "pcc"): _cross_subject("5(b)", """
          -   0.080 0.038 0.069   0.062 0.021
        0.088   -   0.075 0.051   0.071 0.019
        0.055 0.071   -   0.045   0.057 0.013
        0.027 0.033 0.020   -     0.027 0.007
        0.057 0.061 0.044 0.055   0.054
        0.031 0.024 0.028 0.012   0.024
    """),
}

_CONDITIONING = {
    ("eeg", "mse"): _conditioning("6", """
        addition        0.188 0.221 0.206 0.242 0.288 0.238 0.230 0.213 0.212 0.235   0.227
        concatenation   0.193 0.233 0.209 0.235 0.277 0.223 0.237 0.226 0.211 0.237   0.228
        cross_attention 0.178 0.212 0.189 0.225 0.269 0.247 0.213 0.200 0.204 0.234   0.217
    """),
    ("eeg", "pcc"): _conditioning("7", """
        addition        0.208 0.157 0.186 0.172 0.121 0.126 0.170 0.246 0.123 0.211   0.172
        concatenation   0.211 0.203 0.199 0.167 0.133 0.134 0.199 0.254 0.115 0.182   0.180
        cross_attention 0.228 0.191 0.216 0.173 0.139 0.159 0.186 0.231 0.140 0.213   0.188
    """),
    ("meg", "mse"): _conditioning("8", """
        addition        0.622 0.870 1.124 0.628   0.811
        concatenation   0.599 0.880 1.107 0.645   0.808
        cross_attention 0.607 0.856 0.964 0.623   0.763
    """),
    ("meg", "pcc"): _conditioning("9", """
        addition        0.142 0.135 0.097 0.099   0.118
        concatenation   0.162 0.125 0.094 0.053   0.109
        cross_attention 0.128 0.198 0.061 0.099   0.122
    """),
}


def comparable(kind: str, shape: tuple[int, ...]) -> bool:
    """Whether the paper's numbers can stand beside test recordings of (n images, h sensors, w
    points): only those of its own `FORM`; raises as `within`.

    Examples
    --------
    >>> comparable("eeg", (200, 63, 250)), comparable("eeg", (12, 63, 250))
    (True, False)
    """
    return FORM[_kind(kind)] == tuple(shape)


def within(kind: str, subject: int | None = None) -> tuple[float, float]:
    """(MSE, PCC) of one subject in Table 1 (EEG) or 4 (MEG); the printed average without one.

    Raises
    ------
    ValueError
        Another kind than "eeg" and "meg", or a subject who is not in the table.

    Examples
    --------
    >>> within("eeg", 1), within("meg")
    ((0.178, 0.228), (0.763, 0.122))
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

    Examples
    --------
    >>> found = cross_subject("meg", "mse")
    >>> print(f"trained on 1, tested on 3: {found.cells[0, 2]}; mean of all pairs {found.mean}")
    trained on 1, tested on 3: 1.134; mean of all pairs 0.88
    >>> found.discrepancies()  # a margin that its cells do not give: (printed, computed)
    {('target_std', 4): (0.041, 0.0466...)}
    """
    return _CROSS_SUBJECT[_kind(kind), _metric(metric)]


def conditioning(kind: str, metric: str) -> Conditioning:
    """Table 6 (EEG, MSE), 7 (EEG, PCC), 8 (MEG, MSE) or 9 (MEG, PCC); raises as `cross_subject`.

    Examples
    --------
    >>> conditioning("meg", "mse").average
    {'addition': 0.811, 'concatenation': 0.808, 'cross_attention': 0.763}
    """
    return _CONDITIONING[_kind(kind), _metric(metric)]


class Bounds(NamedTuple):
    """What an MSE and a PCC say of each other, by name as `bounds` returns it."""

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

    Examples
    --------
    Subject 1 of Table 1: at most 5 % better than predicting zero.

    >>> found = bounds(mse=0.178, pcc=0.228)
    >>> print(f"gain {found.gain:.3f}, zero's MSE at most {found.target_variance:.3f}")
    gain 0.052, zero's MSE at most 0.188
    """
    if not (mse >= 0 and 0 <= pcc < 1):
        raise ValueError(f"MSE {mse} and PCC {pcc}: wanted MSE >= 0 and 0 <= PCC < 1")
    return Bounds(pcc**2, mse / (1 - pcc**2), 4 * pcc**2)


def mean_bounds(kind: str) -> Bounds:
    """`bounds` of each subject of Table 1 ("eeg") or 4 ("meg"), averaged over subjects.

    Examples
    --------
    >>> [round(100 * mean_bounds(kind).gain, 1) for kind in ("eeg", "meg")]  # per cent
    [3.6, 1.7]
    """
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
