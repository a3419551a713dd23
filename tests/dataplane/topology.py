"""Four network namespaces: client - gwA == wan == gwB - server, made by the test and always taken away.

client 10.1.0.5 ---- 10.1.0.1 gwA 2.2.2.2 ==== 3.3.3.3 gwB 10.2.0.1 ---- 10.2.0.5 server
       fd01::5         fd01::1     fd0f::2      fd0f::3     fd02::1        fd02::5
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Path(__file__).with_name("driver.py")
IPSEC_PROTOCOLS = (50, 51)
ETH_P_ALL = 3
CLONE_NEWNET = 0x40000000
_numbers = count()
Result = TypeVar("Result")


def run(*command: str, check: bool = True, timeout: float = 20) -> str:
    """The output of a command, which has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def wait_until(question: Callable[[], Result], seconds: float = 5.0) -> Result:
    """The answer as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (answer := question()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer, f"not so within {seconds} s"
    return answer


class Namespace:
    """A network namespace with a name of its own."""

    def __init__(self, role: str) -> None:
        self.name = f"cv{os.getpid()}-{next(_numbers)}-{role}"
        run("ip", "netns", "add", self.name)
        try:
            self._prepare()
        except BaseException:
            self.delete()
            raise

    def _prepare(self) -> None:
        self.run("ip", "link", "set", "lo", "up")
        # Tests wait for nothing: no duplicate address detection.
        self.run("sh", "-c", "for f in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $f; done")

    def run(self, *command: str, check: bool = True, timeout: float = 20) -> str:
        return run("ip", "netns", "exec", self.name, *command, check=check, timeout=timeout)

    def popen(self, *command: str, **settings: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command], text=True, **settings)

    def pings(self, address: str, *options: str, count: int = 2) -> bool:
        """Whether every ping is answered, each within a second."""
        words = ("ping", "-n", "-i", "0.02", "-W", "1", "-c", str(count), *options, address)
        said = self.run(*words, check=False)
        if " 0% packet loss" in said:
            return True
        # Told where the test fails by it: which one was lost, and whether here.
        print(said, self.run("ip", "neigh"), self.run("ip", "-6", "neigh"), self.run("ip", "-s", "link"), sep="\n")
        return False

    @contextlib.contextmanager
    def pinging(self, address: str, interval: float, *options: str) -> Iterator[None]:
        """A ping that runs all the time."""
        ping = self.popen("ping", "-n", "-q", "-i", str(interval), *options, address, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            ping.kill()
            ping.wait()

    @contextlib.contextmanager
    def flooding(self, address: str) -> Iterator[None]:
        """As many pings as are answered, 50 under way all the time."""
        ping = self.popen("ping", "-n", "-q", "-f", "-l", "50", address, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            ping.kill()
            ping.wait()

    def inside(self, question: Callable[[], Result]) -> Result:
        """Call something with the thread's foot in this namespace."""
        answers: list[Result] = []

        def body() -> None:
            with Path(f"/run/netns/{self.name}").open() as there:
                os_setns(there.fileno())
            answers.append(question())

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        return answers[0]

    def delete(self) -> None:
        """With every process that still lives in it: a packet process outlives its parent."""
        for word in run("ip", "netns", "pids", self.name, check=False).split():
            if int(word) != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(word), signal.SIGKILL)
        run("ip", "netns", "del", self.name, check=False)


