"""Every fault of `faults.py`, done to a small run: it ends with a message, and continues."""

import subprocess
import sys
from pathlib import Path


def test_faults_end_with_a_message_and_the_same_command_continues():
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "tests.faults"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "20 faults, 0 not as they should be" in done.stdout
