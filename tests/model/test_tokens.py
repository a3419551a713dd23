"""The words of the brace language, with their places, and what is no sentence."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culvert.model import text, tokens
from culvert.model.problems import BadSyntax
from culvert.model.registry import KINDS
from culvert.model.tokens import Block, Word

PRINTABLE = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)


def test_words_blocks_and_places() -> None:
    top = tokens.parse('net self x {\n    vlan "a b"\n}\n')
    assert [word.text for word in top if isinstance(word, Word)] == ["net", "self", "x"]
    block = top[3]
    assert isinstance(block, Block)
    assert (block.line, block.column) == (1, 12)
    assert block.items == (Word("vlan", 2, 5), Word("a b", 2, 10, quoted=True))


def test_comment_only_where_a_line_begins() -> None:
    assert [w.text for w in tokens.parse("#TMSH-VERSION: 1\n  # more { \na b#c #d") if isinstance(w, Word)] == [
        "a",
        "b#c",
        "#d",
    ]


@pytest.mark.parametrize(
    ("content", "sentence", "line", "column"),
    [
        ("a {\n b", '"{" is never closed', 1, 3),
        ("a }\n", 'unexpected "}"', 1, 3),
        ('a\n b "c\n', "a double quote is never closed", 2, 4),
        ("a {\n bc\udcff }", "an octet here is not UTF-8", 2, 4),
        ("a\nb\0c", "a NUL character is not allowed", 2, 2),
        ("x" + "{" * 100, "braces nested more than 64 deep", 1, 66),
        ("x { } { }", 'unexpected argument "{"', 1, 7),
    ],
)
def test_bad_text_is_refused_with_its_place(content: str, sentence: str, line: int, column: int) -> None:
    with pytest.raises(BadSyntax) as caught:
        tokens.parse(content)
    assert (caught.value.sentence, caught.value.line, caught.value.column) == (sentence, line, column)


def test_wrong_utf8_names_the_octet_and_its_place() -> None:
    with pytest.raises(BadSyntax) as caught:
        tokens.decode(b"net {\n ab\xff }")
    assert "0xff" in caught.value.sentence
    assert (caught.value.line, caught.value.column) == (2, 4)


def test_ten_megabytes_of_braces_end_quickly() -> None:
    started = time.monotonic()
    for content in ("{" * 10_000_000, "{ } " * 2_500_000, "a { } " * 1_700_000, "net vlan v { { } }\n" * 500_000):
        drafts, problems = text.read(content, KINDS)
        assert drafts == []
        assert 1 <= len(problems) <= text.PROBLEMS_MAX
    assert time.monotonic() - started < 20


@given(PRINTABLE)
def test_a_quoted_word_reads_back(content: str) -> None:
    (word,) = tokens.parse("x " + tokens.quote(content))[1:]
    assert isinstance(word, Word)
    assert word.text == content


@given(PRINTABLE)
def test_any_text_parses_or_is_refused(content: str) -> None:
    try:
        tokens.parse(content)
    except BadSyntax as error:
        assert error.line >= 1
        assert error.column >= 1
