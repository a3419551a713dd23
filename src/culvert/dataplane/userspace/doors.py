"""All sockets of the packet process, held by its parent: those that are always open, and those that an SA asks for."""

import socket
from collections.abc import Iterable, Mapping

from culvert.dataplane.userspace import sockets
from culvert.dataplane.userspace.sockets import UdpPort


class Doors:
    """Sockets by the names that the packet process knows them by."""

    def __init__(self) -> None:
        self._always: dict[str, socket.socket] = {}
        self._ports: dict[UdpPort, socket.socket] = {}

    def open(self) -> None:
        """Those that are always open."""
        self._always = self._always or sockets.open_all()

    def inherit(self, fds: Mapping[str, int]) -> None:
        """Go on with sockets that are open already; each descriptor by its socket's name."""
        for name, fd in fds.items():
            opened = socket.socket(fileno=fd)
            if name.startswith("udp"):
                version, _, port = name.removeprefix("udp").partition("-")
                self._ports[UdpPort(int(version), int(port))] = opened
            else:
                self._always[name] = opened

    @property
    def ports(self) -> frozenset[UdpPort]:
        """UDP ports that are open."""
        return frozenset(self._ports)

    def open_port(self, port: UdpPort) -> bool:
        """Whether it was opened now; False where it is open already. OSError where another program has it."""
        if port in self._ports:
            return False
        self._ports[port] = sockets.open_udp(port)
        return True

    def close_port(self, port: UdpPort) -> None:
        self._ports.pop(port).close()

    def close_ports_but(self, wanted: Iterable[UdpPort]) -> None:
        """Those that nobody asks for any more."""
        for port in self._ports.keys() - set(wanted):
            self.close_port(port)

    def fds(self, ports: Iterable[UdpPort]) -> dict[str, int]:
        """What the packet process inherits, to hear of these ports."""
        opened = {**self._always, **{port.name: self._ports[port] for port in ports}}
        return {name: each.fileno() for name, each in opened.items()}

    def close(self) -> None:
        self.close_ports_but(())
        for opened in self._always.values():
            opened.close()
