"""tinybrain.things: its names, and that each costs only what it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tinybrain import things

ROOT = Path(__file__).parents[1]


def test_every_name_is_there_and_another_is_refused():
    assert all(getattr(things, name).__doc__ for name in things.__all__)
    with pytest.raises(AttributeError, match="'tinybrain.things' has no attribute 'EEG3'"):
        things.EEG3  # noqa: B018


def test_the_modules_are_those_that_import_finds():
    from tinybrain.things import EEG2, make_demo, sensors
    from tinybrain.things.demo import make_demo as there
    from tinybrain.things.eeg2.reader import EEG2 as EEG2_there

    assert (EEG2, make_demo, sensors.__name__) == (EEG2_there, there, "tinybrain.things.sensors")


def test_who_wants_sensors_imports_no_reader_and_draws_no_image():
    program = "import sys; from tinybrain.things import sensors; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True,
                          check=True)  # fmt: skip
    loaded = {name for name in done.stdout.split() if name.startswith("tinybrain.things.")}
    assert loaded == {"tinybrain.things.sensors", "tinybrain.things.ctf275"}
    assert not {"torch", "PIL", "scipy", "matplotlib"} & set(done.stdout.split())
