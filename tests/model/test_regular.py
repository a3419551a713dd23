"""Stanzas read by the line: the same as word by word, whatever a file has between and around them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culvert.model import regular, text
from culvert.model.registry import KINDS

PIECES = (
    "net ipsec ipsec-policy /Common/a {",
    "net ipsec ipsec-policy b {",
    "net ipsec manual-security-association c {",
    "net  self d {",
    "net self-allow {",
    "ltm pool e {",
    "sys log-config destination local-syslog {",
    "nonsense f {",
    "    mode tunnel",
    "    mode tunnel # no comment",
    "    description \"two words\"",
    '    description "one\nnet self x {\n}"',
    "    description #x",
    "    auth-key 0x00",
    "    auth-key-encrypted $M$ab$AAAA",
    "    auth-key bare",
    "    spi 1000",
    "    partition Common",
    "    unknown word",
    "   mode tunnel",
    "\tmode tunnel",
    "    mode",
    "    ip-forward",
    "    vlans {",
    "    # a comment",
    "# another",
    "    }",
    "}",
    "} net self y { }",
    "",
)


def word_by_word(content: str, patch: pytest.MonkeyPatch) -> text.Reading:
    with patch.context() as here:
        here.setattr(regular, "read", lambda *_: None)
        return text.read_all(content, KINDS)


@given(st.lists(st.sampled_from(PIECES), max_size=14), st.sampled_from(["\n", "", "\r\n"]))
def test_a_file_says_the_same_by_the_line_and_by_the_word(pieces: list[str], end: str) -> None:
    content = "\n".join(pieces) + end
    with pytest.MonkeyPatch.context() as patch:
        assert text.read_all(content, KINDS) == word_by_word(content, patch)


STANZA = """net ipsec ipsec-policy /Common/a {
    mode tunnel
    tunnel-local-address 2.2.2.2
}
"""


def test_what_a_save_writes_is_read_by_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    content, read = f"\n\n{STANZA}", text.tokens.items
    begun: list[int] = []
    monkeypatch.setattr(text.tokens, "items", lambda *words: begun.append(words[1]) or read(*words))
    (draft,) = text.read_all(content, KINDS).drafts
    assert begun == [len(content) - 1], "only the last line's end is read word by word"
    assert (draft.name, draft.line, draft.column) == ("/Common/a", 3, 1)
    assert draft.raw == {"mode": "tunnel", "tunnel-local-address": "2.2.2.2"}
    assert draft.places == {"mode": (4, 5), "tunnel-local-address": (5, 5)}


@pytest.mark.parametrize("line", ["    mode tunnel\n    mode tunnel\n", "    mode\n", "    nodes tunnel\n"])
def test_what_is_not_right_is_left_to_the_other_reader(line: str) -> None:
    assert regular.read(STANZA.replace("    mode tunnel\n", line), 0, 1, KINDS) is None
