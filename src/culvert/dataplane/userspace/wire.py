"""What the parent and the packet process say to each other: one JSON object per line, over a private socketpair.

Keys travel as hex, in these lines and nowhere else: the socketpair has no name, and nobody prints a line.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from culvert.change import AddPolicy, AddSa, RemovePolicy, RemoveSa
from culvert.ipsec.sa import Direction, IPAddress, Mode, Protocol, SecurityAssociation
from culvert.ipsec.secret import Secret
from culvert.ipsec.selector import PortRange, Selector
from culvert.ipsec.spd import Action, Policy

PacketChange = AddSa | RemoveSa | AddPolicy | RemovePolicy
"""The changes that concern the packet process."""

LINE_OCTETS_MAX = 256 * 1024 * 1024

_KINDS: dict[str, type[PacketChange]] = {kind.__name__: kind for kind in (AddSa, RemoveSa, AddPolicy, RemovePolicy)}


@dataclass(frozen=True, slots=True)
class Apply:
    """Make these changes, all or none. `slots`: for each change the SA's slot in the counters file, or -1."""

    changes: tuple[PacketChange, ...]
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reset:
    """Zero the packet, octet and drop counts."""


@dataclass(frozen=True, slots=True)
class Reply:
    """`failed` is the position of the change to blame; None with a sentence blames no single one."""

    failed: int | None = None
    sentence: str = ""


Message = Apply | Reset | Reply


def emit(message: Message) -> bytes:
    """The line, with its newline."""
    match message:
        case Apply(changes, slots):
            content: dict[str, Any] = {"apply": _emit_changes(changes), "slots": list(slots)}
        case Reset():
            content = {"reset": True}
        case Reply(failed, sentence):
            content = {"failed": failed, "sentence": sentence}
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def parse(line: bytes) -> Message:
    """The message of one line. ValueError for anything else, without a word of the line in it."""
    try:
        content = json.loads(line)
        if "apply" in content:
            return Apply(tuple(_parse_change(each) for each in content["apply"]), tuple(content["slots"]))
        if "reset" in content:
            return Reset()
        return Reply(content["failed"], content["sentence"])
    except (ValueError, KeyError, TypeError):
        # `from None`: the cause would quote the line, and with it keys.
        raise ValueError("not a message between culvertd and the packet process") from None


def _emit_changes(changes: Sequence[PacketChange]) -> list[dict[str, Any]]:
    return [_emit_change(change) for change in changes]


def _emit_change(change: PacketChange) -> dict[str, Any]:
    match change:
        case AddSa(sa) | RemoveSa(sa):
            content = _emit_sa(sa)
        case AddPolicy(policy) | RemovePolicy(policy):
            content = _emit_policy(policy)
    return {"kind": type(change).__name__, **content}


def _parse_change(content: dict[str, Any]) -> PacketChange:
    kind = _KINDS[content.pop("kind")]
    if kind is AddSa or kind is RemoveSa:
        return kind(_parse_sa(content))
    if kind is AddPolicy or kind is RemovePolicy:
        return kind(_parse_policy(content))
    raise ValueError("unknown kind")


def _emit_sa(sa: SecurityAssociation) -> dict[str, Any]:
    return {
        "spi": sa.spi,
        "source": str(sa.source),
        "destination": str(sa.destination),
        "protocol": int(sa.protocol),
        "mode": sa.mode.value,
        "direction": sa.direction.value,
        "auth": sa.auth,
        "auth_key": sa.auth_key.reveal().hex(),
        "cipher": sa.cipher,
        "cipher_key": sa.cipher_key.reveal().hex(),
        "reqid": sa.reqid,
        "replay_window": sa.replay_window,
        "label": sa.label,
    }


def _parse_sa(content: dict[str, Any]) -> SecurityAssociation:
    return SecurityAssociation(
        spi=content["spi"],
        source=ip_address(content["source"]),
        destination=ip_address(content["destination"]),
        protocol=Protocol(content["protocol"]),
        mode=Mode(content["mode"]),
        direction=Direction(content["direction"]),
        auth=content["auth"],
        auth_key=Secret(bytes.fromhex(content["auth_key"])),
        cipher=content["cipher"],
        cipher_key=Secret(bytes.fromhex(content["cipher_key"])),
        reqid=content["reqid"],
        replay_window=content["replay_window"],
        label=content["label"],
    )


def _emit_policy(policy: Policy) -> dict[str, Any]:
    selector = policy.selector
    return {
        "direction": policy.direction.value,
        "source": str(selector.source),
        "destination": str(selector.destination),
        "ip_protocol": selector.protocol,
        "source_ports": _emit_ports(selector.source_ports),
        "destination_ports": _emit_ports(selector.destination_ports),
        "order": policy.order,
        "label": policy.label,
        "reqid": policy.reqid,
        "action": policy.action.value,
        "protocol": int(policy.protocol),
        "mode": policy.mode.value,
        "tunnel_source": _emit_address(policy.tunnel_source),
        "tunnel_destination": _emit_address(policy.tunnel_destination),
    }


def _parse_policy(content: dict[str, Any]) -> Policy:
    selector = Selector(
        source=ip_network(content["source"]),
        destination=ip_network(content["destination"]),
        protocol=content["ip_protocol"],
        source_ports=_parse_ports(content["source_ports"]),
        destination_ports=_parse_ports(content["destination_ports"]),
    )
    return Policy(
        direction=Direction(content["direction"]),
        selector=selector,
        order=content["order"],
        label=content["label"],
        reqid=content["reqid"],
        action=Action(content["action"]),
        protocol=Protocol(content["protocol"]),
        mode=Mode(content["mode"]),
        tunnel_source=_parse_address(content["tunnel_source"]),
        tunnel_destination=_parse_address(content["tunnel_destination"]),
    )


def _emit_ports(ports: PortRange | None) -> list[int] | None:
    return None if ports is None else [ports.first, ports.last]


def _parse_ports(content: list[int] | None) -> PortRange | None:
    return None if content is None else PortRange(*content)


def _emit_address(address: IPAddress | None) -> str | None:
    return None if address is None else str(address)


def _parse_address(content: str | None) -> IPAddress | None:
    return None if content is None else ip_address(content)
