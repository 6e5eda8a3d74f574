"""CLIP: images and words to embeddings of one space.

`model.py` are the two towers, `transformer.py` their blocks; `image.py` and `tokenizer.py` make
what goes into them; `weights.py` finds and loads what they have learned, under the names of
`names.py`.
"""

from .image import preprocess
from .model import CLIP, DEMO_TEXT, DEMO_VISION, TextConfig, VisionConfig, random_clip
from .tokenizer import Tokenizer
from .weights import load

__all__ = [
    "CLIP",
    "DEMO_TEXT",
    "DEMO_VISION",
    "TextConfig",
    "Tokenizer",
    "VisionConfig",
    "load",
    "preprocess",
    "random_clip",
]
