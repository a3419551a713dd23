"""Several workers in one packet process: no packet overtakes another of its flow, no number is used twice, and all that
is counted adds up."""

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

import pytest

from culvert.dataplane.userspace import program
from culvert.ipsec.drops import Reason
from tests.dataplane.topology import Namespace, Wan, sniffing, wait_until
from tests.dataplane.traffic import datagram_arrives, transfers

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("native_engine")]

SERVER4 = "10.2.0.5"
FLOWS = 12
FULL = {Reason.QUEUE_FULL.name, Reason.BUFFER_FULL.name}
"""What may happen on a machine that is short of everything."""
IN_UDP = "shaped(site(side), sa={'encapsulation': UdpPorts()})"
GCM = (
    "shaped(site(side), sa={'cipher': 'aes-gcm128', 'cipher_key': Secret(b'k' * 20), 'auth': 'none', "
    "'auth_key': Secret(b'')})"
)


@pytest.fixture(params=[2, 4])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    number: int = request.param
    monkeypatch.setenv(program.WORKERS, str(number))
    return number


class Flows:
    """Numbered datagrams of several flows from the client to the server, as fast as they go."""

    def __init__(self, client: Namespace, server: Namespace) -> None:
        self._senders = [client.inside(_udp) for _ in range(FLOWS)]
        self._receivers = [server.inside(_udp) for _ in range(FLOWS)]
        self.arrived: list[list[int]] = [[] for _ in range(FLOWS)]
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]

    @contextmanager
    def running(self) -> Iterator[None]:
        for number, receiver in enumerate(self._receivers):
            receiver.bind((SERVER4, 6000 + number))
        for number, sender in enumerate(self._senders):
            sender.connect((SERVER4, 6000 + number))
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in self._threads:
                thread.join()
            for each in (*self._senders, *self._receivers):
                each.close()

    def _send(self) -> None:
        for number in count(1):
            if self._ended.is_set():
                return
            for sender in self._senders:
                try:
                    sender.send(struct.pack("!I", number).ljust(200, b"."))
                except OSError:
                    time.sleep(0.001)

    def _receive(self) -> None:
        quiet_since = None
        while quiet_since is None or time.monotonic() - quiet_since < 0.3:
            heard = sum(self._take(each, place) for each, place in zip(self._receivers, self.arrived, strict=True))
            if heard:
                quiet_since = None
            elif self._ended.is_set():
                quiet_since = quiet_since or time.monotonic()
            else:
                time.sleep(0.002)

    def _take(self, receiver: socket.socket, place: list[int]) -> bool:
        before = len(place)
        try:
            while True:
                place.append(struct.unpack("!I", receiver.recv(1000)[:4])[0])
        except BlockingIOError:
            return len(place) > before

    def total(self) -> int:
        return sum(map(len, self.arrived))

    def out_of_order(self) -> list[int]:
        """Flows in which something came behind what was sent after it, or twice."""
        return [number for number, numbers in enumerate(self.arrived) if numbers != sorted(set(numbers))]


def _udp() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
    opened.setblocking(False)
    return opened


def numbers_of(packets: list[bytes], spi: int = 1000) -> list[int]:
    """The sequence numbers of an SA's packets, as they were seen on the way."""
    found = []
    for packet in packets:
        at = 20 if packet[9] == 50 else 28
        own, number = struct.unpack_from("!II", packet, at)
        found += [number] if own == spi else []
    return found


@pytest.mark.parametrize("site", ["site(side)", IN_UDP, GCM], ids=["raw", "udp", "gcm"])
def test_several_workers_carry_what_one_does(wan: Wan, workers: int, site: str) -> None:
    wan.start(site)
    assert wan.client.pings(SERVER4, "-s", "1200", count=4)
    assert transfers(wan.client, wan.server, SERVER4)
    assert datagram_arrives(wan.client, wan.server, SERVER4, bytes(4000)), "in fragments"
    for gateway in wan.gateways:
        assert gateway.do("plane.features.workers") == workers
        assert gateway.do("len(__import__('os').listdir(f'/proc/{plane.process_id}/task'))") == workers + 1, (
            "and the journal's thread"
        )
        assert gateway.drops() == {}
        assert gateway.do("all(0 <= u.worker < plane.features.workers for u in plane.usage())")


@pytest.mark.parametrize("site", ["site(side)", IN_UDP], ids=["raw", "udp"])
def test_flows_of_one_sa_are_spread_and_none_overtakes_itself(wan: Wan, workers: int, site: str) -> None:
    wan.start(site)
    flows = Flows(wan.client, wan.server)
    with sniffing(wan.a, "wan") as sniffer:
        with flows.running():
            time.sleep(1.5)
        numbers = numbers_of(sniffer.packets())
    assert flows.total() > 1000
    assert flows.out_of_order() == []
    assert numbers == sorted(set(numbers)), "numbers of one SA leave in their order, whichever worker took them"
    rows = wan.a.do("[(w.worker, w.packets_out) for w in plane.worker_stats() if w.packets_out]")
    assert len(rows) > 1, "more than one worker sent"
    assert wan.b.drops().keys() <= FULL, "the peer takes nothing for a replay"


