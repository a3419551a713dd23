"""Real traffic between namespaces, and whether it arrived."""

import os
import socket
import threading
from typing import SupportsBytes

from tests.dataplane.topology import Namespace


def transfers(client: Namespace, server: Namespace, address: str, octets: int = 300_000) -> bool:
    """Whether that many octets reach a TCP server and come back."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = server.inside(lambda: socket.create_server((address, 0), family=family))
    sender = client.inside(lambda: socket.socket(family))
    message = os.urandom(octets)
    received = bytearray()

    def echo() -> None:
        connection, _ = listener.accept()
        with connection:
            while octets := connection.recv(65536):
                connection.sendall(octets)

    with listener, sender:
        sender.settimeout(10)
        listener.settimeout(10)
        threading.Thread(target=echo, daemon=True).start()
        sender.connect(listener.getsockname()[:2])
        pusher = threading.Thread(target=lambda: (sender.sendall(message), sender.shutdown(socket.SHUT_WR)))
        pusher.start()
        while part := sender.recv(65536):
            received += part
        pusher.join()
    return received == message


PADDING6 = bytes((0, 0, 1, 4, 0, 0, 0, 0))
"""An extension header of options that say nothing."""


def datagram_arrives(
    client: Namespace, server: Namespace, address: str, payload: bytes, *, options6: bool = False
) -> bool:
    """Whether a UDP datagram comes back from a server; it may be cut on the way, as far as the network wants.

    `options6`: with a header of hop-by-hop options and one of destination options.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = server.inside(lambda: socket.socket(family, socket.SOCK_DGRAM))
    sender = client.inside(lambda: socket.socket(family, socket.SOCK_DGRAM))
    with listener, sender:
        for each in (listener, sender):
            each.settimeout(2)
        # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER: IP_PMTUDISC_DONT.
        sender.setsockopt(*((socket.IPPROTO_IPV6, 23, 0) if family == socket.AF_INET6 else (socket.IPPROTO_IP, 10, 0)))
        if options6:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, PADDING6)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, PADDING6)
        listener.bind((address, 0))
        sender.connect(listener.getsockname()[:2])
        try:
            sender.send(payload)
            received, back = listener.recvfrom(65535)
            listener.sendto(received, back)
            return sender.recv(65535) == payload
        except TimeoutError:
            return False


def emit(namespace: Namespace, packet: SupportsBytes, destination: str) -> None:
    """Put a packet of any source on the wire."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with namespace.inside(lambda: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)) as opened:
        # The mark of the packet process: the gateway's own rules aren't what is tried here.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x43550002)
        opened.sendto(bytes(packet), (destination, 0))
