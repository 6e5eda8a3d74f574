"""The transposed convolution against the two steps it stands for."""

import pytest
import torch
from torch import nn

from tinybrain.upsample import in_two_steps, upsample


@pytest.mark.parametrize("h", [1, 2, 3, 8])
@pytest.mark.parametrize("w", [1, 2, 5])
@pytest.mark.parametrize("less", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_same_values_and_gradients_at_every_size_a_skip_can_have(h, w, less):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=1).double()
    x = torch.randn(2, 3, h, w).double().requires_grad_()
    size = (2 * h - less[0], 2 * w - less[1])
    results = []
    for way in (upsample, in_two_steps):
        y = way(x, conv, size)
        assert y.shape == (2, 4, *size)
        weight = torch.arange(y.numel()).reshape(y.shape).double().cos()
        results.append([y, *torch.autograd.grad((y * weight).sum(), [x, *conv.parameters()])])
    for ours, wanted in zip(*results):
        torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)


def test_the_equations_of_the_module_by_hand():
    """One row, taps (1, 10, 100): y[p] = up[p-1] + 10 up[p] + 100 up[p+1], up = 1 1 2 2 3."""
    conv = nn.Conv2d(1, 1, 3, padding=1)
    with torch.no_grad():
        conv.weight.zero_()[0, 0, 1] = torch.tensor([1.0, 10, 100])
        conv.bias.zero_()
        y = upsample(torch.tensor([[[[1.0, 2, 3]]]]), conv, (1, 5))
    assert y.flatten().tolist() == [110, 211, 221, 322, 32]
