"""Targets: what comes from files and from our own processes: captures, configurations, lines to the packet process."""

import io

from culvert.cli import capture
from culvert.cli.capture import CaptureError
from culvert.config import transaction
from culvert.dataplane.userspace import wire
from culvert.ipsec.secret import Secret
from culvert.model import text, tokens
from culvert.model.fields import Reader
from culvert.model.names import COMMON
from culvert.model.problems import BadSyntax, Invalid
from culvert.model.registry import KINDS


class Plain:
    """Seals by writing the octets down: a fuzzer has no secrets."""

    def seal(self, secret: Secret) -> str:
        return "$M$tt$" + secret.reveal().hex()

    def unseal(self, sealed: str) -> Secret:
        return Secret(bytes.fromhex(sealed[6:]))

    def hash_password(self, password: Secret) -> str:
        return "$plain$" + password.reveal().hex()


NESTING_MAX = 500
"""What Python's reader of JSON takes before it runs out of stack; no line of ours is nested deeper than ten."""
READER = Reader(COMMON, Plain())


def judge_capture(data: bytes) -> None:
    """A capture file, and what is written back of it."""
    frames = []
    try:
        for frame in capture.read(io.BytesIO(data)):
            assert len(frame.octets) <= len(data)
            frames.append(frame)
    except CaptureError as error:
        assert 0 <= error.offset <= len(data)
    for frame in frames:
        parts = capture.split(frame)
        if parts is None or not parts[1] or parts[1][0] >> 4 not in (4, 6):
            continue
        file = io.BytesIO()
        capture.Writer(file, frame.link_type).write(frame, *parts)
        file.seek(0)
        (again,) = capture.read(file)
        assert again.octets.endswith(parts[1])


def judge_tokens(data: bytes) -> None:
    """Any text as words and blocks; and any word, quoted, is read as it was."""
    try:
        content = tokens.decode(data)
        parsed = tokens.parse(content)
    except BadSyntax as error:
        assert error.line >= 1 and error.column >= 1
        return
    stack = list(parsed)
    while stack:
        token = stack.pop()
        if isinstance(token, tokens.Block):
            stack += token.items
            continue
        (again,) = tokens.parse(tokens.quote(token.text))
        assert isinstance(again, tokens.Word) and again.text == token.text


def judge_config(data: bytes) -> None:
    """A configuration file: objects, or every problem; what is valid is written and read as the same."""
    try:
        read = transaction.read_file(tokens.decode(data), transaction.SHIPPED, READER).check()
    except (BadSyntax, Invalid):
        return
    saved = transaction.saved_text(read)
    again = transaction.read_file(saved, transaction.SHIPPED, READER).check()
    assert transaction.saved_text(again) == saved


def judge_draft(data: bytes) -> None:
    """Stanzas by the schema, before anything is made of them."""
    drafts, problems = text.read(data.decode("utf-8", "replace"), KINDS)
    assert len(problems) <= text.PROBLEMS_MAX + 1
    for draft in drafts:
        assert draft.line >= 1 and set(draft.places) == set(draft.raw) <= {own.word for own in draft.kind.fields}


def judge_wire(data: bytes) -> None:
    """A line between culvertd and the packet process; an error never quotes it."""
    if data.count(b"[") + data.count(b"{") > NESTING_MAX:
        return
    try:
        wire.parse(data)
    except ValueError as error:
        assert str(error) == "not a message between culvertd and the packet process"
        assert error.__cause__ is None
