"""Reading what `tmsh show` prints: the lab is a user, so it has the text and nothing else."""

import re
from dataclasses import dataclass

_SA = re.compile(r"(\S+)\s+->\s+(\S+)\s+SPI\(0x([0-9a-f]+)\)\s+(in|out)\s+(\S+)\s+\(tmm:\s+(\d+)\)")
_STAT = re.compile(r"^\s*(\d+)\s+(TUNNEL|TRANSPORT)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s*$", re.MULTILINE)
_USAGE = re.compile(r"SPI:\s*0x([0-9a-f]+).*?State:\s*(\w+).*?Current Usage:\s*(\d+)\s*bytes", re.DOTALL)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}


@dataclass(frozen=True, slots=True)
class SaLine:
    """A line of `show net ipsec ipsec-sa`."""

    source: str
    destination: str
    spi: int
    direction: str
    protocol: str


@dataclass(frozen=True, slots=True)
class SaDetail:
    """What `all-properties` tells about one SA."""

    spi: int
    state: str
    octets: int


@dataclass(frozen=True, slots=True)
class Stat:
    """The sum of all rows of `show net ipsec-stat`."""

    packets_in: int
    octets_in: int
    packets_out: int
    octets_out: int

    def grew_from(self, before: "Stat", packets: int) -> bool:
        """Both directions by at least so many packets, and by octets."""
        return (
            self.packets_in >= before.packets_in + packets
            and self.packets_out >= before.packets_out + packets
            and self.octets_in > before.octets_in
            and self.octets_out > before.octets_out
        )


def security_associations(text: str) -> list[SaLine]:
    return [SaLine(s, d, int(spi, 16), direction, protocol) for s, d, spi, direction, protocol, _ in _SA.findall(text)]


def details(text: str) -> list[SaDetail]:
    return [SaDetail(int(spi, 16), state, int(octets)) for spi, state, octets in _USAGE.findall(text)]


def statistics(text: str) -> Stat:
    rows = [[number(word) for word in row[2:]] for row in _STAT.findall(text)]
    return Stat(*(sum(column) for column in zip(*rows, strict=True))) if rows else Stat(0, 0, 0, 0)


def number(word: str) -> int:
    """353.9K -> 353900."""
    unit = word[-1] if word[-1].isalpha() else ""
    return round(float(word.removesuffix(unit)) * _UNITS[unit])
