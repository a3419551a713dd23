"""What the parent and the packet process say to each other: one JSON object per line, over a private socket.

Keys travel as hex, in these lines and nowhere else: only root can open the socket, and nobody prints a line.
"""

import json
from dataclasses import dataclass
from typing import Any

from culvert.change import AddPolicy, AddSa, RemovePolicy, RemoveSa
from culvert.dataplane.userspace.codec import codec_of
from culvert.dataplane.userspace.leases import Lease
from culvert.ipsec.sa import SecurityAssociation
from culvert.ipsec.spd import Policy

PacketChange = AddSa | RemoveSa | AddPolicy | RemovePolicy
"""The changes that concern the packet process."""

_ENCODE = json.JSONEncoder(separators=(",", ":")).encode

_SA = codec_of(SecurityAssociation)
_POLICY = codec_of(Policy)
_KINDS: dict[str, type[PacketChange]] = {kind.__name__: kind for kind in (AddSa, RemoveSa, AddPolicy, RemovePolicy)}


@dataclass(frozen=True, slots=True)
class Apply:
    """Make these changes, all or none.

    `slots`: for each change the SA's slot in the counters file, or -1. `leases`: for each new outbound SA, in their
    order, what the counter journal knows of its numbers.
    """

    changes: tuple[PacketChange, ...]
    slots: tuple[int, ...]
    leases: tuple[Lease, ...] = ()
    replace: bool = False
    """The changes are the whole configuration: what isn't among them goes, what is the same stays as it is."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A new parent asks who is there. The answer brings all descriptors along."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """`names`: of the descriptors, in their order. `version`: of program and words, which a parent has to share."""

    pid: int
    version: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class End:
    """The packet process is to end; without this it outlives its parent."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Zero the packet, octet and drop counts."""


@dataclass(frozen=True, slots=True)
class Reply:
    """`failed` is the position of the change to blame; None with a sentence blames no single one."""

    failed: int | None = None
    sentence: str = ""


Message = Apply | Reset | Hello | Welcome | End | Reply


def emit(message: Message) -> bytes:
    """The line, with its newline."""
    match message:
        case Apply(changes, slots, leases, replace):
            rest = _ENCODE({"slots": list(slots), "leases": [list(lease) for lease in leases], "replace": replace})
            # Each change by itself: all of them as dictionaries would take more memory than the configuration.
            told = ",".join([_ENCODE(_emit_change(change)) for change in changes])
            return f'{{"apply":[{told}],{rest[1:]}\n'.encode()
        case Reset():
            content: dict[str, Any] = {"reset": True}
        case Hello():
            content = {"hello": True}
        case Welcome(pid, version, names):
            content = {"welcome": [pid, version, list(names)]}
        case End():
            content = {"end": True}
        case Reply(failed, sentence):
            content = {"failed": failed, "sentence": sentence}
    return _ENCODE(content).encode() + b"\n"


def parse(line: bytes) -> Message:
    """The message of one line. ValueError for anything else, without a word of the line in it."""
    try:
        content = json.loads(line)
        if "apply" in content:
            leases = tuple(Lease(*each) for each in content["leases"])
            changes = tuple(_parse_change(each) for each in content["apply"])
            return Apply(changes, tuple(content["slots"]), leases, content["replace"])
        for word, kind in _WITHOUT_CONTENT.items():
            if word in content:
                return kind()
        if "welcome" in content:
            pid, version, names = content["welcome"]
            return Welcome(pid, version, tuple(names))
        return Reply(content["failed"], content["sentence"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # `from None`: the cause would quote the line, and with it keys.
        raise ValueError("not a message between culvertd and the packet process") from None


_WITHOUT_CONTENT: dict[str, type[Reset] | type[Hello] | type[End]] = {"reset": Reset, "hello": Hello, "end": End}


def _emit_change(change: PacketChange) -> dict[str, Any]:
    match change:
        case AddSa(sa) | RemoveSa(sa):
            content = _SA.emit(sa)
        case AddPolicy(policy) | RemovePolicy(policy):
            content = _POLICY.emit(policy)
    return {"kind": type(change).__name__, "content": content}


def _parse_change(content: dict[str, Any]) -> PacketChange:
    kind = _KINDS[content["kind"]]
    if kind is AddSa or kind is RemoveSa:
        return kind(_SA.parse(content["content"]))
    if kind is AddPolicy or kind is RemovePolicy:
        return kind(_POLICY.parse(content["content"]))
    raise ValueError("unknown kind")
