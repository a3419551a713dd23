"""What is heard of the host, and whose change of our nftables table it was.

An overrun can't be had on demand: the messages around one are scripted.
"""

import errno
import struct
import time
from collections.abc import Iterator

import pytest

from culvert.dataplane.userspace import marks
from culvert.dataplane.userspace import watch as module
from culvert.dataplane.userspace.watch import (
    NFNL_SUBSYS_NFTABLES,
    NFT_MSG_NEWGEN,
    NFTA_GEN_PROC_PID,
    NFTA_TABLE_NAME,
    Watch,
)
from tests.dataplane.topology import Namespace

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


@pytest.mark.network
@pytest.mark.parametrize(
    ("command", "matters"),
    [
        ("ip link set lo mtu 1400", True),
        ("ip link set lo down", True),
        ("ip address add 192.0.2.1/32 dev lo", True),
        ("ip -6 address add 2001:db8::1/128 dev lo", True),
        ("ip rule add priority 17238 table 17238", True),
        ("ip -6 rule add priority 17238 table 17238", True),
        ("ip route add 192.0.2.0/24 dev lo table 17238", True),
        ("ip -6 route add 2001:db8::/64 dev lo table 17238", True),
        ("sysctl -qw net.ipv4.conf.lo.forwarding=1", True),
        ("sysctl -qw net.ipv4.conf.lo.rp_filter=1", True),
        ("sysctl -qw net.ipv4.conf.all.rp_filter=1", True),
        ("sysctl -qw net.ipv4.ip_forward=1", True),
        ("sysctl -qw net.ipv6.conf.lo.forwarding=1", True),
        ("sysctl -qw net.ipv6.conf.all.forwarding=1", True),
        # Such as a routing daemon makes all day.
        ("ip route add 192.0.2.0/24 dev lo", False),
        ("ip -6 route add 2001:db8::/64 dev lo", False),
        ("ip route add 192.0.2.0/24 dev lo table 100", False),
        ("sysctl -qw net.ipv4.conf.lo.log_martians=1", False),
    ],
)
def test_a_change_of_the_host_is_heard_if_it_matters(namespace: Namespace, command: str, matters: bool) -> None:
    watch = namespace.inside(Watch)
    try:
        watch.looked()
        assert not watch.hear().host
        namespace.run(*command.split())
        assert watch.hear().host == matters
        assert watch.must_look == matters
        assert not watch.hear().host
        assert watch.must_look == matters
    finally:
        watch.close()


def test_the_host_is_looked_at_again_though_nothing_is_heard(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch.must_look
    watch.looked()
    assert not watch.must_look
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    watch.looked()
    time.sleep(0.06)
    assert watch.must_look


def test_who_missed_something_of_the_host_looks(watch: Watch) -> None:
    watch._routes.close()
    watch._routes = Script(OVERRUN)  # type: ignore[assignment]
    assert watch._host_changed()
    assert not watch._host_changed()
