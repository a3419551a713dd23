"""Security associations as configured (RFC 4301 section 4.4.2). What changes per packet lives in `sadb.py`."""

import hashlib
from dataclasses import dataclass
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from culvert.ipsec.secret import Secret

IPAddress = IPv4Address | IPv6Address

REPLAY_WINDOW_DEFAULT = 64
REPLAY_WINDOW_MAX = 4096


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


class SaKey(NamedTuple):
    """What names an SA on the wire (RFC 4301 section 4.1, unicast)."""

    spi: int
    destination: IPAddress
    protocol: Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityAssociation:
    """One unidirectional SA, as it was configured.

    `auth` and `cipher` are row names of `algorithms.py`; the keys have that row's exact length (an empty
    Secret for NULL). `reqid` ties the SA to the SPD entries (`spd.Policy`) that use it. `label` is the
    configured object's name, carried only for reports.
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
    label: str = ""

    @property
    def key(self) -> SaKey:
        return SaKey(self.spi, self.destination, self.protocol)

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
