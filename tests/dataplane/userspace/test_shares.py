"""Which of several sockets an arriving packet comes to: one, and all packets of an SA to the same."""

import socket
import struct

import pytest

from culvert.dataplane.userspace import shares, sockets
from culvert.dataplane.userspace.sockets import UdpPort
from culvert.ipsec.sa import Protocol
from tests.dataplane.topology import Namespace

pytestmark = pytest.mark.network

SPIS = range(1000, 1010)
HERE = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def heard(opened: list[socket.socket]) -> list[list[bytes]]:
    found: list[list[bytes]] = [[] for _ in opened]
    for place, each in zip(found, opened, strict=True):
        try:
            while True:
                place.append(each.recv(2000))
        except BlockingIOError:
            pass
        each.close()
    return found


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("family", HERE)
def test_a_raw_socket_hears_its_spis_only(
    namespace: Namespace, family: socket.AddressFamily, protocol: Protocol, workers: int
) -> None:
    def arriving() -> list[list[bytes]]:
        receivers = sockets.open_receivers(family, protocol, workers)
        with socket.socket(family, socket.SOCK_RAW, protocol) as sender:
            for spi in SPIS:
                head = bytes(4) if protocol is Protocol.AH else b""
                sender.sendto(head + struct.pack("!II", spi, 1) + bytes(20), (HERE[family], 0))
        return heard(receivers)

    at = (20 if family == socket.AF_INET else 0) + (4 if protocol is Protocol.AH else 0)
    spis = [[struct.unpack_from("!I", packet, at)[0] for packet in share] for share in namespace.inside(arriving)]
    assert spis == [[spi for spi in SPIS if spi % workers == number] for number in range(workers)]


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("family", HERE)
def test_what_has_no_spi_is_the_first_workers(
    namespace: Namespace, family: socket.AddressFamily, protocol: Protocol
) -> None:
    def arriving() -> list[list[bytes]]:
        receivers = sockets.open_receivers(family, protocol, 3)
        with socket.socket(family, socket.SOCK_RAW, protocol) as sender:
            for octets in (0, 1, 3, 7 if protocol is Protocol.AH else 3):
                sender.sendto(bytes(octets), (HERE[family], 0))
        return heard(receivers)

    assert [len(share) for share in namespace.inside(arriving)] == [4, 0, 0]


def test_options_in_front_do_not_hide_an_spi(namespace: Namespace) -> None:
    def arriving() -> list[list[bytes]]:
        receivers = sockets.open_receivers(socket.AF_INET, Protocol.ESP, 2)
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, Protocol.ESP) as sender:
            # IP_OPTIONS: four times nothing.
            sender.setsockopt(socket.IPPROTO_IP, 4, bytes([1, 1, 1, 1]))
            sender.sendto(struct.pack("!II", 1001, 1) + bytes(20), ("127.0.0.1", 0))
        return heard(receivers)

    assert [len(share) for share in namespace.inside(arriving)] == [0, 1]


@pytest.mark.parametrize("version", [4, 6])
def test_a_peer_stays_with_one_socket_of_a_port(namespace: Namespace, version: int) -> None:
    family = sockets.FAMILIES[version]

    def arriving() -> list[list[bytes]]:
        ports = sockets.open_ports(UdpPort(version, 4500), 4)
        for source in range(20001, 20021):
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.bind((HERE[family], source))
                for _ in range(3):
                    sender.sendto(struct.pack("!I", source), (HERE[family], 4500))
        return heard(ports)

    shares_of_sources = [set(share) for share in namespace.inside(arriving)]
    assert sum(map(len, shares_of_sources)) == 20, "no peer is at two sockets"
    assert sum(map(bool, shares_of_sources)) > 1


def test_a_port_of_another_program_is_noticed_though_ports_are_shared(namespace: Namespace) -> None:
    def question() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.SOL_SOCKET, shares.SO_REUSEPORT, 1)
            other.bind(("", 4500))
            with pytest.raises(OSError, match="taken by another program"):
                sockets.open_ports(UdpPort(4, 4500), 2)

    namespace.inside(question)
