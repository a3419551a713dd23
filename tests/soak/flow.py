"""One end of a numbered flow of datagrams, in a process of its own: `flow.py send|receive ADDRESS PORT [PER_SECOND]`.

Ends at the end of its standard input, and says then how many there were: sent, or received, each counted once.
"""

import os
import select
import socket
import struct
import sys
import time

SIZES = (8, 64, 300, 1000, 1300, 1372, 2500)
"""Octets of payload; the last one is cut on its way."""
BURST = 8


def ended() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def send(opened: socket.socket, address: tuple[str, int], per_second: float) -> int:
    count = 0
    begun = time.monotonic()
    # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER: the network may cut.
    level, option = (socket.IPPROTO_IPV6, 23) if opened.family == socket.AF_INET6 else (socket.IPPROTO_IP, 10)
    opened.setsockopt(level, option, 0)
    while not ended():
        for _ in range(BURST):
            payload = struct.pack("!Q", count) + os.urandom(SIZES[count % len(SIZES)] - 8)
            try:
                opened.sendto(payload, address)
            except OSError:
                continue
            count += 1
        time.sleep(max(0.0, begun + count / per_second - time.monotonic()))
    return count


def receive(opened: socket.socket, address: tuple[str, int]) -> int:
    opened.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
    opened.bind(address)
    seen: set[int] = set()
    print("ready", flush=True)
    while True:
        ready = select.select([opened, sys.stdin], [], [])[0]
        if opened in ready:
            seen.add(struct.unpack_from("!Q", opened.recv(65535))[0])
        elif sys.stdin in ready:
            return len(seen)


def main() -> None:
    way, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        place = (address, port)
        count = send(opened, place, float(sys.argv[4])) if way == "send" else receive(opened, place)
    print(count, flush=True)


if __name__ == "__main__":
    main()
