"""What the rows run on: three namespaces of the virtual machine.

client 10.1.0.5 ---- 10.1.0.1 Culvert 2.2.2.2 ==== 3.3.3.3 the kernel, which is also 10.2.0.5
       fd01::5         fd01::1        fd0f::2      fd0f::3                           fd02::5
"""

import json
import socket
import subprocess
from collections import Counter
from pathlib import Path
from subprocess import PIPE, STDOUT

from tests.dataplane.sites import WAN4, WAN6
from tests.dataplane.topology import Gateway, Namespace, run
from tests.kernel import words
from tests.kernel.keys import END4, END6, OURS, THEIRS
from tests.kernel.rows import TRANSPORT, Row

MODULES = (
    *("tun", "veth", "dummy", "nf_tables", "xfrm_user", "esp4", "esp6", "ah4", "ah6", "ipcomp", "ipcomp6"),
    *("xfrm4_tunnel", "xfrm6_tunnel", "tunnel4", "tunnel6", "authenc", "authencesn", "seqiv", "echainiv"),
    *("ccm", "gcm", "ctr", "cmac", "xcbc", "chacha20poly1305", "des_generic", "md5", "sha512_generic", "deflate"),
)
IPV6_MTU = 1280
"""Of the client's IPv6 route: what is larger it cuts itself, as IPv6 demands of a source."""
UDP_ENCAP, UDP_ENCAP_ESPINUDP = 100, 2
NAT_PORT = 4500
STATISTICS = Path("/proc/thread-self/net/xfrm_stat")
"""Of the thread's own namespace; /proc/net is the whole process's."""


class Ground:
    """Both sides, without protection until the first `turn`."""

    def __init__(self, state: Path) -> None:
        run("modprobe", "-a", *MODULES, check=False, timeout=120)
        self.client = Namespace("client")
        self.ours = Gateway("gwa", state)
        self.kernel = Namespace("kernel")
        _cable(self.client, "eth0", self.ours, "lan")
        _cable(self.ours, "wan", self.kernel, "wan")
        self._address_client()
        self._address_kernel()
        self.encapsulating = [self.kernel.inside(lambda family=family: _encap_socket(family)) for family in FAMILIES]
        self._row = ""
        self.last_drops: Counter[str] = Counter()
        """As they were asked for last, which is slow: at the end of the row before."""
        self.ours.start()
        self.ours.do("plane.apply(__import__('tests.kernel.ours', fromlist=['ours']).ground())")
        # Neither side asks for the other's link address: with transport mode the question is protected traffic.
        self._know_each_other()

    def _address_client(self) -> None:
        _batch(
            self.client,
            "link set eth0 up",
            f"addr add {END4[OURS]}/16 dev eth0",
            f"addr add {END6[OURS]}/64 dev eth0 nodad",
            "route add default via 10.1.0.1",
        )
        self.client_mtu6()

    def client_mtu6(self, octets: int = IPV6_MTU) -> None:
        """How large the client's IPv6 packets may be at first."""
        _batch(self.client, f"-6 route replace default via fd01::1 mtu {octets}")

    def _address_kernel(self) -> None:
        _batch(
            self.kernel,
            "link set wan up",
            f"addr add {WAN4[THEIRS]}/32 dev wan",
            f"addr add {WAN6[THEIRS]}/64 dev wan nodad",
            "link add lan type dummy",
            "link set lan up",
            f"addr add {END4[THEIRS]}/16 dev lan",
            f"addr add {END6[THEIRS]}/64 dev lan nodad",
            f"route add {WAN4[OURS]}/32 dev wan",
            f"route add 10.1.0.0/16 via {WAN4[OURS]} dev wan onlink src {END4[THEIRS]}",
            f"-6 route add fd01::/64 via {WAN6[OURS]} dev wan src {END6[THEIRS]}",
        )

    def _know_each_other(self) -> None:
        links = {side: link_address(each) for side, each in ((OURS, self.ours), (THEIRS, self.kernel))}
        for namespace, other in ((self.ours, THEIRS), (self.kernel, OURS)):
            known = (f"neigh replace {wan[other]} lladdr {links[other]} dev wan" for wan in (WAN4, WAN6))
            _batch(namespace, *known)

    def turn(self, row: Row | None) -> None:
        """Take the protection of the row before away on both sides, and install this row's."""
        name = row.name if row else ""
        _ip(self.kernel, words.FLUSH + (words.installed(row) if row else ""))
        ours = "__import__('tests.kernel.ours', fromlist=['ours'])"
        self.ours.do(f"{ours}.turn(plane, {self._row!r}, {name!r})")
        self._row = name
        if row and row.fault == "path-mtu":
            for each in (self.client, self.kernel, self.ours):
                _batch(each, "route flush cache", "-6 route flush cache")

    def near_end(self, row: Row) -> Namespace:
        """Who talks on our side."""
        return self.ours if row.mode == TRANSPORT else self.client

    def statistics(self) -> "Counter[str]":
        """The kernel side's counts of what went wrong."""
        lines = self.kernel.inside(STATISTICS.read_text).splitlines()
        return Counter({name: int(count) for name, count in map(str.split, lines)})

    def drops(self) -> "Counter[str]":
        self.last_drops = Counter(self.ours.drops())
        return self.last_drops

    def blame(self) -> str:
        """What may explain a failure."""
        return json.dumps({"drops": self.drops(), "xfrm_stat": +self.statistics()})

    def delete(self) -> None:
        self.ours.stop()
        for socket_ in self.encapsulating:
            socket_.close()
        for namespace in (self.client, self.ours, self.kernel):
            namespace.delete()


FAMILIES = (socket.AF_INET, socket.AF_INET6)


def _encap_socket(family: int) -> socket.socket:
    """The kernel takes ESP out of UDP only for a port that a socket says so of (Linux: udp.h)."""
    opened = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.bind(("", NAT_PORT))
    opened.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
    return opened


def _cable(one: Namespace, one_link: str, other: Namespace, other_link: str) -> None:
    words = ("type", "veth", "peer", "name", other_link, "netns", other.name)
    run("ip", "link", "add", one_link, "netns", one.name, *words)


def link_address(namespace: Namespace) -> str:
    return namespace.run("cat", "/sys/class/net/wan/address").strip()


def _batch(namespace: Namespace, *commands: str) -> None:
    _ip(namespace, "\n".join(commands) + "\n")


def _ip(namespace: Namespace, commands: str) -> None:
    """By standard input, because there are keys in it. `ip -batch` knows no `-6`, so those lines go by themselves."""
    for option, lines in _by_option(commands.splitlines()):
        # A child of the thread that stands in the namespace: `ip netns exec` would be one more program to start.
        command = ("ip", *option, "-batch", "-")
        pipes = {"stdin": PIPE, "stdout": PIPE, "stderr": STDOUT}
        ip = namespace.inside(lambda command=command, pipes=pipes: subprocess.Popen(command, **pipes))
        output, _ = ip.communicate("".join(f"{line}\n" for line in lines).encode(), timeout=60)
        if ip.returncode:
            raise AssertionError(f"ip -batch: {output.decode()}")


def _by_option(lines: list[str]) -> list[tuple[list[str], list[str]]]:
    six = [line.removeprefix("-6 ") for line in lines if line.startswith("-6 ")]
    plain = [line for line in lines if not line.startswith("-6 ")]
    return [(option, group) for option, group in (([], plain), (["-6"], six)) if group]
