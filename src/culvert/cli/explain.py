"""`culvert explain`: the way of one packet through the running gateway, in words."""

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from culvert.cli import capture
from culvert.control.client import Client
from culvert.control.errors import ControlError
from culvert.model.packet import BadPacket, PacketWords, built

IPAddress = IPv4Address | IPv6Address
MARKS = {"pass": "ok", "note": "..", "stop": "XX"}
FROM_PORT = "40000"


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
    parser.add_argument("--from-port", default=FROM_PORT, help="source port; of ICMP the type (default for ICMP: echo)")
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
    if options.source is None or options.destination is None:
        raise Misuse("--from and --to, or --capture, are needed")
    is_echo = options.from_port == FROM_PORT
    words = PacketWords(
        source=str(options.source),
        destination=str(options.destination),
        protocol=options.protocol,
        port=options.port,
        from_port=options.from_port,
        kind="" if is_echo else options.from_port,
        code=options.port,
        size=str(options.size),
        df=options.df,
    )
    try:
        return built(words)
    except BadPacket as error:
        # Of ICMP the ports' options say type and code.
        option = {"type": "from-port", "code": "port"}.get(error.word, error.word)
        raise Misuse(f"--{option} {error}" if option else str(error)) from None
