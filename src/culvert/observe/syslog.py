"""The local syslog: one datagram per event to /dev/log, RFC 3164's priority in front.

Not the standard library's handler: its socket blocks, so a syslog daemon that hangs would hang whoever logs.
"""

import contextlib
import socket
from logging.handlers import SysLogHandler

FACILITIES = tuple(f"local{number}" for number in range(8))
SEVERITIES = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")


class LocalSyslog:
    """Sends to the datagram socket `path`. No daemon there, or a slow one, loses the event and nothing else."""

    def __init__(self, path: str, ident: str) -> None:
        self._path = path
        self._ident = ident
        self._socket: socket.socket | None = None
        self._is_absent = False
        """When it was last tried, nobody was there."""
        self.lost = 0

    def send(self, facility: str, severity: str, *texts: str) -> None:
        """Events: `facility` of FACILITIES, `severity` of SEVERITIES. Counts in `lost` those that can't go out."""
        priority = SysLogHandler.facility_names[facility] << 3 | SEVERITIES.index(severity)
        for number, text in enumerate(texts):
            octets = f"<{priority}>{self._ident}: {text}".encode("utf-8", "replace")
            # A second time where a socket was open: the daemon may have been restarted, and its socket be another one.
            again = self._socket is not None
            if not self._sent(octets) and not (again and self._sent(octets)):
                self.lost += 1
                if self._is_absent:
                    self.lost += len(texts) - number - 1
                    return

    def close(self) -> None:
        """Let the socket go; a later send opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _sent(self, octets: bytes) -> bool:
        try:
            if self._socket is None:
                self._socket = self._opened()
            self._socket.send(octets)
        except OSError as error:
            self._is_absent = isinstance(error, FileNotFoundError | ConnectionRefusedError)
            self.close()
            return False
        return True

    def _opened(self) -> socket.socket:
        with contextlib.ExitStack() as failing:
            opened = failing.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            opened.setblocking(False)
            opened.connect(self._path)
            failing.pop_all()
        return opened