def os_setns(fd: int) -> None:
    """os.setns is there from Python 3.12 on."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Gateway(Namespace):
    """A namespace with a plane in a process of its own, which obeys lines of Python."""

    def __init__(self, role: str, state: Path) -> None:
        super().__init__(role)
        self.side = role[-1]
        self.state = state
        self._driver: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._driver = self.popen(
            sys.executable, str(DRIVER), str(self.state), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def do(self, source: str) -> Any:
        """The value of an expression over `plane` and the names of tests.dataplane.sites."""
        self.tell(source)
        return self.answer()

    def tell(self, source: str) -> None:
        """As `do`, without waiting for the answer."""
        assert self._driver and self._driver.stdin
        self._driver.stdin.write(json.dumps(source) + "\n")
        self._driver.stdin.flush()

    def answer(self) -> Any:
        assert self._driver and self._driver.stdout
        answer = json.loads(self._driver.stdout.readline())
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["value"]

    def apply(self, changes: str) -> None:
        self.do(f"plane.apply({changes})")

    @property
    def driver_pid(self) -> int:
        assert self._driver
        return self._driver.pid

    @property
    def process_id(self) -> int:
        """The packet process's."""
        number: int = self.do("plane.process_id")
        return number

    def drops(self) -> dict[str, int]:
        found: dict[str, int] = self.do("{d.reason.name: d.packets for d in plane.drops()}")
        return found

    def stop(self) -> None:
        """Close the plane and end the driver."""
        if self._driver and self._driver.poll() is None:
            self.do("plane.close()")
            self.kill()

    def kill(self) -> None:
        """As kill -9 of the parent."""
        if self._driver:
            self._driver.kill()
            self._driver.wait()
            for pipe in (self._driver.stdin, self._driver.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._driver = None

    def delete(self) -> None:
        self.kill()
        super().delete()


class Sniffer:
    """Everything that crosses a link, from a packet socket opened in its namespace."""

    def __init__(self, namespace: Namespace, link: str) -> None:
        self._socket = namespace.inside(lambda: _packet_socket(link))

    def packets(self) -> list[bytes]:
        """The IP packets since the last call, but for neighbour discovery."""
        found = []
        while True:
            try:
                frame = self._socket.recv(65535)
            except BlockingIOError:
                return found
            except OSError:
                # The link went down for a while.
                continue
            if frame[12:14] in (b"\x08\x00", b"\x86\xdd") and not _is_discovery(frame[14:]):
                found.append(frame[14:])

    def clear(self) -> list[bytes]:
        """Of these the ones that aren't IPsec."""
        return [packet for packet in self.packets() if not _is_ipsec(packet)]

    def close(self) -> None:
        self._socket.close()


def _packet_socket(link: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL))
    opened.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)
    opened.bind((link, ETH_P_ALL))
    return opened


def _is_ipsec(packet: bytes) -> bool:
    protocol = packet[9] if packet[0] >> 4 == 4 else packet[6]
    fragment_of_ipsec = protocol == 44 and packet[40] in IPSEC_PROTOCOLS
    return protocol in IPSEC_PROTOCOLS or fragment_of_ipsec


def _is_discovery(packet: bytes) -> bool:
    """Neighbour discovery, and the multicast listener reports that go with it."""
    if packet[0] >> 4 == 4:
        return False
    return (packet[6] == 58 and 133 <= packet[40] <= 137) or packet[24] == 0xFF


def protocols(packets: Iterable[bytes]) -> set[int]:
    """The protocols that the outer headers name."""
    return {packet[9] if packet[0] >> 4 == 4 else packet[6] for packet in packets}


class Wan:
    """The whole picture."""

    def __init__(self, state: Path) -> None:
        self._made: list[Namespace] = []
        self.client = self._keep(Namespace("client"))
        self.a = Gateway("gwa", state / "a")
        self._keep(self.a)
        self.b = Gateway("gwb", state / "b")
        self._keep(self.b)
        self.server = self._keep(Namespace("server"))
        _cable(self.client, "eth0", self.a, "lan")
        _cable(self.a, "wan", self.b, "wan")
        _cable(self.b, "lan", self.server, "eth0")
        for end, number in ((self.client, 1), (self.server, 2)):
            end.run("ip", "link", "set", "eth0", "up")
            end.run("ip", "addr", "add", f"10.{number}.0.5/16", "dev", "eth0")
            end.run("ip", "addr", "add", f"fd0{number}::5/64", "dev", "eth0", "nodad")
            end.run("ip", "route", "add", "default", "via", f"10.{number}.0.1")
            end.run("ip", "-6", "route", "add", "default", "via", f"fd0{number}::1")

    def _keep(self, namespace: Namespace) -> Namespace:
        self._made.append(namespace)
        return namespace

    @property
    def gateways(self) -> tuple[Gateway, Gateway]:
        return self.a, self.b

    def start(self, configuration: str = "site(side)") -> None:
        """Both planes, with an expression over `side` ("a" or "b")."""
        for gateway in self.gateways:
            gateway.start()
        for gateway in self.gateways:
            gateway.tell(f"plane.apply({configuration.replace('side', repr(gateway.side))})")
        for gateway in self.gateways:
            gateway.answer()

    def delete(self) -> None:
        for namespace in self._made:
            namespace.delete()


def _cable(one: Namespace, one_link: str, other: Namespace, other_link: str) -> None:
    # Each end is born where it belongs: another test may be looking at the links that this machine itself has.
    one.run("ip", "link", "add", one_link, "type", "veth", "peer", "name", other_link, "netns", other.name)
    for namespace, link in ((one, one_link), (other, other_link)):
        # What crosses the cable is what a real one would carry: UDP isn't left in super-packets.
        namespace.run("ip", "link", "set", link, "gso_max_segs", "1")


@contextlib.contextmanager
def sniffing(namespace: Namespace, link: str) -> Iterator[Sniffer]:
    sniffer = Sniffer(namespace, link)
    try:
        yield sniffer
    finally:
        sniffer.close()
