"""The anti-replay window of one inbound SA (RFC 4303 section 3.4.3).

Theory of operation. `top` is the highest sequence number that was ever authenticated. `seen` is a bitmap:
bit i stands for number `top - i`. The window is the numbers `top - size + 1` .. `top`.

      behind: refused  |  window: refused if its bit is set  |  ahead: accepted
    -------------------+-------------------------------------+-----------------> sequence numbers
                        top-size+1                        top

Two calls per packet, and authentication stands between them:

* `check` is asked before any cryptography, so that a replay costs nothing. It changes nothing: a forged
  number must not move the window.
* `mark` is told after the integrity check passed. Only then the window moves.

Number 0 is never sent (RFC 4303 section 3.3.3: the first packet has 1) and never accepted. A window of
size 0 turns the service off; the number 0 is still refused.

Numbers are plain integers. With extended sequence numbers (RFC 4303 section 2.2.1) a packet carries the lower half
of a 64-bit number; `number_of` finds the whole one that lies nearest to the window (appendix A2.2).

`lost` counts the numbers that left the window, or were jumped over by it, without having been seen.
"""

LOW_MASK = 0xFFFFFFFF
NUMBER_MAX = 2**64 - 1
TOLD_MOST = 64
"""Of so many numbers `newest` tells: as many as one word of the counters file holds."""


class Window:
    """Which sequence numbers were seen. `top` starts at the number given, with all up to it counted as seen."""

    __slots__ = ("_mask", "_seen", "extended", "lost", "size", "top")

    def __init__(self, size: int, top: int = 0, *, extended: bool = False) -> None:
        self.size = size
        self.extended = extended
        self.lost = 0
        self._mask = (1 << size) - 1
        self.restart(top)

    def restart(self, top: int = 0) -> None:
        """Begin at `top`: nothing at or below it is accepted, everything above is."""
        self.top = top
        self._seen = self._mask

    def number_of(self, low: int) -> int:
        """The sequence number behind the 32 bits in a packet (RFC 4303 appendix A2.2); below 0 before the first."""
        if not self.extended:
            return low
        bottom = self.top - self.size + 1
        # The one number with these low bits among the 2**32 that begin at the window's lower edge.
        return bottom + ((low - bottom) & LOW_MASK)

    def newest(self) -> int:
        """Which of the newest TOLD_MOST numbers were seen, bit i for `top - i`; 0 for what is behind the window."""
        return self._seen & ((1 << min(self.size, TOLD_MOST)) - 1)

    def check(self, number: int) -> bool:
        """Whether a packet of this number may be looked at."""
        behind = self.top - number
        if behind < 0:
            return number <= NUMBER_MAX
        if not self.size:
            return number > 0
        return number > 0 and behind < self.size and not self._seen >> behind & 1

    def mark(self, number: int) -> None:
        """This number was authentic."""
        ahead = number - self.top
        # Shifts only inside the window: one by an attacker's 2**32 would be a number of half a gigabyte.
        if ahead <= 0:
            if -ahead < self.size:
                self._seen |= 1 << -ahead
            return
        leaving = min(ahead, self.size)
        self.lost += max(0, ahead - max(self.size, 1)) + leaving - (self._seen >> (self.size - leaving)).bit_count()
        self._seen = (self._seen << ahead | 1) & self._mask if ahead < self.size else self._mask & 1
        self.top = number
