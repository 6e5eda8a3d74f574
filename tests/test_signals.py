"""BrainSignals in the hand: parts, averages, pictures, and what MNE-Python makes of them."""

from __future__ import annotations

import matplotlib
import mne
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tinybrain.signal_mne import bids_name
from tinybrain.signals import BrainSignals
from tinybrain.style import GENERATED
from tinybrain.things.sensors import THINGS_EEG2_63, THINGS_MEG_271, positions

MEG = THINGS_MEG_271[::12]
matplotlib.use("Agg")  # MNE's figures need no screen


def make(sensors, kind="eeg", unit="a.u.", n=2, k=3, w=41):
    data = np.random.default_rng(0).normal(size=(n, k, len(sensors), w)).astype(np.float32)
    return BrainSignals(data, tuple(sensors), np.arange(w) / 50 - 0.2, kind, unit)


@pytest.fixture
def signals():
    return make(("Oz", "O1", "Cz", "Fp1"))


# -------------------------------------------------------------------------------------------------
# Parts


def test_picked_are_the_values_asked_for_one_by_one(signals):
    picked = signals.pick(["Fp1", "Oz"], tmin=0.1, tmax=0.2)
    wanted = [i for i in range(41) if 0.1 - 1e-9 <= i / 50 - 0.2 <= 0.2 + 1e-9]
    assert wanted == [15, 16, 17, 18, 19, 20] and picked.data.shape == (2, 3, 2, 6)
    for h, name in enumerate(("Fp1", "Oz")):
        for w, i in enumerate(wanted):
            row = signals.sensors.index(name)
            np.testing.assert_array_equal(picked.data[:, :, h, w], signals.data[:, :, row, i])
    np.testing.assert_array_equal(picked.times, signals.times[wanted])
    assert picked.sensors == ("Fp1", "Oz") and (picked.kind, picked.unit) == ("eeg", "a.u.")


def test_both_ends_are_included_whatever_the_last_digit(signals):
    for last in range(41):
        tmax = round(last * 0.02 - 0.2, 2)
        assert signals.pick(tmin=tmax, tmax=tmax).times == pytest.approx([tmax])
        assert len(signals.pick(tmax=tmax).times) == last + 1
        assert len(signals.pick(tmin=tmax).times) == 41 - last


def test_nothing_asked_for_is_everything_and_a_copy(signals, tmp_path):
    whole = BrainSignals.load(signals.save(tmp_path)).pick()
    np.testing.assert_array_equal(whole.data, signals.data)
    whole.data[:] = 0  # of the file's map this would be an error
    assert type(whole.data) is np.ndarray and signals.data.all()
    assert signals.pick("Oz").sensors == ("Oz",)


def test_a_pick_that_cannot_be_says_what_is_near():
    signals = make(THINGS_EEG2_63)
    for how, told in (
        ({"sensors": ["oz"]}, "no sensor 'oz'; near it are Oz"),
        ({"sensors": ["Oz", "PO77"]}, "no sensor 'PO77'; near it are PO7"),
        ({"sensors": ["eye"]}, "no sensor 'eye'; there are Fp1, Fp2, .*\\.\\.\\.$"),
        ({"sensors": []}, "no sensors asked for"),
        ({"sensors": ["Oz", "Oz"]}, "asked for Oz more than once"),
        ({"tmin": 10, "tmax": 15}, "no sample from 10 to 15 s; the signals run from -0.2 to 0.6 s"),
        ({"tmax": 200}, r"tmax is 200: times are in seconds, .* -0.2 to 0.6 s; did you mean 0.2\?"),
        ({"tmin": -100}, r"tmin is -100: times are in seconds, .* did you mean -0.1\?"),
        ({"tmin": 0.105, "tmax": 0.115}, "in steps of 0.02 s"),
    ):
        with pytest.raises(ValueError, match=told):
            signals.pick(**how)


def test_times_are_bounded_by_reason_or_by_the_signals_alone(signals):
    assert signals.pick(tmin=-20, tmax=20).data.shape == signals.data.shape
    assert signals.pick(tmin=-np.inf, tmax=np.inf).data.shape == signals.data.shape
    long = BrainSignals(np.zeros((1, 1, 1, 3)), ("Oz",), np.array([0, 30, 60]), "eeg", "a.u.")
    assert long.pick(tmin=25).times.tolist() == [30, 60]


