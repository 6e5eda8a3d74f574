"""THINGS-MEG: epochs and caches of every producer, and the way there from raw recordings."""

from .reader import MEG
from .selection import CROPS

__all__ = ["CROPS", "MEG"]
