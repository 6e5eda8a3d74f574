"""THINGS-MEG: epochs and caches of every producer, and the way there from raw recordings."""

from .reader import CROPS, MEG

__all__ = ["CROPS", "MEG"]
