"""Whose change of our nftables table it was, when the kernel told more than the socket could hold.

The messages are scripted here, because an overrun can't be had on demand; the real socket is heard in test_plane.py.
"""

import errno
import struct
from collections.abc import Iterator

import pytest

from culvert.dataplane.userspace import marks
from culvert.dataplane.userspace.watch import (
    NFNL_SUBSYS_NFTABLES,
    NFT_MSG_NEWGEN,
    NFTA_GEN_PROC_PID,
    NFTA_TABLE_NAME,
    Watch,
)

NFT_MSG_NEWRULE = 6
OURS, SECOND_OF_OURS, THEIRS = 100, 101, 900
OVERRUN = OSError(errno.ENOBUFS, "No buffer space available")


class Script:
    """Stands for the netlink socket: what `recv` gives, in order, and then nothing."""

    def __init__(self, *replies: bytes | OSError) -> None:
        self._replies = list(replies)

    def recv(self, _octets: int) -> bytes:
        if not self._replies:
            raise BlockingIOError
        reply = self._replies.pop(0)
        if isinstance(reply, OSError):
            raise reply
        return reply

    def close(self) -> None:
        """Nothing is open."""


def message(kind: int, attribute: int, value: bytes) -> bytes:
    body = bytes(4) + struct.pack("=HH", 4 + len(value), attribute) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), NFNL_SUBSYS_NFTABLES << 8 | kind, 0, 0, 0) + body


RULE = message(NFT_MSG_NEWRULE, NFTA_TABLE_NAME, marks.NFT_TABLE.encode() + b"\0")


def generation(author: int) -> bytes:
    return message(NFT_MSG_NEWGEN, NFTA_GEN_PROC_PID, author.to_bytes(4))


@pytest.fixture
def watch() -> Iterator[Watch]:
    made = Watch()
    made._nftables.close()
    made.own_loads |= {OURS, SECOND_OF_OURS}
    yield made
    made.close()


def heard(watch: Watch, *replies: bytes | OSError) -> bool:
    watch._nftables = Script(*replies)  # type: ignore[assignment]
    return watch._foreign_steering()


def test_a_load_of_ours_is_ours(watch: Watch) -> None:
    assert not heard(watch, RULE, generation(OURS))
    assert watch.own_loads == {SECOND_OF_OURS}


def test_a_load_of_theirs_is_theirs(watch: Watch) -> None:
    assert heard(watch, RULE, generation(THEIRS))


def test_a_second_load_of_ours_that_was_told_before_an_overrun_is_still_ours(watch: Watch) -> None:
    assert not heard(watch, OVERRUN, RULE, generation(OURS), RULE, generation(SECOND_OF_OURS))
    assert not watch.own_loads


def test_a_load_of_theirs_is_heard_beside_an_overrun_of_ours(watch: Watch) -> None:
    assert heard(watch, OVERRUN, RULE, generation(OURS), RULE, generation(THEIRS))


def test_an_overrun_without_a_load_of_ours_is_somebody_elses(watch: Watch) -> None:
    watch.own_loads.clear()
    assert heard(watch, OVERRUN)
