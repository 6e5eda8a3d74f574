"""The figures of a run: evoked responses, scalp maps, a signal being denoised.

Those of the report's numbers are drawn in `report_figures.py`, the loss in `loss_figure.py`.
Letters: n images, l tokens, d width, h sensors, w time points.
"""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from . import figures, report, topography
from .pipeline import ImageToBrain
from .recorded import Recorded
from .things.sensors import layout
from .topography_sheets import COLOURS

MAPS = {"eeg": "Figure 3", "meg": "Figure 4"}
Places = dict[str, tuple[float, float]]  # of sensors on the head, by name


def draw(
    folder: Path, model: ImageToBrain, train: Recorded, test: Recorded, context_test: Tensor,
    result: report.Evaluation, places: Places | None = None,
) -> dict[str, str]:
    """Write the figures of a run on one subject, beside those of its report.

    Parameters
    ----------
    folder : where they go; loss.png is there already, or above where a run is of several subjects
    context_test : (n, l, d) of the test images, of which the first is denoised step by step
    result : of `report.evaluate`
    places : of sensors on the head, by name, of those whose place is not known

    Returns
    -------
    dict : file of each figure, by caption
    """
    whole = folder if (folder / "loss.png").exists() else folder.parent  # of several subjects
    loss = Path(os.path.relpath(whole / "loss.png", folder)).as_posix()
    sensors, times, unit = model.sensors, model.times, model.unit
    if model.kind == "meg":  # MLC11-1609: the serial number says nothing in a figure
        sensors = tuple(name.partition("-")[0] for name in sensors)
    real = test.signals.mean(axis=1)                                           # (n, h, w)
    figures.plot_evoked(
        real, result.samples, sensors=sensors, times=times, unit=unit, path=folder / "evoked.png",
        picks=figures.informative_sensors(real, sensors), conditional_mean=result.mean,
    )
    captions = {
        "Mean evoked response to the test images, recorded and generated": "evoked.png",
        "Training: loss by timestep" + ", and the conditional mean on held-out rows"
        * model.recipe.has_conditional_mean: loss,
    }
    maps = {"Training": train.signals.mean(axis=0), "Test": real.mean(axis=0),
            "Generated": result.samples.mean(axis=(0, 1))}
    maps["Training - Test"] = maps["Training"] - maps["Test"]
    try:
        topography.plot_topographies(
            maps, sensors=sensors, xy=layout(sensors, places), times=times, unit=unit,
            path=folder / "topographies.png", colours=COLOURS,
        )
        title = (f"Topographies every 100 ms, as the paper's {MAPS[model.kind]}; one colour scale "
                 "for all rows, so that a weak row is pale beside a strong one")
        captions[title] = "topographies.png"
    except ValueError as error:  # sensors without a known position
        print(f"no topographies: {error}")
    steps = list(model.denoise_steps(context_test[:1], seed=0))
    states = [(f"t = {t}" if t >= 0 else "signal", y_t[0].numpy()) for t, y_t, _ in steps]
    few = [states[round(i * (len(states) - 1) / 5)] for i in range(6)]
    some = [states[round(i * (len(states) - 1) / 29)] for i in range(30)]
    for show, chosen, file in (
        (figures.plot_denoising, few, "denoising.png"),
        (figures.animate_denoising, some, "denoising.gif"),
    ):
        show(chosen, sensors=sensors, times=times, unit=unit, path=folder / file)
    captions["One signal being denoised (moving: denoising.gif)"] = "denoising.png"
    return captions
