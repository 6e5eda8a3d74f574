"""CLIP, images to embeddings: `model.py` is the tower, `image.py` makes what goes into it."""

from .image import preprocess
from .model import CLIP, DEMO_VISION, VisionConfig, random_clip

__all__ = ["CLIP", "DEMO_VISION", "VisionConfig", "preprocess", "random_clip"]
