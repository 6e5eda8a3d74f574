"""The encoding model against kernel ridge, refits without a concept, and laws that are known."""

import numpy as np
import pytest
import torch

from tinybrain.baselines import fit_ridge
from tinybrain.encoding import EncodingModel, Products, fit_encoding

CONCEPTS = [f"concept{i // 3}" for i in range(60)]


def draw(law, noise=0.1, images=60, width=5, seed=0):
    """Features (n, d) of unequal spread, and signals (n, 2, 3) that follow a law of them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((images, width)) * np.arange(1, width + 1) + 2
    y = law(x)[:, None, None] * np.array([[1.0, -2, 0.5], [0, 1, 3]])
    return torch.from_numpy(x), torch.from_numpy(y + noise * rng.standard_normal(y.shape))


def product(x):
    return (x[:, 4] - 2) * (x[:, 3] - 2)


def line(x):
    return x @ [1.0, 0, 2, 0, -1]


def test_products_have_the_inner_product_of_the_quadratic_kernel():
    x, _ = draw(line)
    products = Products.of(x, 3)
    expanded = products(x)
    z = (x - x.mean(0)) / x.std(0, correction=0) / 5**0.5
    p = z @ torch.linalg.svd(z).Vh[:3].T
    assert expanded.shape == (60, 5 + 6)
    assert z.square().sum(1).mean() == pytest.approx(1)
    torch.testing.assert_close(expanded @ expanded.T, z @ z.T + (p @ p.T) ** 2)


def test_predictions_are_those_of_kernel_ridge():
    """The same model in its other form: (K + a)^-1 on the centred kernel, by scikit-learn."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.preprocessing import KernelCenterer

    x, y = draw(product)
    new, _ = draw(product, seed=1)
    model, _ = fit_encoding(x, y, CONCEPTS, components=5)
    assert model.name == "ridge with products"
    expanded, centre = model.products(x), KernelCenterer()
    kernel = centre.fit_transform(expanded @ expanded.T)
    of_new = centre.transform(model.products(new) @ expanded.T)
    power = np.linalg.svd(expanded - expanded.mean(0), compute_uv=False)[: expanded.shape[1]] ** 2
    for i, j in np.ndindex(2, 3):
        alpha = float(model.ridge.alphas[i, j] * power.mean())
        if np.isinf(alpha):
            continue
        mean = y[:, i, j].mean().item()
        oracle = KernelRidge(alpha=alpha, kernel="precomputed").fit(kernel, y[:, i, j] - mean)
        wanted = oracle.predict(of_new) + mean
        np.testing.assert_allclose(model.predict(new)[:, i, j], wanted, rtol=1e-4, atol=1e-4)


def test_left_out_predictions_are_those_of_a_refit_without_the_concept():
    x, y = draw(product)
    model, left_out = fit_encoding(x, y, CONCEPTS, components=5)
    others = [row for row, concept in enumerate(CONCEPTS) if concept != "concept4"]
    expanded = model.products(x)
    z = expanded - expanded.mean(0)
    power = torch.linalg.svdvals(z).square().mean()
    part, mean = expanded[others], expanded[others].mean(0)
    for i, j in ((0, 0), (1, 2)):
        penalty = model.ridge.alphas[i, j] * power * torch.eye(z.shape[1], dtype=z.dtype)
        target = y[others, i, j]
        weights = torch.linalg.solve(
            (part - mean).T @ (part - mean) + penalty, (part - mean).T @ (target - target.mean())
        )
        wanted = (expanded[12:15] - mean) @ weights + target.mean()
        torch.testing.assert_close(left_out[12:15, i, j].double(), wanted, rtol=1e-4, atol=1e-4)


def test_a_law_of_products_is_found_and_a_line_cannot():
    x, y = draw(product, images=300)
    new, truth = draw(product, noise=0, images=300, seed=1)
    concepts = range(300)
    errors = {}
    for components in (0, 5):
        model, _ = fit_encoding(x, y, concepts, components=components)
        errors[components] = (model.predict(new) - truth).square().mean() / truth.square().mean()
    assert errors[5] < 0.001 and errors[0] > 0.8


def test_products_that_do_not_help_new_concepts_are_left_away():
    x, y = draw(line, noise=3.0)
    model, left_out = fit_encoding(x, y, CONCEPTS, components=5)
    _, wanted = fit_ridge(x, y, groups=CONCEPTS)
    assert model.name == "ridge" and model.products is None
    assert torch.equal(left_out, wanted)


def test_constant_and_few_features():
    x, _ = draw(product)
    x = torch.cat([x, torch.full((60, 1), 0.1, dtype=x.dtype)], dim=1)
    products = Products.of(x, 30)
    assert torch.isfinite(products(x)).all() and products.basis.shape == (6, 6)
    with pytest.raises(ValueError, match=r"features are \(60, 5\).*6"):
        products(x[:, :5])


def test_state_survives_a_checkpoint(tmp_path):
    x, y = draw(product)
    for components in (0, 5):
        model, _ = fit_encoding(x, y, CONCEPTS, components=components)
        torch.save(model.state(), tmp_path / "state.pt")
        again = EncodingModel.from_state(torch.load(tmp_path / "state.pt", weights_only=True))
        assert again.name == model.name
        assert torch.equal(again.predict(x), model.predict(x))
