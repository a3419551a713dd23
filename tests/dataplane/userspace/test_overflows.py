"""A packet process that is too slow: what found no room where it arrived is counted, so that nothing is missing."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from culvert.dataplane.userspace import program, xdp
from culvert.ipsec.drops import Reason
from tests.dataplane.topology import Gateway, Wan, wait_until

pytestmark = pytest.mark.network

SERVER4 = "10.2.0.5"
PORT = 6000
ROUND = 64
"""Datagrams under way to the first gateway at a time: no queue before the one that is looked at is ever full."""
MANY = xdp.RING + 600
"""More than a ring has room for."""
SMALL_OCTETS = 65536
IN_UDP = "shaped(site(side), sa={'encapsulation': UdpPorts()})"


def start(wan: Wan, io: str, site: str = "site(side)") -> None:
    """A by raw sockets, B with this choice and small buffers."""
    with pytest.MonkeyPatch.context() as patch:
        for gateway, choice in ((wan.a, xdp.RAW), (wan.b, io)):
            patch.setenv(xdp.CHOICE, choice)
            gateway.start()
    module = "__import__('culvert.dataplane.userspace.sockets', fromlist=['all'])"
    wan.b.do(f"setattr({module}, 'RECEIVE_BUFFER_OCTETS', {SMALL_OCTETS})")
    for gateway in wan.gateways:
        gateway.apply(site.replace("side", repr(gateway.side)))
    assert wan.client.pings(SERVER4)


def packets(gateway: Gateway, direction: str) -> int:
    number: int = gateway.do(f"sum(u.packets for u in plane.usage() if u.sa.direction is {direction})")
    return number


def send(wan: Wan, datagrams: int) -> None:
    """From the client; all of them are on their way to B at the end."""
    begun = packets(wan.a, "OUT")
    with wan.client.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.connect((SERVER4, PORT))
        for number in range(1, datagrams + 1):
            sender.send(bytes(200))
            if number % ROUND == 0 or number == datagrams:
                wait_until(lambda number=number: packets(wan.a, "OUT") == begun + number)


class Server:
    """Counts datagrams."""

    def __init__(self, wan: Wan) -> None:
        self._socket = wan.server.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)
        self._socket.setblocking(False)
        self._socket.bind((SERVER4, PORT))
        self.received = 0

    def look(self) -> int:
        """So many came until now."""
        try:
            while True:
                self._socket.recv(2000)
                self.received += 1
        except BlockingIOError:
            return self.received

    def close(self) -> None:
        self._socket.close()


@contextmanager
def serving(wan: Wan) -> Iterator[Server]:
    server = Server(wan)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def stopped(gateway: Gateway) -> Iterator[int]:
    """The packet process does nothing meanwhile, and neither does any part of it."""
    number = gateway.process_id
    os.kill(number, signal.SIGSTOP)
    try:
        yield number
    finally:
        with suppress(ProcessLookupError):  # Killed, and gone already.
            os.kill(number, signal.SIGCONT)


def assert_all_accounted(wan: Wan, server: Server, datagrams: int, reason: Reason) -> None:
    """Sent is received and counted drops, by this reason only; once counted is counted."""

    def accounted() -> int:
        return server.look() + wan.b.drops().get(reason.name, 0)

    deadline = time.monotonic() + 8
    while accounted() < datagrams and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2.2)
    drops = wan.b.drops()
    assert (server.look(), drops) == (datagrams - drops.get(reason.name, 0), {reason.name: drops.get(reason.name, 0)})
    assert 0 < drops[reason.name] < datagrams
    assert packets(wan.a, "OUT") == packets(wan.b, "IN") + drops[reason.name]
    assert wan.a.drops() == {}


def native() -> None:
    if not program.native_path().exists():
        pytest.skip("no native engine in this environment")


@pytest.mark.parametrize("mode", [xdp.DRIVER, xdp.GENERIC])
def test_full_ring(wan: Wan, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    native()
    monkeypatch.setenv(program.CHOICE, program.NATIVE)
    start(wan, f"xdp-{mode}")
    assert wan.b.do("plane.features.doors") == f"AF_XDP at wan ({mode})"
    with serving(wan) as server:
        with stopped(wan.b):
            send(wan, MANY)
        assert_all_accounted(wan, server, MANY, Reason.RING_FULL)
        with stopped(wan.b):
            send(wan, MANY)
        assert_all_accounted(wan, server, 2 * MANY, Reason.RING_FULL)


@pytest.mark.parametrize("site", ["site(side)", IN_UDP], ids=["raw", "udp"])
@pytest.mark.parametrize("engine", [program.NATIVE, program.PYTHON])
def test_full_buffer(wan: Wan, engine: str, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine == program.NATIVE:
        native()
    monkeypatch.setenv(program.CHOICE, engine)
    start(wan, xdp.RAW, site)
    with serving(wan) as server:
        with stopped(wan.b):
            send(wan, 600)
        assert_all_accounted(wan, server, 600, Reason.BUFFER_FULL)


@pytest.mark.parametrize("engine", [program.NATIVE, program.PYTHON])
def test_full_buffer_of_a_process_that_is_killed(wan: Wan, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sockets stay, and what was lost at them is the successor's to count, and only that."""
    if engine == program.NATIVE:
        native()
    monkeypatch.setenv(program.CHOICE, engine)
    start(wan, xdp.RAW)
    with serving(wan) as server:
        with stopped(wan.b):
            send(wan, 600)
        assert_all_accounted(wan, server, 600, Reason.BUFFER_FULL)
        with stopped(wan.b) as number:
            send(wan, 600)
            os.kill(number, signal.SIGKILL)
        wait_until(lambda: wan.b.process_id not in (None, number))
        assert_all_accounted(wan, server, 1200, Reason.BUFFER_FULL)
