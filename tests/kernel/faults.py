"""What both sides have to notice, each in its own words: the kernel in /proc/net/xfrm_stat, Culvert in its drops."""

import errno
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing

from tests.kernel import traffic
from tests.kernel.ground import Ground
from tests.kernel.keys import BEFORE_WRAP, OURS, THEIRS, WINDOW, ends
from tests.kernel.rows import TUNNEL, Row
from tests.kernel.traffic import Pair, content, pair
from tests.kernel.wire import Frame, Wire

Check = Callable[[Ground, Wire, Row], None]
NOTICE_SECONDS = 6.0
SETTLE_SECONDS = 0.3
SIZE = 300
LINK_MTU = 1500
ETHERNET = 14
ESP_SLACK = 15
"""Octets by which a packet may miss the link's MTU: one less than the largest cipher block."""
UDP_HEADERS = {4: 28, 6: 48}
IP_MTU, IPV6_MTU = 14, 24


class Notice:
    """What both sides counted since this was made."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._kernel, self._ours = ground.statistics(), ground.last_drops

    def counts(self) -> tuple["Counter[str]", "Counter[str]"]:
        return self._ground.statistics() - self._kernel, self._ground.drops() - self._ours

    def expect(self, kernel: dict[str, int], ours: dict[str, int]) -> None:
        """These and no others."""
        deadline = time.monotonic() + NOTICE_SECONDS
        wanted = Counter(kernel), Counter(ours)
        while (found := self.counts()) != wanted and time.monotonic() < deadline:
            time.sleep(0.2)
        assert found[0] == wanted[0], f"the kernel counted {dict(found[0])}, not {kernel}"
        assert found[1] == wanted[1], f"Culvert counted {dict(found[1])}, not {ours}"


def _arrives(receiver: socket.socket) -> bool:
    receiver.settimeout(SETTLE_SECONDS)
    try:
        receiver.recv(65535)
    except TimeoutError:
        return False
    finally:
        receiver.settimeout(traffic.SECONDS)
    return True


def _refused(kernel: str, ours: str) -> Check:
    """One datagram each way; neither arrives, and this is why."""

    def check(ground: Ground, wire: Wire, row: Row) -> None:
        del wire
        with pair(ground, row) as both:
            notice = Notice(ground)
            both.near.send(content(SIZE, 1))
            both.far.send(content(SIZE, 2))
            notice.expect({kernel: 1}, {ours: 1})
            assert not _arrives(both.far), "the kernel took it all the same"
            assert not _arrives(both.near), "Culvert took it all the same"

    return check


def selector(ground: Ground, wire: Wire, row: Row) -> None:
    """Linux lets in what no policy speaks of, if it came by transport mode; Culvert doesn't."""
    if row.mode == TUNNEL:
        _refused("XfrmInNoPols", "INNER_MISMATCH")(ground, wire, row)
        return
    with pair(ground, row) as both:
        notice = Notice(ground)
        both.there(content(SIZE, 1))
        both.far.send(content(SIZE, 2))
        notice.expect({}, {"INNER_MISMATCH": 1})
        assert not _arrives(both.near), "Culvert took it all the same"


def _captured(wire: Wire, both: Pair) -> tuple[Frame, Frame]:
    """One protected packet of each side, which arrived."""
    wire.frames()
    both.there(content(SIZE, 1))
    both.back(content(SIZE, 2))
    frames = wire.frames(SETTLE_SECONDS)
    assert len(frames) == 2, f"{len(frames)} packets on the wire for two datagrams"
    return next(frame for frame in frames if not frame.by_kernel), next(frame for frame in frames if frame.by_kernel)


def replay(ground: Ground, wire: Wire, row: Row) -> None:
    """At once, within the window, and once more when it has moved on."""
    with pair(ground, row) as both:
        captured = _captured(wire, both)
        _send_again(ground, wire, captured, "XfrmInStateSeqError", "REPLAY")
        for number in range(WINDOW + 1):
            both.there(content(SIZE, number))
            both.back(content(SIZE, number))
        # An old low half is taken for one of the next 2**32, and so it isn't authentic (RFC 4303 appendix A2.2).
        late = ("XfrmInStateProtoError", "INTEGRITY") if row.esn else ("XfrmInStateSeqError", "REPLAY")
        _send_again(ground, wire, captured, *late)
        assert not _arrives(both.far), "the kernel took it once more"
        assert not _arrives(both.near), "Culvert took it once more"


