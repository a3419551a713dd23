"""The small programs that send, count and echo, each run in a namespace; plain Python and the kernel's calls.

    probe.py count PORT OCTETS SECONDS bulk|single     says "ready", then {"arrived": datagrams, "seconds": ...}
    probe.py flood ADDRESS PORT OCTETS SECONDS bulk|single
    probe.py spray FIRST STEP COUNT FINE MORE PORT OCTETS SECONDS bulk|single
    probe.py echo PORT                                 says "ready", then answers until it is ended
    probe.py ask ADDRESS PORT OCTETS SECONDS           {"microseconds": [...], "lost": ...}

`spray` floods MORE addresses, FINE apart, of each of COUNT networks, STEP apart, in an order by chance.
OCTETS are of UDP payload. `single` hands the kernel 64 datagrams in one call (sendmmsg), each of which then goes its
own way; `bulk` hands it one super-packet that is cut as late as the way allows (UDP_SEGMENT), and takes them so
(UDP_GRO).
"""

import contextlib
import ctypes
import json
import random
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

BATCH = 64
WARM_UP_SECONDS = 0.3
SILENCE_SECONDS = 3.0
ASK_INTERVAL_SECONDS = 0.002
BUFFER_OCTETS = 8 << 20
UDP_SEGMENT, UDP_GRO = 103, 104
MSG_WAITFORONE = 0x10000
SO_RCVBUFFORCE = 33
LIBC = ctypes.CDLL(None, use_errno=True)


class Vector(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Header(ctypes.Structure):
    """struct msghdr"""

    _fields_ = (
        ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(Vector)), ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t), ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = (("header", Header), ("length", ctypes.c_uint))


class Batch:
    """BATCH messages, each with `room` octets of its own."""

    def __init__(self, room: int) -> None:
        self.messages = (Message * BATCH)()
        self.names: list[ctypes.Array[ctypes.c_char]] = []
        self._buffers = [ctypes.create_string_buffer(b"x" * room, room) for _ in range(BATCH)]
        self._vectors = [Vector(ctypes.addressof(buffer), room) for buffer in self._buffers]
        for message, vector in zip(self.messages, self._vectors, strict=True):
            message.header.vectors = ctypes.pointer(vector)
            message.header.vector_count = 1


def count(port: int, octets: int, seconds: float, bulk: bool) -> None:
    """Count datagrams of the right size, from a moment after the first until `seconds` later."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_OCTETS)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(SILENCE_SECONDS), 0))
        if bulk:
            own.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        own.bind(("", port))
        say_ready()
        arrived = sum(_arrivals(own.fileno(), octets, seconds, bulk))
    print(json.dumps({"arrived": arrived, "seconds": seconds}), flush=True)


def _arrivals(handle: int, octets: int, seconds: float, bulk: bool) -> Iterator[int]:
    batch = Batch(65536 if bulk else 2048)
    messages, receive, clock = batch.messages, LIBC.recvmmsg, time.monotonic
    begin = 0.0
    while (found := receive(handle, messages, BATCH, MSG_WAITFORONE, None)) > 0:
        now = clock()
        begin = begin or now + WARM_UP_SECONDS
        if now >= begin + seconds:
            return
        if now >= begin:
            if bulk:
                yield sum(message.length for message in messages[:found]) // octets
            elif messages[0].length == octets:
                yield found


def flood(address: str, port: int, octets: int, seconds: float, bulk: bool) -> None:
    """Send as fast as it goes, for long enough that whoever counts is never the last to stop."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.connect((address, port))
        send = _bulk_sender(own, octets) if bulk else _single_sender(own, octets)
        until = time.monotonic() + WARM_UP_SECONDS + seconds + 0.3
        while time.monotonic() < until:
            send()


def _single_sender(own: socket.socket, octets: int) -> Callable[[], object]:
    batch, handle = Batch(octets), own.fileno()
    return lambda: LIBC.sendmmsg(handle, batch.messages, BATCH, 0)


