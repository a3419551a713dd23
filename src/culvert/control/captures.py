"""Packet captures: who may take which packets where, how many at a time, and the record of it in the audit log.

| call          | arguments                                                                   | answer             |
|---------------|-----------------------------------------------------------------------------|--------------------|
| capture-start | `vlan` or `decrypted`; `kind`, `host`, `port`; `seconds`, `packets`, `snap` | its state          |
| capture-state |                                                                             | see `_state`       |
| capture-read  | `offset`                                                                    | `data` in base64   |
| capture-stop  |                                                                             | its state          |

Outer packets are for whoever may see everything. What goes through the tunnels in clear is for the role admin. A user
has one capture, which is gone when the next one begins, and KEPT_SECONDS after its end.

Calls are answered in the loop's thread; packets are taken in a thread of each capture's own.
"""

import base64
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from culvert.config.snapshot import Snapshot
from culvert.control import access, errors
from culvert.control.accounts import origin
from culvert.control.audit import told_error
from culvert.control.capture_filter import KINDS, WITH_PORT, Wanted
from culvert.control.listener import Peer
from culvert.control.recording import PACKETS_MAX, SECONDS_MAX, SNAP_MAX, SNAP_MIN, Order, Recording
from culvert.control.server import Handle
from culvert.dataplane.userspace.marks import TUN_NAME
from culvert.model.names import full
from culvert.model.problems import BadValue
from culvert.model.values import parse_address
from culvert.plan.intent import links_of

Json = Any
RUNNING_MOST = 4
PIECE_OCTETS = 512 * 1024
TUNNELS = "all tunnels"
Who = tuple[str, bool]


class Record(Protocol):
    """Who is told about captures: the audit log."""

    def note(self, call: str, user: str, origin: str, what: str, result: str) -> None: ...


