"""Attention maps against the attention they describe."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.kept_figures import keep_figures
from tinybrain import attention
from tinybrain.attention import cross_attention_maps, plot_attention
from tinybrain.unet import CrossAttention, UNet2D, UNetConfig

CONFIG = UNetConfig(channels=(32, 64), attention=(False, True), context_dim=48)


def inputs(tokens):
    generator = torch.Generator().manual_seed(0)
    y_t = torch.randn(2, 1, 9, 14, generator=generator)
    return y_t, torch.tensor([3, 700]), torch.randn(2, tokens, 48, generator=generator)


def test_values_weighed_by_the_maps_are_what_the_layers_answer():
    torch.manual_seed(0)
    unet = UNet2D(CONFIG)
    answers = []
    layers = [m for m in unet.modules() if isinstance(m, CrossAttention)]
    hooks = [m.register_forward_hook(lambda m, given, out: answers.append((m, given[1], out)))
             for m in layers]
    maps = cross_attention_maps(unet, *inputs(5))
    for hook in hooks:
        hook.remove()
    assert len(maps) == len(layers) == 6
    for weights, (layer, (_, values), wanted) in zip(maps, answers):
        assert weights.shape == (2, 8, 5 * 7, 5)
        mixed = (weights @ values).transpose(1, 2).flatten(2)  # (b, p, d)
        torch.testing.assert_close(layer.out(mixed), wanted)


def test_one_token_has_all_the_attention():
    for weights in cross_attention_maps(UNet2D(CONFIG), *inputs(1)):
        assert weights.shape[-1] == 1 and bool((weights == 1).all())


def test_networks_without_cross_attention_are_refused_and_no_hook_stays():
    config = UNetConfig(channels=(32, 64), attention=(False, True), context_dim=48,
                        conditioning="addition")
    with pytest.raises(ValueError, match="'addition' has no cross-attention"):
        cross_attention_maps(UNet2D(config), *inputs(2))
    unet = UNet2D(CONFIG)
    with pytest.raises(ValueError):
        cross_attention_maps(unet, inputs(2)[0], *inputs(2)[1:2], torch.zeros(2, 2, 47))
    assert not any(module._forward_pre_hooks for module in unet.modules())


def test_the_picture_shows_each_place_beside_its_sensor(tmp_path, monkeypatch):
    """The patch that is looked at lies where it is in the image; each sensor names its rows."""
    drawn = keep_figures(monkeypatch, attention)
    weights = np.full((6, 10), 0.05)  # 2 sensors x 3 times; class token and 3 x 3 patches
    weights[3:, 6] = 0.55  # the second sensor looks at row 1, column 2
    picture = Image.new("RGB", (8, 8))
    path = plot_attention(torch.from_numpy(weights), picture, sensors=["MLF11", "MLO11"],
                          times=np.array([0, 0.08, 0.16]), path=tmp_path / "a.png")
    with Image.open(path) as image:
        assert image.width == 1660
    _, mean, whole, _ = drawn[0].axes
    patches = mean.images[0].get_array()
    assert np.unravel_index(patches.argmax(), (3, 3)) == (1, 2)
    assert patches.max() == pytest.approx(10 * (0.05 + 0.55) / 2)
    np.testing.assert_allclose(whole.images[0].get_array(), 10 * weights)
    assert whole.images[0].get_clim() == mean.images[0].get_clim() == (0, 5.5)
    named = {label.get_text(): tick for label, tick in
             zip(whole.get_yticklabels(), whole.get_yticks())}
    assert named == {"MLF11": 1, "MLO11": 4} and "each 0 to 160 ms" in whole.get_ylabel()
    boxes = [axes.get_position() for axes in drawn[0].axes]
    assert len({(box.y0, box.y1) for box in boxes}) == 1  # in line
    drawn[0].draw_without_rendering()  # at the figure's own resolution, not the file's
    label = whole.yaxis.label.get_window_extent()
    assert label.x0 > boxes[1].x1 * drawn[0].bbox.width  # beside the patches, not on them


@pytest.mark.parametrize("shape", [(5, 10), (6, 9), (6, 1)])
def test_weights_that_do_not_fit_are_refused(shape, tmp_path):
    with pytest.raises(ValueError, match="wanted 6 positions, 2 sensors x 3 times, and a class"):
        plot_attention(np.ones(shape), Image.new("RGB", (8, 8)), sensors=["Fz", "Oz"],
                       times=np.arange(3), path=tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
