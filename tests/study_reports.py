"""Finished pieces without training: reports and generated signals whose numbers are known."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from tinybrain import experiment
from tinybrain.files import write_text
from tinybrain.generated import Generated
from tinybrain.study.pieces import SETTINGS, Piece, Study


def study(folder: Path, kind: str = "eeg", subjects: tuple[int, ...] = (1, 2), **changed) -> Study:
    """A study of recordings that nobody reads."""
    args = argparse.Namespace(**vars(experiment.arguments("", "").parse_args([])) | changed)
    return Study(kind, folder / "data", subjects, args, folder / "out")


def report(mse: float = 0.5, pattern: float = 0.2, **changed) -> dict:
    """A report of which tables read these rows; the conditional mean is better by 0.1."""
    rows = [
        {"name": "mean ERP", "mse": 0.6, "pattern": 0.1},
        {"name": "ridge", "mse": 0.4, "pattern": 0.15, "image": 0.05},
        {"name": "one sample", "mse": mse, "pattern": pattern, "image": 0.01,
         "intervals": {"mse": [mse - 0.01, mse + 0.02]}},
        {"name": "mean of 4 samples", "mse": mse - 0.05, "pattern": pattern, "image": None},
        {"name": "conditional mean", "mse": mse - 0.1, "pattern": pattern + 0.1, "image": 0.03},
        {"name": "noise ceiling", "mse": 0.1, "pattern": 0.9, "image": 0.5},
    ]  # fmt: skip
    return {"rows": rows, "unit": "a.u.", "seconds": 60.0} | changed


def finish(of: Study, piece: Piece, content: dict) -> Path:
    """A folder as a finished piece leaves it, signals left out."""
    folder = of.folder(piece)
    write_text(folder / SETTINGS, json.dumps(of.settings(piece)))
    write_text(folder / "report.json", json.dumps(content))
    write_text(folder / "generated.npz", "")
    return folder


def made(seed: int, images=("a", "b", "c", "d"), sensors=("Oz", "Cz"), w: int = 3) -> Generated:
    """Generated and recorded signals of one subject."""
    rng = np.random.default_rng(seed)
    shape = (len(images), len(sensors), w)
    one, mean, conditional, recorded = rng.normal(size=(4, *shape)).astype(np.float32)
    erp = rng.normal(size=shape[1:]).astype(np.float32)
    return Generated(one, mean, conditional, recorded, erp, sensors, np.arange(w) / 50, images,
                     "eeg", "a.u.")
