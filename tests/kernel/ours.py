"""Culvert's side of a row: the changes that `plan` would make of it. The driver calls this, inside its own process."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from culvert.change import AddAddress, AddPolicy, Address, AddSa, Change, SetTunnelMtu
from culvert.dataplane.userspace import counters
from culvert.dataplane.userspace.plane import UserspacePlane
from culvert.ipsec.overhead import largest_inner
from culvert.ipsec.sa import Direction, Mode, Protocol, SecurityAssociation, UdpPorts
from culvert.ipsec.secret import Secret
from culvert.ipsec.selector import Selector
from culvert.ipsec.spd import Policy
from tests.dataplane import sites
from tests.kernel.keys import (
    BEFORE_WRAP,
    COMPRESSION_INDEX,
    OURS,
    THEIRS,
    WRAP_AT,
    Ring,
    key,
    number,
    protected,
    rings,
    spi,
    wan,
)
from tests.kernel.rows import ROWS, Row

LINK_MTU = 1500
GROUND_MTU = 1400
SENDERS = {Direction.OUT: OURS, Direction.IN: THEIRS}
WRONG_SPI = 0x100000


def ground() -> list[Change]:
    """All but protection, with every service of the gateway itself open: transport mode talks to it."""
    return [_opened(each) if isinstance(each, AddAddress) else each for each in sites.ground(OURS)]


def _opened(change: AddAddress) -> AddAddress:
    old = change.address
    return AddAddress(Address(link=old.link, interface=old.interface, label=old.label, services=None))


def association(row: Row, ring: Ring, direction: Direction) -> SecurityAssociation:
    sender = SENDERS[direction]
    receiver = THEIRS if sender == OURS else OURS
    shift = WRONG_SPI if row.fault == "wrong-spi" else 0
    is_inmost = ring.number == 0
    return SecurityAssociation(
        spi=spi(row, ring, sender) + shift,
        source=ip_address(wan(row)[sender]),
        destination=ip_address(wan(row)[receiver]),
        protocol=Protocol[ring.protocol.upper()],
        mode=Mode(ring.mode),
        direction=direction,
        auth=ring.auth,
        auth_key=_secret(row, ring, sender, "auth"),
        cipher=ring.cipher,
        cipher_key=_secret(row, ring, sender, "cipher"),
        reqid=number(row),
        esn=row.esn,
        compression=COMPRESSION_INDEX if row.ipcomp and is_inmost else 0,
        encapsulation=UdpPorts() if row.udp and is_inmost else None,
        label=f"{row.name} {ring.number} {direction.value}",
    )


def _secret(row: Row, ring: Ring, sender: str, purpose: str) -> Secret:
    right = key(row, ring, sender, purpose)
    return Secret(bytes(octet ^ 0x55 for octet in right) if row.fault == "wrong-key" else right)


def associations(row: Row, direction: Direction) -> list[SecurityAssociation]:
    return [association(row, ring, direction) for ring in rings(row)]


def policy(row: Row, direction: Direction) -> Policy:
    sender = SENDERS[direction]
    nets = protected(row, inbound=direction is Direction.IN)
    return Policy(
        direction=direction,
        selector=Selector(
            source=ip_network(nets[sender]), destination=ip_network(nets[THEIRS if sender == OURS else OURS])
        ),
        order=1,
        label=f"{row.name} {direction.value}",
        reqid=number(row),
        protocol=Protocol[row.protocol.upper()],
        mode=Mode(row.mode),
        bundle_ah=row.bundle,
    )


def tunnel_mtu(row: Row) -> int:
    """Octets of the largest packet that fits the link once it is protected."""
    inmost, *around = associations(row, Direction.OUT)
    return largest_inner(inmost, LINK_MTU, around[0] if around else None)


def added(row: Row) -> list[Change]:
    changes: list[Change] = [SetTunnelMtu(GROUND_MTU, tunnel_mtu(row))]
    for direction in Direction:
        changes += [AddSa(each) for each in associations(row, direction)]
        changes.append(AddPolicy(policy(row, direction)))
    return changes


def turned(old: str, new: str) -> Sequence[Change]:
    """From one row to the next, by their names; no name: none."""
    gone = [change.inverse() for change in reversed(added(_named(old)))] if old else []
    return [*gone, *(added(_named(new)) if new else [])]


def _named(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


def turn(plane: UserspacePlane, old: str, new: str) -> None:
    """Make the change; the SAs of a row that crosses 2**32 start shortly in front of it."""
    if new and _named(new).fault == "wrap":
        for sa in associations(_named(new), Direction.OUT):
            _start_at(plane, sa, WRAP_AT - BEFORE_WRAP)
    plane.apply(turned(old, new))


def _start_at(plane: UserspacePlane, sa: SecurityAssociation, sequence: int) -> None:
    """As if the counters file said so of a gateway that was here before."""
    file = plane._counters
    slot = file.slot_for(sa.identity(), sa.direction, set())
    file.numbers[file.base(slot) + counters.SEQUENCE] = sequence
