"""The demo's brain, against brute force and against what real recordings look like."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from tests.test_drawing import scenes
from tinybrain.baselines import fit_ridge
from tinybrain.clip.model import DEMO_VISION, random_clip
from tinybrain.features import encode
from tinybrain.things.sensors import THINGS_EEG2_63, THINGS_MEG_271, layout, positions
from tinybrain.things.twin import drawing, evoked
from tinybrain.things.twin.settings import SENSORS

FINE = np.arange(250) / 250  # s


def explained(predictors, signals):
    """Share of the variance of signals (n, h, w) that is linear in predictors (n, d)."""
    x = np.c_[np.ones(len(signals)), predictors]
    y = signals.reshape(len(signals), -1)
    y = y - y.mean(0)
    return 1 - np.sum((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2) / np.sum(y**2)


# Noise


def test_noise_has_the_covariance_of_its_parts():
    sensors, times = ["Oz", "O1", "Cz", "Fp1"], np.arange(12) / 50
    noise = evoked.noise_model(sensors, times, 0.87)
    kronecker = sum(np.kron(a @ a.T, root @ root) for a, root in noise.parts)
    drawn = noise.draw(40_000, np.random.default_rng(0)).reshape(40_000, -1)
    np.testing.assert_allclose(np.cov(drawn.T), kronecker, atol=0.03)  # six standard errors
    np.testing.assert_allclose(np.diag(kronecker).reshape(4, 12).T, [noise.variance] * 12)
    kurtosis = np.mean(drawn**4, axis=0) / np.mean(drawn**2, axis=0) ** 2
    np.testing.assert_allclose(kurtosis, 3, atol=0.15)  # Gaussian


def test_noise_is_smooth_over_the_scalp_one_over_f_in_time_and_has_a_rhythm_at_the_back():
    noise = evoked.noise_model(THINGS_EEG2_63, FINE, 0.87)
    drawn = noise.draw(400, np.random.default_rng(0))
    assert noise.variance.min() > 0.75 * noise.variance.max()
    correlation = np.corrcoef(drawn.transpose(1, 0, 2).reshape(63, -1))
    cosine = positions(THINGS_EEG2_63) @ positions(THINGS_EEG2_63).T
    rings = [correlation[(cosine < upper) & (cosine > lower)].mean()
             for upper, lower in pairwise((0.99, 0.9, 0.7, 0.3, -0.3))]  # fmt: skip
    assert rings[0] > 0.5
    assert all(near > far for near, far in pairwise(rings))
    power = np.mean(np.abs(np.fft.rfft(drawn)) ** 2, axis=0)  # (h, 126), 1 Hz apart
    back, front = (power[THINGS_EEG2_63.index(name)] for name in ("Oz", "Fp1"))
    assert front[1] > 2 * front[6] > 3 * front[30]
    assert back[10] > 3 * back[6]
    assert front[10] < 1.5 * front[6]


# Responses


def test_the_mean_recording_is_that_of_a_stream_of_images():
    # Twenty images 200 ms apart, heard in full, an epoch cut around each, baseline, average.
    attributes, sensors, times = scenes(30), ["PO7", "Cz"], np.arange(-10, 50) / 50
    stream = np.arange(-50, 300) / 50
    heard = sum(
        evoked.evoked(attributes, sensors, stream - 0.2 * k).mean(0, dtype=np.float64)
        for k in range(20)
    )
    epochs = np.stack([heard[:, 40 + 10 * k : 100 + 10 * k] for k in range(20)])
    epochs -= epochs[..., :10].mean(axis=-1, keepdims=True)
    mean = evoked.mean_recording(attributes, sensors, times)
    mean -= mean[:, :10].mean(axis=1, keepdims=True)  # the model's baseline is sampled finer
    np.testing.assert_allclose(mean, epochs.mean(0), atol=1e-3 * np.abs(mean).max())


def test_the_mean_recording_repeats_with_the_images():
    mean = evoked.mean_recording(scenes(50), SENSORS, FINE)
    for shift in (50, 100):  # 0.2 and 0.4 s
        now, later = mean[:, :-shift].ravel(), mean[:, shift:].ravel()
        assert np.corrcoef(now, later)[0, 1] > 0.9


def test_early_responses_are_larger_opposite_the_objects_side():
    left, right = (
        evoked.evoked(scenes(50, side=side), ["PO7", "PO8"], FINE).mean(axis=0)
        for side in (-1.0, 1.0)
    )
    for start, stop, sign in ((20, 30, 1), (36, 46, -1)):  # P1, N1
        size = {"left": sign * left[:, start:stop], "right": sign * right[:, start:stop]}
        assert size["left"][1].max() > 1.5 * size["left"][0].max()
        assert size["right"][0].max() > 1.5 * size["right"][1].max()


def test_half_of_the_image_response_is_linear_in_the_attributes_products_take_the_rest():
    attributes = scenes(600)
    response = evoked.evoked(attributes, SENSORS, np.arange(63) / 62.5)
    i, j = np.triu_indices(attributes.shape[1])
    products = np.c_[attributes, attributes[:, i] * attributes[:, j]]
    assert 0.48 < explained(attributes, response) < 0.58
    assert explained(products, response) > 0.95


def test_linear_features_of_a_random_tower_explain_a_part_of_it():
    train, test = scenes(600), scenes(100, seed=1)
    times = np.arange(63) / 62.5
    response, new = (evoked.evoked(attributes, SENSORS, times) for attributes in (train, test))
    noise = evoked.noise_model(SENSORS, times, 0.22 / 0.018 * response.var(axis=0).mean())
    clip = random_clip(DEMO_VISION)
    features = [
        encode(clip, [drawing.draw(scene, 64) for scene in attributes])[:, 0]
        for attributes in (train, test)
    ]
    target = response + noise.draw(len(response), np.random.default_rng(2))
    ridge, _ = fit_ridge(features[0], torch.from_numpy(target))
    error = np.mean((ridge.predict(features[1]).numpy() - new) ** 2)
    mean_error = np.mean((response.mean(axis=0) - new) ** 2)
    assert 0.2 < 1 - error / mean_error < 0.6


# Gradiometers


def test_the_mean_recording_of_a_slow_stream_is_the_mean_response():
    attributes = scenes(30)
    mean = evoked.mean_recording(attributes, THINGS_MEG_271, FINE)
    alone = evoked.evoked(attributes, THINGS_MEG_271, FINE).mean(axis=0)
    np.testing.assert_allclose(mean, alone, atol=1e-4 * np.abs(alone).max())


def test_gradiometers_see_the_waves_of_the_electrodes():
    attributes = scenes(40)
    potentials, fields = (
        evoked.evoked(attributes, sensors, FINE).transpose(0, 2, 1).reshape(40 * 250, -1)
        for sensors in (THINGS_EEG2_63, THINGS_MEG_271)
    )  # (n w, h): what is seen in the one is linear in what is seen in the other
    guess = fields @ np.linalg.lstsq(fields, potentials, rcond=None)[0]
    assert np.mean((guess - potentials) ** 2) < 0.02 * np.mean(potentials**2)


def test_early_fields_are_over_the_back_and_larger_opposite_the_objects_side():
    xy = layout(THINGS_MEG_271)
    left, right = (
        evoked.evoked(scenes(50, side=side), THINGS_MEG_271, FINE).mean(axis=0)
        for side in (-1.0, 1.0)
    )
    far = xy[:, 0] > 0.3, xy[:, 0] < -0.3  # sensors over the right and the left
    for at in (25, 41):  # M100, M170
        power = np.square(left[:, at] + right[:, at])
        assert power[xy[:, 1] < -0.2].mean() > 5 * power[xy[:, 1] > 0.2].mean()
        over_right, over_left = (np.square(left[side, at]).mean() for side in far)
        assert over_right > 1.5 * over_left
        over_right, over_left = (np.square(right[side, at]).mean() for side in far)
        assert over_left > 1.5 * over_right


def test_noise_of_gradiometers_has_one_size_and_a_rhythm_at_the_back():
    noise = evoked.noise_model(THINGS_MEG_271, FINE, 1.2)
    np.testing.assert_allclose(noise.variance.mean(), 1.2)
    assert noise.variance.min() > 0.7 * noise.variance.max()
    power = np.mean(np.abs(np.fft.rfft(noise.draw(100, np.random.default_rng(0)))) ** 2, axis=0)
    y = layout(THINGS_MEG_271)[:, 1]
    back, front = power[y < -0.7].mean(axis=0), power[y > 0.7].mean(axis=0)
    assert back[10] > 2 * back[6]
    assert front[10] < 1.5 * front[6]
    assert front[1] > 2 * front[6]
