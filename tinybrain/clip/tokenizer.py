"""CLIP's tokenizer: from text to the whole numbers that its text tower takes, and back.

Lower-cased byte-pair encoding (Radford et al. 2021, arXiv 2103.00020, Section 2.4; Sennrich et al.
2016, arXiv 1508.07909, Algorithm 1) over bytes (Radford et al. 2019, Section 2.2). In this order:

    text     repaired by ftfy, HTML entities undone twice, white space collapsed, lower case
    words    contractions ('s, 't, ...), runs of letters, single digits, runs of anything else
    symbols  the word's bytes in UTF-8, the last one marked "</w>": the word ends here
    merges   of all neighbours that are a pair in the list, the pair that stands first in it
             becomes one symbol; again until there is none

An id is a symbol's place in the vocabulary: 256 bytes, 256 bytes that end a word, the merges in
their order, <|startoftext|>, <|endoftext|>. CLIP's list has 48,894 merges, so 49,408 ids.
"""

from __future__ import annotations

import gzip
import heapq
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

URL = "https://github.com/openai/CLIP/raw/main/clip/bpe_simple_vocab_16e6.txt.gz"
SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
FILENAME = "bpe_simple_vocab_16e6.txt.gz"
MERGES = 48_894  # the file has 262,144: those of a larger vocabulary than was trained with
MAX_BYTES = 2**24  # several times the public file, unpacked

START, END, LAST = "<|startoftext|>", "<|endoftext|>", "</w>"
WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
)
# Vocabulary files spell a byte as one printable character: itself, or the next from number 256 on.
PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
BYTES = (*PRINTABLE, *(byte for byte in range(256) if byte not in PRINTABLE))  # in order of ids
SPELLING = [chr(byte) for byte in PRINTABLE] + [chr(256 + i) for i in range(256 - len(PRINTABLE))]
PLACE = {byte: place for place, byte in enumerate(BYTES)}


