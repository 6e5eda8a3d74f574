"""A few hundred damaged THINGS files; `fuzz_things.py` tries as many as one likes."""

import subprocess
import sys
from pathlib import Path


def test_damaged_files_give_documented_errors():
    command = [sys.executable, "-m", "tests.fuzz_things", "400", "1"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "400 damaged files" in done.stdout and "ValueError" in done.stdout
