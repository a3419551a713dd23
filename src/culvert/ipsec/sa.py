"""Security associations as configured (RFC 4301 section 4.4.2). What changes per packet lives in `sadb.py`."""

import hashlib
from dataclasses import dataclass
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from culvert.ipsec.lifetime import UNLIMITED, Lifetime
from culvert.ipsec.secret import Secret

IPAddress = IPv4Address | IPv6Address

REPLAY_WINDOW_DEFAULT = 64
REPLAY_WINDOW_MAX = 4096
SEQUENCE_MAX = 2**32 - 1
EXTENDED_SEQUENCE_MAX = 2**64 - 1
OUTER_HOPS = 64
NAT_TRAVERSAL_PORT = 4500
DUMMY_OCTETS_DEFAULT = 64


class Protocol(IntEnum):
    """IP protocol number of a security protocol."""

    ESP = 50
    AH = 51


class Mode(Enum):
    """RFC 4301 section 4.1."""

    TRANSPORT = "transport"
    TUNNEL = "tunnel"


class Direction(Enum):
    """Seen from this gateway."""

    IN = "in"
    OUT = "out"

    # By name, as enumerations have it, it is worked out in Python; this is in the key of every table of SAs.
    __hash__ = object.__hash__


class Copy(Enum):
    """What a tunnel's outer header does with a bit of the inner one (RFC 4301 section 8.1)."""

    COPY = "copy"
    SET = "set"
    CLEAR = "clear"


class Fragmentation(Enum):
    """Where a packet is cut that is too large once it is protected, as far as its DF bit allows."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderRules:
    """How a tunnel's outer header follows from the inner one (RFC 4301 section 5.1.2). None: copied.

    `dscp` 0..63 in place of the inner one; `ecn` False: the compatibility mode of RFC 6040 section 4.1; `hops`:
    TTL or hop limit; `flow_label` True: copied from IPv6 into IPv6, else 0.
    """

    dscp: int | None = None
    ecn: bool = True
    dont_fragment: Copy = Copy.COPY
    hops: int | None = OUTER_HOPS
    flow_label: bool = False


class UdpPorts(NamedTuple):
    """Of the packets of one SA that goes in UDP, as they stand in the packet (RFC 3948)."""

    source: int = NAT_TRAVERSAL_PORT
    destination: int = NAT_TRAVERSAL_PORT


class SaKey(NamedTuple):
    """What names an SA on the wire (RFC 4301 section 4.1, unicast)."""

    spi: int
    destination: IPAddress
    protocol: Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityAssociation:
    """One unidirectional SA, as it was configured.

    `auth` and `cipher` are row names of `algorithms.py`; the keys have that row's exact length (an empty
    Secret for NULL). In AH the cipher is `null`; beside a combined cipher the auth is `none`. `reqid` ties the
    SA to the SPD entries (`spd.Policy`) that use it. `label` is the configured object's name, carried only for
    reports.

    `compression`: the IPComp index of what this SA carries, 0 for none. `encapsulation`: ESP goes in UDP.
    `path_mtu`: octets of the largest outer packet on the way out, 0 where unknown. `mss`: the largest TCP
    segment let into SYNs, 0 what fits the path, None leaves them alone. `tfc_octets`: shorter payloads are padded
    to this. `dummy_seconds` and `keep_alive_seconds`: how long the SA may be silent before such a packet; 0 for ever.
    """

    spi: int
    source: IPAddress
    destination: IPAddress
    protocol: Protocol = Protocol.ESP
    mode: Mode = Mode.TUNNEL
    direction: Direction
    auth: str
    auth_key: Secret
    cipher: str
    cipher_key: Secret
    reqid: int
    replay_window: int = REPLAY_WINDOW_DEFAULT
    esn: bool = False
    compression: int = 0
    encapsulation: UdpPorts | None = None
    header: HeaderRules = HeaderRules()
    fragmentation: Fragmentation = Fragmentation.BEFORE
    path_mtu: int = 0
    mss: int | None = None
    tfc_octets: int = 0
    dummy_seconds: int = 0
    keep_alive_seconds: int = 0
    lifetime: Lifetime = UNLIMITED
    label: str = ""

    @property
    def key(self) -> SaKey:
        return SaKey(self.spi, self.destination, self.protocol)

    @property
    def sequence_max(self) -> int:
        """The last number that this SA can send; it never wraps (RFC 4303 section 3.3.3)."""
        return EXTENDED_SEQUENCE_MAX if self.esn else SEQUENCE_MAX

    def identity(self) -> bytes:
        """16 octets that stay the same for as long as the keys, SPI, addresses and direction do.

        Send counters are kept under this name, so that the same key typed into a new object goes on
        counting instead of starting at 1 again.
        """
        parts = (
            f"{self.direction.value} {self.spi} {self.source} {self.destination} "
            f"{int(self.protocol)} {self.auth} {self.cipher}"
        ).encode()
        keys = self.auth_key.digest(b"identity") + self.cipher_key.digest(b"identity")
        return hashlib.sha256(parts + b"\0" + keys).digest()[:16]
