"""Scalp maps against closed forms, MNE's public drawing, and a map-by-map twin."""

import subprocess
import sys

import mne
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scipy.interpolate import CloughTocher2DInterpolator
from scipy.spatial import ConvexHull, Delaunay

from tests.kept_figures import keep_figures
from tinybrain import scalp, style, topography
from tinybrain.scalp import MARGIN, interpolate
from tinybrain.things.sensors import THINGS_EEG2_63, THINGS_MEG_271, layout
from tinybrain.topography import MINUS, PIXELS, draw_painted, nearest_samples, paint


def rings(*radii):
    """A sensor at the vertex and six, twelve, eighteen ... around it, as a cap has them."""
    xy = [(0.0, 0.0)]
    for i, radius in enumerate(radii, start=1):
        angle = 2 * np.pi * np.arange(6 * i) / (6 * i) + 0.1
        xy += list(zip(radius * np.cos(angle), radius * np.sin(angle), strict=True))
    return np.array(xy)


CAP = rings(0.2, 0.4, 0.6, 0.8)  # 61 sensors
WIDE = rings(0.35, 0.7, 1.0, 1.3)  # its last ring sits below the outline
SPARSE = rings(0.4, 0.8)  # 19
OCCIPITAL = CAP[CAP[:, 1] < -0.35]  # 17
TURNS = np.arange(271) * np.pi * (3 - np.sqrt(5))
DENSE = np.sqrt((np.arange(271)[:, None] + 0.5) / 271) * np.stack([np.cos(TURNS), np.sin(TURNS)], 1)
SETS = {"cap": CAP, "wide": WIDE, "sparse": SPARSE, "occipital": OCCIPITAL, "dense": DENSE}
SETS["helmet"] = layout(THINGS_MEG_271)
TIMES = -0.2 + np.arange(250) / 250

every_set = pytest.mark.parametrize("xy", SETS.values(), ids=SETS)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def smooth(xy, count, seed=0):
    """Random fields that vary over 0.4 head radii, as scalp potentials do: (count, h)."""
    distance = np.linalg.norm(xy[:, None] - xy, axis=-1)
    covariance = np.exp(-((distance / 0.4) ** 2) / 2) + 1e-9 * np.eye(len(xy))
    return noise(count, len(xy), seed=seed) @ np.linalg.cholesky(covariance).T


def square(reach=1.5, count=101):
    side = np.linspace(-reach, reach, count)
    return np.stack(np.meshgrid(side, side), axis=-1)  # (count, count, 2)


def in_hull(xy, points):
    return Delaunay(xy).find_simplex(points) >= 0


def names(xy):
    return [f"S{i}" for i in range(len(xy))]


@pytest.fixture
def drawn(monkeypatch):
    return keep_figures(monkeypatch, topography)


@every_set
def test_a_map_equals_the_recording_at_each_sensor(xy):
    values = noise(3, len(xy))
    np.testing.assert_allclose(interpolate(values, xy, xy), values, atol=1e-12)


@every_set
def test_a_constant_is_constant_all_over(xy):
    maps = interpolate(np.full(len(xy), 3.0), xy, square())
    np.testing.assert_allclose(maps[np.isfinite(maps)], 3, atol=1e-9)


def test_a_linear_field_is_linear_inside_and_levels_off_at_the_rim():
    slope, points = np.array([1.0, -0.5]), square(1, 81)
    line, radius = points @ slope, np.hypot(*points.T).T
    for xy, bound in ((DENSE, 0.01), (CAP, 0.03)):  # of the field's range, by the rim
        error = interpolate(xy @ slope, xy, points) - line
        assert np.abs(error)[in_hull(xy, points)].max() < bound * np.ptp(xy @ slope)
    error = interpolate(DENSE @ slope, DENSE, points) - line
    assert np.abs(error)[radius < 0.5].max() < 1e-5 * np.ptp(DENSE @ slope)
    cap = interpolate(CAP @ slope, CAP, points)
    assert np.nanmax(cap) < 0.9 * line[np.isfinite(cap)].max()


def test_a_map_is_smooth():
    """Its slope changes by little from point to point, also across the edges of triangles."""
    way = np.stack([np.linspace(-0.75, 0.75, 30001), np.full(30001, 0.123)], axis=1)
    map_ = interpolate(smooth(CAP, 1)[0], CAP, way)
    slope = np.diff(map_) / np.diff(way[:, 0])
    assert np.abs(np.diff(slope)).max() < 0.01 * np.abs(slope).max()


