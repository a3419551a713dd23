"""`racoonctl [-l...] COMMAND PROTOCOL`: SAs shown, flushed and deleted as the vendor's users are used to."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from culvert.control.client import Client
from culvert.control.errors import ControlError
from culvert.racoonctl import layout

USAGE = """usage:
  racoonctl [opts] show-sa [protocol]
  racoonctl [opts] flush-sa [protocol]
  racoonctl [opts] delete-sa <saopts>

General options:
  -d    Debug: accepted, without effect
  -l    More detail; may be given more than once
  -s    <socket>        The control socket of culvertd

  <protocol>: "isakmp", "esp", "ah", "ipsec" or "internal"
  <saopts>: "esp" or "ah", the family "inet" or "inet6", then source and destination address
"""
SHORT = {
    "ss": "show-sa",
    "fs": "flush-sa",
    "ds": "delete-sa",
    "rc": "reload-config",
    "sc": "show-schedule",
    "es": "establish-sa",
    "vc": "vpn-connect",
    "vd": "vpn-disconnect",
    "se": "show-event",
}
OF_IKE = frozenset({"show-schedule", "establish-sa", "vpn-connect", "vpn-disconnect", "show-event", "reload-config"})
PROTOCOLS = ("isakmp", "ipsec", "ah", "esp", "internal")


class Caller(Protocol):
    """Whoever carries calls to the daemon."""

    def call(self, name: str, /, **args: object) -> Any: ...


class Misuse(Exception):
    """A command line that makes no sense."""


@dataclass(slots=True)
class Options:
    """What stands in front of the command. `detail`: how many -l."""

    detail: int = 0
    socket: Path | None = None
    words: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when it worked, 1 when it did not or the command line makes no sense."""
    try:
        options = _options(list(sys.argv[1:] if arguments is None else arguments))
        if not options.words:
            print(USAGE, end="", file=sys.stderr)
            return 1
        with Client(options.socket) as client:
            answer = run(options.words, options.detail, client)
    except (Misuse, ControlError) as error:
        print(error.text if isinstance(error, ControlError) else str(error), file=sys.stderr)
        return 1
    if answer:
        print(answer)
    return 0


def run(words: Sequence[str], detail: int, client: Caller) -> str:
    """One command; what it prints. Raises Misuse or ControlError."""
    command = SHORT.get(words[0], words[0])
    if command == "show-sa":
        return _show(_protocol(words), detail, client)
    if command == "flush-sa":
        _flush(_protocol(words), client)
        return ""
    if command == "delete-sa":
        return _delete(list(words[1:]), client)
    if command in OF_IKE:
        raise Misuse(f"racoonctl: {command} is of IKE, which doesn't run here")
    raise Misuse(f"Invalid command [{words[0]}]")


def _options(arguments: list[str]) -> Options:
    options = Options()
    while arguments and arguments[0].startswith("-"):
        flag = arguments.pop(0)
        if flag == "-s":
            if not arguments:
                raise Misuse("racoonctl: option requires an argument -- 's'")
            options.socket = Path(arguments.pop(0))
        elif set(flag[1:]) <= {"l", "d"} and len(flag) > 1:
            options.detail += flag.count("l")
        else:
            raise Misuse(f"racoonctl: invalid option -- '{flag.lstrip('-')}'")
    options.words = arguments
    return options


def _protocol(words: Sequence[str]) -> str:
    if len(words) != 2:
        raise Misuse("racoonctl: insufficient arguments")
    if words[1] not in PROTOCOLS:
        raise Misuse(f"racoonctl: unknown protocol {words[1]}")
    return words[1]


def _show(protocol: str, detail: int, client: Caller) -> str:
    if protocol == "isakmp":
        return layout.isakmp(client.call("show", what="net ipsec ike-sa"), detail)
    if protocol == "internal":
        return layout.internal(client.call("show", what="net ipsec ike-sa"))
    (process, *_) = client.call("show", what="sys tmm-info") or [{}]
    return layout.associations(_associations(protocol, client), time.time(), process.get("process") or 0)


def _associations(protocol: str, client: Caller) -> list[Mapping[str, Any]]:
    found = client.call("show", what="net ipsec ipsec-sa")
    return [own for own in found if protocol in ("ipsec", own["protocol"])]


def _flush(protocol: str, client: Caller) -> None:
    """SAs of IKE there are none; manual ones come back from the configuration at once, their counters going on."""
    if protocol in ("esp", "ah", "ipsec"):
        for own in _associations(protocol, client):
            client.call("delete-sas", filters=_filters(own))


def _delete(words: list[str], client: Caller) -> str:
    """`delete-sa esp inet SOURCE DESTINATION`; `isakmp` is accepted and finds nothing."""
    if not words or words[0] not in ("isakmp", "esp", "ah"):
        raise Misuse("racoonctl: delete-sa wants esp, ah or isakmp, then inet or inet6, source and destination")
    ends = [word for word in words[1:] if word not in ("inet", "inet6")]
    if len(ends) != 2:
        raise Misuse("racoonctl: insufficient arguments")
    found = [
        own
        for own in ([] if words[0] == "isakmp" else _associations(words[0], client))
        if [own["source"], own["destination"]] == ends
    ]
    if not found:
        raise Misuse(f"racoonctl: there is no such SA: {words[0]} {ends[0]} {ends[1]}")
    for own in found:
        client.call("delete-sas", filters=_filters(own))
    return ""


def _filters(own: Mapping[str, Any]) -> dict[str, object]:
    return {"spi": str(own["spi"]), "src-addr": own["source"], "dst-addr": own["destination"]}


if __name__ == "__main__":
    sys.exit(main())
