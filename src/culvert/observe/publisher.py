"""Events of IPsec on their way out: a file of our own, and the local syslog when a publisher names it.

Lines have racoon's shape: `2012-06-29 16:45:14: INFO: IPsec-SA established: ESP/Tunnel a[0]->b[0] spi=n(0xn)`.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from culvert.observe.log import EventLog, one_line, redact
from culvert.observe.syslog import LocalSyslog

LEVELS = ("error", "warning", "notify", "info", "debug", "debug2")
FILE_OCTETS = 10 * 1024 * 1024
FILES_KEPT = 3
LOG = EventLog("culvert.observe.publisher")
# An info event is an ordinary one: it takes the destination's default severity.
_SEVERITIES = {"error": "err", "warning": "warn", "notify": "notice", "debug": "debug", "debug2": "debug"}


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
        self._facility = "local0"
        self._severity = "info"
        self._to_syslog = False
        self._syslog = LocalSyslog(syslog, "culvert")
        self._file: _File | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = _File(path, maxBytes=FILE_OCTETS, backupCount=FILES_KEPT, encoding="utf-8", errors="replace")
            self._file.setFormatter(logging.Formatter("%(message)s"))
        except OSError as error:
            LOG.warning("ipsec-log-closed", path=path, reason=error.strerror)

    def configure(self, level: str, *, facility: str, severity: str, to_syslog: bool) -> None:
        """Set the level (of LEVELS) up to which events are written, and whether the local syslog gets them too.

        `facility` is local0..local7. `severity` is the destination's default, for events of level info; the others
        have a syslog severity of their own.
        """
        self._level = level
        self._facility = facility
        self._severity = severity
        self._to_syslog = to_syslog

    def emit(self, level: str, text: str) -> None:
        """Write one event of `level` (of LEVELS), if that level is on. Line ends in `text` become spaces."""
        if LEVELS.index(level) > LEVELS.index(self._level):
            return
        shown = one_line(redact(text))
        moment = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%d %H:%M:%S")
        LOG.info("ipsec", level=level, text=shown)
        if self._file:
            self._file.handle(_record(f"{moment}: {level.upper()}: {shown}"))
        if self._to_syslog:
            self._syslog.send(self._facility, _SEVERITIES.get(level, self._severity), shown)

    def close(self) -> None:
        """Close the file and the syslog."""
        self._syslog.close()
        if self._file:
            self._file.close()
            self._file = None


def _record(text: str) -> logging.LogRecord:
    return logging.LogRecord("ipsec", logging.INFO, "", 0, "%s", (text,), None)