def _send_again(ground: Ground, wire: Wire, captured: tuple[Frame, Frame], kernel: str, ours: str) -> None:
    notice = Notice(ground)
    for frame in captured:
        wire.inject(frame)
    notice.expect({kernel: 1}, {ours: 1})


def tampered(ground: Ground, wire: Wire, row: Row) -> None:
    """A captured packet with a number from the future, as if somebody wanted to move the window."""
    with pair(ground, row) as both:
        captured = _captured(wire, both)
        notice = Notice(ground)
        for frame in captured:
            wire.inject(_from_the_future(frame))
        notice.expect({"XfrmInStateProtoError": 1}, {"INTEGRITY": 1})
        both.there(content(SIZE, 3))
        both.back(content(SIZE, 4))


def _from_the_future(frame: Frame) -> Frame:
    """The sequence number is behind the SPI in ESP and behind SPI and a word in AH."""
    at = ETHERNET + frame.header + (4 if frame.protocol == 50 else 8)
    octets = bytearray(frame.octets)
    octets[at + 2] ^= 0x40
    return Frame(bytes(octets), frame.by_kernel)


def path_mtu(ground: Ground, wire: Wire, row: Row) -> None:
    """What may not be cut: the largest size is told to the source, is true, and fills the link."""
    addresses = ends(row)
    ground.client_mtu6(LINK_MTU)
    with (
        closing(ground.near_end(row).inside(lambda: traffic.bound(row, addresses[OURS]))) as one,
        closing(ground.kernel.inside(lambda: traffic.bound(row, addresses[THEIRS]))) as other,
    ):
        _fill_link(wire, row, one, other)
        _fill_link(wire, row, other, one)
    ground.client_mtu6()


def _fill_link(wire: Wire, row: Row, source: socket.socket, destination: socket.socket) -> None:
    source.connect(destination.getsockname()[:2])
    traffic.forbid_cutting(source, row)
    mtu = _learned(source, row)
    wire.frames()
    octets = content(mtu - UDP_HEADERS[row.inner], 1)
    source.send(octets)
    assert destination.recv(65535) == octets, "the largest datagram arrived damaged"
    sizes = [len(frame.packet) for frame in wire.frames(SETTLE_SECONDS)]
    assert len(sizes) == 1, f"it was cut into {sizes}"
    assert LINK_MTU - ESP_SLACK <= sizes[0] <= LINK_MTU, f"{mtu} octets became {sizes[0]}"
    try:
        source.send(octets + b"!")
    except OSError as error:
        assert error.errno == errno.EMSGSIZE, error
    else:
        raise AssertionError(f"{mtu + 1} octets were let out")


def _learned(source: socket.socket, row: Row) -> int:
    """The path MTU, after a datagram that fits the first link exactly."""
    level, option = (socket.IPPROTO_IP, IP_MTU) if row.inner == 4 else (socket.IPPROTO_IPV6, IPV6_MTU)
    deadline = time.monotonic() + NOTICE_SECONDS
    while time.monotonic() < deadline:
        try:
            source.send(content(LINK_MTU - UDP_HEADERS[row.inner], 1))
        except OSError as error:
            assert error.errno == errno.EMSGSIZE, error
        if (mtu := source.getsockopt(level, option)) < LINK_MTU:
            # The message that said so is waiting to be an error of the next call.
            source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            return mtu
        time.sleep(0.1)
    raise AssertionError("the source learned no smaller MTU")


def wrap(ground: Ground, wire: Wire, row: Row) -> None:
    """Extended sequence numbers go on where the half on the wire begins again."""
    del wire
    notice = Notice(ground)
    with pair(ground, row) as both:
        for number in range(BEFORE_WRAP + 2 * WINDOW):
            both.there(content(SIZE, number))
            both.back(content(SIZE, number))
    notice.expect({}, {})


CHECKS: dict[str, Check] = {
    "wrong-key": _refused("XfrmInStateProtoError", "INTEGRITY"),
    "wrong-spi": _refused("XfrmInNoStates", "NO_SA_IN"),
    "selector": selector,
    "replay": replay,
    "tampered": tampered,
    "path-mtu": path_mtu,
    "wrap": wrap,
}
