"""One lab as a whole: its topology, its two systems, and where they keep their files."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from culvert.lab import daemon, program, sites
from culvert.lab.daemon import Daemon
from culvert.lab.errors import LabError
from culvert.lab.keys import Keys
from culvert.lab.namespace import Namespace
from culvert.lab.program import Outcome
from culvert.lab.sites import Line
from culvert.lab.topology import GATEWAYS, NODES, Topology

DEFAULT_PREFIX = "culvert"


@dataclass(frozen=True, slots=True)
class Lab:
    """The lab whose namespaces begin with `prefix`; its files are in /run/PREFIX-lab."""

    prefix: str = DEFAULT_PREFIX

    @property
    def directory(self) -> Path:
        return Path("/run") / f"{self.prefix}-lab"

    @property
    def topology(self) -> Topology:
        return Topology(self.prefix)

    def node(self, name: str) -> str:
        """The node that a user means by `a` or `culvert-a`."""
        short = name.removeprefix(f"{self.prefix}-")
        if short not in NODES:
            raise LabError(f"there is no node {name}; there are: {', '.join(NODES)}")
        return short

    def namespace(self, node: str) -> Namespace:
        return self.topology.namespace(node)

    def daemon(self, node: str) -> Daemon:
        if node not in GATEWAYS:
            raise LabError(f"{node} is no gateway; the gateways are: {', '.join(GATEWAYS)}")
        return Daemon(node, self.namespace(node), self.directory)

    @property
    def is_up(self) -> bool:
        return self.topology.exists and any(self.daemon(node).pid is not None for node in GATEWAYS)

    def require_up(self) -> None:
        if not self.topology.exists:
            raise LabError("the lab is not up", "start it with: culvert lab up")

    def add_topology(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.topology.add()

    def configure(self, node: str, keys: Mapping[str, Keys], tell: Callable[[Line], None]) -> None:
        """Type the procedure into one system, line by line; `tell` sees each line just before."""
        for line in sites.lines(sites.SITES[node], keys):
            tell(line)
            self.enter(node, line)

    def enter(self, node: str, line: Line) -> str:
        """One tmsh command that has to succeed."""
        words, text = ([], line.text + "\n") if line.by_stdin else (line.text.split(), None)
        outcome = self.tmsh(node, words, text)
        if outcome.status != 0:
            raise LabError(f"{self.prefix}-{node} refused: tmsh {line.shown}", outcome.errors or outcome.output)
        return outcome.output

    def tmsh(self, node: str, words: Sequence[str], text: str | None = None) -> Outcome:
        return program.run([program.ours("tmsh"), *words], text=text, env=self.environment(node))

    def show(self, node: str, command: str) -> str:
        """What a tmsh command that has to succeed prints."""
        return self.enter(node, Line(command))

    def environment(self, node: str) -> dict[str, str]:
        return {"CULVERT_SOCKET": str(self.daemon(node).socket_path)} if node in GATEWAYS else {}

    def down(self, keep_logs: bool = False) -> None:
        """Stop and remove whatever there is of this lab, also what a crashed `up` left."""
        for node in GATEWAYS:
            self.daemon(node).stop()
        # What still lives in the namespaces has lost its daemon or was started by `exec`.
        daemon.end(self._strays())
        self.topology.remove()
        self._remove_files(keep_logs)

    def _strays(self) -> list[int]:
        own = set(_ancestors(os.getpid()))
        return [pid for namespace in self.topology.namespaces() for pid in namespace.pids() if pid not in own]

    def _remove_files(self, keep_logs: bool) -> None:
        if not keep_logs:
            shutil.rmtree(self.directory, ignore_errors=True)
            return
        for path in self.directory.iterdir() if self.directory.exists() else ():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.suffix != ".log":
                path.unlink()

    def log_paths(self) -> Iterable[Path]:
        return (self.daemon(node).log_path for node in GATEWAYS)


def _ancestors(pid: int) -> list[int]:
    """`pid` and the processes that it descends from."""
    chain = []
    while pid > 1:
        chain.append(pid)
        pid = daemon.parent(pid)
    return chain
