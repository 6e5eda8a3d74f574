"""Scalp maps of whole studies: one figure a subject (Figures 3, 4, 6-9), all subjects, moving.

What is mapped are averages over images: of the training recording, of the test recording, and of
what a model generated for the test images. They come from a run's `generated.npz`, so nothing is
sampled again. Whitened signals are mixtures of sensors, not maps of the scalp; they are drawn as
they are, as the paper does, unless `unwhitened` takes them back to volts.

Letters: n images, h sensors, w time points, s subjects, c columns, m pixels across a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange

from .generated import FILE, Generated
from .scalp import check_positions
from .style import (
    GENERATED,
    GREY,
    INK,
    ONSET,
    REAL,
    add_axes,
    frame,
    save_figure,
    save_frames,
)
from .things.store import Card
from .things.store_card import CARD
from .topography import (
    draw_painted,
    draw_scale,
    lay_out,
    milliseconds,
    nearest_samples,
    paint,
    plot_topographies,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from PIL.Image import Image

WHICH = ("mean", "one", "conditional")
COLOURS = {"Training": REAL, "Test": REAL, "Generated": GENERATED}
TOGETHER = 1e-6  # relative: how exactly times of two subjects must agree


@dataclass(frozen=True)
class Evoked:
    """Mean evoked responses of one subject.

    Attributes
    ----------
    name : such as "Subject 1"
    training, test, generated : float64 (h, w), in `unit`
    sensors, times : h names, without a MEG system's number; (w,) seconds from image onset
    kind, unit : "eeg" or "meg"; of the signals

    Examples
    --------
    >>> import numpy as np
    >>> from tinybrain.topography_sheets import Evoked
    >>> wave = np.ones((3, 50))
    >>> shown = Evoked("Subject 1", 2 * wave, wave, 4 * wave, ("O1", "Oz", "O2"),
    ...                np.arange(50) / 50, "eeg", "µV")
    >>> for name, row in shown.rows().items():
    ...     print(row[0, 0], name)
    2.0 Training
    1.0 Test
    4.0 Generated
    1.0 Training - Test
    3.0 Generated - Test
    """

    name: str
    training: np.ndarray
    test: np.ndarray
    generated: np.ndarray
    sensors: tuple[str, ...]
    times: np.ndarray
    kind: str
    unit: str

    def rows(self) -> dict[str, np.ndarray]:
        """The paper's rows, and what the model got wrong."""
        return {
            "Training": self.training,
            "Test": self.test,
            "Generated": self.generated,
            "Training - Test": self.training - self.test,
            "Generated - Test": self.generated - self.test,
        }


def evoked(
    found: Generated, name: str, which: str = "mean", erp: np.ndarray | None = None
) -> Evoked:
    """The averages over images of what a run generated and recorded.

    Parameters
    ----------
    found : of `generated.read`
    name : of the subject, for figures
    which : "mean" of the k samples of each image, "one" sample of each, or "conditional" mean
    erp : (h, w), the mean training recording, where `found` has none

    Raises
    ------
    ValueError
        There is no such row: a recipe without conditional mean; a run without training mean.
    """
    if which not in WHICH:
        raise ValueError(f"which is {which!r}; wanted one of {', '.join(WHICH)}")
    made, trained = getattr(found, which), found.erp if erp is None else erp
    if made is None:
        raise ValueError(f"{name}: its recipe has no conditional mean; wanted 'mean' or 'one'")
    if trained is None:
        raise ValueError(f"{name}: its {FILE} has no mean training recording (erp); pass it")
    if np.shape(trained) != made.shape[1:]:
        raise ValueError(
            f"{name}: the mean training recording has shape {np.shape(trained)}; "
            f"wanted {made.shape[1:]} (sensors, times)"
        )
    sensors = found.sensors
    if found.kind == "meg":  # MLC11-1609: the serial number says nothing in a figure
        sensors = tuple(sensor.partition("-")[0] for sensor in sensors)
    return Evoked(
        name, np.asarray(trained, np.float64), found.recorded.mean(axis=0, dtype=np.float64),
        made.mean(axis=0, dtype=np.float64), sensors, found.times, found.kind, found.unit,
    )  # fmt: skip


def unwhitened(responses: Evoked, card: Card) -> Evoked:
    """Responses in microvolts, by the mean over sessions of the inverse whitening matrices.

    Raises
    ------
    ValueError
        The recording keeps no matrices, or has other sensors than the responses.
    """
    matrix, file = card.unwhitening(), card.folder / CARD
    if tuple(card.sensors) != responses.sensors:
        raise ValueError(
            f"{file}: its {len(card.sensors)} sensors ({card.sensors[0]} first) are not the "
            f"{len(responses.sensors)} of {responses.name} ({responses.sensors[0]} first)"
        )
    volts = {key: 1e6 * matrix @ getattr(responses, key)
             for key in ("training", "test", "generated")}
    return replace(responses, **volts, unit="µV")


# Figures -----------------------------------------------------------------------------------------


def plot_subject(
    responses: Evoked, xy: np.ndarray, path: str | Path, every: float = 0.1
) -> Path:
    """One subject as in the paper's Figures 3, 4 and 6-9, and generated minus test beneath.

    Parameters
    ----------
    responses : Evoked
    xy : (h, 2) places of its sensors in head radii
    path : file to write; its suffix chooses the format
    every : seconds from column to column

    Returns
    -------
    The path.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from tinybrain.things.sensors import layout
    >>> from tinybrain.topography_sheets import Evoked, plot_subject
    >>> three = np.random.default_rng(0).normal(size=(3, 4, 50))
    >>> sensors, times = ("O1", "Oz", "O2", "Cz"), np.arange(50) / 50
    >>> shown = Evoked("Subject 1", *three, sensors, times, "eeg", "µV")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_subject(shown, layout(sensors), f"{folder}/maps.png", every=0.5).name
    'maps.png'
    """
    return plot_topographies(
        responses.rows(), sensors=responses.sensors, xy=xy, times=responses.times, every=every,
        unit=responses.unit, path=path, title=responses.name, colours=COLOURS,
    )


