"""How fast the readable gateway is, next to the bare cipher it can't be faster than.

Both run on this machine in this run, in turns, so a machine that slows down slows both. The bare loop does for each
packet what ESP with AES-CBC and HMAC-SHA1-96 can't do without: one encryption, one HMAC, one random IV. The ratio
says what everything else costs: parsing, selector, sequence numbers, padding, replay window, inner checks.

    bench/twin.py [--rounds N] [--packets N]
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from statistics import median

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import Direction, SecurityAssociation
from culvert.ipsec.secret import Secret
from culvert.ipsec.selector import Selector
from culvert.ipsec.spd import Policy
from culvert.ipsec.verdict import Deliver, Send

SIZES = (64, 512, 1400)
AUTH_KEY, CIPHER_KEY = os.urandom(20), os.urandom(16)


def gateway(direction: Direction) -> Gateway:
    """One side of a tunnel, with one SA and one selector."""
    made = Gateway(os.urandom)
    association = SecurityAssociation(
        spi=1001, source=ip_address("2.2.2.2"), destination=ip_address("3.3.3.3"), direction=direction,
        auth="sha1", auth_key=Secret(AUTH_KEY), cipher="aes128", cipher_key=Secret(CIPHER_KEY), reqid=1,
    )
    selector = Selector(source=ip_network("10.1.0.0/24"), destination=ip_network("10.2.0.0/24"))
    made.add_sa(association, now=0.0)
    made.add_policy(Policy(direction=direction, selector=selector, reqid=1, order=0, label="bench"))
    return made


def inner_packet(octets: int) -> bytes:
    """A UDP packet of so many octets in all; the gateway doesn't look at the header's checksum."""
    header = bytes([0x45, 0]) + octets.to_bytes(2) + bytes([0, 1, 0x40, 0, 64, 17, 0, 0])
    ports = (4000).to_bytes(2) + (5000).to_bytes(2)
    return (header + ip_address("10.1.0.10").packed + ip_address("10.2.0.10").packed + ports).ljust(octets, b"x")


def outbound_round(octets: int, packets: int) -> float:
    side, packet = gateway(Direction.OUT), inner_packet(octets)
    started = time.perf_counter()
    for _ in range(packets):
        verdict = side.outbound(packet, 0.0)
    elapsed = time.perf_counter() - started
    assert isinstance(verdict, Send), verdict
    return elapsed


def inbound_round(octets: int, packets: int) -> float:
    sender, side, packet = gateway(Direction.OUT), gateway(Direction.IN), inner_packet(octets)
    sealed = [sent.packet for _ in range(packets) if isinstance(sent := sender.outbound(packet, 0.0), Send)]
    started = time.perf_counter()
    for outer in sealed:
        verdict = side.inbound(outer, 0.0)
    elapsed = time.perf_counter() - started
    assert isinstance(verdict, Deliver), verdict
    return elapsed


def padded(octets: int) -> int:
    """What ESP encrypts: the packet and its two trailer octets, up to whole blocks (RFC 4303 section 2.4)."""
    return octets + 2 + -(octets + 2) % 16


def bare_seal_round(octets: int, packets: int) -> float:
    """The cheapest way that the library knows: contexts prepared once, the random IV as the chain's next block."""
    payload, signer = bytes(padded(octets)), hmac.HMAC(AUTH_KEY, hashes.SHA1())
    encrypt = Cipher(algorithms.AES128(CIPHER_KEY), modes.CBC(bytes(16))).encryptor().update
    started = time.perf_counter()
    for _ in range(packets):
        body = encrypt(os.urandom(16) + payload)
        state = signer.copy()
        state.update(body)
        state.finalize()
    return time.perf_counter() - started


def bare_open_round(octets: int, packets: int) -> float:
    body, signer = bytes(16 + padded(octets)), hmac.HMAC(AUTH_KEY, hashes.SHA1())
    decrypt = Cipher(algorithms.AES128(CIPHER_KEY), modes.CBC(bytes(16))).decryptor().update
    started = time.perf_counter()
    for _ in range(packets):
        state = signer.copy()
        state.update(body)
        state.finalize()
        decrypt(body)
    return time.perf_counter() - started


Round = Callable[[int, int], float]
ROWS: tuple[tuple[str, Round, Round], ...] = (
    ("outbound", outbound_round, bare_seal_round),
    ("inbound", inbound_round, bare_open_round),
)


def measure(octets: int, ours: Round, bare: Round, rounds: int, packets: int) -> tuple[float, float]:
    """Median seconds per packet of both, taken in turns."""
    ours(octets, packets // 10)
    bare(octets, packets // 10)
    pairs = [(ours(octets, packets), bare(octets, packets)) for _ in range(rounds)]
    return median(pair[0] for pair in pairs) / packets, median(pair[1] for pair in pairs) / packets


def main() -> None:
    parser = argparse.ArgumentParser(description="culvert.ipsec next to the bare cipher, one core, aes128 with sha1")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--packets", type=int, default=3000, help="in each round")
    options = parser.parse_args()
    machine = f"Python {platform.python_version()}, {platform.machine()}"
    print(f"{machine}, {options.rounds} rounds of {options.packets} packets in turns, their")
    print("medians; one core, memory to memory, no network; bare = AES-128-CBC + HMAC-SHA1-96 + random IV alone")
    print()
    print(f"{'':10}{'octets':>7}{'culvert':>12}{'':>12}{'bare':>12}{'culvert/bare':>15}")
    for name, ours, bare in ROWS:
        for octets in SIZES:
            mine, floor = measure(octets, ours, bare, options.rounds, options.packets)
            print(
                f"{name:10}{octets:>7}{1 / mine:>8,.0f} pps{octets * 8 / mine / 1e6:>7,.0f} Mbit"
                f"{1 / floor:>8,.0f} pps{floor / mine:>14.0%}"
            )


if __name__ == "__main__":
    main()
