"""Where the corpora began: `python -m tests.fuzz.seeds` writes, for every target, inputs made of real packets.

The fuzzer finds its way from there; what it found and is worth keeping came by `python -m tests.fuzz.run --keep`.
"""

import io
import json
import struct
import zlib
from collections.abc import Iterator

from culvert.change import AddPolicy, AddSa
from culvert.cli import capture
from culvert.dataplane.userspace import wire
from culvert.ipsec import fragment, icmp, ip
from culvert.ipsec.sa import Direction
from culvert.ipsec.sadb import Outbound
from culvert.ipsec.verdict import Send
from culvert.model.registry import KINDS
from culvert.racoonctl.main import PROTOCOLS, SHORT
from culvert.tmsh.command import VERBS
from culvert.tmsh.format import LAYOUTS
from tests.fuzz.gateways import BOTH, INBOUND, OUTBOUND, Act, Play
from tests.fuzz.parts import FAR, NEAR, NOW, with_addresses, with_true_length
from tests.fuzz.run import CORPUS
from tests.fuzz.scenarios import SCENARIOS, build
from tests.fuzz.script import Step, emit
from tests.fuzz.typed import KEY
from tests.sealing import SITE_A

SYN = bytes.fromhex("04d200500000000100000000a0022000000000000204ffff0402080a000000000000000001030307")
UDP = bytes.fromhex("08ae0035000c0000") + b"data"
ECHO = bytes.fromhex("0800f7fd00010001") + b"ping"


