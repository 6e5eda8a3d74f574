"""The demo's pictures: every attribute is in range and to be seen."""

from __future__ import annotations

import numpy as np
import pytest

from tinybrain.things.twin import drawing


def scenes(n, seed=0, **fixed):
    """Attributes (n, a) of n concepts, some at a given value."""
    attributes = drawing.draw_attributes(n, 1, np.random.default_rng(seed))[:, 0]
    for name, value in fixed.items():
        attributes[:, drawing.ATTRIBUTES.index(name)] = value
    return attributes


def test_exemplars_stay_in_range_and_near_their_concept():
    drawn = drawing.draw_attributes(200, 5, np.random.default_rng(0))
    assert np.abs(drawn).max() <= 1
    assert drawn.std() == pytest.approx(drawing.SPREAD, rel=0.1)
    assert drawn.var(axis=1).mean() < 0.4 * drawn.reshape(-1, drawn.shape[-1]).var(axis=0).mean()
    for name in ("count", "kind"):
        assert np.ptp(drawn[..., drawing.ATTRIBUTES.index(name)], axis=1).max() == 0


@pytest.mark.parametrize("name", drawing.ATTRIBUTES)
def test_every_attribute_shows_in_the_picture(name):
    low, high = (scenes(1, **{"texture": 0.5, name: value})[0] for value in (-0.9, 0.9))
    one, same, other = (np.asarray(drawing.draw(scene, 48), float) for scene in (low, low, high))
    assert one.shape == (48, 48, 3)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 20


def test_scenes_use_the_range_of_the_pixels_without_leaving_it():
    pixels = np.stack([np.asarray(drawing.draw(scene, 32)) for scene in scenes(60)])
    assert pixels.min() < 30
    assert pixels.max() > 225
    assert ((pixels == 0) | (pixels == 255)).mean() < 0.03
