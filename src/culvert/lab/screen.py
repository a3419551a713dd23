"""What the person at the terminal sees: colours where they can be, plain text where not."""

import os
import sys
import time
from collections.abc import Mapping
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
_BAR_CELLS = 30


class Screen:
    """Writes to `stream`. Colour and moving lines only on a terminal, and not where NO_COLOR or TERM=dumb says no."""

    def __init__(self, stream: TextIO | None = None, environment: Mapping[str, str] = os.environ) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self.is_terminal = self._stream.isatty()
        self.has_colour = (
            self.is_terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        )
        encoding = (getattr(self._stream, "encoding", "") or "").lower().replace("-", "")
        self.has_lines = encoding == "utf8"

    def paint(self, colour: str, text: str) -> str:
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.has_colour else text

    def write(self, text: str = "") -> None:
        if not self.has_lines:
            text = text.encode("ascii", "replace").decode()
        self._stream.write(text + "\n")
        self._stream.flush()

    def title(self, text: str) -> None:
        self.write()
        self.write(self.paint("bold", text))

    def check(self, passed: bool, name: str, detail: str = "") -> None:
        mark = ("✔" if passed else "✘") if self.has_lines else ("ok  " if passed else "FAIL")
        shown = f"  {self.paint('green' if passed else 'red', mark)} {name}"
        self.write(shown + (f": {self.paint('dim', detail)}" if detail else ""))

    def block(self, text: str, indent: str = "    ") -> None:
        """What another program printed."""
        for line in text.rstrip("\n").splitlines():
            self.write(indent + line)

    def progress(self, total: int, what: str) -> "Progress":
        return Progress(self, self._stream, total, what)


class Progress:
    """A bar that grows. Where there is no terminal to redraw it on, one line at each quarter of the way."""

    def __init__(self, screen: Screen, stream: TextIO, total: int, what: str) -> None:
        self._screen, self._stream, self._total, self._what = screen, stream, total, what
        self._started = time.monotonic()
        self._next_drawn = 0.0
        self._quarters = 0

    def reach(self, done: int) -> None:
        now = time.monotonic()
        if not self._screen.is_terminal:
            self._reach_quarter(done, now)
        elif now >= self._next_drawn or done >= self._total:
            self._next_drawn = now + 0.1
            self._stream.write("\r" + self._line(done, now) + ("\n" if done >= self._total else ""))
            self._stream.flush()

    def _reach_quarter(self, done: int, now: float) -> None:
        quarter = done * 4 // self._total
        if quarter > self._quarters:
            self._quarters = quarter
            self._screen.write(self._line(done, now))

    def _line(self, done: int, now: float) -> str:
        full, empty = ("█", "░") if self._screen.has_lines else ("#", ".")
        filled = _BAR_CELLS * done // self._total
        bar = self._screen.paint("cyan", full * filled) + empty * (_BAR_CELLS - filled)
        rate = done * 8 / max(now - self._started, 1e-6)
        return f"  {self._what} {bar} {100 * done // self._total:3d} %  {done / 1e6:6.1f} MB  {rate / 1e6:6.1f} Mbit/s"
