"""`culvert explain`: the way of one packet through the running gateway, in words."""

import argparse
import contextlib
import itertools
import json
import struct
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from culvert.cli import capture
from culvert.control.client import Client
from culvert.control.errors import ControlError
from culvert.model.services import PROTOCOLS, SERVICES

IPAddress = IPv4Address | IPv6Address
MARKS = {"pass": "ok", "note": "..", "stop": "XX"}
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
HOPS = 64


class Misuse(Exception):
    """Words that make no packet."""


def run(arguments: Sequence[str]) -> int:
    """0 when the packet gets through, 1 when it dies or the gateway doesn't answer, 2 for a bad command line."""
    options = _options(arguments)
    try:
        packet = _captured(options.capture, options.packet) if options.capture else _built(options)
        with Client(options.socket) as client:
            steps: Any = client.call("explain", packet=packet.hex(), direction="in" if options.inwards else "out")
    except Misuse as error:
        print(f"culvert explain: {error}", file=sys.stderr)
        return 2
    except ControlError as error:
        print(error.text, file=sys.stderr)
        return 1
    print(json.dumps(steps, indent=2) if options.json else text(steps))
    return int(any(step["verdict"] == "stop" for step in steps))


def text(steps: Sequence[Mapping[str, Any]]) -> str:
    """A line for each step; below a stop, its reason and what to change."""
    width = max((len(step["step"]) for step in steps), default=0)
    lines = []
    for step in steps:
        lines.append(f"{MARKS[step['verdict']]}  {step['step']:<{width}}  {step['sentence']}")
        if step["verdict"] == "stop":
            lines.append(f"    {'':<{width}}  it dies here: {step['reason']} ({step['meaning']})")
            lines.append(f"    {'':<{width}}  try: {step['try']}")
    return "\n".join(lines)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="culvert explain", description="The way of one packet through the running gateway, and where it would die."
    )
    parser.add_argument("--from", dest="source", type=_address, metavar="ADDRESS", help="source address")
    parser.add_argument("--to", dest="destination", type=_address, metavar="ADDRESS", help="destination address")
    parser.add_argument("--protocol", default="tcp", help="name or number (default: tcp)")
    parser.add_argument("--port", default="0", help="destination port, name or number; of ICMP the code")
    parser.add_argument("--from-port", default="40000", help="source port; of ICMP the type (default for ICMP: echo)")
    parser.add_argument("--size", type=int, default=100, help="octets of the packet (default: 100)")
    parser.add_argument("--df", action="store_true", help="the packet may not be cut")
    parser.add_argument("--in", dest="inwards", action="store_true", help="out of a tunnel, into this side")
    parser.add_argument("--capture", type=Path, metavar="FILE", help="take the packet out of a pcap or pcapng file")
    parser.add_argument("--packet", type=int, default=1, metavar="N", help="which one of that file, from 1 on")
    parser.add_argument("--json", action="store_true", help="the steps as records")
    parser.add_argument("--socket", type=Path, help="the daemon's control socket (default: $CULVERT_SOCKET)")
    return parser.parse_args(arguments)


def _address(word: str) -> IPAddress:
    return ip_address(word)


def _captured(path: Path, number: int) -> bytes:
    try:
        with path.open("rb") as file:
            frame = next(itertools.islice(capture.read(file), number - 1, None), None) if number > 0 else None
    except (OSError, capture.CaptureError) as error:
        raise Misuse(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if frame is None:
        raise Misuse(f"{path} has no packet {number}")
    found = capture.split(frame)
    if found is None:
        raise Misuse(f"{path}: packet {number} carries no IP")
    return found[1]


def _built(options: argparse.Namespace) -> bytes:
    """A packet of these words; its checksums are zero, since nobody looks at them."""
    source, destination = options.source, options.destination
    if source is None or destination is None:
        raise Misuse("--from and --to, or --capture, are needed")
    if source.version != destination.version:
        raise Misuse(f"{source} and {destination} are of different families")
    protocol = _number(
        options.protocol, {**PROTOCOLS, "icmp": ICMP if source.version == 4 else ICMPV6}, 255, "protocol"
    )
    upper = _upper(protocol, options)
    header = 20 if source.version == 4 else 40
    if not header + len(upper) <= options.size <= 65535:
        raise Misuse(f"--size {options.size} is not allowed; allowed: {header + len(upper)} to 65535")
    payload = upper.ljust(options.size - header, b"\0")
    if source.version == 6:
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, HOPS)
        return b"".join((head, source.packed, destination.packed, payload))
    flags = 0x4000 if options.df else 0
    head = struct.pack("!BBHHHBBH", 0x45, 0, options.size, 1, flags, HOPS, protocol, 0)
    return b"".join((head, source.packed, destination.packed, payload))


def _upper(protocol: int, options: argparse.Namespace) -> bytes:
    port = _number(options.port, SERVICES, 65535, "port")
    other = _number(options.from_port, SERVICES, 65535, "from-port")
    if protocol in (ICMP, ICMPV6):
        echo = 8 if protocol == ICMP else 128
        kind = echo if options.from_port == "40000" else other
        return struct.pack("!BBHI", kind & 0xFF, port & 0xFF, 0, 0)
    if protocol == TCP:
        return struct.pack("!HHIIBBHHH", other, port, 0, 0, 0x50, 0x02, 65535, 0, 0)
    if protocol == UDP:
        return struct.pack("!HHHH", other, port, 8, 0)
    return b""


def _number(word: str, names: Mapping[str, int], most: int, what: str) -> int:
    with contextlib.suppress(ValueError):
        number = names[word] if word in names else int(word)
        if 0 <= number <= most:
            return number
    raise Misuse(f"--{what} {word} is not allowed; allowed: a name or a number from 0 to {most}")
