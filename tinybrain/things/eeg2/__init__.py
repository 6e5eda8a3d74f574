"""THINGS-EEG2: preprocessed files of every producer, and the way there from raw recordings."""

from .reader import EEG2

__all__ = ["EEG2"]
