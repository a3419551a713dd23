"""`racoonctl [-l...] COMMAND PROTOCOL`: SAs shown, flushed and deleted as the vendor's users are used to."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from culvert.control.client import Client, Part
from culvert.control.errors import ControlError
from culvert.model.shows import IPSEC_SA, PROTOCOL
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
INTERRUPTED = 130
"""What a shell calls the exit of a program that ctrl-C ended."""
PROTOCOLS = ("isakmp", "ipsec", "ah", "esp", "internal")


class Caller(Protocol):
    """Whoever carries calls to the daemon."""

    def call(self, name: str, /, **args: object) -> Any: ...

    def stream(self, name: str, /, **args: object) -> Iterator[Part]: ...


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
            for piece in run(options.words, options.detail, client):
                print(piece, flush=True)
    except (Misuse, ControlError) as error:
        print(error.text if isinstance(error, ControlError) else str(error), file=sys.stderr)
        return 1
    except BrokenPipeError:
        _give_up_output()
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def run(words: Sequence[str], detail: int, client: Caller) -> Iterable[str]:
    """One command; what it prints, by lines that belong together. Raises Misuse or ControlError, also midway."""
    command = SHORT.get(words[0], words[0])
    if command == "show-sa":
        return _show(_protocol(words), detail, client)
    if command == "flush-sa":
        _flush(_protocol(words), client)
        return ()
    if command == "delete-sa":
        _delete(list(words[1:]), client)
        return ()
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


def _show(protocol: str, detail: int, client: Caller) -> Iterable[str]:
    if protocol == "isakmp":
        return [layout.isakmp(client.call("show", what="net ipsec ike-sa"), detail)]
    if protocol == "internal":
        return [layout.internal(client.call("show", what="net ipsec ike-sa"))]
    (process, *_) = client.call("show", what="sys tmm-info") or [{}]
    parts = client.stream("show", what=IPSEC_SA, filters=_of(protocol))
    return layout.associations(parts, time.time(), process.get("process") or 0)


def _of(protocol: str) -> dict[str, object]:
    return {} if protocol == "ipsec" else {PROTOCOL: protocol}


def _flush(protocol: str, client: Caller) -> None:
    """SAs of IKE there are none; manual ones come back from the configuration at once, their counters going on."""
    if protocol in ("esp", "ah", "ipsec"):
        client.call("delete-sas", filters=_of(protocol))


def _delete(words: list[str], client: Caller) -> None:
    """`delete-sa esp inet SOURCE DESTINATION`; `isakmp` is accepted and finds nothing."""
    if not words or words[0] not in ("isakmp", "esp", "ah"):
        raise Misuse("racoonctl: delete-sa wants esp, ah or isakmp, then inet or inet6, source and destination")
    ends = [word for word in words[1:] if word not in ("inet", "inet6")]
    if len(ends) != 2:
        raise Misuse("racoonctl: insufficient arguments")
    filters = {PROTOCOL: words[0], "src-addr": ends[0], "dst-addr": ends[1]}
    if words[0] == "isakmp" or not client.call("show", what=IPSEC_SA, filters=filters):
        raise Misuse(f"racoonctl: there is no such SA: {words[0]} {ends[0]} {ends[1]}")
    client.call("delete-sas", filters=filters)


def _give_up_output() -> None:
    """Who read our output is gone; what is left in its buffer would be tried, and complained about, at the end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