def plot_contact_sheet(
    subjects: Sequence[Evoked], xy: np.ndarray, path: str | Path, every: float = 0.1
) -> Path:
    """All subjects, test above generated, on one colour scale.

    Parameters
    ----------
    subjects : one `Evoked` each, of the same sensors, times and unit
    xy, path, every : as in `plot_subject`

    Raises
    ------
    ValueError
        No subjects, or subjects that differ in sensors, times or unit.
    """
    first = _alike(subjects)
    xy, shown = check_positions(xy, first.sensors), nearest_samples(first.times, every)
    pairs = np.stack([(each.test, each.generated) for each in subjects])       # (s, 2, h, w)
    figure, axes = lay_out(
        rearrange(pairs[..., shown], "s row h c -> (s row) c h"), xy, times=first.times[shown],
        labels=["Test", "Generated"] * len(subjects), colours=COLOURS, unit=first.unit,
        margin=0.3,
    )
    width, _ = figure.get_size_inches()
    for i, each in enumerate(reversed(subjects)):
        axes.annotate(
            each.name, (0.15 / width, 2 * i + 1), xycoords=("figure fraction", "data"), size=11,
            ha="center", va="center", rotation=90, annotation_clip=False,
        )
        if i:
            axes.axhline(2 * i, color=GREY, lw=0.6, clip_on=False)
    return save_figure(figure, path)


def _alike(subjects: Sequence[Evoked]) -> Evoked:
    """The first subject, once the others are like it."""
    if not subjects:
        raise ValueError("no subjects: wanted the responses of one or more")
    first = subjects[0]
    for each in subjects[1:]:
        axes = [("unit", each.unit == first.unit), ("sensors", each.sensors == first.sensors)]
        same = len(each.times) == len(first.times)
        axes.append(("times", same and np.allclose(each.times, first.times, TOGETHER, TOGETHER)))
        if other := [name for name, equal in axes if not equal]:
            raise ValueError(
                f"{each.name} and {first.name} have other {' and '.join(other)}: one colour scale "
                "and one row of times want them equal"
            )
    return first


# Moving ------------------------------------------------------------------------------------------


def animate_topographies(
    responses: Evoked, xy: np.ndarray, path: str | Path, *, every: float = 0.02,
    seconds: float = 6.0,
) -> Path:
    """Test beside generated as a GIF over time, on one colour scale, and how strong both are.

    Beneath the maps is the root mean square over sensors, with the moment that the maps show.

    Parameters
    ----------
    responses, xy : as in `plot_subject`
    path : file to write, .gif
    every : seconds of the recording from frame to frame
    seconds : how long it takes to see it, before a rest on the last frame

    Raises
    ------
    ValueError
        A path that does not end in .gif; times without a multiple of `every`.
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"{path}: wanted a name that ends in .gif")
    xy, shown = check_positions(xy, responses.sensors), nearest_samples(responses.times, every)
    both = np.stack([responses.test, responses.generated])                     # (2, h, w)
    maps, limit = paint(rearrange(both[..., shown], "row h c -> c row h"), xy)  # (c, 2, m, m)
    frames = _frames(responses, xy, maps, limit, shown)
    return save_frames(frames, path, seconds, rest=1.5)


def _frames(
    responses: Evoked, xy: np.ndarray, maps: np.ndarray, limit: float, shown: np.ndarray
) -> list[Image]:
    """A picture for each of the maps (c, 2, m, m), those of the samples shown."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.9), dpi=100)
    axes = add_axes(figure, 0.3, 1.3, 4.2, 2.1)
    image = draw_painted(axes, maps[:1], xy, limit, contours=False)
    for column, name in enumerate(("Test", "Generated")):
        axes.text(column + 0.5, 1.01, name, size=12, ha="center", color=COLOURS[name])
    figure.text(0.02, 0.97, responses.name, size=12, va="top")
    stamp = figure.text(0.98, 0.97, "", size=12, va="top", ha="right")
    draw_scale(add_axes(figure, 4.6, 1.5, 0.1, 1.6), image, responses.unit)
    cursor = _draw_strength(add_axes(figure, 0.95, 0.5, 3.55, 0.75), responses)
    frames = []
    for moment, pair in zip(responses.times[shown], maps, strict=True):
        image.set_data(rearrange(pair, "row y x -> y (row x)"))
        stamp.set_text(milliseconds(moment))
        cursor.set_xdata([1000 * moment] * 2)
        frames.append(frame(figure))
    return frames


def _draw_strength(axes: Axes, responses: Evoked) -> Line2D:
    """Root mean square over sensors against time; returns the line that marks a moment."""
    for name, signal in (("Test", responses.test), ("Generated", responses.generated)):
        axes.plot(1000 * responses.times, np.sqrt((signal**2).mean(axis=0)), color=COLOURS[name])
    axes.set(xlabel=ONSET, ylabel=f"RMS\n({responses.unit})", ylim=(0, None))
    axes.set_xlim(1000 * responses.times[0], 1000 * responses.times[-1])
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return axes.axvline(0, color=INK, lw=1)
