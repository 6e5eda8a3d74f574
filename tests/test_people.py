"""The people of a demo: alike by as much as the model says, whichever two are compared."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from tests.test_drawing import scenes
from tinybrain.things.sensors import THINGS_MEG_271
from tinybrain.things.twin import evoked, people, simulation
from tinybrain.things.twin.settings import SENSORS

TIMES = np.arange(50) / 50


def truths(persons, sensors=SENSORS, images=100):
    """Mean response (h, w) and what is specific to images (n, h, w), of each person."""
    found = []
    for person in persons:
        train, _ = simulation.responses(
            scenes(images), scenes(2), sensors, TIMES, erp_power=1.0, image_variance=1.0,
            person=person,
        )  # fmt: skip
        mean = train.mean(axis=0)
        found.append((mean, train - mean))
    return found


def correlations(signals):
    """Of every two, first with second, first with third, ..."""
    return [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in combinations(signals, 2)]


def test_there_is_a_gain_for_each_component():
    assert len(evoked.COMPONENTS) == people.COMPONENTS


def test_any_two_share_as_much_if_they_differ_in_nothing_but_their_own_part():
    everyone = [
        [replace(people.FIRST, parts=people.person(seed, s).parts) for s in (1, 2, 3, 4)]
        for seed in range(8)
    ]
    found = np.array([correlations([own for _, own in truths(each)]) for each in everyone])
    assert found[:, :3].mean() == pytest.approx(people.SHARED, abs=0.07)  # with the first
    assert found[:, 3:].mean() == pytest.approx(people.SHARED, abs=0.07)  # of the others
    assert found.min() > people.SHARED - 0.3 and found.max() < people.SHARED + 0.25


@pytest.mark.parametrize("sensors", [SENSORS, THINGS_MEG_271[::9]], ids=["eeg", "meg"])
def test_people_share_much_and_not_all(sensors):
    means, own = zip(*truths([people.person(0, s) for s in range(1, 6)], sensors))
    of_means, of_images = correlations(means), correlations(own)
    assert min(of_means) > 0.25 and max(of_means) < 0.98
    assert min(of_images) > 0.1 and max(of_images) < 0.75
    assert np.mean(of_means) > np.mean(of_images) + 0.1


def test_weights_keep_the_variance():
    weights = [weight for weight, *_ in people.person(0, 2).parts]
    assert sum(weight**2 for weight in weights) == pytest.approx(1)


def test_all_but_the_first_share_one_part_and_have_one_of_their_own():
    one, two = (people.person(7, s).parts for s in (2, 3))
    for part, other in ((one[1], two[1]), (people.person(7, 9).parts[1], two[1])):
        np.testing.assert_array_equal(part[1], other[1])
        np.testing.assert_array_equal(part[2], other[2])
    assert not np.array_equal(one[2][1], two[2][1])
    assert not np.array_equal(people.person(8, 2).parts[1][1], one[1][1])  # another seed
    for _, order, sign in (one[1], one[2]):
        assert sorted(order) == list(range(13)) and not np.any(order == np.arange(13))
        assert set(sign) == {-1, 1}


def test_gain_delay_asymmetry_and_place_show_in_the_response():
    attributes, fine = scenes(30, side=0.0), np.arange(200) / 500
    sensors = ["PO7", "PO8", "Oz", "Cz"]
    plain = evoked.evoked(attributes, sensors, fine).mean(axis=0)
    late = evoked.evoked(attributes, sensors, fine, replace(people.FIRST, delay=0.02)).mean(axis=0)
    np.testing.assert_allclose(late[:, 10:], plain[:, :-10], atol=1e-5)
    strong = replace(people.FIRST, gains=np.full(people.COMPONENTS, 2.0))
    doubled = evoked.evoked(attributes, sensors, fine, strong).mean(axis=0)
    np.testing.assert_allclose(doubled, 2 * plain, atol=1e-5)
    leaning = replace(people.FIRST, leans=np.full(people.COMPONENTS, 0.5))
    leant = evoked.evoked(attributes, sensors, fine, leaning).mean(axis=0)
    n1 = slice(75, 90)
    assert leant[0, n1].min() < plain[0, n1].min() - 0.1  # larger over the left,
    assert leant[1, n1].min() > plain[1, n1].min() + 0.1  # smaller over the right
    half = np.diag([-1.0, -1.0, 1.0])  # face to the back: left is right and Oz is Fpz
    turned = evoked.evoked(
        attributes, ["AF8", "AF7", "Fpz", "Cz"], fine, replace(people.FIRST, rotation=half)
    ).mean(axis=0)
    np.testing.assert_allclose(turned, plain, atol=1e-5)


def test_a_turned_head_in_a_helmet_is_a_turned_helmet():
    from tinybrain.things.sensors import positions
    from tinybrain.things.twin.fields import DEPTH, gain, gradiometers

    sensors, angle = THINGS_MEG_271[::10], 0.6
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0],
                     [0, 0, 1]])  # fmt: skip
    place = positions(["Oz"])
    moment = np.cross(place, [[0, 0, 1.0]]) / np.linalg.norm(np.cross(place, [[0, 0, 1.0]]))
    there = gradiometers(moment @ turn.T, DEPTH * place @ turn.T, positions(sensors))[:, 0]
    found = [gain(sensors, [("Oz", 90.0)], each)[:, 0] for each in (turn, np.eye(3))]
    assert abs(np.corrcoef(found[0], there)[0, 1]) > 1 - 1e-9
    assert abs(np.corrcoef(found[1], there)[0, 1]) < 0.9
