"""The figures of a report, drawn from the report alone: report.json read back serves as well.

Colours are those of `style.py`: recorded is blue, generated is vermilion, baselines are grey.
Each function writes its file whole or not at all and returns its path, or None where the report
has nothing to draw. `draw_report` writes them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import GENERATED, GREY, INK, ONSET, REAL, WIDTH, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .realism import Realism

BINS = 30  # of the classifier's scores


def draw_report(report: Mapping[str, Any], folder: str | Path) -> dict[str, str]:
    """All figures of a report into a folder; their files by caption, as `report.write` wants.

    Parameters
    ----------
    report : of `report.evaluate`, or its report.json read back
    folder : to write to; it is made if it does not exist
    """
    ceiling = (
        ". The noise ceiling is estimated from how repetitions agree, at every sensor and time by "
        "itself. Where images evoke little, that is noisy: it may fall below zero, where no true "
        "ceiling is, and a prediction, which has none of that noise, may lie above it"
    ) * bool(report["ceiling"])
    drawn = {
        "Scores of every prediction with 95 % intervals, and the noise ceiling":
            plot_scores(report, Path(folder) / "scores.png"),
        "PCC image of each sensor, best first by the ceiling or else by ridge, and at each time"
        + ceiling:
            plot_curves(report, Path(folder) / "curves.png"),
        "How often the true image comes first among so many candidates":
            plot_identification(report, Path(folder) / "identification.png"),
        "Samples against recorded signals, beside recorded against recorded":
            plot_realism(report, Path(folder) / "realism.png"),
    }  # fmt: skip
    return {caption: path.name for caption, path in drawn.items() if path}


def realism_curves(found: Realism) -> dict[str, Any]:
    """What `plot_realism` draws, small enough for report.json.

    Returns
    -------
    frequency : Hz; spectrum : by set, dB, power over that of all recorded signals, mean of sensors
    lag : seconds; autocorrelation : by set, mean of sensors
    variance : by set, ratio to the recorded of each sensor
    edges, classifier : bins of log-odds, and by kind how many signals are in each
    """
    spectrum, lagged, variance = (found.comparisons[name] for name in
                                  ("spectrum", "autocorrelation", "variance"))
    level = spectrum.recorded.mean()
    told = found.classifier.scores.reshape(2, -1)
    edges = np.linspace(*_ends(told), BINS + 1)
    sets = {"generated": "generated", "recorded": "recorded", "other recorded": "again"}

    def decibels(power: np.ndarray) -> list[float]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return list((10 * np.log10(power.mean(axis=0) / level)).tolist())

    return {
        "frequency": np.asarray(spectrum.axis).tolist(),
        "spectrum": {name: decibels(getattr(spectrum, of)) for name, of in sets.items()},
        "lag": np.asarray(lagged.axis).tolist(),
        "autocorrelation": {name: getattr(lagged, of).mean(axis=0).tolist()
                            for name, of in sets.items()},
        "variance": {"generated": (10 ** (variance.difference / 10)).tolist(),
                     "other recorded": (10 ** (variance.chance_difference / 10)).tolist()},
        "edges": edges.tolist(),
        "classifier": {kind: np.histogram(scores, edges)[0].tolist()
                       for kind, scores in zip(("generated", "recorded"), told, strict=True)},
    }  # fmt: skip


def plot_scores(report: Mapping[str, Any], path: str | Path) -> Path:
    """MSE and PCC image of every row, with intervals, and the noise ceiling as a line."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    rows = [row for row in report["rows"] if "mse" in row]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.28 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _dots(left, rows, "mse")
    left.set_xscale("log")
    left.set_xlabel(f"MSE ({report['unit']}²), lower is better")
    wide = np.ptp(np.log10(left.get_xlim())) > 2  # decades, whose numbers would touch
    left.xaxis.set_major_locator(LogLocator(subs=(1, 3) if wide else (1, 2, 5)))
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_yticks(range(len(rows)), [row["name"] for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    _dots(right, rows, "image")
    right.axvline(0, color=GREY, lw=0.5, zorder=0)
    right.set_xlabel("PCC image, higher is better")
    return save_figure(figure, path)


def plot_curves(report: Mapping[str, Any], path: str | Path) -> Path | None:
    """PCC image by sensor and by time: the best prediction, ridge, what it adds to, the ceiling."""
    from matplotlib.figure import Figure

    curves = {name: curve for name, curve in report["curves"].items() if name != "times"}
    if not any(np.isfinite(_floats(curve["times"])).any() for curve in curves.values()):
        return None
    times = 1000 * np.asarray(report["curves"]["times"], dtype=float)
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
    # never by the model's own, of which the best sensors are also the luckiest
    first = next(curves[by] for by in ("noise ceiling", "ridge", *curves) if by in curves)
    order = np.argsort(-np.nan_to_num(_floats(first["sensors"]), nan=-2))
    for name, curve in curves.items():
        left.plot(np.arange(1, len(order) + 1), _floats(curve["sensors"])[order], **_line(name))
        right.plot(times, _floats(curve["times"]), **_line(name))
    left.set(xlabel="sensors, best first", ylabel="PCC image")
    right.set(xlabel=ONSET, xlim=(times[0], times[-1]))
    for axes in (left, right):
        axes.axhline(0, color=GREY, lw=0.5, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return save_figure(figure, path)


def plot_identification(report: Mapping[str, Any], path: str | Path) -> Path | None:
    """Share of images that come first, by number of candidates, with intervals and chance."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    found = report["identification"]
    if "reason" in found:
        return None
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    sizes = np.array([int(size) for size in next(iter(found["by"].values()))["growth"]])
    for name, scored in found["by"].items():
        if name == "mean ERP":
            continue  # it is chance, exactly
        value, low, high = np.array([*map(_floats, scored["growth"].values())]).T
        style = _line(name)
        axes.plot(sizes, value, marker="o", ms=3, **style)
        axes.fill_between(sizes, low, high, color=style["color"], alpha=0.15, lw=0)
    axes.plot(sizes, 1 / sizes, color=INK, lw=1, ls=":", label="chance, mean ERP")
    axes.set_xscale("log")
    axes.set_xticks(sizes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="candidate images", ylim=(0, 1.02),
             ylabel="true image first,\nshare of test images")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return save_figure(figure, path)


def plot_realism(report: Mapping[str, Any], path: str | Path) -> Path | None:
    """Spectra, autocorrelation, variance of sensors and the classifier's scores."""
    from matplotlib.figure import Figure

    if "reason" in report["realism"]:
        return None
    curves, measures = report["realism"]["curves"], report["realism"]["measures"]
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    (one, two), (three, four) = figure.subplots(2, 2)
    for name in ("recorded", "other recorded", "generated"):
        one.plot(curves["frequency"], _floats(curves["spectrum"][name]), **_line(name))
        two.plot(1000 * np.array(curves["lag"]), curves["autocorrelation"][name], **_line(name))
    one.set(xlabel="frequency (Hz)", ylabel="power, mean of sensors (dB)")
    two.set(xlabel="lag (ms)", ylabel="autocorrelation")
    two.axhline(0, color=GREY, lw=0.5, zorder=0)
    _draw_variance(three, curves["variance"])
    _draw_classifier(four, curves, measures["classifier"])
    for axes, name in ((one, "spectrum"), (two, "autocorrelation"), (three, "variance"),
                       (four, "classifier")):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(_distance(name, measures[name]), loc="left", size=9)
    handles, labels = one.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return save_figure(figure, path)


# -------------------------------------------------------------------------------------------------
# Parts


def _dots(axes: Axes, rows: Sequence[Mapping[str, Any]], column: str) -> None:
    """A dot and its interval in every row's place, the noise ceiling as a line."""
    for place, row in enumerate(rows):
        value, bounds = row.get(column), row.get("intervals", {}).get(column)
        if value is None or not np.isfinite(value):
            axes.text(0.07, place, "undefined", color=GREY, size=8, va="center",
                      transform=axes.get_yaxis_transform())
            continue
        colour = _colour(row["name"])
        if bounds:
            axes.plot(bounds, [place, place], color=colour, lw=2, alpha=0.6)
        axes.plot(value, place, "o", color=colour, ms=5)
        if row["name"] == "noise ceiling":
            axes.axvline(value, color=REAL, lw=1, ls="--", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_variance(axes: Axes, variance: Mapping[str, Sequence[float]]) -> None:
    for name in ("other recorded", "generated"):
        ratio = _floats(variance[name])
        axes.plot(np.arange(1, len(ratio) + 1), np.sort(ratio), **_line(name) | {"label": None})
    axes.axhline(1, color=GREY, lw=0.5, zorder=0)
    axes.set(xlabel="sensors, least first", ylabel="variance, ratio to recorded")


def _draw_classifier(axes: Axes, curves: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for name, colour in (("recorded", REAL), ("generated", GENERATED)):
        axes.stairs(curves["classifier"][name], curves["edges"], color=colour, fill=True, alpha=0.4)
    axes.axvline(0, color=GREY, lw=0.5)
    axes.set(xlabel="classifier's log-odds of being generated", ylabel="signals")


def _distance(name: str, found: Mapping[str, Any]) -> str:
    value, chance = found["generated"][0], found["chance"][0]
    if found["unit"] == "accuracy":
        said = f"right in {100 * value:.0f} %, chance {100 * chance:.0f} %"
    else:
        unit = "" if found["unit"] == "correlation" else f" {found['unit']}"
        said = f"off by {value:.2g}{unit}, chance {chance:.2g}"
    return f"{name}: {said}, p = {found['p']:.2g}"


def _line(name: str) -> dict[str, Any]:
    """How a prediction, or a set of signals, is drawn in every figure."""
    styles = {"noise ceiling": (REAL, "--", 1.2), "recorded": (REAL, "-", 1.8),
              "other recorded": (REAL, ":", 1.5), "generated": (GENERATED, "-", 1.5),
              "ridge": (GREY, "-", 1.2), "ridge with products": (GREY, "--", 1.2),
              "conditional mean": (GENERATED, "-", 1.8)}
    colour, style, width = styles.get(name, (GENERATED, "--" if "mean of" in name else ":", 1.5))
    over = 3 if name == "ridge with products" else 2  # dashes over what may lie just beneath them
    return {"color": colour, "ls": style, "lw": width, "label": name, "zorder": over}


def _colour(name: str) -> str:
    if name in ("noise ceiling", "truth (best possible)") or "perfect sampler" in name:
        return REAL
    return GENERATED if "sample" in name or name == "conditional mean" else GREY


def _ends(scores: np.ndarray) -> tuple[float, float]:
    """Least and greatest log-odds, or a little around them where all are one."""
    low, high = float(scores.min()), float(scores.max())
    return (low, high) if high > low else (low - 1, low + 1)


def _floats(values: Sequence[float | None]) -> np.ndarray:
    """Numbers, nan for those that do not exist and are None in report.json."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)