def header(version: int, protocol: int, before: bytes = b"") -> bytes:
    """Of a packet from far to near; `before`: options, or extension headers of which `protocol` is the first."""
    if version == 4:
        made = bytes((0x45 + len(before) // 4,)) + bytes(3) + b"\0\1\0\0\x40" + bytes((protocol,)) + bytes(10) + before
    else:
        made = b"\x60" + bytes(5) + bytes((protocol,)) + b"\x40" + bytes(32) + before
    return with_addresses(made, FAR[version].packed, NEAR[version].packed)


def packets() -> Iterator[bytes]:
    """Clear ones, of both families."""
    for version in (4, 6):
        for protocol, payload in ((6, SYN), (17, UDP), (1 if version == 4 else 58, ECHO)):
            yield with_true_length(header(version, protocol) + payload)
    for options in (b"\x94\4\0\0", b"\x83\x07\x04\x0a\1\2\3\0", b"\x44\x08\5\0\0\0\0\0", b"\x88\4\0\1"):
        yield with_true_length(header(4, 17, options) + UDP)
    route = b"\x11\2\2\1" + bytes(4) + NEAR[6].packed
    options = b"\0\x05\2\0\0\1\0"
    atomic = b"\x11\0\0\0\0\0\0\7"
    extensions = (b"\x11" + options, b"\x2b" + options + route, b"\x2c" + options + atomic)
    for extension in extensions:
        yield with_true_length(header(6, 0, extension) + UDP)
    large = with_true_length(header(4, 6) + SYN + bytes(200))
    parsed = ip.parse(large)
    assert parsed is not None
    yield from fragment.split(large, parsed, 100, 7)[:2]


def sealed() -> Iterator[bytes]:
    """What a gateway of every scenario sends."""
    for scenario in SCENARIOS:
        near = build(scenario).near
        for packet in packets():
            turned = packet
            for version in (4, 6):
                turned = with_addresses(turned, NEAR[version].packed, FAR[version].packed)
            verdict = near.outbound(turned, NOW)
            if isinstance(verdict, Send):
                yield verdict.packet
                break


def complaints() -> Iterator[bytes]:
    for packet in sealed():
        parsed = ip.parse(packet)
        assert parsed is not None
        answer = icmp.too_big(packet, parsed, 1280)
        if answer:
            yield answer


def compressed() -> Iterator[bytes]:
    for content in (bytes(65535), bytes(65536), UDP * 20, bytes(range(256))):
        state = zlib.compressobj(9, zlib.DEFLATED, -15)
        yield struct.pack("!BHH", 17, 2, len(content) & 0xFFFF) + state.compress(content) + state.flush()


def pieces() -> Iterator[bytes]:
    shape = struct.Struct("!BBHHB")
    for family in (0, 2):
        first, last = (family | 1, 3, 0, 16, 1), (family, 3, 2, 9, 1)
        for order in ((first, last), (last, first), (first, first), (first, (family, 3, 1, 9, 1), last)):
            yield b"".join(shape.pack(*piece) for piece in order)
        yield b"".join(shape.pack(family | 1, 4, at, 8, 0) for at in range(0, 130, 2))
        yield b"".join(shape.pack(family | 1, number, 0, 8, 250) for number in range(8))


def keyed() -> Iterator[bytes]:
    for at, packet in enumerate(packets()):
        for flags in (1, 2, 6, 11):
            yield struct.pack("!BBHQQH", at * 5 & 0xFF, flags, 33, 5, 2**32 - 3 if at % 2 else 0, 0) + packet


def scripts(acts: tuple[Act, ...]) -> Iterator[bytes]:
    """Each scenario: a packet of every sort, and a sequence of some."""
    for number, scenario in enumerate(SCENARIOS):
        own = [packet for packet in packets() if packet[0] >> 4 == scenario.outer] or list(packets())
        steps = []
        for kind, act in enumerate(acts):
            for flags, packet in enumerate(own[:5]):
                before = b"\0\0\x04\x05" if packet[0] >> 4 == 4 else b"\0\0\x29\x05"
                octets = before + packet if act is Play.signed else packet
                if act is Play.clear:
                    octets = b"\0\0" + packet
                if act in (Play.told, Play.again, Play.by_itself):
                    octets = b"\x02\x40\0\x10"
                steps.append(Step(kind + len(acts) * (flags * 2 + 1), 3, octets))
        for at in range(0, len(steps), 6):
            yield emit(number, steps[at : at + 6])
        yield emit(number, steps[:: max(1, len(steps) // 10)])


def captures() -> Iterator[bytes]:
    frames = [capture.Frame(capture.RAW_IP, 10**18, packet) for packet in packets()]
    file = io.BytesIO()
    writer = capture.Writer(file, capture.RAW_IP)
    for frame in frames[:3]:
        writer.write(frame, b"", frame.octets)
    yield file.getvalue()
    ethernet = b"\2" * 12 + b"\x81\0\0\7\x08\0" + frames[0].octets
    for order in "<>":
        yield struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1) + struct.pack(
            f"{order}IIII", 1, 2, len(ethernet), len(ethernet)
        ) + ethernet
        section = struct.pack(f"{order}IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
        options = struct.pack(f"{order}HHBxxxHHqHH", 9, 1, 9, 14, 8, 5, 0, 0)
        interface = _block(order, 1, struct.pack(f"{order}HHI", 1, 0, 96) + options)
        padded = ethernet + bytes(-len(ethernet) % 4)
        packet = _block(order, 6, struct.pack(f"{order}IIIII", 0, 1, 2, len(ethernet), len(ethernet)) + padded)
        simple = _block(order, 3, struct.pack(f"{order}I", len(ethernet)) + padded)
        obsolete = _block(order, 2, struct.pack(f"{order}HHIIII", 0, 0, 1, 2, len(ethernet), len(ethernet)) + padded)
        yield section + interface + packet + simple + obsolete


def _block(order: str, kind: int, body: bytes) -> bytes:
    length = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + length + body + length


def stanzas() -> Iterator[bytes]:
    yield b"# a comment\nnet  vlan \"a \\\" b\" { interfaces { wan0 { } } } }"
    for part in SITE_A.split("\n}\n"):
        yield (part + "\n}\n").encode()
    yield SITE_A.encode()


def lines() -> Iterator[bytes]:
    for scenario in SCENARIOS[::4]:
        ends = build(scenario)
        (record, *_) = (each for each in ends.near.sadb if isinstance(each, Outbound))
        policy = ends.near.spd.policies(Direction.OUT)[0]
        yield wire.emit(wire.Apply((AddSa(record.sa), AddPolicy(policy)), (0, -1)))
    yield wire.emit(wire.Reset())
    yield wire.emit(wire.Reply(1, "a sentence"))
    yield json.dumps({"apply": [{"kind": "AddSa", "content": {}}], "slots": []}).encode()


def sessions() -> Iterator[bytes]:
    """Every verb, on a gateway that has one of each of IPsec's objects."""
    yield b"create cli transaction\nmodify net ipsec ipsec-policy p description x\nlist cli transaction\n" + (
        b"modify cli transaction delete 1\nsubmit cli transaction validate-only\nsubmit cli transaction\n"
        b"delete cli transaction"
    )
    yield b"create auth partition q\ncreate sys folder /q/f\ncd /q/f\ncreate net ipsec ipsec-policy x\npwd\n" + (
        b"list\nlist recursive\ncd ..\nmv net ipsec ipsec-policy f/x y\ncp net ipsec ipsec-policy y z\n"
        b"mv net ipsec ipsec-policy z to-folder /Common\ndelete net ipsec ipsec-policy all recursive"
    )
    key = f"auth-key {KEY}".encode()
    yield b"modify net ipsec manual-security-association m " + key + b" protocol ah\nlist net ipsec one-line"
    yield b"save sys config\nload sys config"
    yield b"cp net ipsec manual-security-association m n\ndelete net ipsec traffic-selector t; mv net self s other"
    yield b"load sys config from-terminal merge\nltm pool /Common/w { members { } }\nnet vlan /Common/v { strange x }"
    yield b"load sys config from-terminal\nnet vlan /Common/u { interfaces { e1 { tagged } } tag 7 }"
    yield b"load sys config default\nload sys config\nload sys config from-terminal verify\nnet vlan"
    yield b"net ipsec\nlist ipsec-policy p all-properties json\nexit\n/net\nhelp self\n/\nquit"
    yield b'modify net vlan v interfaces { modify { e0 { tagged } } }\nmodify net self s allow-service add { tcp:80 }'
    yield b"modify net self * description \"a \\\"b; c\"\nlist net self @^s$ description partition\nreset-stats net"
    for what in LAYOUTS:
        yield f"show {what}\nshow {what} all-properties field-fmt raw\nshow {what} json".encode()
    yield b"show net ipsec ipsec-sa spi 1001 src-addr 2.2.2.2 dst_addr 3.3.3.3 traffic-selector t"
    yield b"delete net ipsec ipsec-sa"
    for kind in KINDS.values():
        yield f"help {kind.word}\nlist {kind.word} all-properties\ndelete {kind.word} x".encode()


def beginnings() -> Iterator[bytes]:
    """What `?` and Tab are asked behind: each verb, and bodies in every state."""
    for at, verb in enumerate(VERBS):
        yield bytes((at,)) + verb.encode()
        yield bytes((at,)) + f"{verb} net ipsec ".encode()
    for kind in KINDS.values():
        yield f"\0create {kind.word} x ".encode()
        yield f"\0list {kind.word} ".encode()
        for own in kind.fields[1:4]:
            yield f"\0modify {kind.word} x {own.word} ".encode()
    yield b"\0modify net vlan v interfaces add { e0 { "
    yield b"\0create ltm virtual v { profiles add { fastL4 } vlans { "
    yield b"\x06/net ipsec traffic-selector"


def vectors() -> Iterator[bytes]:
    for protocol in PROTOCOLS:
        yield f"-ll show-sa {protocol}".encode()
        yield f"flush-sa {protocol}".encode()
    yield b"-s x -ld ds esp inet 2.2.2.2 3.3.3.3"
    yield from (word.encode() for word in SHORT)


def walks() -> Iterator[bytes]:
    yield b"--from 10.1.0.1 --to 10.2.0.1 --port https --df --size 1500"
    yield b"--in --from 10.2.0.1 --to 10.1.0.1 --protocol icmp --from-port 3 --port 4"
    yield b"--from fd00::1 --to fd00::2 --protocol icmp --json"
    yield b"--from 10.1.0.1 --to 10.2.0.1 --protocol 50"


SEEDS = {
    "ip": lambda: (*packets(), *sealed(), *complaints()),
    "cut": lambda: (struct.pack("!BHH", 1, mtu, 300) + packet for packet in packets() for mtu in (60, 120)),
    "reassembly": pieces,
    "icmp": complaints,
    "udp": lambda: (b"\x00\x21\x00\x05" + bytes(5) + UDP + bytes(12), b"\0\x0d\0\4\x11\x94\x11\x94\0\x09\0\0\xff"),
    "ipcomp": compressed,
    "esp": keyed,
    "ah": keyed,
    "inbound": lambda: scripts(INBOUND),
    "outbound": lambda: scripts(OUTBOUND),
    "gateway": lambda: scripts(BOTH),
    "capture": captures,
    "tokens": stanzas,
    "draft": stanzas,
    "config": stanzas,
    "wire": lines,
    "command": sessions,
    "completion": beginnings,
    "racoonctl": vectors,
    "explain": walks,
}


def main() -> None:
    for name, make in SEEDS.items():
        directory = CORPUS / name
        directory.mkdir(parents=True, exist_ok=True)
        for number, octets in enumerate(make()):
            (directory / f"seed-{number:03}").write_bytes(octets)


if __name__ == "__main__":
    main()
