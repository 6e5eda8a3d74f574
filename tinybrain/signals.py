"""Generated signals: the array and what its axes mean, in memory, in pictures and for MNE.

    signals = model.generate("photo.jpg", trials=20)
    signals.pick(["O1", "Oz"], tmin=0.1, tmax=0.2).average().data      (1, 1, 2, times)

In a folder they are the two files of `signal_files.py`.
Letters: n images, k trials, h sensors, w time points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .files import write_atomically
from .signal_axes import sample_columns, sensor_rows
from .signal_files import ABOUT, ARRAY, axes, check_axes, map_array, read_about, write_about

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mne import EpochsArray

    from .signal_figures import Places


@dataclass(frozen=True, repr=False, eq=False)
class BrainSignals:
    """Generated signals.

    Attributes
    ----------
    data : (n, k, h, w) float32 array, in `unit`
    sensors : h names
    times : (w,) float64 array, seconds from image onset
    kind : "eeg" or "meg"
    unit : as the training recording's
    images : n names, the files' paths from the folder that all are in, such as
        "00001_aardvark/aardvark_01b.jpg"; or none where they are not known

    Raises
    ------
    ValueError : data of another shape than sensors, times and images say; another kind.

    Examples
    --------
    Two images, twenty trials of each, at three electrodes for half a second:

    >>> import numpy as np
    >>> from tinybrain import BrainSignals
    >>> data = np.zeros((2, 20, 3, 50), np.float32)
    >>> signals = BrainSignals(data, ("Oz", "O1", "Cz"), np.arange(50) / 100, "eeg", "µV")
    >>> signals.pick(["O1", "Oz"], tmin=0.1, tmax=0.2).average().data.shape
    (2, 1, 2, 11)
    >>> signals
    <BrainSignals eeg: 2 images x 20 trials x 3 sensors x 50 points 0.000 to 0.490 s, µV>
    """

    data: np.ndarray
    sensors: tuple[str, ...]
    times: np.ndarray
    kind: str
    unit: str
    images: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_axes(np.shape(self.data), self.sensors, self.times, self.kind, self.images)

    def __repr__(self) -> str:
        """One line, without values."""
        names = ("image", "trial", "sensor", "point")
        counts = zip(np.shape(self.data), names)
        shown = " x ".join(f"{count} {name}{'s' * (count > 1)}" for count, name in counts)
        span = f"{self.times[0]:.3f} to {self.times[-1]:.3f} s"
        return f"<BrainSignals {self.kind}: {shown} {span}, {self.unit}>"

    # ---------------------------------------------------------------------------------------------
    # Parts

    def pick(
        self, sensors: str | Sequence[str] | None = None, tmin: float | None = None,
        tmax: float | None = None,
    ) -> BrainSignals:
        """Some of the sensors, some of the time; a copy.

        Parameters
        ----------
        sensors : names as they stand in `sensors`, in the order wanted; by default all
        tmin, tmax : seconds, both included; by default from the first, to the last

        Raises
        ------
        ValueError
            No sensor of such a name, a name twice, none; no sample in that time, or milliseconds.

        Examples
        --------
        >>> import numpy as np
        >>> from tinybrain import BrainSignals
        >>> data = np.arange(3 * 50).reshape(1, 1, 3, 50)
        >>> signals = BrainSignals(data, ("Oz", "O1", "Cz"), np.arange(50) / 50, "eeg", "µV")
        >>> signals.pick("O1", tmin=0.1, tmax=0.2).data
        array([[[[55, 56, 57, 58, 59, 60]]]])
        """
        rows = sensor_rows(self.sensors, sensors)
        columns = sample_columns(self.times, tmin, tmax)
        return replace(
            self, data=np.array(self.data[:, :, rows[:, None], columns]),  # (n, k, h', w')
            sensors=tuple(self.sensors[row] for row in rows), times=np.array(self.times)[columns],
        )

    def average(self) -> BrainSignals:
        """The mean over trials, k = 1, taken in float64.

        Examples
        --------
        >>> import numpy as np
        >>> from tinybrain import BrainSignals
        >>> data = np.arange(4.0).reshape(1, 4, 1, 1)
        >>> BrainSignals(data, ("Oz",), np.zeros(1), "eeg", "µV").average().data
        array([[[[1.5]]]], dtype=float32)
        """
        mean = self.data.mean(axis=1, keepdims=True, dtype=np.float64)
        return replace(self, data=np.asarray(mean, dtype=np.float32))

    # ---------------------------------------------------------------------------------------------
    # Pictures

    def plot(self, path: str | Path | None = None, image: int | None = 0) -> Figure | Path:
        """One image's signals at six sensors that show much of them, or at all if there are fewer.

        A thick line is the mean of the trials, the band one standard deviation of them to each
        side, the thin line the first of them. For sensors of your choice, `pick` them first.

        Parameters
        ----------
        path : file to write, whose suffix chooses the format; by default none
        image : its number, from 0; negative ones count from the end. None: the mean of all images,
            each averaged over its trials, and how they differ

        Returns
        -------
        The path; without one a matplotlib `Figure`, which a notebook shows.

        Raises
        ------
        ValueError : no such image; a path of a format that matplotlib does not write.

        Examples
        --------
        >>> import numpy as np
        >>> from tinybrain import BrainSignals
        >>> data = np.random.default_rng(0).normal(size=(2, 20, 3, 50)).astype(np.float32)
        >>> signals = BrainSignals(data, ("Oz", "O1", "Cz"), np.arange(50) / 50, "eeg", "µV")
        >>> [axes.get_title(loc="left") for axes in signals.pick(["O1", "Oz"]).plot().axes]
        ['O1', 'Oz']
        """
        from .signal_figures import draw_signals

        return _give(draw_signals(self, image), path)

    def plot_topography(
        self, path: str | Path | None = None, every: float = 0.1, image: int | None = None,
        places: Places | None = None,
    ) -> Figure | Path:
        """Scalp maps over time of the mean over trials, of one image or of all together.

        More than eleven maps go on in further lines.

        Parameters
        ----------
        path : as for `plot`
        every : seconds from map to map; each shows the sample nearest to a multiple of it
        image : its number; by default the mean of all
        places : (x, y) of each sensor in head radii, x to the right, y to the nose, such as
            `things.layouts.read_layout` gives; by default those that `things.sensors` knows

        Returns
        -------
        As `plot`.

        Raises
        ------
        ValueError
            Sensors without a place, named; fewer than three; no such image; no multiple of
            `every` within the times, or too long a time.

        Examples
        --------
        A cap of one's own, of four electrodes:

        >>> import numpy as np
        >>> from tinybrain import BrainSignals
        >>> data = np.random.default_rng(0).normal(size=(2, 20, 4, 50)).astype(np.float32)
        >>> signals = BrainSignals(data, tuple("ABCD"), np.arange(50) / 50, "eeg", "µV")
        >>> cap = {"A": (0, 0.5), "B": (-0.5, 0), "C": (0.5, 0), "D": (0, -0.5)}
        >>> signals.plot_topography(every=0.2, places=cap).axes[1].get_ylabel()
        'µV'
        """
        from .signal_figures import draw_topography

        return _give(draw_topography(self, every, image, places), path)

    # ---------------------------------------------------------------------------------------------
    # Elsewhere

    def to_mne(self) -> EpochsArray:
        """All trials as an `mne.EpochsArray` of n * k epochs; the event of each is its image.

        Events are numbers, images counted from 0. Where `images` are known and all different, each
        number has its image's name: `epochs["00001_x/x_01.jpg"]`, or the whole folder by MNE's
        reading of the slash, `epochs["00001_x"]`. If a FIF file cannot hold the names, for a
        semicolon or a letter beyond Latin-1, they are the numbers themselves: `epochs["0"]`.

        Sensors have the places of `things.sensors.positions`, in metres in head coordinates: EEG
        electrodes on a sphere of 95 mm, with nasion and ears; MEG channels, of the type "mag" and
        the coil of a CTF axial gradiometer, on one of 121 mm, pointing outward. These are a model's
        head and helmet, good for maps, not for finding sources. A sensor of unknown place has none
        in MNE either, and a warning names it.

        Values in µV become volts, fT and pT become tesla. Any other unit has no such meaning: then
        values stay what they are, MNE will call them volts or tesla all the same (in plots, µV or
        fT), and `info["description"]` says what they are.

        To write them, `signals.to_mne().save(bids_name(1))`, with `signal_mne.bids_name`.

        Raises
        ------
        ImportError
            If mne is not installed.
        ValueError
            Fewer than two time points, or unequal steps between them.

        Examples
        --------
        >>> import numpy as np
        >>> from tinybrain import BrainSignals
        >>> sensors, times = ("Oz", "O1", "Cz"), np.arange(50) / 50
        >>> signals = BrainSignals(np.ones((2, 20, 3, 50)), sensors, times, "eeg", "µV")
        >>> epochs = signals.to_mne()
        >>> epochs.get_data().shape, epochs.info["sfreq"], len(epochs["1"])  # the second image's
        ((40, 3, 50), 50.0, 20)
        """
        from .signal_mne import to_epochs

        return to_epochs(self)

    def save(self, folder: str | Path) -> Path:
        """Write signals.npy and signals.json into a folder, in the place of older ones.

        Parameters
        ----------
        folder : it is made if it does not exist

        Returns
        -------
        The folder.

        Raises
        ------
        OSError
            The folder cannot be written or the disk is full.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> from tinybrain import BrainSignals
        >>> data = np.ones((2, 20, 3, 50), np.float32)
        >>> signals = BrainSignals(data, ("Oz", "O1", "Cz"), np.arange(50) / 50, "eeg", "µV")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     BrainSignals.load(signals.save(folder)).data.shape
        (2, 20, 3, 50)
        """
        folder = Path(folder)
        about = axes(self.data.shape, self.sensors, self.times, self.kind, self.unit)
        about |= {"images": list(self.images)} if self.images else {}
        (folder / ABOUT).unlink(missing_ok=True)  # never beside an array it does not describe
        data = np.asarray(self.data, dtype=np.float32)
        write_atomically(folder / ARRAY, lambda file: np.save(file, data))
        write_about(folder / ABOUT, about)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> BrainSignals:
        """What `save` or `examples/generate.py` wrote; `data` is a read-only memory map.

        Parameters
        ----------
        folder : that holds signals.npy and signals.json

        Raises
        ------
        FileNotFoundError
            No signals.json there: nothing was generated, or not to its end.
        ValueError
            A file is damaged, of another make or of a later version, or the two disagree.
        """
        folder = Path(folder)
        about = read_about(folder / ABOUT)
        if about is None:
            raise FileNotFoundError(
                f"{folder / ABOUT} does not exist; wanted a folder that `BrainSignals.save` or a "
                "finished examples/generate.py wrote"
            )
        data = map_array(folder / ARRAY, tuple(about["shape"]))
        times = np.array(about["times"], dtype=np.float64)
        images = tuple(about.get("images", ()))  # files of early versions have none
        return cls(data, tuple(about["sensors"]), times, about["kind"], about["unit"], images)


def _give(figure: Figure, path: str | Path | None) -> Figure | Path:
    """A figure, or the file that it was written to."""
    from .style import save_figure

    return figure if path is None else save_figure(figure, path)
