"""Strings that try a tokenizer: marks, controls, emoji, mojibake, entities; drawn by hypothesis."""

import unicodedata

from hypothesis import strategies as st

# Left out: characters of which not every Unicode table has heard (Cn), halves of pairs (Cs), and
# two on which the pattern's two engines differ, see test_what_transformers_does_otherwise.
APART = "\u0345ſ"


def unheard(letter):
    return letter in APART or unicodedata.category(letter) in ("Cn", "Cs")


def pieces(words):
    """Of all kinds; `words` are from a book."""

    def characters(**options):
        return st.text(st.characters(**options, exclude_characters=APART), max_size=8)

    anything = characters(exclude_categories=("Cs", "Cn"))
    letters = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", max_size=8)
    marks = st.tuples(letters, characters(categories=("Mn", "Mc", "Me"))).map("".join)
    control = characters(categories=("Cc", "Cf", "Zs", "Zl", "Zp"))
    cjk = characters(min_codepoint=0x3041, max_codepoint=0x9FEF, exclude_categories=("Cn",))
    hangul = characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)
    greek = characters(min_codepoint=0x370, max_codepoint=0x4FF, exclude_categories=("Cn",))
    emoji = st.text("🙂🐈👩🔬\u200d👍🏽🇫🇷❤️☕♀🏳🌈1️⃣", max_size=8)
    mojibake = anything.map(lambda text: text.encode().decode("latin-1"))
    sayings = [*words, "'s", "DON'T", "“it’s”", "ﬁn", "İ", "ΣΑΣ", "½", "٣", "\x00", "</w>"]
    entities = ["&amp;", "&amp;amp;", "&lt;b&gt;", "&eacute;", "&#39;", "&#x1F600;", "&nbsp",
                "&#0;", "&amp;amp;amp;amp;eacute;", "e&amp;amp;#769;", "&copy", "&"]  # fmt: skip
    kinds = [anything, letters, marks, control, cjk, hangul, greek, emoji, mojibake]
    return st.one_of(*kinds, st.sampled_from(sayings), st.sampled_from(entities))
