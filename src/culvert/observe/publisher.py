"""Events of IPsec on their way out: a file of our own, and the syslogs that a publisher names.

Lines have racoon's shape: `2012-06-29 16:45:14: INFO: IPsec-SA established: ESP/Tunnel a[0]->b[0] spi=n(0xn)`.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from culvert.observe.log import EventLog, one_line, redact
from culvert.observe.remote import Address, RemoteSyslog
from culvert.observe.syslog import LocalSyslog

LEVELS = ("error", "warning", "notify", "info", "debug", "debug2")
FILE_OCTETS = 10 * 1024 * 1024
FILES_KEPT = 3
TOGETHER = 1000
"""Events that come at once and are written in one piece."""
TOLD_MAX = 100
"""If more come at once, the daemon's own log says how many, and in which file they are."""
LINE_OCTETS = 400
"""How much of the file is read for each line that is asked for."""
LOG = EventLog("culvert.observe.publisher")
# An info event is an ordinary one: it takes the destination's default severity.
_SEVERITIES = {"error": "err", "warning": "warn", "notify": "notice", "debug": "debug", "debug2": "debug"}


@dataclass(frozen=True, slots=True)
class Outlet:
    """One who gets events beside the file: the local syslog, or a remote one.

    `facility` is local0..local7. `severity` is that of events of level info; the others have a severity of their own.
    """

    name: str
    facility: str = "local0"
    severity: str = "info"
    remote: Address | None = None


class _File(RotatingFileHandler):
    """Rotated by size. A full disk loses lines, and says so once in the daemon's own log until it has room again."""

    full = False

    def emit(self, record: logging.LogRecord) -> None:
        was, self.full = self.full, False
        super().emit(record)
        if self.full and not was:
            LOG.warning("ipsec-log-lost", path=self.baseFilename)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the standard library's name
        self.full = True


class Publisher:
    """Writes events of a level up to the configured one. Never raises: a log that can't be written stops nothing."""

    def __init__(self, path: Path, now: Callable[[], float], syslog: str = "/dev/log") -> None:
        self._now = now
        self._level = "info"
        self._outlets: list[tuple[Outlet, LocalSyslog | RemoteSyslog]] = []
        self._syslog = LocalSyslog(syslog, "culvert")
        self._path = path
        self._file: _File | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = _File(path, maxBytes=FILE_OCTETS, backupCount=FILES_KEPT, encoding="utf-8", errors="replace")
            self._file.setFormatter(logging.Formatter("%(message)s"))
        except OSError as error:
            LOG.warning("ipsec-log-closed", path=path, reason=error.strerror)

    @property
    def level(self) -> str:
        """The level (of LEVELS) up to which events are written."""
        return self._level

    def configure(self, level: str, outlets: Sequence[Outlet]) -> None:
        """Set the level (of LEVELS) up to which events are written, and who gets them beside the file."""
        self._level = level
        kept = {outlet.remote: taker for outlet, taker in self._outlets if isinstance(taker, RemoteSyslog)}
        self._outlets = [(outlet, self._taker(outlet, kept)) for outlet in outlets]
        for taker in kept.values():
            taker.close()

    def _taker(self, outlet: Outlet, kept: dict[Address | None, RemoteSyslog]) -> LocalSyslog | RemoteSyslog:
        if outlet.remote is None:
            return self._syslog
        return kept.pop(outlet.remote, None) or RemoteSyslog(outlet.remote, self._now)

    def emit(self, level: str, *texts: str) -> None:
        """Write events of `level` (of LEVELS), if that level is on. Line ends in a text become spaces."""
        if LEVELS.index(level) > LEVELS.index(self._level):
            return
        moment = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%d %H:%M:%S")
        head = f"{moment}: {level.upper()}: "
        shown = [one_line(redact(text)) for text in texts]
        if self._file:
            # Many lines as one record, so that the file is looked at once: a load has an event for each of its SAs.
            for start in range(0, len(shown), TOGETHER):
                some = shown[start : start + TOGETHER]
                self._file.handle(_record("\n".join(head + text for text in some)))
        if len(shown) <= TOLD_MAX or not self._file:
            for text in shown:
                LOG.info("ipsec", level=level, text=text)
        else:
            LOG.info("ipsec-events", level=level, count=len(shown), path=self._path)
        for outlet, taker in self._outlets:
            taker.send(outlet.facility, _SEVERITIES.get(level, outlet.severity), *shown)

    def tail(self, lines: int) -> list[str]:
        """The newest lines of the file, oldest first."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - lines * LINE_OCTETS))
                found = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return []
        return found[-lines:] if lines else []

    def report(self) -> dict[str, object]:
        """Where events go: the file with its size in octets, and every other taker with what it lost."""
        try:
            octets = self._path.stat().st_size
        except OSError:
            octets = 0
        takers = [{"name": outlet.name, "lost": taker.lost} for outlet, taker in self._outlets]
        return {"path": str(self._path), "level": self._level, "octets": octets, "destinations": takers}

    def close(self) -> None:
        """Close the file and the syslog."""
        self._syslog.close()
        for _, taker in self._outlets:
            taker.close()
        if self._file:
            self._file.close()
            self._file = None


def _record(text: str) -> logging.LogRecord:
    return logging.LogRecord("ipsec", logging.INFO, "", 0, "%s", (text,), None)
