"""Events of IPsec on their way out: a file of our own, and the local syslog when a publisher names it.

Lines have racoon's shape: `2012-06-29 16:45:14: INFO: IPsec-SA established: ESP/Tunnel a[0]->b[0] spi=n(0xn)`.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler, SysLogHandler
from pathlib import Path

from culvert.observe.log import EventLog, redact

LEVELS = ("error", "warning", "notify", "info", "debug", "debug2")
FILE_OCTETS = 10 * 1024 * 1024
FILES_KEPT = 3
LOG = EventLog("culvert.observe.publisher")
_PRIORITIES = {
    "ERROR": "error",
    "WARNING": "warning",
    "NOTIFY": "notice",
    "INFO": "info",
    "DEBUG": "debug",
    "DEBUG2": "debug",
}


class _Syslog(SysLogHandler):
    priority_map = _PRIORITIES


class Publisher:
    """Writes events of a level up to the configured one. Never raises: a log that can't be written stops nothing."""

    def __init__(self, path: Path, now: Callable[[], float], syslog: str = "/dev/log") -> None:
        self._now = now
        self._syslog_path = syslog
        self._level = "info"
        self._facility = ""
        self._syslog: _Syslog | None = None
        self._file: RotatingFileHandler | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = RotatingFileHandler(path, maxBytes=FILE_OCTETS, backupCount=FILES_KEPT, encoding="utf-8")
            self._file.setFormatter(logging.Formatter("%(message)s"))
        except OSError as error:
            LOG.warning("ipsec-log-closed", path=path, reason=error.strerror)

    def configure(self, level: str, *, facility: str, severity: str, to_syslog: bool) -> None:
        """Set the level of events written, and whether the local syslog gets them, under which facility.

        `severity` is the destination's default; events have one of their own, so it names the least that syslog gets.
        """
        self._level = level
        self._close_syslog()
        if to_syslog and Path(self._syslog_path).is_socket():
            try:
                self._syslog = _Syslog(self._syslog_path, SysLogHandler.facility_names[facility])
                self._syslog.ident = "culvert: "
            except OSError as error:
                LOG.warning("syslog-closed", reason=error.strerror)

    def emit(self, level: str, text: str) -> None:
        """Write one event of `level`, if that level is on."""
        if LEVELS.index(level) > LEVELS.index(self._level):
            return
        shown = redact(text)
        moment = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%d %H:%M:%S")
        LOG.info("ipsec", level=level, text=shown)
        if self._file:
            self._file.handle(_record(f"{moment}: {level.upper()}: {shown}", level))
        if self._syslog:
            self._syslog.handle(_record(shown, level))

    def close(self) -> None:
        """Close the file and the syslog."""
        self._close_syslog()
        if self._file:
            self._file.close()
            self._file = None

    def _close_syslog(self) -> None:
        if self._syslog:
            self._syslog.close()
            self._syslog = None


def _record(text: str, level: str) -> logging.LogRecord:
    record = logging.LogRecord("ipsec", logging.INFO, "", 0, "%s", (text,), None)
    record.levelname = level.upper()
    return record
