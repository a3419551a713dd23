"""The command line of the lab: `culvert lab up|status|exec|tmsh|verify|demo|down`."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from culvert.lab import keys, program
from culvert.lab import verify as verification
from culvert.lab.bringup import bring_up, explain_failure, next_steps
from culvert.lab.demo import Demo
from culvert.lab.errors import LabError
from culvert.lab.lab import DEFAULT_PREFIX, Lab
from culvert.lab.screen import Screen
from culvert.lab.topology import GATEWAYS, NODES

# A prefix and "-client" name a namespace; the prefix and "-lab" a directory.
_PREFIX_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_PREFIX_MAX = 24


def run(arguments: Sequence[str]) -> int:
    """Do what the words say; the exit status."""
    options = _parser().parse_args(arguments)
    screen, lab = Screen(), Lab(options.prefix)
    try:
        _require_root()
        return int(options.action(lab, options, screen))
    except LabError as failure:
        explain_failure(lab, f"lab {options.command}", failure, screen)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="culvert lab", description="Two sites on this machine: client - culvert-a == wan == culvert-b - server."
    )
    parser.add_argument(
        "--prefix", type=_prefix, default=DEFAULT_PREFIX,
        help="beginning of the namespaces' names (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="make the two sites and configure both gateways with tmsh")
    up.add_argument("--keys", type=Path, metavar="FILE", help="use these keys and SPIs instead of fresh ones")
    up.set_defaults(action=_up)
    commands.add_parser("status", help="nodes, daemons, links and SAs").set_defaults(action=_status)
    execute = commands.add_parser("exec", help="run a command in a node: exec client -- ping 10.2.0.10")
    execute.add_argument("node", metavar="NODE", help="|".join(NODES))
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    execute.set_defaults(action=_execute)
    tmsh = commands.add_parser("tmsh", help="run tmsh on a gateway: tmsh a show net ipsec ipsec-sa")
    tmsh.add_argument("node", metavar="NODE", help="|".join(GATEWAYS))
    tmsh.add_argument("words", nargs=argparse.REMAINDER, metavar="...")
    tmsh.set_defaults(action=_tmsh)
    verify = commands.add_parser("verify", help="the procedure's verification steps")
    verify.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    verify.set_defaults(action=_verify)
    demo = commands.add_parser("demo", help="up, verify, a file transfer, a summary, down")
    demo.add_argument("--size", type=_megabytes, default=50, metavar="MB", help="of the file (default: %(default)s)")
    demo.set_defaults(action=_demo)
    commands.add_parser("down", help="stop and remove everything of the lab").set_defaults(action=_down)
    return parser


def _prefix(text: str) -> str:
    if not 1 <= len(text) <= _PREFIX_MAX or not set(text) <= _PREFIX_LETTERS or text.startswith("-"):
        raise argparse.ArgumentTypeError(f"{text!r}: 1 to {_PREFIX_MAX} of a-z, 0-9 and -")
    return text


def _megabytes(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise argparse.ArgumentTypeError("1 to 100000")
    return number


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces and needs root")


def _up(lab: Lab, options: argparse.Namespace, screen: Screen) -> int:
    bring_up(lab, keys.load(options.keys) if options.keys else keys.fresh(), screen)
    next_steps(lab, screen)
    return 0


def _status(lab: Lab, _options: argparse.Namespace, screen: Screen) -> int:
    lab.require_up()
    for node in NODES:
        namespace = lab.namespace(node)
        screen.title(namespace.name + ("" if namespace.exists else ": missing"))
        if namespace.exists:
            screen.block(namespace.ip("-brief", "address"), indent="  ")
        if node in GATEWAYS:
            _status_of_gateway(lab, node, screen)
    return 0 if all(lab.daemon(node).pid for node in GATEWAYS) else 1


def _status_of_gateway(lab: Lab, node: str, screen: Screen) -> None:
    daemon = lab.daemon(node)
    runs = daemon.pid is not None
    screen.check(runs, "culvertd", f"process {daemon.pid}" if runs else f"log {daemon.log_path}")
    if runs:
        screen.block(lab.show(node, "show net ipsec ipsec-sa"), indent="  ")


def _execute(lab: Lab, options: argparse.Namespace, _screen: Screen) -> int:
    lab.require_up()
    node = lab.node(options.node)
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    return _become(lab.namespace(node).command(words or [os.environ.get("SHELL", "/bin/sh")]), lab.environment(node))


def _tmsh(lab: Lab, options: argparse.Namespace, _screen: Screen) -> int:
    lab.require_up()
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    node = lab.daemon(lab.node(options.node)).name
    return _become([program.ours("tmsh"), *words], lab.environment(node))


def _become(command: Sequence[str], environment: dict[str, str]) -> int:
    """Turn into the program: its terminal, its signals and its exit status are then the user's own."""
    sys.stdout.flush()
    os.environ.update(environment)
    try:
        os.execvp(command[0], list(command))
    except OSError as failure:
        raise LabError(f"{command[0]}: {failure.strerror}") from None


def _verify(lab: Lab, options: argparse.Namespace, screen: Screen) -> int:
    if options.json:
        report = verification.verify(lab, lambda _check: None)
        screen.write(json.dumps(report.document(), indent=2))
    else:
        report = verification.verify(lab, lambda check: screen.check(check.passed, check.name, check.detail))
    return 0 if report.passed else 1


def _demo(lab: Lab, options: argparse.Namespace, screen: Screen) -> int:
    if lab == Lab() and lab.is_up:
        lab = Lab(f"{DEFAULT_PREFIX}-demo")
        screen.write(f"  your lab stays as it is: the demonstration is called {lab.prefix}")
    return Demo(lab, screen, options.size * 1_000_000).run()


def _down(lab: Lab, _options: argparse.Namespace, screen: Screen) -> int:
    lab.down()
    screen.check(not lab.topology.exists, f"no lab {lab.prefix}", "stopped and removed")
    return 0
