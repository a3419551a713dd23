"""Targets: what is typed at tmsh, racoonctl and `culvert explain`, at a whole gateway that is all in memory."""

import contextlib
import gc
import io
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from culvert.cli import explain
from culvert.config import transaction
from culvert.config.snapshot import Snapshot
from culvert.config.store import Generation, Store
from culvert.control.client import Part
from culvert.control.errors import ControlError
from culvert.control.gateway import Gateway
from culvert.control.listener import Peer
from culvert.control.stream import Stream
from culvert.dataplane.memory import MemoryPlane
from culvert.observe.publisher import Outlet
from culvert.racoonctl import main as racoonctl
from culvert.tmsh import command, completion
from culvert.tmsh.script import statements
from culvert.tmsh.session import Session
from culvert.tmsh.words import matches
from tests.fuzz.texts import READER, Plain

ME = Peer(pid=1, uid=2**31, gid=0, user="some/body")
"""Nobody whom the host knows, so no shell is let in; and nobody whom an `auth user` can be named after."""
NOW = 1_700_000_000.0
KEY = "a-key-of-twenty-char"
START = f"""
net vlan /Common/v {{ interfaces {{ e0 {{ }} }} tag 9 }}
net self /Common/s {{ address 2.2.2.2/24 vlan /Common/v }}
net ipsec ipsec-policy /Common/p {{ mode tunnel tunnel-local-address 2.2.2.2 tunnel-remote-address 3.3.3.3 }}
net ipsec manual-security-association /Common/m {{
    spi 1001 source-address 2.2.2.2 destination-address 3.3.3.3 auth-key {KEY} encrypt-algorithm null ipsec-policy p
}}
net ipsec traffic-selector /Common/t {{
    source-address 10.1.0.0/16 destination-address 10.2.0.0/16 direction out ipsec-policy p
}}
"""
STATEMENTS_MAX = 12
_OUTSIDE = ("edit", "restart", "run")
_KEY_TYPED = re.compile(rf'-key "?{KEY}\b')


class Shelf(Store):
    """The saved configuration and its generations, kept in memory."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._saved: str | None = None
        self._config = Path("/nowhere/culvert.conf")

    def clear(self) -> None:
        self._texts.clear()
        self._saved = None

    def load(self) -> str | None:
        return self._saved

    def save(self, text: str, now: float, who: str) -> Generation:
        text.encode()
        self._saved = text
        return self.keep(text, now, who)

    def keep(self, text: str, now: float, who: str) -> Generation:
        self._texts.append(text)
        return Generation(len(self._texts), now, who, len(text), "")

    def generations(self) -> list[Generation]:
        return []

    def read(self, number: int) -> str:
        return self._texts[number - 1]


class Lines:
    """The log, kept in memory."""

    def __init__(self) -> None:
        self.level = "info"
        self.lines: list[str] = []

    def configure(self, level: str, outlets: Sequence[Outlet]) -> None:
        self.level = level

    def tail(self, lines: int) -> list[str]:
        return self.lines[-lines:]

    def report(self) -> dict[str, object]:
        return {"path": "none", "level": self.level, "octets": 0, "destinations": []}

    def emit(self, level: str, *texts: str) -> None:
        self.lines += texts


class Desk:
    """A gateway, and who calls it."""

    def __init__(self, text: str = START) -> None:
        self.plane = MemoryPlane(random=bytes, clock=lambda: NOW)
        self.log, self.shelf = Lines(), Shelf()
        self.gateway = Gateway(self.shelf, Plain(), self.plane, self.log, lambda: NOW)
        self.gateway.start()
        self.call("load", text=text)

    def call(self, name: str, /, **args: object) -> Any:
        assert name != "restart-tmm", "that would end this process"
        return self.gateway.call(name, args, ME)

    def stream(self, name: str, /, **args: object) -> Iterator[Part]:
        """As a client's: whole lists are one part."""
        found = self.call(name, **args, stream=True)
        if isinstance(found, Stream):
            yield from (Part(records, found.total) for records in found.parts)
        elif found:
            yield Part(found, len(found))

    @property
    def text(self) -> str:
        return str(self.call("text"))

    @property
    def state(self) -> Snapshot:
        """The same object for as long as nothing changes."""
        return self.gateway._snapshot


@cache
def still() -> Desk:
    """One that nobody changes."""
    return Desk()


