"""Maps of whole studies: averages against loops, microvolts against what was whitened, pictures."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from tests.kept_figures import keep_figures
from tests.test_topography import CAP
from tinybrain import topography, topography_sheets
from tinybrain.generated import Generated
from tinybrain.things import store
from tinybrain.topography import CELL, PIXELS
from tinybrain.topography_sheets import (
    COLOURS,
    Evoked,
    animate_topographies,
    evoked,
    plot_contact_sheet,
    plot_subject,
    unwhitened,
)

SENSORS = tuple(f"S{i}" for i in range(len(CAP)))
TIMES = np.arange(11) / 20  # 0 to 0.5 s


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def responses(name="Subject 1", seed=0, **changes):
    training, test, generated = noise(3, len(CAP), len(TIMES), seed=seed)
    whole = Evoked(name, training, test, generated, SENSORS, TIMES, "eeg", "whitened")
    return dataclasses.replace(whole, **changes)


def flat(value):
    """The same value at all sensors and times."""
    return np.full((len(CAP), len(TIMES)), float(value))


def run_of(n=5, **changes):
    one, mean, conditional, recorded = noise(4, n, 3, 4).astype(np.float32)
    found = Generated(
        one, mean, conditional, recorded, noise(3, 4, seed=1).astype(np.float32),
        ("O1", "Oz", "O2"), np.arange(4) / 10, tuple("abcde"), "eeg", "whitened",
    )  # fmt: skip
    return dataclasses.replace(found, **changes)


@pytest.fixture
def drawn(monkeypatch):
    return keep_figures(monkeypatch, topography, topography_sheets)


# Averages


@pytest.mark.parametrize("which", ["mean", "one", "conditional"])
def test_responses_are_averages_over_images(which):
    found = run_of()
    shown = evoked(found, "Subject 1", which)
    for i, j in np.ndindex(3, 4):
        made = sum(float(signal[i, j]) for signal in getattr(found, which)) / 5
        recorded = sum(float(signal[i, j]) for signal in found.recorded) / 5
        assert shown.generated[i, j] == pytest.approx(made, abs=1e-12)
        assert shown.test[i, j] == pytest.approx(recorded, abs=1e-12)
    np.testing.assert_array_equal(shown.training, found.erp)
    rows = shown.rows()
    assert list(rows) == ["Training", "Test", "Generated", "Training - Test", "Generated - Test"]
    np.testing.assert_allclose(rows["Training - Test"], found.erp - shown.test, atol=1e-12)
    np.testing.assert_allclose(rows["Generated - Test"], shown.generated - shown.test, atol=1e-12)


def test_a_training_mean_that_the_run_lacks_is_given():
    erp = noise(3, 4)
    assert (evoked(run_of(erp=None), "Subject 1", erp=erp).training == erp).all()
    with pytest.raises(ValueError, match=r"Subject 1: .* has no mean training recording"):
        evoked(run_of(erp=None), "Subject 1")
    with pytest.raises(ValueError, match=r"has shape \(3, 5\); wanted \(3, 4\)"):
        evoked(run_of(), "Subject 1", erp=noise(3, 5))


def test_a_row_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="Subject 2: its recipe has no conditional mean"):
        evoked(run_of(conditional=None), "Subject 2", "conditional")
    with pytest.raises(ValueError, match="which is 'best'; wanted one of mean, one, conditional"):
        evoked(run_of(), "Subject 1", "best")


def test_serial_numbers_of_a_meg_system_are_left_out():
    found = run_of(sensors=("MLC11-1609", "MLC12-1609", "MLC13-1609"), kind="meg")
    assert evoked(found, "Subject 1").sensors == ("MLC11", "MLC12", "MLC13")


# Microvolts


def recorded_card(folder, inverses, sensors=("O1", "Oz", "O2")):
    """The card of a recording of these sensors, whitened in sessions by these inverses."""
    n, h = len(inverses), len(sensors)
    with store.new_signals(folder, "test", (n, 1, h, 4)) as signals:
        signals[:] = 0
    sessions = np.arange(n)[:, None]
    names = tuple(f"a/{i}.jpg" for i in range(n))
    store.write_card(
        folder, kind="eeg", subject=1, sensors=sensors, times=np.arange(4) / 10, unit="whitened",
        source="test", splits={"test": store.Split(names, ("a",) * n, sessions)},
        whitening=[store.Whitening(i, np.linalg.inv(x), x) for i, x in enumerate(inverses)],
    )  # fmt: skip
    return store.read_card(folder)


def test_whitened_responses_come_back_in_microvolts(tmp_path):
    inverses = np.eye(3) + 0.3 * noise(2, 3, 3)
    card, shown = recorded_card(tmp_path, inverses), evoked(run_of(), "Subject 1")
    back = unwhitened(shown, card)
    assert back.unit == "µV" and back.name == "Subject 1"
    for name in ("training", "test", "generated"):
        white, wanted = getattr(shown, name), np.zeros((3, 4))
        for i, j, k, s in np.ndindex(3, 3, 4, 2):
            wanted[i, k] += 1e6 * inverses[s, i, j] * white[j, k] / 2
        np.testing.assert_allclose(getattr(back, name), wanted, rtol=1e-9)
    difference = back.training - back.test  # of microvolts is microvolts of the difference
    np.testing.assert_allclose(back.rows()["Training - Test"], difference)


def test_matrices_that_are_missing_or_of_other_sensors_are_refused_by_file(tmp_path):
    shown = evoked(run_of(), "Subject 1")
    other = recorded_card(tmp_path / "other", np.eye(3)[None], sensors=("Oz", "O1", "O2"))
    with pytest.raises(ValueError, match=r"other/recording.json: its 3 sensors \(Oz first\)"):
        unwhitened(shown, other)
    none = dataclasses.replace(other, whitening=())
    with pytest.raises(ValueError, match=r"other/recording.json: no whitening is kept"):
        unwhitened(shown, none)


# Figures


def centres(picture):
    """The value at the middle of each map, the upper row first."""
    return picture[PIXELS // 2 :: PIXELS, PIXELS // 2 :: PIXELS][::-1]


def test_a_subject_has_five_rows_on_one_scale(tmp_path, drawn):
    shown = responses(training=flat(3), test=flat(1), generated=flat(-1))
    path = plot_subject(shown, CAP, tmp_path / "sub-01.png")
    (axes, bar), (image,) = drawn[0].axes, drawn[0].axes[0].images
    values = np.repeat([[3], [1], [-1], [2], [-2]], 6, axis=1)  # a column each 0.1 s
    np.testing.assert_allclose(centres(image.get_array()), values)
    assert image.get_clim() == pytest.approx((-3, 3)) and bar.get_ylabel() == "whitened"
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert {name: colours[name] for name in COLOURS} == COLOURS
    assert {"Subject 1", "0 ms", "500 ms", "Generated\n\N{MINUS SIGN} Test"} <= set(colours)
    with Image.open(path) as picture:
        assert picture.format == "PNG"


def test_the_contact_sheet_puts_generated_under_test_for_each_subject(tmp_path, drawn):
    subjects = [responses(f"Subject {i}", test=flat(i), generated=flat(-10 * i)) for i in (1, 2, 3)]
    plot_contact_sheet(subjects, CAP, tmp_path / "all.pdf", every=0.25)
    axes, image = drawn[0].axes[0], drawn[0].axes[0].images[0]
    values = np.repeat([[1], [-10], [2], [-20], [3], [-30]], 3, axis=1)
    np.testing.assert_allclose(centres(image.get_array()), values)
    assert image.get_clim() == pytest.approx((-30, 30))
    texts = [(text.get_text(), text.xy[1]) for text in axes.texts if hasattr(text, "xy")]
    assert sorted(texts) == [("Subject 1", 5), ("Subject 2", 3), ("Subject 3", 1)]
    assert [text.get_text() for text in axes.texts][:6] == ["Test", "Generated"] * 3
    assert (tmp_path / "all.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "µV"}, "Subject 2 and Subject 1 have other unit"),
        ({"sensors": SENSORS[::-1]}, "other sensors"),
        ({"times": TIMES + 0.01}, "other times"),
        ({"times": TIMES[:-1], "unit": "µV"}, "other unit and times"),
    ],
)
def test_subjects_that_cannot_share_a_sheet_are_refused(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        plot_contact_sheet(
            [responses(), responses("Subject 2", **change)], CAP, tmp_path / "all.png"
        )
    with pytest.raises(ValueError, match="no subjects"):
        plot_contact_sheet([], CAP, tmp_path / "all.png")
    assert not list(tmp_path.iterdir())


# Moving


def frames_of(path):
    with Image.open(path) as gif:
        frames = []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append((np.asarray(gif.convert("RGB"), dtype=int), gif.info["duration"]))
    pictures, durations = zip(*frames, strict=True)
    return np.stack(pictures), durations


def test_each_frame_shows_its_own_moment_test_left_and_generated_right(tmp_path):
    rising = flat(1) * np.linspace(0, 1, len(TIMES))
    shown = responses(test=rising, generated=-rising)
    path = animate_topographies(shown, CAP, tmp_path / "moving.gif", every=0.1, seconds=3)
    pictures, durations = frames_of(path)
    assert len(pictures) == 6 and durations == (500, 500, 500, 500, 500, 1500)
    left, right = (  # red and blue in a patch of each head
        pictures[:, 120:170, side : side + 20].mean(axis=(1, 2))[:, [0, 2]].T for side in (90, 300)
    )
    for red, blue in (left, right):
        assert abs(red[0] - blue[0]) < 12  # zero is white
    assert (np.diff(left[1]) < 0).all() and left[0][-1] > left[1][-1] + 50  # positive: to red
    assert (np.diff(right[0]) < 0).all() and right[1][-1] > right[0][-1] + 50
    stamps = {frame[:35, 400:].tobytes() for frame in pictures}
    assert len(stamps) == 6  # the time is told in each


def test_moving_figures_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "moving.gif"
    path.write_bytes(b"old")

    def fail(self, file, *_, **__):
        file.write(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        animate_topographies(responses(), CAP, path, every=0.25)
    assert [p.name for p in tmp_path.iterdir()] == ["moving.gif"] and path.read_bytes() == b"old"
    with pytest.raises(ValueError, match=r"moving.png: wanted a name that ends in .gif"):
        animate_topographies(responses(), CAP, tmp_path / "moving.png")


def test_the_peak_of_a_known_source_is_seen_where_it_is(tmp_path, drawn):
    """A bump of activity over the right back of the head, at 0.2 s alone."""
    at = CAP[np.linalg.norm(CAP - (0.4, -0.5), axis=1).argmin()]
    bump = np.exp(-((CAP - at) ** 2).sum(axis=1) / 0.05)
    test = flat(0)
    test[:, 4] = bump
    plot_subject(responses(test=test, training=flat(0), generated=flat(0)), CAP, tmp_path / "a.png")
    picture = drawn[0].axes[0].images[0].get_array()
    row, column = np.unravel_index(np.nanargmax(picture), picture.shape)
    assert (column // PIXELS, row // PIXELS) == (2, 3)  # the third column, the second row from top
    place = (np.array([column, row]) % PIXELS + 0.5) / PIXELS - 0.5
    assert np.linalg.norm(CELL * place - at) < 0.05
