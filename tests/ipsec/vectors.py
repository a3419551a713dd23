"""The published answers of tests/vectors/rfc*.txt as values. The form of the files is in tests/vectors/README.md."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[1] / "vectors"
MISSING = "none"


@dataclass(frozen=True)
class MacAnswer:
    """`auth` under `key` gives `mac`, of which an SA carries `icv`: at least one of the two is there.

    `iv`: of GMAC, whose `icv` begins with it.
    """

    id: str
    section: str
    auth: str
    key: bytes
    message: bytes
    mac: bytes = b""
    icv: bytes = b""
    iv: bytes = b""


@dataclass(frozen=True)
class CipherAnswer:
    """`cipher` under `key` (with its nonce) and `iv` makes `ciphered` of `clear`."""

    id: str
    section: str
    cipher: str
    key: bytes
    iv: bytes
    clear: bytes
    ciphered: bytes


@dataclass(frozen=True)
class CombinedAnswer:
    """As CipherAnswer, with `aad` and `icv`. `clear` isn't published where the ICV is wrong (`valid` is false)."""

    id: str
    section: str
    cipher: str
    key: bytes
    iv: bytes
    aad: bytes
    ciphered: bytes
    icv: bytes
    valid: bool
    clear: bytes = b""


@dataclass(frozen=True)
class Packet:
    """A protected packet and what it was made of.

    Keys are whole keying material, with salt or nonce. `level`: "packet", or "transform" where no gateway need take
    it. `outer_header`: "published" or "synthesised". `sequence_high`: the upper half, of an SA that has extended
    sequence numbers. `clear_packet`: None where only the payload is published. `pad_length`: None in AH.
    """

    id: str
    section: str
    protocol: str
    mode: str
    level: str
    outer_header: str
    cipher: str
    cipher_key: bytes
    auth: str
    auth_key: bytes
    icv_octets: int
    spi: int
    sequence: int
    sequence_high: int | None
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    iv: bytes
    next_header: int
    pad_length: int | None
    clear_packet: bytes | None
    payload: bytes
    protected_packet: bytes
    note: str = ""

    @property
    def outer(self) -> bytes:
        """The IP header in front, without extension headers: no published packet has one."""
        first = self.protected_packet[0]
        return self.protected_packet[: (first & 0xF) * 4 if first >> 4 == 4 else 40]

    @property
    def body(self) -> bytes:
        """From the SPI of ESP, or from the first octet of AH, to the last octet."""
        return self.protected_packet[len(self.outer) :]

    @property
    def number(self) -> int:
        """The whole sequence number."""
        return (self.sequence_high or 0) << 32 | self.sequence

    @property
    def high(self) -> bytes:
        """The upper half as it counts in the ICV: nothing without extended sequence numbers."""
        return b"" if self.sequence_high is None else self.sequence_high.to_bytes(4)

    @property
    def associated(self) -> bytes:
        """Of a combined cipher (RFC 4106 section 5): SPI and the whole number."""
        return self.spi.to_bytes(4) + self.high + self.sequence.to_bytes(4)

    @property
    def clear(self) -> bytes:
        """What ESP hides: payload, padding, its length, next header (RFC 4303 section 2.4)."""
        assert self.pad_length is not None
        return self.payload + bytes(range(1, self.pad_length + 1)) + bytes((self.pad_length, self.next_header))


Answer = MacAnswer | CipherAnswer | CombinedAnswer | Packet

_KINDS: dict[str, type[Answer]] = {
    "mac": MacAnswer,
    "cipher": CipherAnswer,
    "combined": CombinedAnswer,
    "packet": Packet,
}
_READERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    int | None: lambda text: None if text == MISSING else int(text),
    bool: {"yes": True, "no": False}.__getitem__,
    bytes: bytes.fromhex,
    bytes | None: lambda text: None if text == MISSING else bytes.fromhex(text),
    IPv4Address | IPv6Address: ip_address,
}


def files() -> list[Path]:
    return sorted(VECTORS.glob("rfc*.txt"))


def records(text: str) -> Iterator[dict[str, str]]:
    """The `key = value` records of a file, which blank lines part. Raises ValueError for everything else."""
    record: dict[str, str] = {}
    last = ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if record:
                yield record
            record, last = {}, ""
        elif line[0] == " ":
            if not last:
                raise ValueError(f"line {number}: nothing goes on here")
            record[last] += line.strip()
        else:
            last, equals, value = (part.strip() for part in line.partition("="))
            if not equals or last in record:
                raise ValueError(f"line {number}: no key, or one that was here before")
            record[last] = value


def answer(record: dict[str, str]) -> Answer:
    """Raises KeyError or TypeError for a record that lacks a field, has one too many, or is of no kind."""
    made = _KINDS[record["kind"]]
    readers = {field.name: _READERS[field.type] for field in fields(made)}
    return made(**{key: readers[key](value) for key, value in record.items() if key != "kind"})


@cache
def answers() -> tuple[Answer, ...]:
    """All of them, file by file."""
    return tuple(answer(record) for path in files() for record in records(path.read_text()))


def macs() -> list[MacAnswer]:
    return [found for found in answers() if isinstance(found, MacAnswer)]


def ciphers() -> list[CipherAnswer]:
    return [found for found in answers() if isinstance(found, CipherAnswer)]


def combined() -> list[CombinedAnswer]:
    return [found for found in answers() if isinstance(found, CombinedAnswer)]


def packets(protocol: str | None = None) -> list[Packet]:
    """All, or those of "esp" or "ah"."""
    found = [found for found in answers() if isinstance(found, Packet)]
    return found if protocol is None else [packet for packet in found if packet.protocol == protocol]