class Captures:
    """Answers the calls about captures, and gives all others to `carry_out`.

    `soon` has something done in the loop's thread. `tun` is the link of what the tunnels carry in clear.
    """

    def __init__(
        self,
        carry_out: Handle,
        record: Record,
        snapshot: Callable[[], Snapshot],
        directory: Path,
        soon: Callable[[Callable[[], None]], object],
        *,
        tun: str = TUN_NAME,
    ) -> None:
        self._carry_out = carry_out
        self._record = record
        self._snapshot = snapshot
        self._directory = directory
        self._soon = soon
        self._tun = tun
        self._held: dict[Who, Recording] = {}
        self._untold: dict[Recording, Peer] = {}
        self._calls: Mapping[str, Callable[[Mapping[str, Json], Peer], Json]] = {
            "capture-start": self._start,
            "capture-state": self._state,
            "capture-read": self._read,
            "capture-stop": self._stop,
        }

    def call(self, name: str, args: dict[str, Json], peer: Peer) -> Json:
        """One request. Raises ControlError."""
        own = self._calls.get(name)
        return self._carry_out(name, args, peer) if own is None else own(args, peer)

    def close(self) -> None:
        """End all of them, and write down what they took."""
        for own in self._held.values():
            own.close()
        self._held.clear()
        self._tell()

    def _start(self, args: Mapping[str, Json], peer: Peer) -> Json:
        decrypted = args.get("decrypted") is True
        try:
            self._allow("capture-start", decrypted, peer)
            order = self._order(args)
            made = self._begun(order, peer)
        except errors.ControlError as error:
            self._note("capture-start", peer, "decrypted" if decrypted else "outer", told_error(error))
            raise
        self._note("capture-start", peer, str(order), "ok")
        return made.state()

    def _begun(self, order: Order, peer: Peer) -> Recording:
        self._forget()
        before = self._held.get(_who(peer))
        if before is not None and before.is_running:
            raise errors.Refused(f"{peer.user} has a capture that is running; stop it first")
        if sum(own.is_running for own in self._held.values()) >= RUNNING_MOST:
            raise errors.Unavailable(f"{RUNNING_MOST} captures are running already; try again in a minute")
        try:
            made = Recording(order, self._directory, self._ended)
        except OSError as error:
            raise errors.Unavailable(f"link {order.link} can't be captured: {error.strerror or error}") from None
        if before is not None:
            before.close()
        self._held[_who(peer)] = made
        self._untold[made] = peer
        return made

    def _ended(self) -> None:
        """In the capture's thread: the audit log is the loop's."""
        with contextlib.suppress(RuntimeError):  # The loop is closed already: `close` tells.
            self._soon(self._tell)

    def _tell(self) -> None:
        """Note what captures that ended have taken."""
        for own, peer in [each for each in self._untold.items() if not each[0].is_running]:
            del self._untold[own]
            trouble = f", ended by {own.trouble}" if own.trouble else ""
            self._note("capture-end", peer, str(own.order), f"{own.packets} packets, {own.octets} octets{trouble}")

    def _state(self, args: Mapping[str, Json], peer: Peer) -> Json:
        """`own`: the state of the capture that the user has, or null. `vlans`: where it may be taken, outer."""
        allowed = self._allow("capture-state", False, peer)
        self._forget()
        found = self._held.get(_who(peer))
        links = links_of(self._snapshot())
        return {
            "own": found.state() if found is not None else None,
            "running": sum(own.is_running for own in self._held.values()),
            "running_most": RUNNING_MOST,
            "vlans": [{"name": name, "link": own.name} for name, own in sorted(links.items())],
            "decrypts": allowed.may_decrypt,
            "limits": {"seconds": SECONDS_MAX, "packets": PACKETS_MAX, "snap": SNAP_MAX},
        }

    def _read(self, args: Mapping[str, Json], peer: Peer) -> Json:
        found = self._own("capture-read", peer)
        offset = _number(args, "offset", 0, 0, 2**40)
        if offset == 0:
            self._note("capture-read", peer, str(found.order), "ok")
        return {"data": base64.b64encode(found.read(offset, PIECE_OCTETS)).decode(), "running": found.is_running}

    def _stop(self, args: Mapping[str, Json], peer: Peer) -> Json:
        found = self._own("capture-stop", peer)
        found.stop()
        return found.state()

    def _own(self, call: str, peer: Peer) -> Recording:
        """The user's own, if it still may be: roles change."""
        self._allow(call, False, peer)
        self._forget()
        found = self._held.get(_who(peer))
        if found is None:
            raise errors.NotFound("packet capture", peer.user)
        self._allow(call, found.order.decrypted, peer)
        return found

    def _allow(self, call: str, decrypted: bool, peer: Peer) -> access.Access:
        found = access.of(peer, self._snapshot())
        found.check(call, {"decrypted": decrypted})
        return found

    def _forget(self) -> None:
        self._tell()
        self._held = {who: own for who, own in self._held.items() if not own.is_gone}

    def _order(self, args: Mapping[str, Json]) -> Order:
        """Raises SyntaxProblem, NotFound."""
        decrypted = args.get("decrypted", False)
        if not isinstance(decrypted, bool):
            raise errors.SyntaxProblem("decrypted: true or false is expected")
        place, link = (TUNNELS, self._tun) if decrypted else self._vlan(args.get("vlan"))
        return Order(
            link=link,
            place=place,
            decrypted=decrypted,
            wanted=_wanted(args),
            seconds=_number(args, "seconds", 10, 1, SECONDS_MAX),
            packets=_number(args, "packets", 1000, 1, PACKETS_MAX),
            snap=_number(args, "snap", SNAP_MAX, SNAP_MIN, SNAP_MAX),
        )

    def _vlan(self, name: Json) -> tuple[str, str]:
        if not isinstance(name, str) or not name:
            raise errors.SyntaxProblem("vlan: the name of a VLAN is expected, or decrypted")
        found = links_of(self._snapshot()).get(full(name))
        if found is None:
            raise errors.NotFound("VLAN with an interface", full(name))
        return f"VLAN {name}", found.name

    def _note(self, call: str, peer: Peer, what: str, result: str) -> None:
        self._record.note(call, peer.user, origin(peer, peer.address), what, result)


def _who(peer: Peer) -> Who:
    return peer.user, peer.by_password


def _number(args: Mapping[str, Json], word: str, default: int, least: int, most: int) -> int:
    value = args.get(word, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise errors.SyntaxProblem(f"{word}: a number from {least} to {most} is expected")
    return value


def _wanted(args: Mapping[str, Json]) -> Wanted:
    kind, host, port = args.get("kind", "any"), args.get("host"), None
    if kind not in KINDS:
        raise errors.SyntaxProblem(f"kind: one of {', '.join(KINDS)} is expected")
    if args.get("port") is not None:
        if kind not in WITH_PORT:
            raise errors.SyntaxProblem(f"port: {kind} has none that can be chosen")
        port = _number(args, "port", 0, 0, 65535)
    if host is None:
        return Wanted(kind, None, port)
    try:
        return Wanted(kind, parse_address(str(host), any_allowed=False).ip, port)
    except BadValue as error:
        raise errors.SyntaxProblem(f"host: {error}") from None
