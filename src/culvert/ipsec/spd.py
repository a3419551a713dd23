"""The security policy database: ordered, directional entries, first match wins (RFC 4301 section 4.4.1)."""

from dataclasses import dataclass
from enum import Enum

from culvert.ipsec.sa import Direction, IPAddress, Mode, Protocol
from culvert.ipsec.selector import Selector


class Action(Enum):
    """What happens to a packet that an entry matches."""

    PROTECT = "protect"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One SPD entry. `order` is tried from low to high, then `label`. `reqid` names the SAs that serve it."""

    direction: Direction
    selector: Selector
    order: int
    label: str
    reqid: int
    action: Action = Action.PROTECT
    protocol: Protocol = Protocol.ESP
    mode: Mode = Mode.TUNNEL
    tunnel_source: IPAddress | None = None
    tunnel_destination: IPAddress | None = None
