"""`make bench-rest`: many clients read and write by REST at once, and nothing that was written is lost.

Each client has a policy of its own whose description it counts up, and reads back each time; one policy is everybody's,
and ends with a value that some client wrote last. No request fails, and `generation` never goes back.

    python -m bench.rest [--clients 200] [--seconds 60] [--short]
"""

import argparse
import asyncio
import itertools
import json
import socket
import ssl
import sys
import time
from base64 import b64encode
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

from tests.rest.gateways import Gateway
from tests.rest.wire import Wire, alone, basic

POLICIES = "/mgmt/tm/net/ipsec/ipsec-policy"
SHARED = f"{POLICIES}/shared"
READS = ("/mgmt/tm/sys/version", SHARED, f"{POLICIES}?$select=name&$top=5", "/mgmt/tm/net/self")
ANSWER_SECONDS = 30.0
AT_THE_DOOR = 16
_TCP = (socket.AF_INET, socket.SOCK_STREAM)


@dataclass(slots=True)
class Found:
    """What all clients saw. Times in seconds."""

    reads: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    last_shared: dict[int, str] = field(default_factory=dict)


class Client:
    """One connection that asks one request after the other."""

    def __init__(self, number: int, gateway: Gateway, found: Found) -> None:
        self._number = number
        self._gateway = gateway
        self._found = found
        self._generation = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        login = b64encode(f"admin:{gateway.password}".encode()).decode()
        self._head = f"Host: a\r\nAuthorization: Basic {login}\r\n"

    async def work(self, until: float, gate: asyncio.Semaphore) -> None:
        """Read and write until then. `gate`: all handshakes at once would measure how fast this process does them."""
        try:
            async with gate:
                await self._connect()
            await self._rounds(until)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self._found.wrong.append(f"client {self._number}: {error!r}")
        finally:
            if self._writer is not None:
                self._writer.close()

    async def _connect(self) -> None:
        made = self._gateway.lab.namespace(self._gateway.node).socket(*_TCP)
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self._gateway.port))
        self._reader, self._writer = await asyncio.open_connection(sock=made, ssl=_context(), server_hostname="")

    async def _rounds(self, until: float) -> None:
        own, text = f"{POLICIES}/own-{self._number}", ""
        for count in itertools.count():
            if time.monotonic() >= until:
                return
            for target in READS:
                await self._ask("GET", target)
            shown = await self._ask("GET", own)
            if text and shown.get("description") != text:
                self._found.wrong.append(f"client {self._number}: {shown.get('description')} where {text} was written")
            text = f"count-{count}"
            self._rises(await self._ask("PATCH", own, {"description": text}))
            if count % 5 == 0:
                word = f"client-{self._number}-{count}"
                self._rises(await self._ask("PATCH", SHARED, {"description": word}))
                self._found.last_shared[self._number] = word

    def _rises(self, shown: dict[str, Any]) -> None:
        now = int(shown.get("generation", 0))
        if now < self._generation:
            self._found.wrong.append(f"client {self._number}: generation {now} after {self._generation}")
        self._generation = now

    async def _ask(self, method: str, target: str, body: Any = None) -> dict[str, Any]:
        octets = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\n{self._head}Content-Length: {len(octets)}\r\n\r\n"
        assert self._reader is not None and self._writer is not None
        begun = time.monotonic()
        async with asyncio.timeout(ANSWER_SECONDS):
            self._writer.write(head.encode() + octets)
            answer = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(answer.partition("content-length: ")[2].partition("\r\n")[0])
            content = await self._reader.readexactly(length)
        (self._found.reads if method == "GET" else self._found.writes).append(time.monotonic() - begun)
        if not answer.startswith("http/1.1 200 "):
            self._found.wrong.append(f"{method} {target}: {content[:200]!r}")
            return {}
        return dict(json.loads(content))


def main() -> int:
    """The exit status: 0 when nothing was lost and nothing failed."""
    parser = argparse.ArgumentParser(prog="make bench-rest")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--short", action="store_true", help="50 clients for 10 seconds")
    options = parser.parse_args()
    clients, seconds = (50, 10.0) if options.short else (options.clients, options.seconds)
    found = Found()
    with alone("brest") as gateway, Wire(gateway) as wire:
        for name in ("shared", *(f"own-{number}" for number in range(clients))):
            reply = wire.ask("POST", POLICIES, basic("admin", gateway.password), body={"name": name})
            assert reply.status == 200, reply
        asyncio.run(_all(gateway, clients, seconds, found))
        with Wire(gateway) as last:
            end = last.ask("GET", SHARED, basic("admin", gateway.password)).json.get("description")
        if end not in found.last_shared.values():
            found.wrong.append(f"the shared policy ends with {end}, which nobody wrote last")
    return _told(found, clients, seconds)


async def _all(gateway: Gateway, clients: int, seconds: float, found: Found) -> None:
    until = time.monotonic() + seconds
    gate = asyncio.Semaphore(AT_THE_DOOR)
    await asyncio.gather(*(Client(number, gateway, found).work(until, gate) for number in range(clients)))


def _told(found: Found, clients: int, seconds: float) -> int:
    print(f"{clients} clients for {seconds:g} s")
    for word, times in (("reads", found.reads), ("writes", found.writes)):
        if len(times) > 1:
            parts = quantiles(times, n=100)
            rate = len(times) / seconds
            print(f"  {len(times):6} {word}, {rate:.0f}/s, p50 {parts[49] * 1e3:.0f} ms, p99 {parts[98] * 1e3:.0f} ms")
    for line in found.wrong[:20]:
        print(f"  wrong: {line}")
    print(f"  {len(found.wrong)} wrong")
    return 1 if found.wrong or not found.writes else 0


def _context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


if __name__ == "__main__":
    sys.exit(main())
