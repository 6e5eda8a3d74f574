"""The figures of a run: what is drawn equals what was given, read back from the figures."""

import csv
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from tests.kept_figures import keep_figures
from tinybrain import figures, loss_figure
from tinybrain.figures import (
    animate_denoising,
    informative_sensors,
    plot_denoising,
    plot_evoked,
    plot_loss,
    plot_means,
)
from tinybrain.style import GENERATED, GREY, REAL

SENSORS = ["Oz", "PO7", "PO8", "Cz", "Fz"]
TIMES = -0.2 + np.arange(60) / 60
REFERENCES = {"zero": 0.09, "mean ERP": 0.0285, "ridge": 0.0280, "ceiling": 0.0103}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture
def drawn(monkeypatch):
    return keep_figures(monkeypatch, figures, loss_figure)


def check_picture(path, folder):
    assert [p.name for p in folder.iterdir()] == [path.name]
    with Image.open(path) as picture:
        assert picture.width == 1660
        assert len(picture.convert("RGB").getcolors(10**6)) > 50


# Learning ----------------------------------------------------------------------------------------


def log_rows(epochs=8):
    """A run whose held-out error was not measured in epoch 2 and is lowest in epoch 5."""
    rows = []
    for e in range(epochs):
        heldout = None if e == 2 else 0.02 + 0.001 * (e - 5) ** 2
        bins = {f"bin{i}": (i + 1) / (10 * e + 10) for i in range(10)}
        rows.append({"epoch": e, "step": 9, "loss": 1 / (e + 1), "heldout_mse": heldout, **bins})
    return rows


def written(rows, path):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("form", ["rows", "file"])
def test_loss_curves_are_those_of_the_log(form, tmp_path, drawn):
    (tmp_path / "figure").mkdir()
    log = log_rows() if form == "rows" else written(log_rows(), tmp_path / "log.csv")
    path = plot_loss(log, tmp_path / "figure" / "loss.png", REFERENCES)
    check_picture(path, tmp_path / "figure")
    left, right = drawn[0].axes[:2]
    *bins, total = left.lines
    assert len(bins) == 10
    for i, line in enumerate(bins):
        np.testing.assert_allclose(line.get_ydata(), [(i + 1) / (10 * e + 10) for e in range(8)])
    np.testing.assert_allclose(total.get_ydata(), [1 / (e + 1) for e in range(8)])
    shades = [sum(to_rgb(line.get_color())) for line in bins]
    assert shades == sorted(shades, reverse=True)
    *_, curve, ring = right.lines
    np.testing.assert_allclose(curve.get_xdata(), [0, 1, 3, 4, 5, 6, 7])
    assert (*ring.get_xdata(), *ring.get_ydata()) == (5, 0.02)
    assert left.get_ylabel() and right.get_ylabel() and left.get_xlabel() == right.get_xlabel()


def test_baselines_are_drawn_where_they_are_and_their_names_do_not_overlap(tmp_path, drawn):
    plot_loss(log_rows(), tmp_path / "loss.png", REFERENCES)
    drawn[0].draw_without_rendering()  # at one resolution
    right = drawn[0].axes[1]
    assert [line.get_ydata()[0] for line in right.lines[:4]] == list(REFERENCES.values())
    names = {t.get_text(): t.get_window_extent() for t in right.texts if t.get_text() in REFERENCES}
    order = sorted(REFERENCES, key=REFERENCES.get)
    assert set(names) == set(order)
    for lower, upper in pairwise(order):
        assert names[lower].y1 <= names[upper].y0
    for name, box in names.items():
        if name != "mean ERP":  # it was moved up, ridge is in its place
            line = right.transData.transform((0, REFERENCES[name]))[1]
            assert abs((box.y0 + box.y1) / 2 - line) < 2


