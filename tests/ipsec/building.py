"""Parts that the tests of the protocol share: keys, SAs, selectors, gateways and packets."""

import random as seeded
import struct
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.ip import Datagram, checksum, parse
from culvert.ipsec.sa import Direction, IPAddress, Mode, Protocol, SecurityAssociation
from culvert.ipsec.secret import Secret
from culvert.ipsec.selector import PortRange, Selector
from culvert.ipsec.spd import Action, Policy
from culvert.ipsec.verdict import Deliver, Drop, Send, Verdict

AUTH_KEYS = {name: bytes(range(0x40, 0x40 + row.key_octets)) for name, row in AUTHS.items()} | {NONE: b""}
AUTH_KEY = AUTH_KEYS["sha1"]
CIPHER_KEYS = {name: bytes(range(0x80, 0x80 + row.key_octets)) for name, row in CIPHERS.items()}
SPI = 0x3E9
AH_SPI = 0x3EA
"""Of the AH SA in a bundle."""
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
    cipher: str | None = None,
    outer: int = 4,
    spi: int = SPI,
    source: IPAddress | None = None,
    destination: IPAddress | None = None,
    protocol: Protocol = Protocol.ESP,
    auth: str | None = None,
    auth_key: bytes | None = None,
    cipher_key: bytes | None = None,
    reqid: int = REQID,
    label: str = "",
    **more: Any,
) -> SecurityAssociation:
    """An SA with keys that fit. `more`: any other field.

    Left to itself, ESP is AES-CBC with HMAC-SHA1, AH is HMAC-SHA1, and a combined cipher goes alone.
    """
    cipher = cipher or ("aes128" if protocol is Protocol.ESP else "null")
    auth = auth or (NONE if CIPHERS[cipher].combined else "sha1")
    default = OUTER[outer]
    return SecurityAssociation(
        spi=spi,
        source=source or default[0],
        destination=destination or default[1],
        protocol=protocol,
        direction=direction,
        auth=auth,
        auth_key=Secret(AUTH_KEYS.get(auth, b"") if auth_key is None else auth_key),
        cipher=cipher,
        cipher_key=Secret(CIPHER_KEYS[cipher] if cipher_key is None else cipher_key),
        reqid=reqid,
        label=label or f"/Common/sa-{direction.value}",
        **more,
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
    bundle_ah: bool = False,
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
        bundle_ah=bundle_ah,
    )


def gateway_of(
    *sas: SecurityAssociation, sequence: int = 0, seed: int = 1, bundle_ah: bool = False, policies: bool = True
) -> Gateway:
    """A gateway with these SAs and, unless told otherwise, a policy for each family that wants just the first one.

    With `bundle_ah`, an AH SA for the outer header of the first SA is added, and the policies want both.
    """
    gateway = Gateway(dice(seed))
    first = sas[0]
    for sa in sas:
        gateway.add_sa(sa, sequence=sequence, now=NOW)
    if bundle_ah:
        gateway.add_sa(around_it(first), sequence=sequence, now=NOW)
    for version in (4, 6) if policies else ():
        gateway.add_policy(
            make_policy(
                first.direction,
                inner=version,
                label=f"/Common/ts{version}",
                protocol=first.protocol,
                mode=first.mode,
                reqid=first.reqid,
                bundle_ah=bundle_ah,
            )
        )
    return gateway


def around_it(sa: SecurityAssociation, **more: Any) -> SecurityAssociation:
    """The AH SA of a bundle whose ESP SA this is."""
    return make_sa(
        sa.direction,
        spi=AH_SPI,
        source=sa.source,
        destination=sa.destination,
        protocol=Protocol.AH,
        mode=Mode.TRANSPORT,
        reqid=sa.reqid,
        label="/Common/sa-ah",
        **more,
    )


def sender(
    cipher: str | None = None,
    outer: int = 4,
    *,
    sequence: int = 0,
    seed: int = 1,
    bundle_ah: bool = False,
    **sa: Any,
) -> Gateway:
    """A gateway that protects everything. `sa`: any field of its SA."""
    own = make_sa(Direction.OUT, cipher=cipher, outer=outer, **sa)
    return gateway_of(own, sequence=sequence, seed=seed, bundle_ah=bundle_ah)


def receiver(
    cipher: str | None = None, outer: int = 4, *, sequence: int = 0, bundle_ah: bool = False, **sa: Any
) -> Gateway:
    """The gateway at the other end."""
    own = make_sa(Direction.IN, cipher=cipher, outer=outer, **sa)
    return gateway_of(own, sequence=sequence, seed=2, bundle_ah=bundle_ah)


def sent(verdict: Verdict) -> Send:
    assert isinstance(verdict, Send), verdict
    return verdict


def delivered(verdict: Verdict) -> Deliver:
    assert isinstance(verdict, Deliver), verdict
    return verdict


def dropped(verdict: Verdict) -> Drop:
    assert isinstance(verdict, Drop), verdict
    return verdict


def parsed(packet: bytes) -> Datagram:
    datagram = parse(packet)
    assert datagram is not None
    return datagram


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
    hops: int = 64,
) -> bytes:
    """An IPv4 packet. `flags`: the 16 bits of flags and fragment offset."""
    octets = 20 + len(options)
    fields = (0x40 | octets // 4, traffic_class, octets + len(payload), identification, flags, hops, protocol)
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
    flow_label: int = 0x12345,
    hops: int = 64,
) -> bytes:
    """An IPv6 packet. Extension headers are part of the payload."""
    word = 6 << 28 | traffic_class << 20 | flow_label
    return struct.pack("!IHBB", word, len(payload), protocol, hops) + source.packed + destination.packed + payload


def udp(source_port: int = 1111, destination_port: int = 53, data: bytes = b"data") -> bytes:
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(data), 0) + data


def packet_of(version: int, payload: bytes | None = None, *, protocol: int = 17, **fields: Any) -> bytes:
    """A packet from one inner network to the other. `fields`: what `ipv4` or `ipv6` take."""
    make = ipv4 if version == 4 else ipv6
    return make(udp() if payload is None else payload, protocol=protocol, **fields)


def end_to_end(version: int, payload: bytes | None = None, *, protocol: int = 17, **fields: Any) -> bytes:
    """A packet between the two gateways themselves, as transport mode carries them."""
    source, destination = OUTER[version]
    return packet_of(version, payload, protocol=protocol, source=source, destination=destination, **fields)
