"""Maps of generated signals in several lines, and the words beside their colour bar."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tinybrain.signals import BrainSignals
from tinybrain.things.sensors import THINGS_EEG2_63, THINGS_MEG_271
from tinybrain.topography import PIXELS, lay_out, nearest_samples, paint

XY = np.array([(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)])
UNITS = ("a.u.", "fT", "whitened", "baseline sd", "standard deviations of the time before", "")


def make(sensors, unit="µV", scale=1.0):
    times = np.arange(101) / 100 - 0.2
    data = scale * np.random.default_rng(0).normal(size=(1, 2, len(sensors), 101))
    kind = "eeg" if sensors == THINGS_EEG2_63 else "meg"
    return BrainSignals(data.astype(np.float32), sensors, times, kind, unit)


def edges(figure, artist):
    """Left, bottom, right and top of what is drawn, as shares of the figure, at another dpi."""
    figure.set_dpi(200)
    figure.canvas.draw()
    box = artist.get_tightbbox().transformed(figure.transFigure.inverted())
    return box.x0, box.y0, box.x1, box.y1


@pytest.mark.parametrize("every", [0.5, 0.1, 0.05])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("scale", [1.0, 3.3e-7, 1.2e-4, 4000.0])
def test_the_colour_bar_s_words_are_inside_the_figure(every, unit, scale):
    signals = make(THINGS_MEG_271[::9], unit, scale)
    figure = signals.plot_topography(every=every)
    bar = figure.axes[-1]
    left, bottom, right, top = edges(figure, bar)
    assert min(left, bottom) > 0 and max(right, top) < 1
    assert bar.get_ylabel() == unit
    label, ticks = bar.yaxis.label.get_window_extent(), bar.get_yticklabels()
    if len(unit) > 4:  # short ones stand between the numbers
        assert not any(label.overlaps(tick.get_window_extent()) for tick in ticks)


def test_a_label_that_fits_stays_in_the_middle_and_as_large_as_it_was():
    for unit, size in (("a.u.", 11), ("baseline sd", 11), (UNITS[4], 6)):
        label = make(THINGS_EEG2_63, unit).plot_topography(every=0.5).axes[-1].yaxis.label
        assert label.get_fontsize() == pytest.approx(size, abs=1)
        assert (label.get_position()[1] == pytest.approx(0.5)) == (unit == "a.u.")


@pytest.mark.parametrize("sensors", [THINGS_EEG2_63, THINGS_MEG_271], ids=["eeg", "meg"])
@pytest.mark.parametrize("every, lines", [(0.1, [11]), (0.09, [6, 6]), (0.05, [11, 10]),
                                          (0.04, [9, 9, 8]), (0.5, [2])])
def test_more_than_eleven_maps_go_on_in_further_lines(sensors, every, lines):
    signals = make(sensors)
    figure = signals.plot_topography(every=every)
    *maps, _ = figure.axes
    words = [[text.get_text() for text in axes.texts if text.get_text().endswith("ms")]
             for axes in maps]
    shown = nearest_samples(signals.times, every)
    assert [len(line) for line in words] == lines and len(shown) == sum(lines)
    told = [f"{round(1000 * signals.times[i])} ms".replace("-", "−") for i in shown]
    assert [word for line in words for word in line] == told
    assert [axes.images[0].get_array().shape for axes in maps] == [
        (PIXELS, count * PIXELS) for count in lines]
    inches = figure.dpi_scale_trans.inverted()
    for axes, count in zip(maps, lines, strict=True):
        box = axes.bbox.transformed(inches)
        assert (box.width, box.height) == pytest.approx((0.8 * count, 0.8))
    boxes = [edges(figure, axes) for axes in maps]
    for (_, low, _, _), (_, _, _, high) in pairwise(boxes):
        assert high < low  # no word of a line is in the one above
    assert max(box[3] for box in boxes) <= 1 and min(box[1] for box in boxes) >= 0


def test_lines_hold_the_maps_in_their_order_on_one_scale():
    values = np.random.default_rng(1).normal(size=(2, 5, 4))
    times = np.arange(5) / 10
    figure, axes = lay_out(values, XY, labels=["a", "b"], times=times, unit="µV", most=3)
    (maps, limit), (first, second, _) = paint(values, XY), figure.axes
    assert axes is first and first.images[0].get_clim() == second.images[0].get_clim()
    assert second.images[0].get_clim() == (-limit, limit)
    for column in range(5):
        picture = np.asarray((first, second)[column // 3].images[0].get_array())
        place = slice(column % 3 * PIXELS, (column % 3 + 1) * PIXELS)
        for row in range(2):  # the first is at the top
            drawn = picture[(1 - row) * PIXELS : (2 - row) * PIXELS, place]
            np.testing.assert_array_equal(drawn, maps[row, column])


def test_too_few_sensors_are_counted():
    signals = make(THINGS_EEG2_63)
    for names, told in ((["O1", "Oz"], "2 sensors"), (["O1"], "1 sensor")):
        with pytest.raises(ValueError, match=f"^{told}: a map wants three or more$"):
            signals.pick(names).plot_topography()


def test_one_sample_alone_is_drawn_whatever_its_last_digit():
    for moment in np.arange(1, 9) / 10:
        one = make(THINGS_EEG2_63).pick(tmin=moment, tmax=moment)
        assert one.plot_topography().axes[0].texts[1].get_text() == f"{round(1000 * moment)} ms"
