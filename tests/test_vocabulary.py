"""What goes into CLIP's tokenizer: texts cleaned and split, vocabulary files, its packages."""

from __future__ import annotations

import gzip
import html
import itertools
import subprocess
import sys

import ftfy
import pytest
import regex

from tests.test_tokenizer import SPELLED
from tinybrain.clip.tokenizer import Tokenizer, clean, words

# -------------------------------------------------------------------------------------------------
# Cleaning


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("  A\tphoto \r\n of\u00a0\u3000a CAT ", "a photo of a cat"),
        ("cafÃ© â€œtableâ€\x9d", 'café "table"'),
        ("ﬁne ＣＬＩＰ", "fine clip"),
        ("cafe\u0301", "café"),
        ("&lt;b&gt; R&amp;D &eacute;&#39;&#x1F600;", "<b> r&d é'😀"),
        ("&amp;amp;amp;lt;", "<"),  # ftfy does not stop at the first
        ("<p> &amp;amp;lt;", "<p> &lt;"),  # ... and leaves what looks like HTML: twice
        ("a\x00\x07\x1bb\ufeff", "ab"),
        ("İSTANBUL ΣΑΣ", "i̇stanbul σας"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_cleaning_by_examples(text, wanted):
    assert clean(text) == wanted
    # OpenAI's steps, in their order.
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    assert wanted == regex.sub(r"\s+", " ", text.strip()).strip().lower()


def test_words_by_examples():
    found = words("They're 3,500 drums... isn't<|endoftext|>it's?! café2")
    wanted = "they 're 3 , 5 0 0 drums ... isn 't <|endoftext|> it 's ?! café 2"
    assert found == wanted.split()


# -------------------------------------------------------------------------------------------------
# Vocabulary files


def lines(count: int) -> list[str]:
    """As many merges as asked for: all pairs of two bytes are different tokens."""
    pairs = itertools.product(SPELLED.values(), repeat=2)
    return [" ".join(pair) for pair in itertools.islice(pairs, count)]


def content(count: int = 48_894, header: str = "#version: 0.2") -> bytes:
    return "\n".join([header, *lines(count), ""]).encode()


@pytest.mark.parametrize("kind", ["OpenAI's", "unpacked", "merges.txt", "folder", "Windows"])
def test_vocabulary_files_in_every_form(tmp_path, kind):
    path = tmp_path / "merges.txt"
    # OpenAI's file goes on after the 48,894 merges in use.
    longer = content(60_000, '"bpe_simple_vocab_16e6.txt#version: 0.2')
    forms = {"OpenAI's": gzip.compress(longer), "unpacked": longer}
    path.write_bytes(forms.get(kind, content()))
    if kind == "Windows":
        path.write_bytes(content().replace(b"\n", b"\r\n"))
    tokenizer = Tokenizer.load(tmp_path if kind == "folder" else str(path))
    assert (tokenizer.vocabulary, tokenizer.start, tokenizer.end) == (49_408, 49_406, 49_407)
    # Merges 1 and 257 are "! !" and '" !'; "!" and '"' have the first ids, and 256 and 257 as ends.
    assert tokenizer.encode('!!!" "!!', context=7).tolist() == [
        [49_406, 512, 0, 257, 768, 256, 49_407]
    ]


def test_own_vocabulary_is_downloaded_once_checked_and_read(tmp_path, monkeypatch):
    from tinybrain import download

    asked = []

    def fetch(url, sha256, path, **options):
        asked.append((url, sha256, path))
        path.write_bytes(gzip.compress(content()))
        return path

    monkeypatch.setattr(download, "fetch", fetch)
    monkeypatch.setattr(download, "cache_folder", lambda cache_dir=None: cache_dir)
    assert Tokenizer.load(cache_dir=tmp_path).vocabulary == 49_408
    ((url, sha256, path),) = asked
    assert url == "https://github.com/openai/CLIP/raw/main/clip/bpe_simple_vocab_16e6.txt.gz"
    assert sha256 == "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
    assert path == tmp_path / "bpe_simple_vocab_16e6.txt.gz"


def bomb() -> bytes:
    return gzip.compress(bytes(2**26))


def damaged() -> bytes:
    packed = bytearray(gzip.compress(content()))
    packed[len(packed) // 2] ^= 255
    return bytes(packed)


@pytest.mark.parametrize(
    ("held", "match"),
    [
        (gzip.compress(content())[:-9], "is damaged"),
        (damaged(), "is damaged"),
        (b"\x1f\x8b", "is damaged"),
        (bomb(), "has more than 16777216 bytes"),
        (bytes(2**24 + 1), "has more than 16777216 bytes"),
        (b"\xff\xfe\x00", "is damaged or no vocabulary"),
        (b"", "does not begin with a line"),
        (content()[14:], "does not begin with a line"),
        (content(400), "has 400 merges, 48894 were wanted"),
        (content() + b"a b c\n", r"merge 48895 is \('a', 'b', 'c'\), not two"),
        (content().replace(b"\n! #\n", b"\n!#\n"), r"merge 3 is \('!#',\), not two"),
        (content().replace(b"\n! #\n", b"\n! abc\n"), "is not CLIP's vocabulary: merge 3"),
    ],
    ids=range(12),
)
def test_other_files_are_refused_by_name(tmp_path, held, match):
    path = tmp_path / "words.gz"
    path.write_bytes(held)
    with pytest.raises(ValueError, match=rf"words\.gz.*{match}"):
        Tokenizer.load(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.gz"):
        Tokenizer.load(tmp_path / "none.gz")
    with pytest.raises(FileNotFoundError, match=r"merges\.txt"):
        Tokenizer.load(tmp_path)


def test_without_its_packages_all_else_works_and_the_error_says_what_to_install():
    program = """
import sys
sys.modules["ftfy"] = sys.modules["regex"] = None
import tinybrain, tinybrain.clip
from tinybrain.clip.tokenizer import Tokenizer, clean, words
try:
    Tokenizer().encode("a")
except ImportError as error:
    print(error)
"""
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert "pip install ftfy regex" in done.stdout