class _Seat:
    """A gateway that is taken again by the next input, changed back: making one takes its time."""

    def __init__(self) -> None:
        self._desk: Desk | None = None

    def take(self) -> Desk:
        desk, self._desk = self._desk or Desk(), None
        return desk

    def leave(self, desk: Desk, began: Snapshot) -> None:
        if desk.state is not began:
            desk.gateway._commit(transaction.Transaction(began, READER))
        # A load freezes what is alive then.
        gc.unfreeze()
        desk.log.lines.clear()
        desk.shelf.clear()
        self._desk = desk


SEAT = _Seat()


def judge_command(data: bytes) -> None:
    """A script on standard input: every command answers or raises ControlError, and one that does changed nothing.

    Afterwards the configuration saves and loads to itself, and no key is in it or in the log.
    """
    typed = data.decode("utf-8", "surrogateescape")
    desk = SEAT.take()
    session = Session(desk)
    began = before = desk.state
    with _streams(typed) as told:
        for _, line in zip(range(STATEMENTS_MAX), statements(sys.stdin), strict=False):
            if _reaches_out(line):
                continue
            try:
                answer = command.run(line, session)
                assert not session.batch or desk.state is before
                assert "\0" not in answer
            except ControlError as error:
                assert error.text
                assert desk.state is before, f"{error.text}, but something was changed"
            before = desk.state
            if session.over:
                break
        shown = told.getvalue() + "\n".join(desk.log.lines)
    saved = "" if before is began else desk.text
    if KEY not in _KEY_TYPED.sub("", typed):
        assert KEY not in saved + shown
    if before is not began:
        again = transaction.read_file(saved, transaction.SHIPPED, READER).check()
        assert transaction.saved_text(again) == saved
    SEAT.leave(desk, began)


@contextlib.contextmanager
def _streams(typed: str) -> Iterator[io.StringIO]:
    """`typed` on standard input; what comes on the other two."""
    told, kept = io.StringIO(), sys.stdin
    sys.stdin = io.StringIO(typed)
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            yield told
    finally:
        sys.stdin = kept


def _reaches_out(line: str) -> bool:
    """Whether a command would start a program, or read or write a file of this machine."""
    words = re.findall(r'[^\s{}"]+', line)
    if not words:
        return False
    verbs = matches(words[0].replace("\\", ""), command.VERBS)
    if any(verb in _OUTSIDE for verb in verbs):
        return True
    return any(verb in ("save", "load") for verb in verbs) and any(
        word.replace("\\", "").startswith("f") and not word.startswith("fr") for word in words
    )


def judge_completion(data: bytes) -> None:
    """`?` and Tab at the end of any text, wherever the session is: candidates that fit, and nothing raised."""
    if not data:
        return
    session = Session(still(), folder=("/Common", "/", "/Common/none")[data[0] % 3])
    modules = ((), ("net",), ("net", "ipsec"), ("ltm",), ("sys", "log-config"), ("net", "ipsec", "ipsec-policy"))
    session.modules += [modules[data[0] // 3 % len(modules)]] if data[0] // 3 % len(modules) else []
    line = data[1:].decode("utf-8", "surrogateescape")
    partial, found = completion.complete(line, session)
    assert line.endswith(partial)
    words = [own.word for own in found if own.is_word]
    assert all(word.startswith(partial) for word in words)
    assert all(word.startswith(completion.shared(words)) for word in words)
    completion.table(found).encode("utf-8", "surrogateescape")
    for word in words[:3]:
        # What Tab makes of it is a beginning too.
        completion.complete(line[: len(line) - len(partial)] + word + " ", session)


def judge_racoonctl(data: bytes) -> None:
    """Any argument vector: an answer, or a sentence."""
    arguments = data.decode("utf-8", "surrogateescape").split()
    try:
        options = racoonctl._options(arguments)
        if options.words:
            racoonctl.run(options.words, options.detail, still())
    except (racoonctl.Misuse, ControlError) as error:
        assert str(error)


def judge_explain(data: bytes) -> None:
    """Any argument vector that opens no file: steps, or a sentence."""
    arguments = data.decode("utf-8", "surrogateescape").split()
    if any(word.startswith("--c") for word in arguments):
        return
    with _streams(""):
        try:
            options = explain._options(arguments)
            packet = explain._built(options)
            steps = still().call("explain", packet=packet.hex(), direction="in" if options.inwards else "out")
        except SystemExit as error:
            assert error.code in (0, 2)
        except (explain.Misuse, ControlError) as error:
            assert str(error)
        else:
            assert explain.text(steps)
