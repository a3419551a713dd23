"""What becomes of a packet: exactly one of these."""

from typing import NamedTuple

from culvert.ipsec.drops import Reason
from culvert.ipsec.sa import IPAddress, SecurityAssociation
from culvert.ipsec.sadb import Inbound, Outbound, Record
from culvert.ipsec.spd import Policy


class Send(NamedTuple):
    """Give this outer packet, and after it the `rest`, to the network.

    There is a rest where the packet had to be cut. `record.sequence` is the number that the last one carries.
    `bundled`: the AH SA that signed what `record` sealed. `policy` is None for what the gateway sends by itself.
    """

    packet: bytes
    destination: IPAddress
    sa: SecurityAssociation
    policy: Policy | None
    record: Outbound
    rest: tuple[bytes, ...] = ()
    bundled: Outbound | None = None


class Deliver(NamedTuple):
    """Give this inner packet to the host, which forwards or takes it. `bundled`: the AH SA that it came through too."""

    packet: bytes
    sa: SecurityAssociation
    policy: Policy
    record: Inbound
    bundled: Inbound | None = None


class Bypass(NamedTuple):
    """An outbound packet that no entry of the SPD speaks of."""

    packet: bytes


class Hold(NamedTuple):
    """A fragment that waits for the others of its packet."""


class Drop(NamedTuple):
    """The packet's end. `sa` and `policy` as far as they were known by then.

    `answer`: an ICMP error for the packet's source, to be given to the host.
    """

    reason: Reason
    sa: SecurityAssociation | None = None
    policy: Policy | None = None
    record: Record | None = None
    answer: bytes | None = None


Verdict = Send | Deliver | Bypass | Hold | Drop


def drop_of(record: Record, reason: Reason, policy: Policy | None = None, answer: bytes | None = None) -> Drop:
    """The end of a packet that had got as far as to an SA, which counts it."""
    record.usage.count_drop(reason)
    return Drop(reason, record.sa, policy, record, answer)