@every_set
def test_maps_are_linear_in_the_recording_whatever_its_unit(xy):
    a, b = noise(2, len(xy))
    points = square()
    both = interpolate(a - 2 * b, xy, points)
    one, other = interpolate(np.stack([a, b]), xy, points)
    np.testing.assert_allclose(both, one - 2 * other, atol=1e-7)
    np.testing.assert_allclose(1e13 * interpolate(1e-13 * a, xy, points), one, atol=1e-9)


@every_set
def test_many_maps_at_once_equal_a_plain_twin(xy):
    """Each map on its own, each border point's neighbours found by a loop over the triangles."""
    values, points = noise(2, 3, len(xy)), square(count=41)
    border = scalp.around(xy, 2 * MARGIN, step=MARGIN)
    triangles, sensors = Delaunay(np.concatenate([xy, border])), set(range(len(xy)))
    maps = interpolate(values, xy, points)
    assert maps.shape == (2, 3, 41, 41)
    for i, j in np.ndindex(2, 3):
        beyond = []
        for point in range(len(xy), len(xy) + len(border)):
            touching = [set(t) for t in triangles.simplices.tolist() if point in t]
            beyond.append(np.mean([values[i, j, s] for s in set.union(*touching) & sensors]))
        twin = CloughTocher2DInterpolator(triangles, [*values[i, j], *beyond], tol=1e-10)(points)
        painted = np.isfinite(maps[i, j])
        np.testing.assert_allclose(maps[i, j][painted], twin[painted], atol=1e-6)


@every_set
def test_no_spurious_extremes_beyond_the_sensors(xy):
    """At most 1.3 times what a sensor saw, where a plane through the nearest five reaches 2.3."""
    points = square()
    rim = ~in_hull(xy, points)
    for fields, bound in ((smooth(xy, 50), 1.3), (noise(50, len(xy)), 2.0)):
        maps = interpolate(fields, xy, points)[:, rim]
        assert (np.nanmax(np.abs(maps), axis=1) < bound * np.abs(fields).max(axis=1)).all()


@every_set
def test_nothing_is_painted_far_from_the_sensors(xy):
    points = square(2, 201)
    painted = np.isfinite(interpolate(np.ones(len(xy)), xy, points))
    hull = ConvexHull(xy).equations
    beyond = (points @ hull[:, :2].T + hull[:, 2]).max(axis=-1)  # at most the distance to the hull
    radius, head = np.hypot(*points.T).T, max(1, np.hypot(*xy.T).max())
    assert not painted[beyond > np.where(radius > 1.01, 0.02, MARGIN + 0.01)].any()
    assert painted[(beyond < 0) & (radius < head)].all()


def test_a_cap_is_painted_to_the_outline_and_a_patch_remains_a_patch():
    for xy in (CAP, SPARSE, DENSE):
        assert np.isfinite(interpolate(np.ones(len(xy)), xy, square(0.69))).all()
        radius = np.hypot(*scalp.painted_area(xy).T)
        assert radius.max() <= 1 + 1e-12 and radius.min() > 0.95
    patch = interpolate(np.ones(len(OCCIPITAL)), OCCIPITAL, square(1))
    assert 0.2 < np.isfinite(patch).sum() / (np.hypot(*square(1).T) <= 1).sum() < 0.5
    assert np.isnan(interpolate(np.ones(len(OCCIPITAL)), OCCIPITAL, np.array([0, 0.2])))


@pytest.mark.parametrize(
    ("names", "extrapolate"), [(THINGS_EEG2_63, "head"), (THINGS_MEG_271, "local")]
)  # MNE's own choices for EEG and MEG
def test_maps_and_extremes_are_those_of_mne_at_1000_points(names, extrapolate):
    xy, side = layout(names), 256
    for i, field in enumerate((*smooth(xy, 3), *noise(3, len(xy)))):
        image, _ = mne.viz.plot_topomap(
            field, xy, axes=Figure().add_subplot(), show=False, sphere=(0, 0, 0, 1), res=side,
            contours=0, extrapolate=extrapolate, border="mean", image_interp="cubic",
        )  # fmt: skip
        left, right, low, high = image.get_extent()
        grid = np.meshgrid(np.linspace(left, right, side), np.linspace(low, high, side))
        inside = np.argwhere(in_hull(xy, points := np.stack(grid, axis=-1)))
        at = tuple(np.random.default_rng(0).choice(inside, 1000, replace=False).T)
        ours, theirs = interpolate(field, xy, points[at]), np.asarray(image.get_array())[at]
        assert np.corrcoef(ours, theirs)[0, 1] > 0.999
        peaks = theirs[[ours.argmax(), ours.argmin()]] - (theirs.max(), theirs.min())
        assert i > 2 or np.abs(peaks).max() < 0.01 * np.ptp(theirs)  # noise has many extremes