class Tokenizer:
    """Byte-pair encoding by a list of merges; with none, every byte is a token.

    Parameters
    ----------
    merges : sequence of pairs of str
        In order of rank, bytes spelled as in vocabulary files, `("t", "he</w>")`.

    Attributes
    ----------
    vocabulary : int
        Number of ids, 512 + merges + 2.
    start, end : int
        The ids around every text, the two highest.

    Raises
    ------
    ValueError
        A merge joins what no earlier one has made, or makes a token for the second time.

    Examples
    --------
    >>> tokenizer = Tokenizer([("t", "h"), ("th", "e</w>")])
    >>> ids = tokenizer.encode("The end", context=8)           # start, the, e, n, d</w>, end
    >>> ids
    tensor([[514, 513,  68,  77, 323, 515,   0,   0]])
    >>> tokenizer.decode(ids[0])
    'the end'
    """

    def __init__(self, merges: Sequence[tuple[str, str]] = ()) -> None:
        ids = {symbol: i for i, symbol in enumerate([*SPELLING, *(s + LAST for s in SPELLING)])}
        self._pieces = [bytes([byte]) for byte in BYTES] + [bytes([byte, 32]) for byte in BYTES]
        self._merged: dict[tuple[int, int], int] = {}  # ids of a pair -> id of what it becomes
        for first, second in merges:
            if first not in ids or second not in ids or first + second in ids:
                raise ValueError(
                    f"merge {len(ids) - 511}, {first!r} and {second!r}, does not follow from those "
                    "before it: its parts must be known and what it makes new"
                )
            a, b = ids[first], ids[second]
            self._merged[a, b] = ids[first + second] = len(ids)
            self._pieces.append(self._pieces[a] + self._pieces[b])
        self.start, self.end = len(ids), len(ids) + 1
        self.vocabulary = len(ids) + 2
        self._pieces += [b"", b""]

    @classmethod
    def load(
        cls, path: str | Path | None = None, *, cache_dir: str | Path | None = None
    ) -> Tokenizer:
        """Read CLIP's own vocabulary.

        Parameters
        ----------
        path : path, optional
            OpenAI's `bpe_simple_vocab_16e6.txt.gz`, packed or not, or Hugging Face's `merges.txt`
            or the folder it is in. By default OpenAI's, downloaded once into the cache folder.
        cache_dir : path, optional
            See `download.cache_folder`.

        Raises
        ------
        FileNotFoundError
            No such file.
        ValueError
            It is damaged or no such vocabulary; the file is named.
        """
        if path is None:
            from .. import download

            path = download.fetch(URL, SHA256, download.cache_folder(cache_dir) / FILENAME)
        path = Path(path)
        path = path / "merges.txt" if path.is_dir() else path
        merges = read_merges(path)
        if len(merges) < MERGES:
            raise ValueError(f"{path} has {len(merges)} merges, {MERGES} were wanted: is it whole?")
        try:
            return cls(merges[:MERGES])
        except ValueError as error:
            raise ValueError(f"{path} is not CLIP's vocabulary: {error}") from None

    def encode(
        self, texts: str | Sequence[str], *, context: int = 77, truncate: bool = False
    ) -> Tensor:
        """Texts to ids: start, text, end, and zeros up to `context`.

        Parameters
        ----------
        texts : str or sequence of str
            As OpenAI's reference does, "<|endoftext|>" within a text becomes that token.
        context : int
            Tokens in a row, with start and end.
        truncate : bool
            Cut what is longer; its last token is the end.

        Returns
        -------
        Tensor, (b, context) int64

        Raises
        ------
        ValueError
            A text is longer than `context` and `truncate` was not asked for.
        TypeError
            Something else than text.
        ImportError
            ftfy or regex is not installed.
        """
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"texts are a str or a list of str, not {_short(texts)}")
        if not isinstance(context, int) or context < 2:
            raise ValueError(f"context is {context!r}: start and end alone are 2 tokens")
        rows = [self._row(text, context, truncate) for text in texts]
        return torch.tensor(rows, dtype=torch.int64).view(len(rows), context)  # (b, l)

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """One row of ids, up to its first end, to text: lower case, a space after every word.

        Bytes that are no UTF-8, as where a text was cut within a character, become U+FFFD.

        Raises
        ------
        ValueError
            Not one row, or ids outside the vocabulary.
        """
        row = torch.as_tensor(ids)
        if row.ndim != 1 or (len(row) and row.is_floating_point()):
            raise ValueError(f"ids are {row.dtype} {tuple(row.shape)}; one row of whole numbers")
        if len(row) and not 0 <= int(row.min()) <= int(row.max()) < self.vocabulary:
            raise ValueError(f"ids go from {row.min()} to {row.max()}, not 0 to {self.end}")
        known = row.tolist()
        if self.end in known:
            known = known[: known.index(self.end)]
        return b"".join(self._pieces[i] for i in known).decode(errors="replace").strip()

    def _row(self, text: str, context: int, truncate: bool) -> list[int]:
        ids = [i for word in words(text) for i in self._word(word)]
        ids = [self.start, *ids, self.end]
        if len(ids) > context and not truncate:
            raise ValueError(
                f"text {_short(text)} has {len(ids)} tokens with start and end, {context} is the "
                "most: shorten it, or cut off the rest by truncate=True"
            )
        if len(ids) > context:
            ids[context - 1 :] = [self.end]
        # Zero is "!", transformers fills with the end: the tower looks at nothing behind the first.
        return ids + [0] * (context - len(ids))

    def _word(self, word: str) -> list[int]:
        """A word's ids, in time n log n: a linked list of symbols, a heap of pairs to merge.

        What a pair becomes has a higher id than any of its parts, so the heap gives all pairs of
        one rank, from left to right, before those they lead to: the order of Algorithm 1.
        """
        if word in (START, END):
            return [self.start if word == START else self.end]
        ids = [PLACE[byte] for byte in word.encode()]
        ids[-1] += 256
        before, after = list(range(-1, len(ids) - 1)), list(range(1, len(ids) + 1))
        heap: list[tuple[int, int]] = []  # (id that a pair becomes, place of its first symbol)

        def push(left: int, right: int) -> None:
            if left >= 0 and right < len(ids) and (ids[left], ids[right]) in self._merged:
                heapq.heappush(heap, (self._merged[ids[left], ids[right]], left))

        for left in range(len(ids) - 1):
            push(left, left + 1)
        while heap:
            merged, left = heapq.heappop(heap)
            right = after[left]
            if right == len(ids) or self._merged.get((ids[left], ids[right])) != merged:
                continue  # one of the two has become part of another symbol meanwhile
            ids[left], ids[right] = merged, -1
            after[left] = after[right]
            if after[left] < len(ids):
                before[after[left]] = left
            push(before[left], left)
            push(left, after[left])
        return [i for i in ids if i >= 0]


def words(text: str) -> list[str]:
    """Clean a text and split it into what is merged apart."""
    text = clean(text)  # first: it says how to get regex
    import regex

    found: list[str] = regex.findall(WORDS, text, regex.IGNORECASE)
    return found


def clean(text: str) -> str:
    """Repair and simplify a text as OpenAI's reference does."""
    import html

    try:
        import ftfy
        import regex
    except ImportError as error:
        raise ImportError("CLIP's tokenizer needs two packages: pip install ftfy regex") from error
    try:
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    except ValueError as error:  # "&#" and thousands of digits, which Python does not parse
        raise ValueError(f"text {_short(text)} cannot be read: {error}") from error
    collapsed: str = regex.sub(r"\s+", " ", text)
    return collapsed.strip().lower()


def read_merges(path: str | Path) -> list[tuple[str, str]]:
    """The merges in a vocabulary file, gzip or plain: a line that names the version, then pairs.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        It is damaged, too large, or has other lines; the file is named.
    """
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with (gzip.open if packed else open)(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)  # no more: a few kilobytes may unpack to gigabytes
        lines = content.decode().split("\n")
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged or no vocabulary: {error}") from error
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} has more than {MAX_BYTES} bytes: that is no vocabulary")
    if "#version" not in lines[0]:
        raise ValueError(f"{path} does not begin with a line that has '#version' in it")
    pairs: list[tuple[str, str]] = []
    for line in filter(str.strip, lines[1:]):
        symbols = tuple(line.split())
        if len(symbols) != 2:
            raise ValueError(
                f"{path}: merge {len(pairs) + 1} is {_short(symbols)}, not two symbols"
            )
        pairs.append(symbols)
    return pairs


def _short(what: object) -> str:
    shown = repr(what)
    return shown if len(shown) <= 60 else shown[:56] + " ..."