def _bulk_sender(own: socket.socket, octets: int) -> Callable[[], object]:
    own.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, octets)
    payload = bytes(octets * min(BATCH, 65000 // octets))

    def send() -> None:
        with contextlib.suppress(OSError):
            own.send(payload)

    return send


def spray(addresses: list[tuple[str, int]], octets: int, seconds: float, bulk: bool) -> None:
    """As `flood`: each datagram of a call, or each super-packet, to the next of these."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        if bulk:
            own.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, octets)
            payload = bytes(octets * min(BATCH, 65000 // octets))
            sends = [partial(_send_to, own, payload, address) for address in addresses]
        else:
            batches = [addresses[at : at + BATCH] for at in range(0, len(addresses), BATCH)]
            sends = [partial(_send_batch, own.fileno(), _addressed(batch, octets)) for batch in batches]
        until = time.monotonic() + WARM_UP_SECONDS + seconds + 0.3
        while time.monotonic() < until:
            for send in sends:
                send()
                if time.monotonic() >= until:
                    break


def _send_to(own: socket.socket, payload: bytes, address: tuple[str, int]) -> None:
    with contextlib.suppress(OSError):
        own.sendto(payload, address)


def _addressed(addresses: list[tuple[str, int]], octets: int) -> Batch:
    batch = Batch(octets)
    batch.names = [
        ctypes.create_string_buffer(
            struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8), 16
        )
        for host, port in (addresses[at % len(addresses)] for at in range(BATCH))
    ]
    for message, name in zip(batch.messages, batch.names, strict=True):
        message.header.name, message.header.name_length = ctypes.addressof(name), 16
    return batch


def _send_batch(handle: int, batch: Batch) -> None:
    LIBC.sendmmsg(handle, batch.messages, BATCH, 0)


def _by_chance(first: str, steps: list[int], port: int) -> list[tuple[str, int]]:
    """All of them once, in an order that a seed gives."""
    step, count, fine, more = steps
    start = int.from_bytes(socket.inet_aton(first))
    numbers = [start + step * network + fine * inside for network in range(count) for inside in range(more)]
    random.Random(1).shuffle(numbers)
    return [(socket.inet_ntoa(number.to_bytes(4)), port) for number in numbers]


def echo(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("", port))
        say_ready()
        while True:
            own.sendto(*own.recvfrom(2048))


def ask(address: str, port: int, octets: int, seconds: float) -> None:
    """One question at a time, and a pause behind each answer: nothing ever queues."""
    times: list[float] = []
    lost = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 1, 0))
        own.connect((address, port))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            took = _one_answer(own, len(times) + lost, octets)
            if took is None:
                lost += 1
            else:
                times.append(took)
            time.sleep(ASK_INTERVAL_SECONDS)
    print(json.dumps({"microseconds": times, "lost": lost}), flush=True)


def _one_answer(own: socket.socket, number: int, octets: int) -> float | None:
    question = number.to_bytes(8).ljust(octets, b"q")
    started = time.perf_counter_ns()
    try:
        own.send(question)
        while own.recv(2048) != question:
            pass
    except OSError:
        return None
    return (time.perf_counter_ns() - started) / 1000


def say_ready() -> None:
    print("ready", flush=True)


def main() -> None:
    what, *words = sys.argv[1:]
    if what == "count":
        count(int(words[0]), int(words[1]), float(words[2]), words[3] == "bulk")
    elif what == "flood":
        flood(words[0], int(words[1]), int(words[2]), float(words[3]), words[4] == "bulk")
    elif what == "spray":
        addresses = _by_chance(words[0], [int(word) for word in words[1:5]], int(words[5]))
        spray(addresses, int(words[6]), float(words[7]), words[8] == "bulk")
    elif what == "echo":
        echo(int(words[0]))
    else:
        ask(words[0], int(words[1]), int(words[2]), float(words[3]))


if __name__ == "__main__":
    main()
