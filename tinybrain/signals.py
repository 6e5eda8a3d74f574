"""Generated signals: the array and what its axes mean.

Letters: n images, k trials, h sensors, w time points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from einops import rearrange


@dataclass(frozen=True)
class BrainSignals:
    """Generated signals.

    Attributes
    ----------
    data : (n, k, h, w) float32 array, in `unit`
    sensors : h names
    times : (w,) float64 array, seconds from image onset
    kind : "eeg" or "meg"
    unit : as the training recording's
    """

    data: np.ndarray
    sensors: tuple[str, ...]
    times: np.ndarray
    kind: str
    unit: str

    def to_mne(self):
        """The trials as an `mne.EpochsArray` (n * k), in their own unit; event ids are images.

        Raises
        ------
        ImportError
            If mne is not installed.
        """
        try:
            import mne
        except ImportError as error:
            raise ImportError(
                "to_mne needs MNE-Python: pip install 'tinybrain-ddpm[mne]'"
            ) from error
        rate = (len(self.times) - 1) / (self.times[-1] - self.times[0])
        info = mne.create_info(list(self.sensors), rate, "mag" if self.kind == "meg" else self.kind)
        trials = rearrange(self.data, "n k h w -> (n k) h w")
        index = np.arange(len(trials))
        events = np.stack([index, 0 * index, index // self.data.shape[1]], axis=1)
        return mne.EpochsArray(
            trials.astype(np.float64), info, events, tmin=float(self.times[0]), verbose="error"
        )