# Drawing -----------------------------------------------------------------------------------------


def draw_maps(axes, values, xy):
    maps, limit = paint(values, xy)
    return draw_painted(axes, maps, xy, limit)


def draw(path, rows, xy=CAP, **more):
    options = {"sensors": names(xy), "xy": xy, "times": TIMES, "unit": "whitened", **more}
    return topography.plot_topographies(rows, path=path, **options)


def test_figure_3(tmp_path, drawn):
    a, b = smooth(CAP, len(TIMES)).T, smooth(CAP, len(TIMES), seed=1).T
    rows = {"Training": a, "Test": b, "Generated": 0.1 * a, "Training - Test": a - b}
    path = draw(tmp_path / "figure3.png", rows, title="Subject 1", colours={"Test": "#0072B2"})
    assert path == tmp_path / "figure3.png" and [p.name for p in tmp_path.iterdir()] == [path.name]
    (figure,) = drawn
    with Image.open(path) as picture:
        assert picture.size == tuple(np.round(figure.get_size_inches() * style.DPI))
        assert len(picture.convert("RGB").getcolors(10**6)) > 1000
    texts = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert [t.get_text() for t in figure.axes[0].texts if t.get_color() == "#0072B2"] == ["Test"]
    names_ = ("Training", "Test", "Generated", f"Training\n{MINUS} Test")
    assert [texts[name][1] for name in names_] == [3.5, 2.5, 1.5, 0.5] and "Subject 1" in texts
    shown = [f"{MINUS}200", f"{MINUS}100", *range(0, 800, 100), 796]
    assert [texts[f"{t} ms"][0] for t in shown] == [j + 0.5 for j in range(11)]
    assert figure.axes[1].get_ylabel() == "whitened"


@every_set
def test_all_maps_share_one_symmetric_scale_that_saturates_none(xy, tmp_path, drawn):
    rows = {"small": 0.1 * smooth(xy, 250).T, "large": 70 * smooth(xy, 250, seed=1).T}
    draw(tmp_path / "maps.png", rows, xy)
    low, high = (image := drawn[0].axes[0].images[0]).get_clim()
    shown = rows["large"][:, nearest_samples(TIMES, 0.1)].T
    peak = np.nanmax(np.abs(interpolate(shown, xy, square(1.5, 151))))
    assert low == -high and 0.97 * peak < high < 1.15 * peak
    bar = drawn[0].axes[1]
    labels = [f"{MINUS}{high:g}", "0", f"+{high:g}"]
    assert [label.get_text() for label in bar.get_yticklabels()] == labels
    assert image.get_cmap().name == "RdBu_r"
    assert min(image.get_cmap()(image.norm(0.0))[:3]) > 0.95  # zero is white


