"""The U-Net against diffusers' (the paper's network), and its own identities."""

import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from tinybrain import blocks
from tinybrain import unet as unet_module
from tinybrain.interop import unet_from_diffusers
from tinybrain.unet import CrossAttention, UNet2D, UNetConfig

SMALL = UNetConfig(channels=(32, 64, 64, 128), context_dim=48)
# At 1 x 1 a group norm of SMALL's outer level sees one number, answers 0 whatever it is, and lets
# only rounding back through. Here it sees four, as in the paper's network.
WIDE = UNetConfig(channels=(128, 128, 128, 128), context_dim=48)


def reference(config: UNetConfig) -> UNet2DConditionModel:
    """diffusers' network of the paper's Section 4.2, with the widths of `config`."""
    torch.manual_seed(0)
    down = ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in config.attention]
    up = ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(config.attention)]
    return UNet2DConditionModel(
        in_channels=1, out_channels=1, block_out_channels=config.channels, down_block_types=down,
        up_block_types=up, cross_attention_dim=config.context_dim, layers_per_block=2,
    )


def inputs(size, tokens, batch, config, dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    y_t = torch.randn(batch, 1, *size, generator=g, dtype=dtype)
    context = torch.randn(batch, tokens, config.context_dim, generator=g, dtype=dtype)
    return y_t, torch.randint(0, 1000, (batch,), generator=g), context


def gap(ours, theirs):
    """Largest difference relative to the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.fixture(scope="module")
def paper_pair():
    theirs = reference(UNetConfig())
    return unet_from_diffusers(theirs.state_dict(), UNetConfig()), theirs


def test_the_paper_s_parameter_count(paper_pair):
    ours, theirs = paper_pair
    assert sum(p.numel() for p in ours.parameters()) == 161_248_001
    assert sum(p.numel() for p in theirs.parameters()) == 161_248_001


@pytest.mark.parametrize(
    "size, tokens, batch", [((63, 250), 1, 1), ((17, 100), 1, 1), ((5, 7), 257, 3), ((1, 1), 1, 3)]
)
def test_paper_network_answers_as_diffusers(paper_pair, size, tokens, batch):
    ours, theirs = paper_pair
    y_t, t, context = inputs(size, tokens, batch, UNetConfig())
    with torch.no_grad():
        assert gap(ours(y_t, t, context), theirs(y_t, t, context).sample) < 1e-4


@pytest.mark.parametrize("size, tokens, batch, dtype", [
    ((63, 250), 1, 2, torch.float32),
    ((271, 200), 257, 1, torch.float32),
    ((17, 100), 1, 3, torch.float32),
    ((63, 250), 257, 1, torch.float64),
    ((17, 100), 1, 3, torch.float64),
    ((17, 100), 257, 1, torch.float64),
    ((5, 7), 257, 3, torch.float64),
    ((5, 7), 1, 1, torch.float64),
    ((1, 1), 1, 3, torch.float64),
])  # fmt: skip
def test_outputs_and_gradients_equal_diffusers(size, tokens, batch, dtype):
    bound = {torch.float32: 1e-4, torch.float64: 1e-10}[dtype]
    config = WIDE if size == (1, 1) else SMALL
    theirs = reference(config).to(dtype)
    ours = unet_from_diffusers(theirs.state_dict(), config)
    assert next(ours.parameters()).dtype == dtype
    y_t, t, context = inputs(size, tokens, batch, config, dtype)
    weight = torch.randn(y_t.shape, generator=torch.Generator().manual_seed(2), dtype=dtype)
    answer, wanted = ours(y_t, t, context), theirs(y_t, t, context).sample
    for either in (answer, wanted):
        (either * weight).sum().backward()
    assert gap(answer.detach(), wanted.detach()) < bound
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    gradients = unet_from_diffusers(gradients, config).state_dict()  # under our names
    floor = 0.01 * max(float(p.norm()) for p in gradients.values())  # below: rounding
    for name, p in ours.named_parameters():
        theirs_there = gradients[name]
        mine = torch.zeros_like(p) if p.grad is None else p.grad
        assert (mine - theirs_there).norm() < bound * max(float(theirs_there.norm()), floor), name


def test_outputs_equal_diffusers_where_a_group_norm_sees_one_number():
    theirs = reference(SMALL).double()
    ours = unet_from_diffusers(theirs.state_dict(), SMALL)
    y_t, t, context = inputs((1, 1), 1, 3, SMALL, torch.float64)
    with torch.no_grad():
        assert gap(ours(y_t, t, context), theirs(y_t, t, context).sample) < 1e-10


def test_every_parameter_that_can_receive_a_gradient_does():
    idle = {"cross_attention.norm.weight", "cross_attention.norm.bias", "cross_attention.q.weight",
            "cross_attention.k.weight"}
    for tokens in (1, 3):
        unet = UNet2D(SMALL)
        unet(*inputs((9, 10), tokens, 2, SMALL)).square().sum().backward()
        for name, p in unet.named_parameters():
            cannot = tokens == 1 and any(name.endswith(end) for end in idle)
            assert (p.grad is None) if cannot else bool(p.grad.abs().max() > 0), (tokens, name)


def test_one_token_is_an_addition():
    """Softmax over one key is 1: the shortcut equals the attention it replaces."""
    layer = CrossAttention(64, 48, heads=8).double()
    x, token = torch.randn(2, 30, 64).double(), torch.randn(2, 1, 48).double()
    short = layer(x, layer.remember(token))
    whole = layer(x, layer.remember(token.expand(2, 5, 48)))  # five equal keys: a uniform softmax
    assert short.shape == (2, 1, 64)
    torch.testing.assert_close(short.expand_as(whole), whole, rtol=0, atol=1e-14)


@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("conditioning", ["cross_attention", "addition", "concatenation"])
def test_context_encoded_once_gives_the_same_bits(tokens, conditioning):
    unet = UNet2D(UNetConfig(channels=(32, 64), attention=(False, True), context_dim=48,
                             conditioning=conditioning))
    y_t, t, context = inputs((7, 10), tokens, 2, SMALL)
    assert torch.equal(unet(y_t, t, unet.encode_context(context)), unet(y_t, t, context))


@pytest.mark.parametrize("conditioning", ["cross_attention", "addition", "concatenation"])
def test_every_conditioning_listens_to_the_image_and_trains_whole(conditioning):
    config = UNetConfig(channels=(32, 64), attention=(False, True), context_dim=48,
                        conditioning=conditioning)
    unet = UNet2D(config)
    y_t, t, context = inputs((7, 10), 3, 2, config)
    answer = unet(y_t, t, context)
    assert answer.shape == y_t.shape
    assert not torch.allclose(answer, unet(y_t, t, context.flip(0)), atol=1e-4)
    answer.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in unet.parameters())
    assert any("cross_attention" in name for name, _ in unet.named_parameters()) == (
        conditioning == "cross_attention"
    )


def test_rows_of_a_batch_do_not_mix():
    unet = UNet2D(SMALL).double().eval()
    y_t, t, context = inputs((11, 6), 3, 3, SMALL, torch.float64)
    together = unet(y_t, t, context)
    alone = torch.cat([unet(y_t[i : i + 1], t[i : i + 1], context[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-12)


def test_zero_output_answers_zero_and_still_learns():
    unet = UNet2D(UNetConfig(channels=(32, 64), attention=(False, True), context_dim=48,
                             zero_output=True))
    answer = unet(*inputs((7, 10), 1, 2, SMALL))
    assert answer.abs().max() == 0
    (answer - 1).square().sum().backward()
    assert unet.conv_out.weight.grad.abs().max() > 0


def test_dropout_acts_in_training_only():
    unet = UNet2D(
        UNetConfig(channels=(32, 64), attention=(False, True), context_dim=48, dropout=0.5)
    )
    data = inputs((7, 10), 1, 2, SMALL)
    assert not torch.equal(unet.train()(*data), unet(*data))
    assert torch.equal(unet.eval()(*data), unet(*data))


@pytest.mark.parametrize("change, words", [
    ({"channels": (32, 64)}, "same number of levels"),
    ({"channels": (32, 64, 65, 128)}, r"\[65\] do not divide into 32 groups"),
    ({"heads": 7}, "no multiple of 7 heads"),
    ({"conditioning": "film"}, "'film' is not in"),
    ({"channels": (32, 64, -64, 128)}, r"\[-64\] do not divide into 32 groups"),
    ({"channels": (9, 16, 16, 16), "groups": 1}, "channels begin with 9; wanted an even width"),
    ({"layers_per_block": 0, "groups": 0}, "layers_per_block, groups below 1"),
])  # fmt: skip
def test_configs_that_cannot_be_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        UNetConfig(**change)


def test_inputs_that_do_not_fit_are_refused():
    unet = UNet2D(SMALL)
    y_t, t, context = inputs((7, 10), 1, 2, SMALL)
    with pytest.raises(ValueError, match=r"context is \(2, 1, 47\); wanted \(batch, tokens, 48\)"):
        unet(y_t, t, context[:, :, :47])
    with pytest.raises(ValueError, match=r"y_t is \(2, 7, 10\)"):
        unet(y_t[:, 0], t, context)
    with pytest.raises(ValueError, match=r"t \(1,\)"):
        unet(y_t, t[:1], context)
    with pytest.raises(ValueError, match="with 1 contexts; wanted .* as many"):
        unet(y_t, t, context[:1])


def test_one_forward_of_the_paper_s_configuration_reads_the_file():
    """At least 90 % of the lines with code of the U-Net run in one construction and forward."""
    ran, files = set(), (blocks.__file__, unet_module.__file__)

    def trace(frame, event, _):
        file = frame.f_code.co_filename
        if file not in files:
            return None
        if event == "line":
            ran.add((file, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        config = UNetConfig()
        with torch.device("meta"):
            unet = UNet2D(config)
            unet(torch.empty(1, 1, 63, 250), torch.empty(1), torch.empty(1, 1, 768))
    finally:
        sys.settrace(before)
    inside = set()
    for file in files:
        code = compile(Path(file).read_text(encoding="utf-8"), file, "exec")
        inside |= {(file, line) for line in lines_of_functions(code)}
    share = len(ran & inside) / len(inside)
    assert share >= 0.90, f"{share:.3f}; not run: {sorted(inside - ran)}"


def lines_of_functions(code):
    """Numbers of the lines with code inside functions (not in classes' or the module's bodies)."""
    lines = set()
    for inner in code.co_consts:
        if hasattr(inner, "co_lines"):
            if inner.co_flags & 2:  # CO_NEWLOCALS: a function
                lines |= {line for *_, line in inner.co_lines() if line} - {inner.co_firstlineno}
            lines |= lines_of_functions(inner)
    return lines