def test_counts_add_up(wan: Wan, workers: int) -> None:
    wan.start()
    flows = Flows(wan.client, wan.server)
    with sniffing(wan.a, "wan") as sniffer, flows.running():
        time.sleep(1.0)
    # What found no room at a socket is counted within a second.
    time.sleep(1.2)
    sent, _ = wan.a.do("[(u.packets, u.sequence, u.octets) for u in plane.usage()]")
    assert sent[0] == sent[1], "every number was a packet"
    assert wan.a.do("sum(w.packets_out for w in plane.worker_stats())") == sent[0]
    assert wan.a.do("sum(w.octets_out for w in plane.worker_stats())") == sent[2]
    received = wan.b.do("next(u.packets for u in plane.usage() if u.sa.direction is IN)")
    # What had no number that was in the journal was never sent.
    unsent = wan.a.drops().get(Reason.COUNTER_JOURNAL.name, 0)
    dropped = sum(wan.b.drops().values()) + sum(wan.a.drops().values()) - unsent
    assert sent[0] == received + dropped
    assert wan.b.do("sum(w.packets_in for w in plane.worker_stats())") == received
    assert flows.total() == received
    wan.a.do("plane.reset_stats()")
    assert wan.a.do("sum(w.packets_out for w in plane.worker_stats())") == 0
    assert wan.a.do("plane.usage()[0].sequence") == sent[1]
    del sniffer


def test_no_number_twice_through_kills_under_load(wan: Wan, workers: int) -> None:
    wan.start(GCM)
    flows = Flows(wan.client, wan.server)
    with sniffing(wan.a, "wan") as sniffer:
        seen: list[int] = []
        with flows.running():
            for _ in range(4):
                time.sleep(0.3)
                before, sent = wan.a.process_id, flows.total()
                os.kill(before, signal.SIGKILL)
                wait_until(lambda before=before: wan.a.process_id not in (None, before))
                wait_until(lambda sent=sent: flows.total() > sent + 100)
                seen += numbers_of(sniffer.packets())
        seen += numbers_of(sniffer.packets())
    assert len(seen) > 1000
    assert len(seen) == len(set(seen))
    assert Reason.REPLAY.name not in wan.b.drops()


def test_changes_under_load_are_seen_by_all_at_once(wan: Wan, workers: int) -> None:
    wan.start()
    flows = Flows(wan.client, wan.server)
    with flows.running():
        for number in range(20):
            spi = 5000 + 10 * number
            wan.a.apply(
                f"[*associations('a', spi={spi}, key=b'{number}'), *selectors('a', inner=6, order={number + 7})]"
            )
            wan.a.apply(
                "[change.inverse() for change in "
                f"(*selectors('a', inner=6, order={number + 7}), *associations('a', spi={spi}, key=b'{number}'))]"
            )
    assert flows.total() > 1000
    assert flows.out_of_order() == []
    # On a machine that is short of everything the disk may be too slow for the counter journal.
    assert wan.a.drops().keys() <= {*FULL, Reason.COUNTER_JOURNAL.name}
    assert wan.b.drops().keys() <= FULL


def test_daemon_killed_and_followed_keeps_its_workers(wan: Wan, workers: int) -> None:
    wan.start(IN_UDP)
    assert wan.client.pings(SERVER4)
    before = wan.a.process_id
    wan.a.kill()
    assert wan.client.pings(SERVER4), "packets go on without a daemon"
    wan.a.start()
    wan.a.apply(IN_UDP.replace("side", "'a'"))
    assert wan.a.process_id == before
    assert transfers(wan.client, wan.server, SERVER4)
    assert wan.a.do("plane.features.workers") == workers


def test_another_number_of_workers_makes_the_tun_anew(wan: Wan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(program.WORKERS, "1")
    wan.start("site(side)")
    with sniffing(wan.a, "wan") as sniffer, ExitStack() as stack:
        stack.enter_context(wan.client.pinging(SERVER4, 0.01))
        for number in (2, 3, 1):
            monkeypatch.setenv(program.WORKERS, str(number))
            before = wan.a.process_id
            wan.a.kill()
            wan.a.start()
            wan.a.apply("site('a')")
            assert wan.a.process_id != before
            assert wan.a.do("plane.features.workers") == number
            assert wan.client.pings(SERVER4)
        assert not sniffer.clear(), "nothing leaves in clear meanwhile"
    wan.a.stop()
    assert "culvert" not in wan.a.run("ip", "-brief", "link")
