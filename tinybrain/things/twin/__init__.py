"""What the demo's recordings are made of: scenes, responses, noise, and files; see `demo.py`."""
