"""All sockets of the packet process, held by its parent: those that are always open, and those that an SA asks for."""

import socket
from collections.abc import Iterable

from culvert.dataplane.userspace import sockets
from culvert.dataplane.userspace.shares import named
from culvert.dataplane.userspace.sockets import UdpPort
from culvert.dataplane.userspace.wanted import Wanted
from culvert.dataplane.userspace.xdp import FastLinks
from culvert.ipsec.sa import SecurityAssociation


class Doors:
    """Sockets by the names that the packet process knows them by."""

    def __init__(self, choice: str, workers: int = 1) -> None:
        """`choice`: how plain ESP comes and goes; see `xdp`. `workers`: of the packet process, each with its own."""
        self._workers = workers
        self._always: dict[str, socket.socket] = {}
        self._ports: dict[UdpPort, list[socket.socket]] = {}
        self._fast = FastLinks(choice, workers)
        self._heard: frozenset[UdpPort] = frozenset()
        """Ports that the packet process hears of."""

    def open(self) -> None:
        """Those that are always open."""
        self._always = self._always or sockets.open_all(self._workers)

    def inherit(self, fds: dict[str, int]) -> None:
        """Go on with sockets that are open already, and that a packet process has; descriptors by their names."""
        self._fast.inherit(fds)
        for name, fd in sorted(fds.items()):
            opened = socket.socket(fileno=fd)
            if name.startswith("udp"):
                version, _, port = name.removeprefix("udp").partition(".")[0].partition("-")
                self._ports.setdefault(UdpPort(int(version), int(port)), []).append(opened)
            else:
                self._always[name] = opened
        self._heard = frozenset(self._ports)

    @property
    def words(self) -> str:
        """How plain ESP comes and goes."""
        return f"AF_XDP at {self._fast.words}" if self._fast.words else "raw sockets"

    def lacks(self, wanted: Wanted) -> bool:
        """Whether the packet process has to be given others, which means a new one."""
        return self._heard != wanted.udp_ports or self._fast.differs(wanted.esp_links)

    def open_port(self, port: UdpPort) -> bool:
        """Whether it was opened now; False where it is open already. OSError where another program has it."""
        if port in self._ports:
            return False
        self._ports[port] = sockets.open_ports(port, self._workers)
        return True

    def close_port(self, port: UdpPort) -> None:
        for opened in self._ports.pop(port):
            opened.close()

    def close_ports_but(self, wanted: Iterable[UdpPort]) -> None:
        """Those that nobody asks for any more."""
        for port in self._ports.keys() - set(wanted):
            self.close_port(port)

    def renew(self, wanted: Wanted) -> dict[str, int]:
        """What a new packet process inherits."""
        self._fast.renew(wanted.esp_links)
        self._heard = wanted.udp_ports
        ports = ((port.name, at, each) for port in self._heard for at, each in enumerate(self._ports[port]))
        opened = {**self._always, **{named(name, at): each for name, at, each in ports}}
        return {name: each.fileno() for name, each in opened.items()} | self._fast.fds()

    def steer(self, sas: Iterable[SecurityAssociation]) -> None:
        """These are all that there are: see `xdp`."""
        self._fast.steer(sas)

    def sentences(self) -> list[str]:
        """What happened since the last time."""
        told, self._fast.sentences = self._fast.sentences, []
        return told

    def close(self) -> None:
        self.close_ports_but(())
        self._fast.close()
        for opened in self._always.values():
            opened.close()
