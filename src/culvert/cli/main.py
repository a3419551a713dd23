"""The program `culvert`: one word, then the arguments of that tool."""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import culvert


@dataclass(frozen=True, slots=True)
class Tool:
    """A subcommand. Its module has `run(arguments) -> exit status` and is loaded when it is asked for."""

    module: str
    summary: str

    def run(self, arguments: Sequence[str]) -> int:
        entry = cast(Callable[[Sequence[str]], int], importlib.import_module(self.module).run)
        return entry(arguments)


TOOLS = {
    "lab": Tool("culvert.lab.main", "two sites on this machine: up, status, exec, tmsh, verify, demo, down"),
    "config": Tool("culvert.cli.config", "saved configurations: history, diff, rollback"),
    "explain": Tool("culvert.cli.explain", "the way of one packet through the gateway, and where it would die"),
    "audit": Tool("culvert.cli.audit", "the audit log: whether a line was changed, taken out or put in"),
    "verify": Tool("culvert.cli.verify", "the verification list of the manual, on the running gateway"),
    "pcap": Tool("culvert.cli.offline", "send a capture file through a gateway that a configuration describes"),
}


def usage() -> str:
    tools = "\n".join(f"  {name:<8} {tool.summary}" for name, tool in TOOLS.items())
    return f"usage: culvert TOOL ...\n\n{tools}\n\nculvert TOOL --help tells more; culvert --version, the version.\n"


def run(arguments: Sequence[str]) -> int:
    """0 when it worked, 1 when it did not, 2 when the command line makes no sense."""
    if arguments and arguments[0] in TOOLS:
        return TOOLS[arguments[0]].run(arguments[1:])
    if list(arguments) in (["--version"], ["-V"]):
        print(f"culvert {culvert.__version__}")
        return 0
    asked = list(arguments) in (["--help"], ["-h"], ["help"])
    unknown = "" if asked or not arguments else f"culvert: there is no tool {arguments[0]!r}\n"
    print(unknown + usage(), file=sys.stdout if asked else sys.stderr, end="")
    return 0 if asked else 2


def main() -> int:
    """The exit status; that of a program ended by SIGPIPE when whoever reads the output has read enough."""
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer would be tried again, and complained about, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return status


if __name__ == "__main__":
    sys.exit(main())
