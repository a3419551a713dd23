"""The kernel's side of a row in the words of `ip xfrm`, one command a line, for `ip -batch`."""

from collections.abc import Iterator

from culvert.ipsec.algorithms import auth_row, cipher_row
from tests.kernel.keys import (
    BEFORE_WRAP,
    COMPRESSION_INDEX,
    OURS,
    THEIRS,
    WINDOW,
    WRAP_AT,
    Ring,
    key,
    number,
    protected,
    rings,
    spi,
    wan,
)
from tests.kernel.rows import AH, TRANSPORT, TUNNEL, Row

PEER = {OURS: THEIRS, THEIRS: OURS}
PRIORITY = 10
FLUSH = "xfrm policy flush\nxfrm state flush\n"


def installed(row: Row) -> str:
    """Everything that the kernel has to be told."""
    return "\n".join(_commands(row)) + "\n"


def _commands(row: Row) -> Iterator[str]:
    for sender in (THEIRS, OURS):
        if row.ipcomp:
            yield _compression(row, sender)
        for ring in rings(row):
            yield _state(row, ring, sender)
        yield _policy(row, sender)
    if row.udp and row.mode == TRANSPORT:
        yield _bypass(row)


def _state(row: Row, ring: Ring, sender: str) -> str:
    mode = TRANSPORT if row.ipcomp else ring.mode
    words = [f"xfrm state add {_between(row, sender)} proto {ring.protocol} spi {spi(row, ring, sender):#x}"]
    words += [f"reqid {number(row)} mode {mode} replay-window {WINDOW}", *_flags(row, ring)]
    words += _start(row, sender) + _algorithms(row, ring, sender)
    if row.udp and ring.number == 0:
        words.append("encap espinudp 4500 4500 0.0.0.0")
    return " ".join(words)


def _between(row: Row, sender: str) -> str:
    return f"src {wan(row)[sender]} dst {wan(row)[PEER[sender]]}"


def _flags(row: Row, ring: Ring) -> list[str]:
    """`align4`: without it Linux pads AH to 8 octets in IPv4 too, against RFC 4302 section 3.3.3.2.1."""
    wanted = {
        "esn": row.esn,
        "align4": ring.protocol == AH and row.outer == 4,
        # Linux holds what comes out of a tunnel against the selector of every SA around it, family and all.
        "af-unspec": row.mode == TUNNEL,
    }
    flags = [name for name, is_wanted in wanted.items() if is_wanted]
    return ["flag", *flags] if flags else []


def _start(row: Row, sender: str) -> list[str]:
    if row.fault != "wrap":
        return []
    before = WRAP_AT - BEFORE_WRAP
    return [f"replay-oseq {before:#x}"] if sender == THEIRS else [f"replay-seq {before:#x}"]


def _algorithms(row: Row, ring: Ring, sender: str) -> list[str]:
    cipher, auth = cipher_row(ring.cipher), auth_row(ring.auth)
    cipher_key, auth_key = _hex(key(row, ring, sender, "cipher")), _hex(key(row, ring, sender, "auth"))
    if cipher.combined:
        return [f"aead {cipher.kernel_name} {cipher_key} {cipher.icv_octets * 8}"]
    words = [f"auth-trunc {auth.kernel_name} {auth_key} {auth.icv_octets * 8}"]
    return words if ring.protocol == AH else [*words, f"enc {cipher.kernel_name} {cipher_key}"]


def _hex(octets: bytes) -> str:
    return f"0x{octets.hex()}" if octets else '""'


def _compression(row: Row, sender: str) -> str:
    """In tunnel mode Linux makes the IP-in-IP state by itself that what it didn't compress comes through."""
    flags = " flag af-unspec" if row.mode == TUNNEL else ""
    return (
        f"xfrm state add {_between(row, sender)} proto comp spi {COMPRESSION_INDEX:#x} reqid {number(row)} "
        f"mode {row.mode}{flags} comp deflate"
    )


def _policy(row: Row, sender: str) -> str:
    inbound = sender == OURS
    nets = protected(row, inbound=inbound)
    direction = "in" if inbound else "out"
    selector = f"src {nets[sender]} dst {nets[PEER[sender]]}"
    return " ".join(
        [f"xfrm policy add {selector} dir {direction} priority {PRIORITY}", *_templates(row, sender, inbound=inbound)]
    )


def _bypass(row: Row) -> str:
    """Linux asks the policies about the UDP around ESP before it takes the ESP out, and it is between the same ends."""
    ports = "proto udp sport 4500 dport 4500"
    return f"xfrm policy add {_between(row, OURS)} {ports} dir in priority {PRIORITY - 1} action allow"


def _templates(row: Row, sender: str, *, inbound: bool) -> Iterator[str]:
    for protocol, mode in _chain(row):
        # What wasn't worth compressing comes without: the template may be missing on the way in.
        level = " level use" if protocol == "comp" and inbound else ""
        yield f"tmpl {_between(row, sender)} proto {protocol} reqid {number(row)} mode {mode}{level}"


def _chain(row: Row) -> Iterator[tuple[str, str]]:
    if row.ipcomp:
        yield "comp", row.mode
    for ring in rings(row):
        yield ring.protocol, TRANSPORT if row.ipcomp else ring.mode