def test_each_map_is_in_its_row_and_column(drawn):
    values = np.arange(1.0, 7).reshape(2, 3, 1) * np.ones(len(CAP))  # flat maps, 1 to 6
    axes = Figure().add_subplot()
    picture = draw_maps(axes, values, CAP).get_array()
    assert picture.shape == (2 * PIXELS, 3 * PIXELS)
    centres = picture[PIXELS // 2 :: PIXELS, PIXELS // 2 :: PIXELS]  # the lower row first
    np.testing.assert_allclose(centres, [[4, 5, 6], [1, 2, 3]])
    assert axes.images[0].origin == "lower"


@every_set
def test_each_map_keeps_to_its_place(xy):
    axes = Figure().add_subplot()
    draw_maps(axes, noise(1, 2, len(xy)), xy)
    outlines = axes.images[0].get_clip_path().get_transformed_path_and_affine()[0].vertices
    dots = axes.collections[-1].get_offsets()
    for points in (np.split(outlines, 2), np.split(dots, 2)):
        assert points[0].min() > 0 and points[0].max() < 1
        np.testing.assert_allclose(points[1], points[0] + [1, 0])


def test_a_map_is_not_turned_or_mirrored():
    right_front = np.array([0.5, 0.5])
    values = np.exp(-((CAP - right_front) ** 2).sum(axis=1) / 0.1)
    axes = Figure().add_subplot()
    picture = draw_maps(axes, values[None, None], CAP).get_array()
    row, column = np.unravel_index(np.nanargmax(picture), picture.shape)
    assert min(row, column) > 0.6 * PIXELS  # the origin is at the lower left
    dots = axes.collections[-1].get_offsets()
    nearest = dots[np.linalg.norm(CAP - right_front, axis=1).argmin()]
    assert np.linalg.norm(nearest * PIXELS - (column, row)) < 0.1 * PIXELS


def test_the_suffix_chooses_the_format(tmp_path):
    rows = {"row": noise(len(CAP), 250)}
    assert draw(tmp_path / "maps.pdf", rows).read_bytes().startswith(b"%PDF")
    with pytest.raises(ValueError, match=r"maps\.docx: wanted a name that ends in .*\.png"):
        draw(tmp_path / "maps.docx", rows)


def test_a_drawing_that_fails_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "maps.png"
    path.write_bytes(b"old")

    def fail(figure, file, **_):
        file.write(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        draw(path, {"row": noise(len(CAP), 250)})
    assert [p.name for p in tmp_path.iterdir()] == ["maps.png"] and path.read_bytes() == b"old"


def test_matplotlib_waits_until_it_is_needed_and_keeps_no_figures(tmp_path):
    code = f"""
import sys, numpy as np
from tinybrain.topography import plot_topographies
assert not {{"matplotlib", "scipy"}} & set(sys.modules)
xy = np.random.default_rng(0).normal(size=(9, 2))
rows = {{"row": xy @ np.ones((2, 5))}}
plot_topographies(rows, sensors=list("abcdefghi"), xy=xy, times=np.arange(5) / 10, unit="uV",
                  path={str(tmp_path / "maps.png")!r})
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("rate", "count", "every", "seconds"),
    [
        (250, 250, 0.1, [*np.arange(-0.2, 0.75, 0.1), 0.796]),
        (100, 100, 0.1, [*np.arange(-0.2, 0.75, 0.1), 0.79]),
        (256, 256, 0.25, [0.0, 0.25, 0.5, 0.75, 255 / 256]),
        (256, 100, 0.1, [0, 26 / 256, 51 / 256, 77 / 256]),
        (1000, 501, 0.2, [-0.2, 0, 0.2]),
    ],
)
def test_columns_show_the_samples_nearest_to_round_times(rate, count, every, seconds):
    times = (0 if rate == 256 else -0.2) + np.arange(count) / rate
    np.testing.assert_allclose(times[nearest_samples(times, every)], seconds, atol=1e-9)


def test_no_round_time_in_the_recording():
    with pytest.raises(ValueError, match="0.02 to 0.08 s, past no multiple of 0.1 s"):
        nearest_samples(np.linspace(0.02, 0.08, 7), 0.1)
    with pytest.raises(ValueError, match="times that increase"):
        nearest_samples(TIMES[::-1], 0.1)


def test_numbers_as_they_are_printed():
    printed = [topography.milliseconds(t) for t in (-0.2, 0, 0.1016)]
    assert printed == [f"{MINUS}200 ms", "0 ms", "102 ms"]
    limits = [topography.round_up(x) for x in (0.771, 0.77, 123, 9.91, 3.21e-13, 0)]
    np.testing.assert_allclose(limits, [0.78, 0.77, 130, 10, 3.3e-13, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": {"Test": noise(61, 100)}}, r"'Test' has shape \(61, 100\): .* = \(61, 250\)"),
        ({"rows": {"Test": noise(17, 250)}}, r"'Test' has shape \(17, 250\): .* = \(61, 250\)"),
        ({"rows": {}}, "no rows"),
        ({"rows": {"Test": np.full((61, 250), np.nan)}}, "671 of 671 values are not finite"),
        ({"xy": CAP[:60]}, r"xy has shape \(60, 2\) but there are 61 sensor names"),
        ({"xy": CAP[:, :1]}, r"xy has shape \(61, 1\): wanted \(sensors, 2\)"),
        ({"xy": np.concatenate([CAP[:60], CAP[:1]])}, "S0, S60 are in the same place"),
        ({"xy": np.concatenate([CAP[:60], [[np.nan, 0]]])}, "no finite position for S60"),
        ({"every": 0}, "every is 0 s"),
        ({"every": 100}, "every is 100 s, and times run .* in seconds, so wanted 0.1 for 100 ms"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message, tmp_path):
    given = {"rows": {"Test": noise(61, 250)}, "xy": CAP, "every": 0.1, **change}
    with pytest.raises(ValueError, match=message):
        topography.plot_topographies(
            sensors=names(CAP), times=TIMES, unit="a.u.", path=tmp_path / "maps.png", **given
        )
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"values have shape \(2, 60\) and xy \(61, 2\)"):
        interpolate(noise(2, 60), CAP, CAP)
