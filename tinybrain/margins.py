"""What stands beside and beneath a table across subjects: the margins of Tables 2, 3 and 5.

Rows are the subjects trained on (sources), columns those tested on (targets); s subjects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Margins:
    """Means and standard deviations of a table.

    Attributes
    ----------
    source_mean, source_std : (s,) of each row, in the right margin
    target_mean, target_std : (s,) of each column, in the lower margin
    mean, std : the numbers in the corner
    """

    source_mean: np.ndarray
    source_std: np.ndarray
    target_mean: np.ndarray
    target_std: np.ndarray
    mean: float
    std: float


def margins(cells: np.ndarray) -> Margins:
    """Means and sample standard deviations (n - 1) of rows, of columns, and of all cells.

    Parameters
    ----------
    cells : (s, s), nan where there is nothing; what is of too few cells is nan as well

    Examples
    --------
    >>> found = margins(np.array([[np.nan, 0.4, 0.2], [0.2, np.nan, 0.4], [0.5, 0.1, np.nan]]))
    >>> found.source_mean.round(2), round(found.mean, 2)
    (array([0.3, 0.3, 0.3]), 0.3)
    """
    (source_mean, source_std), (target_mean, target_std) = (
        np.array([_mean_and_std(line) for line in lines]).T for lines in (cells, cells.T)
    )
    return Margins(source_mean, source_std, target_mean, target_std, *_mean_and_std(cells))


def _mean_and_std(values: np.ndarray) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    mean = float(values.mean()) if len(values) else math.nan
    return mean, float(values.std(ddof=1)) if len(values) > 1 else math.nan
