"""What a model made of the test images, kept in a file: the same comes back, damage is named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinybrain import generated

N, K, R, H, W = 3, 2, 4, 2, 5


def keep(folder, *, conditional=True, erp=True, images=("a/x.jpg", "a/y.jpg", "b/z.jpg")):
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(N, R, H, W)).astype(np.float32)
    evaluation = SimpleNamespace(samples=rng.normal(size=(N, K, H, W)).astype(np.float32),
                                 mean=rng.normal(size=(N, H, W)).astype(np.float32))
    model = SimpleNamespace(
        recipe=SimpleNamespace(has_conditional_mean=conditional), sensors=("Oz", "Cz"),
        times=np.arange(W) / 50, kind="eeg", unit="a.u.",
    )
    test = SimpleNamespace(signals=signals, images=tuple(map(Path, images)))
    average = rng.normal(size=(H, W)) if erp else None
    path = generated.write(folder, model, test, evaluation, average)
    return path, signals, evaluation, average


def test_what_was_written_comes_back(tmp_path):
    path, signals, evaluation, erp = keep(tmp_path)
    found = generated.read(tmp_path)
    assert path == tmp_path / "generated.npz"
    np.testing.assert_array_equal(found.one, evaluation.samples[:, 0])
    first, second = evaluation.samples[:, 0], evaluation.samples[:, 1]
    np.testing.assert_allclose(found.mean, (first + second) / 2, atol=1e-6)
    np.testing.assert_array_equal(found.conditional, evaluation.mean)
    np.testing.assert_allclose(found.recorded, np.mean(signals, axis=1), atol=1e-6)
    np.testing.assert_allclose(found.erp, erp, atol=1e-6)
    assert found.sensors == ("Oz", "Cz") and found.images == ("x.jpg", "y.jpg", "z.jpg")
    assert (found.kind, found.unit) == ("eeg", "a.u.") and found.times.dtype == np.float64
    assert {found.one.dtype, found.recorded.dtype, found.erp.dtype} == {np.dtype("float32")}
    assert found.best is found.conditional


def test_without_a_conditional_mean_the_mean_of_samples_is_best(tmp_path):
    keep(tmp_path, conditional=False, erp=False)
    found = generated.read(tmp_path)
    assert found.conditional is None and found.erp is None and found.best is found.mean


def test_images_are_told_apart_by_as_many_folders_as_it_takes():
    assert generated.image_names(["/d/a/x.jpg", "/d/b/x.jpg"]) == ("a/x.jpg", "b/x.jpg")
    with pytest.raises(ValueError, match="twice"):
        generated.image_names(["a/x.jpg", "a/x.jpg"])


def test_rows_are_found_by_name(tmp_path):
    keep(tmp_path)
    found = generated.read(tmp_path)
    assert found.rows(["z.jpg", "x.jpg"]).tolist() == [2, 0]
    with pytest.raises(ValueError, match="1 of 2 test images, q.jpg first"):
        found.rows(["x.jpg", "q.jpg"])


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="generated.npz"):
        generated.read(tmp_path)
    path, *_ = keep(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="generated.npz is damaged"):
        generated.read(tmp_path)
    with np.load(keep(tmp_path)[0]) as file:
        content = dict(file)
    np.savez(path, **{name: value for name, value in content.items() if name != "images"})
    with pytest.raises(ValueError, match="no images"):
        generated.read(tmp_path)
    np.savez(path, **content | {"mean": content["mean"][:, :1]})
    with pytest.raises(ValueError, match=r"mean has shape \(3, 1, 5\); wanted \(3, 2, 5\)"):
        generated.read(tmp_path)
