"""Parts that the tests of the protocol share: keys, SAs, selectors, gateways and packets."""

import random as seeded
import struct
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from culvert.ipsec.algorithms import CIPHERS
from culvert.ipsec.gateway import Deliver, Drop, Gateway, Send, Verdict
from culvert.ipsec.ip import checksum
from culvert.ipsec.sa import Direction, IPAddress, Mode, Protocol, SecurityAssociation
from culvert.ipsec.secret import Secret
from culvert.ipsec.selector import PortRange, Selector
from culvert.ipsec.spd import Action, Policy

AUTH_KEY = bytes(range(0x40, 0x54))
CIPHER_KEYS = {name: bytes(range(0x80, 0x80 + row.key_octets)) for name, row in CIPHERS.items()}
SPI = 0x3E9
REQID = 7
NOW = 1_700_000_000.0

OUTER = {
    4: (ip_address("192.0.2.1"), ip_address("192.0.2.2")),
    6: (ip_address("2001:db8::1"), ip_address("2001:db8::2")),
}
INNER = {4: (ip_address("10.1.0.9"), ip_address("10.2.0.9")), 6: (ip_address("fd00:1::9"), ip_address("fd00:2::9"))}
ANY = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}

Random = Callable[[int], bytes]


def dice(seed: int = 1) -> Random:
    """A source of octets that looks random and is the same in every run."""
    return seeded.Random(seed).randbytes


def make_sa(
    direction: Direction,
    *,
    cipher: str = "aes128",
    outer: int = 4,
    spi: int = SPI,
    source: IPAddress | None = None,
    destination: IPAddress | None = None,
    protocol: Protocol = Protocol.ESP,
    mode: Mode = Mode.TUNNEL,
    auth: str = "sha1",
    auth_key: bytes = AUTH_KEY,
    cipher_key: bytes | None = None,
    reqid: int = REQID,
    replay_window: int = 64,
    label: str = "",
) -> SecurityAssociation:
    default = OUTER[outer]
    return SecurityAssociation(
        spi=spi,
        source=source or default[0],
        destination=destination or default[1],
        protocol=protocol,
        mode=mode,
        direction=direction,
        auth=auth,
        auth_key=Secret(auth_key),
        cipher=cipher,
        cipher_key=Secret(CIPHER_KEYS[cipher] if cipher_key is None else cipher_key),
        reqid=reqid,
        replay_window=replay_window,
        label=label or f"/Common/sa-{direction.value}",
    )


def make_selector(
    source: str,
    destination: str,
    protocol: int | None = None,
    source_ports: tuple[int, int] | None = None,
    destination_ports: tuple[int, int] | None = None,
) -> Selector:
    return Selector(
        source=ip_network(source),
        destination=ip_network(destination),
        protocol=protocol,
        source_ports=PortRange(*source_ports) if source_ports else None,
        destination_ports=PortRange(*destination_ports) if destination_ports else None,
    )


def make_policy(
    direction: Direction,
    selector: Selector | None = None,
    *,
    inner: int = 4,
    order: int = 1,
    label: str = "/Common/ts",
    reqid: int = REQID,
    action: Action = Action.PROTECT,
    protocol: Protocol = Protocol.ESP,
    mode: Mode = Mode.TUNNEL,
) -> Policy:
    return Policy(
        direction=direction,
        selector=selector or Selector(source=ANY[inner], destination=ANY[inner]),
        order=order,
        label=label,
        reqid=reqid,
        action=action,
        protocol=protocol,
        mode=mode,
    )


def sender(cipher: str = "aes128", outer: int = 4, *, sequence: int = 0, seed: int = 1) -> Gateway:
    """A gateway that protects everything."""
    gateway = Gateway(dice(seed))
    gateway.add_sa(make_sa(Direction.OUT, cipher=cipher, outer=outer), sequence=sequence, now=NOW)
    for version in (4, 6):
        gateway.add_policy(make_policy(Direction.OUT, inner=version, label=f"/Common/ts{version}"))
    return gateway


def receiver(cipher: str = "aes128", outer: int = 4, *, sequence: int = 0, replay_window: int = 64) -> Gateway:
    """The gateway at the other end."""
    gateway = Gateway(dice(2))
    sa = make_sa(Direction.IN, cipher=cipher, outer=outer, replay_window=replay_window)
    gateway.add_sa(sa, sequence=sequence, now=NOW)
    for version in (4, 6):
        gateway.add_policy(make_policy(Direction.IN, inner=version, label=f"/Common/ts{version}"))
    return gateway


def sent(verdict: Verdict) -> Send:
    assert isinstance(verdict, Send), verdict
    return verdict


def delivered(verdict: Verdict) -> Deliver:
    assert isinstance(verdict, Deliver), verdict
    return verdict


def dropped(verdict: Verdict) -> Drop:
    assert isinstance(verdict, Drop), verdict
    return verdict


def ipv4(
    payload: bytes = b"",
    *,
    protocol: int = 17,
    source: IPAddress = INNER[4][0],
    destination: IPAddress = INNER[4][1],
    traffic_class: int = 0,
    identification: int = 1,
    flags: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IPv4 packet. `flags`: the 16 bits of flags and fragment offset."""
    octets = 20 + len(options)
    fields = (0x40 | octets // 4, traffic_class, octets + len(payload), identification, flags, 64, protocol)
    addresses = source.packed + destination.packed + options
    start = struct.pack("!BBHHHBB", *fields)
    return start + checksum(start + bytes(2) + addresses).to_bytes(2) + addresses + payload


def ipv6(
    payload: bytes = b"",
    *,
    protocol: int = 17,
    source: IPAddress = INNER[6][0],
    destination: IPAddress = INNER[6][1],
    traffic_class: int = 0,
) -> bytes:
    word = 6 << 28 | traffic_class << 20 | 0x12345
    return struct.pack("!IHBB", word, len(payload), protocol, 64) + source.packed + destination.packed + payload


def udp(source_port: int = 1111, destination_port: int = 53, data: bytes = b"data") -> bytes:
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(data), 0) + data


def packet_of(version: int, payload: bytes | None = None, *, protocol: int = 17, traffic_class: int = 0) -> bytes:
    make = ipv4 if version == 4 else ipv6
    return make(udp() if payload is None else payload, protocol=protocol, traffic_class=traffic_class)
