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

Numbers are plain integers of any size. Extended sequence numbers (RFC 4303 appendix A) need one more
function, from `top` and the 32 bits in the packet to the 64-bit number; `check` and `mark` stay as they are.
"""


class Window:
    """Which sequence numbers were seen. `top` starts at the number given, with all up to it counted as seen."""

    __slots__ = ("_mask", "_seen", "size", "top")

    def __init__(self, size: int, top: int = 0) -> None:
        self.size = size
        self._mask = (1 << size) - 1
        self.restart(top)

    def restart(self, top: int = 0) -> None:
        """Begin at `top`: nothing at or below it is accepted, everything above is."""
        self.top = top
        self._seen = self._mask

    def check(self, number: int) -> bool:
        """Whether a packet of this number may be looked at."""
        behind = self.top - number
        if behind < 0:
            return True
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
        self._seen = (self._seen << ahead | 1) & self._mask if ahead < self.size else 1
        self.top = number