def test_a_run_without_held_out_images_or_of_one_epoch(tmp_path, drawn):
    rows = [row | {"heldout_mse": ""} for row in log_rows(1)]
    check_picture(plot_loss(rows, tmp_path / "loss.png", {"ridge": 0.02}), tmp_path)
    assert [axes.get_ylabel() for axes in drawn[0].axes] == [
        "training loss", "small dots: timestep t / T"
    ]  # and no empty panel


def test_one_epoch_is_dots_over_a_whole_number(tmp_path, drawn):
    one = [row | {"epoch": 1} for row in log_rows(1)]
    for rows, marker in ((one, "o"), (log_rows(2), "")):
        plot_loss(rows, tmp_path / "loss.png", {"ridge": 0.02})
        left, right = drawn[-1].axes[:2]
        assert {line.get_marker() for line in left.lines} == {marker}
        for axes in (left, right):
            low, high = axes.get_xlim()
            shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
            assert shown == [row["epoch"] for row in rows]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [], "the log: no column epoch, loss, .* in its 0 rows"),
        (lambda rows: [{"epoch": 0, "loss": 1}], "no column heldout_mse, .*bin9 in its 1 rows"),
        (lambda rows: [rows[0] | {"loss": "many"}], "the log: a cell is not a number: .*many"),
    ],
)
def test_a_log_that_cannot_be_drawn(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        plot_loss(change(log_rows()), tmp_path / "loss.png", {})
    assert not list(tmp_path.iterdir())


# Evoked responses --------------------------------------------------------------------------------


def test_informative_sensors_equal_a_plain_search():
    """Take the strongest, remove it from the others by regression, and so on."""
    evoked = noise(12, 40) * np.linspace(1, 2, 12)[:, None]
    left, found = evoked.copy(), []
    for _ in range(6):
        best = int((left**2).sum(axis=1).argmax())
        found.append(f"S{best}")
        basis = left[best] / np.linalg.norm(left[best])
        left -= np.outer(left @ basis, basis)
    names = [f"S{i}" for i in range(12)]
    assert informative_sensors(evoked, names) == found
    images = evoked + np.concatenate([noise(5, 12, 40), -noise(5, 12, 40)])
    assert informative_sensors(images, names) == found  # averages over images


def test_a_copy_of_the_strongest_sensor_is_not_informative():
    wave, other = np.sin(np.arange(60) / 5), np.cos(np.arange(60) / 3)
    evoked = np.stack([0.9 * wave, wave, 0.5 * other, 0 * wave, 0.1 * wave])
    assert informative_sensors(evoked, SENSORS, 2) == ["PO7", "PO8"]
    assert len(informative_sensors(evoked, SENSORS, 99)) == 5
    with pytest.raises(ValueError, match=r"shape \(5, 60\), but there are 4 names"):
        informative_sensors(evoked, SENSORS[:4])


def test_evoked_responses_are_means_over_trials_and_images(tmp_path, drawn):
    real, generated, mean = noise(7, 5, 60), noise(7, 3, 5, 60, seed=1), noise(7, 5, 60, seed=2)
    picks = ["PO8", "Oz", "Fz", "Cz"]
    path = plot_evoked(
        real, generated, sensors=SENSORS, times=TIMES, picks=picks, unit="uV",
        path=tmp_path / "evoked.png", conditional_mean=mean,
    )  # fmt: skip
    check_picture(path, tmp_path)
    panels = drawn[0].axes
    assert [axes.get_title(loc="left") for axes in panels] == picks
    for axes, i in zip(panels, (2, 0, 4, 3), strict=True):
        given = [real[:, i], generated[:, :, i].mean(axis=1), mean[:, i]]
        for line, band, signals in zip(axes.lines, axes.collections, given, strict=False):
            centre, error = signals.mean(axis=0), signals.std(axis=0, ddof=1) / np.sqrt(7)
            np.testing.assert_allclose(line.get_xdata(), 1000 * TIMES)
            np.testing.assert_allclose(line.get_ydata(), centre)
            box = band.get_paths()[0].get_extents()
            low, high = (centre - 2 * error).min(), (centre + 2 * error).max()
            np.testing.assert_allclose([box.y0, box.y1], [low, high])
        assert [line.get_color() for line in axes.lines[:2]] == [REAL, GENERATED]
        assert axes.get_ylim() == panels[0].get_ylim()
    (legend,) = drawn[0].legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["recorded", "generated", "conditional mean"]
    assert [line.get_color() for line in legend.get_lines()[:2]] == [REAL, GENERATED]
    assert "mean of 7 images" in drawn[0].get_supylabel() and "uV" in drawn[0].get_supylabel()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_lowest_panels_carry_the_time(count, tmp_path, drawn):
    plot_evoked(
        noise(1, 5, 60), noise(1, 5, 60), sensors=SENSORS, times=TIMES, picks=SENSORS[:count],
        unit="uV", path=tmp_path / "evoked.png",
    )  # fmt: skip
    shown = [axes.xaxis.get_tick_params()["labelbottom"] for axes in drawn[0].axes]
    assert shown == [count < 5 or i > 1 for i in range(count)]
    assert all(not axes.collections for axes in drawn[0].axes)  # one image has no spread


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generated": noise(7, 5, 50)}, r"\(7, 5, 50\): wanted \(7, 5, 60\)"),
        ({"generated": noise(6, 3, 5, 60)}, r"\(6, 3, 5, 60\): wanted \(7, 5, 60\)"),
        ({"conditional_mean": noise(7, 4, 60)}, r"\(7, 4, 60\): wanted \(7, 5, 60\)"),
        ({"real": noise(7, 4, 60)}, r"\(7, 4, 60\): wanted n of \(5, 60\)"),
        ({"times": TIMES[1:]}, r"\(7, 5, 60\): wanted n of \(5, 59\)"),
        ({"picks": ["Oz", "POz"]}, "no sensor 'POz': wanted one of Oz, PO7"),
        ({"picks": []}, "no sensors to draw"),
    ],
)
def test_evoked_responses_that_do_not_fit(change, message, tmp_path):
    given = {
        "real": noise(7, 5, 60), "generated": noise(7, 5, 60), "picks": ["Oz"], "times": TIMES,
        **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        plot_evoked(sensors=SENSORS, unit="uV", path=tmp_path / "evoked.png", **given)
    assert not list(tmp_path.iterdir())


# Denoising ---------------------------------------------------------------------------------------


def states(count, h=5, w=60):
    """From noise to a signal whose third sensor is the strongest."""
    signal = np.sin(np.arange(w) / 5) * np.array([1, 1, 3] + [1] * (h - 3))[:, None]
    weights = np.linspace(0, 1, count)
    return [(f"t = {count - i}", a * signal + (1 - a) * noise(h, w)) for i, a in enumerate(weights)]


def test_denoising_shows_each_state_in_one_scale(tmp_path, drawn):
    given = states(4)
    path = tmp_path / "strip.png"
    assert plot_denoising(given, sensors=SENSORS, times=TIMES, unit="uV", path=path) == path
    check_picture(path, tmp_path)
    above, beneath = drawn[0].axes[:4], drawn[0].axes[4:8]
    limit = np.quantile(np.abs([signal for _, signal in given]), 0.99)
    for (label, signal), top, bottom in zip(given, above, beneath, strict=True):
        assert top.get_title() == label
        np.testing.assert_array_equal(top.images[0].get_array(), signal)
        assert top.images[0].origin == "upper"  # the first sensor at the top
        assert top.images[0].get_clim() == (-limit, limit)
        np.testing.assert_array_equal(bottom.lines[0].get_ydata(), signal[2])
        assert bottom.get_ylim() == beneath[0].get_ylim()
    assert beneath[0].get_ylabel() == "PO8 (uV)"
    assert drawn[0].axes[8].get_ylabel() == "uV"


def test_a_sensor_can_be_picked(tmp_path, drawn):
    plot_denoising(
        states(2), sensors=SENSORS, times=TIMES, unit="uV", path=tmp_path / "strip.png", pick="Fz"
    )
    np.testing.assert_array_equal(drawn[0].axes[3].lines[0].get_ydata(), states(2)[1][1][4])


def test_the_animation_has_a_frame_per_state_and_is_small(tmp_path):
    names, times = [f"S{i}" for i in range(63)], -0.2 + np.arange(250) / 250
    path = animate_denoising(
        states(30, 63, 250), sensors=names, times=times, unit="uV", path=tmp_path / "film.gif",
        seconds=3,
    )  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"] and path.stat().st_size < 1e6
    with Image.open(path) as film:
        assert (film.format, film.n_frames, film.size) == ("GIF", 30, (420, 300))
        assert film.info["loop"] == 0
        frames, rests = [], []
        for i in range(30):
            film.seek(i)
            frames.append(np.asarray(film.convert("RGB"), dtype=float))
            rests.append(film.info["duration"])
    assert rests == [100] * 29 + [2000]
    assert (frames[0][:20, :150] == 255).all()  # beside the label
    for part in (slice(0, 20), slice(30, 150), slice(180, 240)):  # label, all sensors, one sensor
        changes = np.abs(np.diff([frame[part] for frame in frames], axis=0)).mean(axis=(1, 2, 3))
        assert changes.min() > 0.1  # every state is drawn anew


@pytest.mark.parametrize("draw", [plot_denoising, animate_denoising])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], r"states have shapes \[\]"),
        ([("a", noise(5, 60)), ("b", noise(5, 61))], r"\[\(5, 60\), \(5, 61\)\]: .* one shape"),
        ([("a", noise(4, 60))], r"\(1, 4, 60\): wanted n of \(5, 60\)"),
    ],
)
def test_states_that_do_not_fit(draw, given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        draw(given, sensors=SENSORS, times=TIMES, unit="uV", path=tmp_path / "strip.png")


def test_an_animation_that_fails_leaves_no_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(Image.Image, "save", lambda self, file, *_, **__: file.write(b"GIF") / 0)
    with pytest.raises((TypeError, ZeroDivisionError)):
        animate_denoising(
            states(2), sensors=SENSORS, times=TIMES, unit="uV", path=tmp_path / "film.gif"
        )
    assert not list(tmp_path.iterdir())


def test_a_figure_that_fails_leaves_no_rest(tmp_path, monkeypatch):
    def fail(figure, file, **_):
        file.write(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plot_loss(log_rows(), tmp_path / "loss.png", {})
    assert not list(tmp_path.iterdir())


# Means of samples --------------------------------------------------------------------------------


def test_means_of_samples_stand_beside_what_they_should_be(tmp_path, drawn):
    levels = {"zero": 0.09, "mean ERP": 0.03, "ridge with products": 0.02, "noise ceiling": 0.01}
    errors = {1: 0.26, 4: 0.07, 16: 0.03}
    path = plot_means(errors, 0.022, 0.22, levels=levels, unit="a.u.", path=tmp_path / "means.png")
    check_picture(path, tmp_path)
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    for name, mse in levels.items():
        assert set(lines[name].get_ydata()) == {mse}
        assert lines[name].get_color() == (REAL if name == "noise ceiling" else GREY)
    dashes = [str(lines[name]._dash_pattern) for name in list(levels)[:3]]
    assert len(set(dashes)) == 3
    assert lines["mean of k samples"].get_xydata().tolist() == [list(kv) for kv in errors.items()]
    k, theory = lines["MSE of the conditional mean + V / k"].get_data()
    np.testing.assert_allclose(theory, 0.022 + 0.22 / k)
    assert set(lines["conditional mean"].get_ydata()) == {0.022}
    with pytest.raises(ValueError, match="no errors"):
        plot_means({}, 0.1, 0.1, levels={}, unit="a.u.", path=tmp_path / "none.png")