def test_signals_are_what_their_axes_say():
    right = {"data": np.zeros((1, 2, 3, 4)), "sensors": ("A", "B", "C"), "times": np.arange(4),
             "kind": "eeg", "unit": "a.u."}
    BrainSignals(**right)
    for change, told in (
        ({"data": np.zeros((2, 3, 4))},
         r"data are \(2, 3, 4\); wanted \(images, trials, sensors, times\)"),
        ({"data": np.zeros((1, 0, 3, 4))}, "one or more of each"),
        ({"sensors": ("A", "B")}, "there are 2 sensors and 4 times"),
        ({"times": np.arange(5)}, "there are 3 sensors and 5 times"),
        ({"times": np.zeros((4, 1))}, "there are 3 sensors and 4 times"),
        ({"kind": "EEG"}, "kind is 'EEG'; wanted 'eeg' or 'meg'"),
    ):
        with pytest.raises(ValueError, match=told):
            BrainSignals(**right | change)


def test_shown_on_one_line():
    signals = make(["Oz"] + [f"E{i}" for i in range(31)], n=1, k=20, w=50)
    assert repr(signals) == (
        "<BrainSignals eeg: 1 image x 20 trials x 32 sensors x 50 points -0.200 to 0.780 s, a.u.>"
    )


def test_average_is_the_mean_of_trials_in_float64(signals):
    mean = signals.average()
    assert mean.data.shape == (2, 1, 4, 41) and mean.data.dtype == np.float32
    wanted = sum(signals.data[:, k].astype(np.float64) for k in range(3)) / 3
    np.testing.assert_allclose(mean.data[:, 0], wanted, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(mean.average().data, mean.data)
    many = np.float32(16_777_216) + np.zeros((1, 4, 1, 1), np.float32)
    many[0, 1:] = 1.0  # float32 would lose each of them
    exact = BrainSignals(many, ("Oz",), np.zeros(1), "eeg", "a.u.").average().data
    assert exact == np.float32((16_777_216 + 3) / 4)


# -------------------------------------------------------------------------------------------------
# Pictures


def test_plot_shows_mean_spread_and_first_trial_of_the_image(signals, tmp_path):
    figure = signals.plot(image=1)
    assert isinstance(figure, Figure)
    axes = figure.axes
    assert [a.get_title(loc="left") for a in axes] == ["Oz", "O1", "Cz", "Fp1"]
    data = signals.data[1].astype(np.float64)                                  # (k, h, w)
    for h, panel in enumerate(axes):
        mean, spread = data[:, h].mean(axis=0), data[:, h].std(axis=0, ddof=1)
        curves = [line.get_ydata() for line in panel.lines if len(line.get_ydata()) == 41]
        np.testing.assert_allclose(curves[0], data[0, h])
        np.testing.assert_allclose(curves[1], mean)
        assert panel.lines[-1].get_color() == GENERATED
        edge = panel.collections[0].get_paths()[0].vertices[:, 1]
        assert edge.max() == pytest.approx((mean + spread).max())
        assert edge.min() == pytest.approx((mean - spread).min())
    np.testing.assert_allclose(axes[0].lines[-1].get_xdata(), 1000 * signals.times)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["mean of 3 trials", "± 1 s.d. of trials", "first trial"]
    path = signals.plot(tmp_path / "new" / "one.png", image=-1)
    assert path == tmp_path / "new" / "one.png" and Image.open(path).width > 1000


def test_plot_of_all_images_shows_how_their_means_differ(signals):
    figure = signals.plot(image=None)
    means = signals.data.astype(np.float64).mean(axis=1)                       # (n, h, w)
    for h, panel in enumerate(figure.axes):
        curves = [line.get_ydata() for line in panel.lines if len(line.get_ydata()) == 41]
        np.testing.assert_allclose(curves, [means[0, h], means[:, h].mean(axis=0)])
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["mean of 2 images", "± 1 s.d. of images", "first image"]


def test_plot_of_many_sensors_shows_six_and_of_one_signal_one_line():
    assert len(make(THINGS_EEG2_63).plot().axes) == 6
    (panel,) = make(["Oz"]).average().plot().axes
    assert [line.get_color() for line in panel.lines].count(GENERATED) == 1
    assert not panel.collections
    with pytest.raises(ValueError, match="no image 2; there are 2, numbered from 0"):
        make(["Oz"]).plot(image=2)


def peaked(name, sensors=THINGS_EEG2_63, kind="eeg", unit="µV"):
    """Image 1 has a hill around one sensor at 0.2 s; noise is little."""
    signals = make(sensors, kind, unit)
    near = positions(sensors) @ positions([name])[0]
    signals.data[:] *= 1e-3
    signals.data[1, :, :, 20] += np.exp(8 * (near - 1))
    return signals


def brightest(axes):
    """The place of the sensor nearest to the maximum of a picture in `axes`."""
    (image,), sites = axes.images, next(
        dots.get_offsets() for dots in axes.collections if len(dots.get_offsets()) > 60
    )
    values = np.ma.filled(np.ma.masked_invalid(image.get_array()), -np.inf)
    row, column = np.unravel_index(values.argmax(), values.shape)
    left, right, bottom, top = image.get_extent()
    x = left + (column + 0.5) / values.shape[1] * (right - left)
    y = bottom + (row + 0.5) / values.shape[0] * (top - bottom)
    return int(np.linalg.norm(sites - (x, y), axis=1).argmin())


@pytest.mark.parametrize("name", ["O1", "PO8", "T7", "F4", "FC2"])
def test_the_extreme_of_a_map_is_at_the_same_electrode_here_and_in_mne(name):
    signals = peaked(name).pick(tmin=0.19, tmax=0.21)
    index = signals.sensors.index(name)
    assert brightest(signals.plot_topography(image=1, every=0.2).axes[0]) == index
    evoked = peaked(name).to_mne()["1"].average()
    assert brightest(evoked.plot_topomap(0.2, show=False, colorbar=False).axes[0]) == index


def test_topography_says_when_of_what_and_over_how_many(signals, tmp_path):
    figure = signals.plot_topography(every=0.2)
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert words[1:-1] == ["−200 ms", "0 ms", "200 ms", "400 ms", "600 ms"]
    assert words[-1] == "mean of 2 images, mean of 3 trials of each"
    assert figure.axes[1].get_ylabel() == "a.u."
    assert words[0] == "Generated"
    one = signals.plot_topography(every=0.2, image=-1).axes[0].texts[-1]
    assert one.get_text() == "image 1, mean of 3 trials"
    path = signals.average().plot_topography(tmp_path / "maps.svg")
    assert path.read_text(encoding="utf-8").startswith("<?xml")


def test_sensors_of_another_cap_are_mapped_where_its_layout_has_them():
    """A hill at the second electrode, which sits at the right."""
    signals = make(("A", "B", "C", "D"))
    signals.data[:] *= 1e-3
    signals.data[:, :, 1] += 1
    cap = {"A": (0, 0.5), "B": (0.5, 0), "C": (-0.5, 0), "D": (0, -0.5)}
    axes = signals.pick(tmin=0.19, tmax=0.21).plot_topography(every=0.2, places=cap).axes[0]
    picture = np.asarray(axes.images[0].get_array())
    row, column = np.unravel_index(np.nanargmax(picture), picture.shape)
    assert column > 0.6 * picture.shape[1] and abs(row / picture.shape[0] - 0.5) < 0.1
    with pytest.raises(ValueError, match="D"):
        signals.plot_topography(places={"A": (0, 0), "B": (0.5, 0), "C": (-0.5, 0)})


def test_maps_that_cannot_be_drawn_are_refused(signals):
    with pytest.raises(ValueError, match="no 10-10 position for A, B: wanted names such as"):
        make(("Oz", "Cz", "A", "B")).plot_topography()
    with pytest.raises(ValueError, match=r"S4 and 58 more: .* out; or give places=.*--layout FILE"):
        make([f"S{h}" for h in range(63)]).plot_topography()
    with pytest.raises(ValueError, match="2 sensors: a map wants three or more"):
        signals.pick(["Oz", "Cz"]).plot_topography()
    with pytest.raises(ValueError, match="no image 2"):
        signals.plot_topography(image=2)
    for every in (5, 100):  # longer than the 0.8 s of these signals, perhaps in milliseconds
        with pytest.raises(ValueError, match=rf"every is {every} s .* run from -0.2 to 0.6 s"):
            signals.plot_topography(every=every)


# -------------------------------------------------------------------------------------------------
# MNE


@pytest.mark.parametrize("sensors, kind, radius, type_", [
    (THINGS_EEG2_63, "eeg", 0.095, "eeg"), (MEG, "meg", 0.121, "mag")])
def test_fif_there_and_back_keeps_signals_places_types_and_images(
    sensors, kind, radius, type_, tmp_path
):
    signals = make(sensors, kind)
    signals.to_mne().save(tmp_path / "s-epo.fif", verbose="error")
    read = mne.read_epochs(tmp_path / "s-epo.fif", verbose="error")
    data = signals.data.reshape(6, len(sensors), 41)
    np.testing.assert_allclose(read.get_data(copy=False), data, rtol=1e-6)
    places = [channel["loc"][:3] for channel in read.info["chs"]]
    np.testing.assert_allclose(places, radius * positions(sensors), rtol=0, atol=1e-6)
    np.testing.assert_allclose(read.times, signals.times, atol=1e-9)
    assert read.ch_names == list(sensors) and set(read.get_channel_types()) == {type_}
    assert read.events[:, 2].tolist() == [0, 0, 0, 1, 1, 1]
    called = "volts" if kind == "eeg" else "tesla"
    assert read.info["description"] == f"tinybrain: values are in 'a.u.', not in {called}"


@pytest.mark.parametrize("subject, label", [(1, "01"), (12, "12"), ("sub-03", "03"), ("P1", "P1")])
def test_names_of_files_are_put_together_as_bids_does(subject, label, tmp_path):
    """Entities are pairs joined by _, the suffix stands last; MNE finds nothing to warn of."""
    name = bids_name(subject, description="mean")
    *entities, suffix = name.removesuffix(".fif").split("_")
    assert dict(entity.split("-") for entity in entities) == {
        "sub": label, "task": "things", "desc": "mean"}
    assert suffix == "epo"
    make(("Oz", "O1", "Cz")).to_mne().save(tmp_path / name, verbose="error")
    assert len(mne.read_epochs(tmp_path / name, verbose="error")) == 6


def test_labels_that_bids_does_not_know_are_refused():
    for wrong in ({"subject": "a_b"}, {"subject": ""}, {"subject": 1, "task": "two-back"}):
        with pytest.raises(ValueError, match="BIDS wants a label of letters and digits"):
            bids_name(**wrong)


def test_electrodes_are_not_mirrored_or_turned_against_mne_s_own():
    """Its EASYCAP has the same angles around Cz and others from it, so they are correlated."""
    known = mne.channels.make_standard_montage("easycap-M1").get_positions()["ch_pos"]
    dig = make(THINGS_EEG2_63).to_mne().get_montage().get_positions()
    for axis in range(3):
        theirs = [known[name][axis] for name in THINGS_EEG2_63]
        ours = [dig["ch_pos"][name][axis] for name in THINGS_EEG2_63]
        assert np.corrcoef(theirs, ours)[0, 1] > 0.97
    np.testing.assert_allclose([dig["nasion"], dig["lpa"]], [(0, 0.095, 0), (-0.095, 0, 0)],
                               atol=1e-7)


def test_coils_are_axial_gradiometers_that_point_outward():
    channels = make(MEG, "meg").to_mne().info["chs"]
    for channel, direction in zip(channels, positions(MEG), strict=True):
        frame = channel["loc"][3:].reshape(3, 3)
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(frame) == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(frame[2], direction, atol=1e-6)
        assert channel["coil_type"] == mne.io.constants.FIFF.FIFFV_COIL_CTF_GRAD
    coils = [channel["loc"][:3] for channel in channels]
    for name, (x, y, _) in zip(MEG, coils, strict=True):
        assert {"L": x < 0, "R": x > 0, "Z": abs(x) < 0.005}[name[1]]
        assert {"F": y > 0, "O": y < 0}.get(name[2], True)
    figure = make(MEG, "meg").to_mne().average().plot_topomap(0.2, show=False)
    assert figure.axes[0].images


def test_mne_plots_the_trials():
    epochs = make(THINGS_EEG2_63[:20]).to_mne()
    assert epochs.plot_image(picks=[0], show=False)
    assert epochs.plot_sensors(show=False) and epochs.average().plot(show=False)


@pytest.mark.parametrize("kind, unit, factor", [
    ("eeg", "µV", 1e-6), ("eeg", "μV", 1e-6), ("eeg", "V", 1), ("meg", "fT", 1e-15),
    ("eeg", "whitened", 1)])
def test_units_that_are_units_become_volts_and_tesla(kind, unit, factor):
    signals = make(MEG if kind == "meg" else ("Oz", "Cz"), kind, unit)
    epochs = signals.to_mne()
    wanted = factor * signals.data.astype(np.float64).reshape(6, -1, 41)
    np.testing.assert_allclose(epochs.get_data(copy=False), wanted, rtol=1e-12)
    assert (epochs.info["description"] is None) == (unit != "whitened")


def test_sensors_of_unknown_place_are_kept_without_one():
    with pytest.warns(UserWarning, match="no place is known for A, B"):
        epochs = make(("Oz", "A", "Cz", "B")).to_mne()
    places = np.array([channel["loc"][:3] for channel in epochs.info["chs"]])
    assert np.isfinite(places).all(axis=1).tolist() == [True, False, True, False]
    with pytest.warns(UserWarning, match="for S0, S1, S2, S3, S4 and 58 more: in MNE"):
        make([f"S{h}" for h in range(63)]).to_mne()
    with pytest.warns(UserWarning, match="for A, B"):
        epochs = make((*MEG, "A", "B"), "meg").to_mne()
    assert np.isnan(epochs.info["chs"][-1]["loc"]).all()


def test_times_without_a_rate_are_refused(signals):
    uneven = BrainSignals(signals.data, signals.sensors, signals.times**3, "eeg", "a.u.")
    for wrong in (signals.pick(tmin=0, tmax=0), uneven):
        with pytest.raises(ValueError, match="have no sampling rate; MNE wants"):
            wrong.to_mne()
