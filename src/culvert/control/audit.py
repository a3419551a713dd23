"""The audit log: one line for every change and every login, in order, on the disk before the answer goes out.

Lines are written in the loop's thread and brought to the disk in one of their own, as many at once as have come
meanwhile: a disk takes longer than most changes do.

A disk that takes no line stops nothing: what is lost is counted, told in the daemon's log, and told again in the next
line that can be written.
"""

import asyncio
import contextlib
import errno
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from culvert.config import chain
from culvert.config.chain import Head
from culvert.control import errors, logs
from culvert.control.accounts import origin
from culvert.control.listener import Peer
from culvert.control.server import Handle
from culvert.model.values import parse_number
from culvert.observe.log import EventLog, one_line, redact

Json = Any
CHANGING = (
    "create", "modify", "delete", "transaction", "load", "save", "delete-sas", "reset-stats", "restart-tmm",
    "trust-counter-journal",
)  # fmt: skip
FILE_OCTETS = 10 * 1024 * 1024
WORDS_MOST = 1000
LINES_SHOWN = 100
LINES_MAX = 1000
FIELDS = frozenset({"number", "time", "user", "from", "call", "what", "result"})
LOG = EventLog("culvert.control.audit")


class Audit:
    """Writes `<state>/log/audit.log`; `now` gives seconds since the epoch. For one thread. Never raises.

    A line is on the disk when `flush` is over, or `sync`. `close` it.
    """

    def __init__(self, state: Path, now: Callable[[], float], *, file_octets: int = FILE_OCTETS) -> None:
        self._directory = state / "log"
        self._path = self._directory / chain.NAME
        self._apart = state / chain.NEWEST
        self._now = now
        self._file_octets = file_octets
        self._descriptor = -1
        self._head = Head()
        self._damage = ""
        self._lost = 0
        self._synced = Head()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._under_way: asyncio.Task[None] | None = None
        self._keep()
        self.sync()

    def note(self, call: str, user: str, origin: str, what: str, result: str) -> None:
        """One line. Nothing in it may be a secret; what looks like one is left out all the same."""
        self._keep((call, user, origin, what, result))

    def refused(self, name: str, args: dict[str, Json], peer: Peer, error: errors.ControlError) -> None:
        """The line for a change that was refused before it came to be carried out."""
        self.note(name, peer.user, origin(peer, peer.address), told_call(name, args), told_error(error))

    @property
    def written(self) -> int:
        """The number of the newest line, on the disk or on its way there."""
        return self._head.number

    async def flush(self) -> None:
        """Wait until what was noted so far is on the disk."""
        wanted = self._head.number
        while self._synced.number < wanted:
            if self._under_way is None:
                self._under_way = asyncio.create_task(self._synced_apart())
            await asyncio.shield(self._under_way)

    def sync(self) -> None:
        """As `flush`, and nothing else meanwhile: for the start and the end."""
        if self._descriptor >= 0 and self._synced != self._head:
            try:
                _sync(self._descriptor, self._apart, self._head)
            except OSError as error:
                self._tell(error)
            self._synced = self._head

    async def _synced_apart(self) -> None:
        head = self._head
        try:
            # One of its own: the log may be rotated meanwhile.
            descriptor = os.dup(self._descriptor)
            await asyncio.get_running_loop().run_in_executor(self._pool, _sync_copy, descriptor, self._apart, head)
        except OSError as error:
            self._tell(error)
        finally:
            self._synced, self._under_way = head, None

    def _tell(self, error: OSError) -> None:
        LOG.error("audit-log-lost", path=self._path, reason=error.strerror)

    def _keep(self, *rows: tuple[str, str, str, str, str]) -> None:
        """Write what is owed from before, and the rows; or count what is lost."""
        try:
            if self._descriptor < 0:
                self._begin()
            if self._damage:
                LOG.error("audit-log-damaged", reason=self._damage)
                self._put("audit", "culvertd", "", "", f"damaged when culvertd started: {self._damage}")
                self._damage = ""
            if self._lost and rows:
                self._put("audit", "culvertd", "", "", f"{self._lost} lines before this one could not be written")
                LOG.info("audit-log-writable", lost=self._lost)
                self._lost = 0
            for row in rows:
                self._put(*row)
        except OSError as error:
            if not self._lost:
                self._tell(error)
            self._lost += len(rows)

    def tail(self, lines: int) -> list[Json]:
        """The newest lines, oldest first."""
        found: list[bytes] = []
        with contextlib.suppress(OSError):
            for path in reversed(chain.files(self._directory)):
                found = [*path.read_bytes().splitlines(), *found]
                if len(found) >= lines:
                    break
        return [_parsed(own) for own in found[-lines:]]

    def fault(self, lines: Sequence[Json]) -> str:
        """What is wrong with the newest lines, as `tail` gave them; "" if nothing is."""
        return chain.fault_of(lines, self._head)

    def close(self) -> None:
        self._pool.shutdown(wait=True)
        self.sync()
        self._shut()

    def _shut(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _begin(self) -> None:
        """Go on behind the last line; where lines are missing, behind the last that ever was, so that the gap stays."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found, faults = Head(), []
        for path in reversed(chain.files(self._directory)):
            try:
                own = chain.last(path)
            except ValueError as error:
                faults.append(f"{path.name}: {error}")
                continue
            if own is not None:
                found = own
                break
        try:
            known = chain.newest(self._apart)
        except ValueError as error:
            known = None
            faults.append(str(error))
        if fault := chain.tail_fault(found, known):
            faults.append(fault)
        elif known is not None and known.number < found.number:
            faults.append(
                f"number {known.number + 1} to {found.number} were not counted: culvertd was killed while they were "
                "written, or they were put in"
            )
        self._head = known if known is not None and known.number >= found.number else found
        self._damage = "; ".join(faults)
        self._open()
        if known is None:
            _sync(self._descriptor, self._apart, self._head)
            _sync_directory(self._apart.parent)
        self._synced = Head() if known is None else known

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, 0o600)
        os.fchmod(self._descriptor, 0o600)
        _end_last_line(self._descriptor)
        _sync_directory(self._directory)

    def _put(self, call: str, user: str, origin: str, what: str, result: str) -> None:
        fields = {
            "time": datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "user": _clean(user),
            "from": _clean(origin),
            "call": call,
            "what": _clean(what),
            "result": _clean(redact(result)),
        }
        self._rotate()
        text, head = chain.line(fields, self._head)
        _append(self._descriptor, f"{text}\n".encode())
        self._head = head

    def _rotate(self) -> None:
        if os.fstat(self._descriptor).st_size < self._file_octets:
            return
        os.fdatasync(self._descriptor)
        self._path.rename(self._directory / chain.rotated_name(self._head))
        self._shut()
        self._open()
        for old in chain.files(self._directory)[: -chain.FILES_KEPT - 1]:
            old.unlink()


class Audited:
    """The gateway's calls, with a line for each that changes something, and the call `audit` that shows them."""

    def __init__(self, carry_out: Handle, audit: Audit) -> None:
        self._carry_out = carry_out
        self._audit = audit

    def call(self, name: str, args: dict[str, Json], peer: Peer) -> Json:
        """One request. Raises ControlError."""
        if name == "audit":
            lines = self._shown(args, peer)
            # With what is wrong with them, for who wants them `checked`.
            return {"lines": lines, "fault": self._audit.fault(lines)} if args.get("checked") else lines
        if name not in CHANGING or args.get("validate_only") or (name == "load" and args.get("verify")):
            return self._carry_out(name, args, peer)
        result = "failed"
        try:
            answer = self._carry_out(name, args, peer)
            result = "ok"
        except errors.ControlError as error:
            result = told_error(error)
            raise
        finally:
            self._audit.note(name, peer.user, origin(peer, peer.address), told_call(name, args), result)
        return answer

    def _shown(self, args: dict[str, Json], peer: Peer) -> list[Json]:
        """The newest lines, as many as `lines` says."""
        self._carry_out("audit", args, peer)
        given = str(args.get("lines", LINES_SHOWN))
        if not 1 <= parse_number(given) <= LINES_MAX:
            raise errors.SyntaxProblem(f'"{given}" is not allowed for lines; allowed: a number from 1 to {LINES_MAX}')
        return self._audit.tail(int(given))


def told_call(name: str, args: Mapping[str, Json]) -> str:
    """What a call is about, by names and never by values."""
    if name in ("create", "modify", "delete"):
        return _told_operation({**args, "verb": name})
    if name == "transaction":
        given = args.get("operations")
        return "; ".join(map(_told_operation, given if isinstance(given, list) else []))
    if name == "load":
        what = "a text" if args.get("text") is not None else "the saved configuration"
        return f"{what} merge" if args.get("merge") else what
    filters = args.get("filters")
    return " ".join(sorted(map(str, filters))) if isinstance(filters, dict) else ""


def _told_operation(operation: Json) -> str:
    try:
        return logs.told(operation)
    except (AttributeError, TypeError):
        return "no operation"


def told_error(error: errors.ControlError) -> str:
    """The error without what it may quote: a text that doesn't parse may be a password without its quotes."""
    if isinstance(error, errors.SyntaxProblem) or error.line is not None:
        return error.kind if error.line is None else f"{error.kind} in line {error.line}"
    return error.text


def _clean(text: str) -> str:
    shown = one_line(text.encode("utf-8", "replace").decode())
    return shown if len(shown) <= WORDS_MOST else f"{shown[:WORDS_MOST]}..."


def _parsed(text: bytes) -> Json:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    whole = isinstance(found, dict) and found.keys() >= FIELDS
    return found if whole else dict.fromkeys(sorted(FIELDS), "?") | {"result": "this line is damaged"}


def _append(descriptor: int, data: bytes) -> None:
    """All of it or nothing."""
    size = os.fstat(descriptor).st_size
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def _sync(descriptor: int, apart: Path, head: Head) -> None:
    """The lines first, then the number of the last of them."""
    os.fdatasync(descriptor)
    _store(apart, head.text().encode())


def _sync_copy(descriptor: int, apart: Path, head: Head) -> None:
    try:
        _sync(descriptor, apart, head)
    finally:
        os.close(descriptor)


def _end_last_line(descriptor: int) -> None:
    """Take back a line that a crash left half written: nobody got an answer that it was there."""
    size = os.fstat(descriptor).st_size
    rest = os.pread(descriptor, min(size, 65536), max(0, size - 65536))
    if rest and not rest.endswith(b"\n"):
        os.ftruncate(descriptor, size - len(rest) + rest.rfind(b"\n") + 1)


def _store(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.pwrite(descriptor, data, 0)
        if os.fstat(descriptor).st_size != len(data):
            os.ftruncate(descriptor, len(data))
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
