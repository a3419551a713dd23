"""Hostile clients: each is shed within its limit while others are served, and every trick gets an answer of its own."""

import asyncio
import contextlib
import os
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from culvert.rest import certificate
from culvert.rest.app import App
from culvert.rest.door import Door
from culvert.rest.events import Events
from culvert.rest.exchange import SECURITY
from culvert.rest.main import _listening
from culvert.rest.serving import Limits, Site, serving
from culvert.web.visit import HEADERS, POLICY
from tests.rest.gateways import PORT, Gateway
from tests.rest.wire import Reply, Wire, alone, basic, plain, secure

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")
SHORT = Limits(
    head_octets=16 * 1024,
    body_octets=64 * 1024,
    bodies_octets=256 * 1024,
    connections=60,
    connections_of_address=40,
    handshake_seconds=1.0,
    head_seconds=1.0,
    body_seconds=1.0,
    send_seconds=1.0,
    idle_seconds=2,
    close_seconds=1.0,
)
SOON = 4.0
SYSTEM = "/mgmt/tm/sys/version"
SENSE = (
    ("POST", "/mgmt/tm/net/vlan"),
    ("PATCH", "/mgmt/tm/net/self/x"),
    ("POST", "/mgmt/tm/util/bash"),
    ("POST", "/mgmt/tm/sys/config"),
    ("POST", "/mgmt/shared/authn/login"),
)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with alone("rhs") as found:
        yield found


@pytest.fixture(scope="module")
def impatient(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server of our own before the same gateway, with short limits; its port on our loopback."""
    directory = tmp_path_factory.mktemp("rest")
    ports: list[int] = []
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        pair = directory / "server.crt", directory / "server.key"
        certificate.ensure(*pair, "localhost")
        door = Door(gateway.lab.daemon(gateway.node).socket_path, 8)
        with ThreadPoolExecutor(8) as threads:
            site = Site(App(directory, door).answer, Events(door), threads, SHORT)
            async with serving(site, _listening("127.0.0.1", 0), certificate.context(*pair)) as port:
                ports.append(port)
                ready.set()
                while not stop.is_set():
                    await asyncio.sleep(0.02)
        door.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield ports[0]
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def others(impatient: int, gateway: Gateway) -> Iterator[None]:
    """Another client, from an address of its own, is answered all the while, and fast."""
    stop, slowest, failed = threading.Event(), [0.0], []

    def work() -> None:
        while not stop.is_set():
            begun = time.monotonic()
            try:
                with Wire(None, impatient, source="127.0.0.9") as wire:
                    if wire.ask("GET", SYSTEM, basic("admin", gateway.password)).status != 200:
                        failed.append("status")
            except OSError as error:
                failed.append(repr(error))
            slowest[0] = max(slowest[0], time.monotonic() - begun)
            time.sleep(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
    assert not failed and slowest[0] < 2 * SOON, (failed, slowest)


def well(reply: Reply) -> Reply:
    """An answer that is one: with every security header, and never a fault of the server's."""
    assert 200 <= reply.status < 500, reply
    is_page = reply.headers.get("content-security-policy") == POLICY
    expected = SECURITY | (HEADERS if is_page else {})
    assert {name: reply.headers.get(name.lower()) for name in expected} == expected
    return reply


# clients that take their time


@pytest.mark.usefixtures("others")
def test_a_client_that_sends_nothing_is_shed(impatient: int) -> None:
    begun = time.monotonic()
    with plain(None, impatient) as silent:
        assert silent.recv(1) == b""
    assert time.monotonic() - begun < SOON
    with Wire(None, impatient) as wire:
        assert wire.gone() < SOON


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    "said",
    [
        b"GET /mgmt/tm/sys HT",
        b"GET /mgmt/tm/sys HTTP/1.1\r\nHost: a\r\nX: ",
        b"POST /mgmt/shared/authn/login HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
        b"POST /mgmt/shared/authn/login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
    ids=["half a line", "half a head", "half a body", "half a chunk"],
)
def test_half_a_request_is_shed(impatient: int, said: bytes) -> None:
    with Wire(None, impatient) as wire:
        wire.say(said)
        assert wire.gone() < SOON


@pytest.mark.usefixtures("others")
def test_a_head_that_trickles_is_shed(impatient: int) -> None:
    begun = time.monotonic()
    with Wire(None, impatient) as wire, contextlib.suppress(OSError):
        wire.say(b"GET /mgmt/tm/sys HTTP/1.1\r\n")
        while time.monotonic() - begun < 2 * SOON:
            wire.say(b"X: y\r\n")
            time.sleep(0.1)
    assert time.monotonic() - begun < SOON


@pytest.mark.usefixtures("others")
def test_an_idle_connection_ends(impatient: int, gateway: Gateway) -> None:
    with Wire(None, impatient) as wire:
        assert wire.ask("GET", SYSTEM, basic("admin", gateway.password)).status == 200
        assert wire.gone() < SOON


@pytest.mark.usefixtures("others")
def test_a_client_that_reads_no_answers_is_shed(impatient: int, gateway: Gateway) -> None:
    ask = f"GET /mgmt/shared/openapi.json HTTP/1.1\r\nHost: a\r\n{basic('admin', gateway.password)}\r\n\r\n".encode()
    with Wire(None, impatient) as wire:
        wire.socket.settimeout(40)
        with pytest.raises((ConnectionError, ssl.SSLEOFError)):
            while True:
                wire.say(ask * 10)


# clients that send too much


@pytest.mark.usefixtures("others")
def test_a_head_of_a_megabyte_is_refused(impatient: int) -> None:
    with Wire(None, impatient) as wire, contextlib.suppress(OSError):
        wire.say(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n")
        assert wire.reply().status in (0, 400)


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_a_gigabyte_is_refused_early(impatient: int, declared: bool) -> None:
    framing = b"Content-Length: 1000000000" if declared else b"Transfer-Encoding: chunked"
    piece = b"x" * 65536 if declared else b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent, begun = 0, time.monotonic()
    with Wire(None, impatient) as wire, contextlib.suppress(OSError):
        wire.say(b"POST /mgmt/tm/net/vlan HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
        if declared:
            assert well(wire.reply()).status == 413
        while sent < 1_000_000_000:
            wire.say(piece)
            sent += len(piece)
    assert sent < 16_000_000 and time.monotonic() - begun < SOON


@pytest.mark.usefixtures("others")
def test_all_bodies_together_have_a_limit(impatient: int) -> None:
    head = b"POST /mgmt/tm/net/vlan HTTP/1.1\r\nHost: a\r\nContent-Length: 60001\r\n\r\n"
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(None, impatient)) for _ in range(6)]
        for wire in wires:
            wire.say(head + b"x" * 60_000)
        replies = [wire.reply() for wire in wires]
    assert {reply.status for reply in replies} <= {503, 408}
    assert [reply.status for reply in replies].count(503) >= 1


@pytest.mark.usefixtures("others")
def test_one_address_has_only_so_many_connections(impatient: int) -> None:
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(plain(None, impatient)) for _ in range(60)]
        refused = 0
        for each in made:
            each.settimeout(0.01)
            try:
                refused += each.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                refused += 1
        assert refused == 60 - SHORT.connections_of_address
    deadline = time.monotonic() + SOON
    while not (found := answered(impatient)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found, "what was closed still counts"


def answered(port: int) -> bool:
    try:
        with Wire(None, port) as wire:
            return well(wire.ask("GET", SYSTEM)).status == 401
    except OSError:
        return False


def test_six_hundred_connections_leave_room_for_another_client(gateway: Gateway) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(plain(gateway, PORT))
        begun = time.monotonic()
        with Wire(gateway, source="127.0.0.9") as wire:
            assert wire.ask("GET", SYSTEM, basic("admin", gateway.password)).status == 200
        assert time.monotonic() - begun < SOON


# octets that are no HTTP, or two things at once


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"\xff\xfe\xfd\r\n\r\n", b"HELO a\r\n\r\n"], ids=repr)
def test_garbage_is_no_request(gateway: Gateway, garbage: bytes) -> None:
    with Wire(gateway) as wire:
        wire.say(garbage + b"\r\n\r\n")
        assert well(wire.reply()).status == 400
        assert wire.gone() < SOON


def test_garbage_behind_a_request_ends_the_connection(gateway: Gateway) -> None:
    with Wire(gateway) as wire:
        wire.say(b"GET /mgmt HTTP/1.1\r\nHost: a\r\n\r\n\0\0\0\r\n\r\n" + b"\xff" * 5000)
        assert well(wire.reply()).status == 401
        assert wire.reply().status in (0, 400)
        assert wire.gone() < SOON


@pytest.mark.parametrize(
    "head",
    [
        b"Host: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
        b"Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Host: a\r\nTransfer-Encoding: chunked, identity\r\n",
        b"Host: a\r\nTransfer-Encoding : chunked\r\n",
        b"Host: a\r\nContent-Length: +5\r\n",
        b"Host: a\r\nContent-Length: 0x5\r\n",
        b"Host: a\r\nX: a\r\n b\r\n",
        b"Host: a\r\nX: a\r\n\tb: c\r\n",
        b"Host: a\nX: b\r\n",
        b"Host: a\r\nX: b\rY: c\r\n",
        b"Host: a\r\nHost: b\r\n",
        b"Host: a\r\nAuthorization: Basic YTpi\r\nAuthorization: Basic YTpj\r\n",
        b"Host: a\r\nX-F5-Auth-Token: A\r\nX-F5-Auth-Token: B\r\n",
        b"X: no host\r\n",
        b"Host: a\r\nX\0: b\r\n",
        b": a\r\nHost: a\r\n",
    ],
)
def test_a_head_that_could_be_read_in_two_ways_is_refused(gateway: Gateway, head: bytes) -> None:
    with Wire(gateway) as wire:
        wire.say(b"POST /mgmt/tm/sys/version HTTP/1.1\r\n" + head + b"\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        reply = well(wire.reply())
        assert reply.status in (400, 501), reply
        assert wire.reply().status == 0, "what stood behind it was taken for a request"


def test_old_tls_is_refused(gateway: Gateway) -> None:
    with plain(gateway, PORT) as made, pytest.raises((ssl.SSLError, ConnectionError)):
        secure(made, newest=ssl.TLSVersion.TLSv1_1)


# addresses


@pytest.mark.parametrize(
    ("target", "statuses"),
    [
        # What isn't the API's is the GUI's, which knows nobody by Basic and sends everybody to its login.
        ("https://127.0.0.1:8443/mgmt/tm/sys", {303}),
        ("*", {303}),
        ("/", {303}),
        ("/mgmt/tm/../../etc/passwd", {404}),
        ("/mgmt/tm/%2e%2e/%2e%2e/etc/passwd", {404}),
        ("/mgmt/tm/.%2e/x", {404}),
        ("/mgmt/tm/%2E./x", {404}),
        ("/mgmt/tm/net/self/..%2f..%2fx", {400, 404}),
        ("/mgmt/tm/net/self/%2e%2e%2fx", {400, 404}),
        ("/mgmt/tm/net/self/~..~..~x", {400, 404}),
        ("/mgmt/tm/net/self/~Common~..~x", {400, 404}),
        ("/mgmt/tm/net/self/~", {400, 404}),
        ("/mgmt/tm/net/self/~~~", {400, 404}),
        ("/mgmt/tm/net/self/%00", {400, 404}),
        ("/mgmt/tm/net/self/a%00b", {400, 404}),
        ("/mgmt/tm/net/self/a%0d%0aX:%20b", {400, 404}),
        ("/mgmt/tm/net/self/%ff%fe", {400, 404}),
        ("/mgmt/tm/net/self/%ed%a0%80", {400, 404}),
        ("/mgmt/tm/net/self/%C3%BC", {400, 404}),
        ("/mgmt/tm/net/self/%", {400, 404}),
        ("/mgmt/tm/net/self/%zz", {400, 404}),
        ("/mgmt/tm/net/self/all", {400, 404}),
        ("/mgmt/tm/net/self/%7B%7D", {400, 404}),
        ("/mgmt/tm/net/self/" + "a" * 5000, {400, 404}),
        ("/mgmt" + "/x" * 100, {404}),
        ("//mgmt//tm//sys//version//", {200}),
        ("/mgmt/tm/sys/version/", {200}),
        ("/mgmt/tm/sys/version;a=b", {404}),
        ("/MGMT/tm/sys/version", {303}),
        ("/mgmt/tm/net/self?$filter=((((", {400}),
        ("/mgmt/tm/net/self?$top=-1", {400}),
        ("/mgmt/tm/net/self?$top=%D9%A3", {400}),
        ("/mgmt/tm/net/self?" + "&".join(f"a{number}=b" for number in range(100)), {400}),
        ("/mgmt/tm/net/self?$filter=" + "not%20" * 2000, {400}),
        ("/mgmt/tm/sys/db/..", {404}),
        ("/mgmt/tm/transaction/%D9%A3", {404}),
        ("/mgmt/tm/transaction/%C2%B2", {404}),
        ("/mgmt/tm/transaction/-1", {404}),
        ("/mgmt/tm/transaction/99999999999999999999999", {404}),
        ("/mgmt/shared/authz/tokens/x%00", {404}),
        ("/mgmt/shared/authz/tokens/a/b", {404}),
        ("/mgmt/shared/file-transfer/uploads/..%2fx", {405}),
    ],
)
def test_an_address_with_a_trick_is_nothing_special(gateway: Gateway, target: str, statuses: set[int]) -> None:
    with Wire(gateway) as wire:
        reply = well(wire.ask("GET", target, basic("admin", gateway.password)))
    assert reply.status in statuses, reply
    assert b"root:" not in reply.body


@pytest.mark.parametrize("name", ["..%2fx", "%2e%2e%2fx", ".hidden", "a%00b", "a%2fb", "~Common~x", "-rf", "%C3%BC"])
def test_an_upload_has_a_bare_name(gateway: Gateway, name: str) -> None:
    with Wire(gateway) as wire:
        target = f"/mgmt/shared/file-transfer/uploads/{name}"
        reply = well(wire.ask("POST", target, basic("admin", gateway.password), body=b"x"))
    assert reply.status == 400


@pytest.mark.parametrize(
    "octets", [b"GET /mgmt/\xc3\xbc HTTP/1.1", b"GET /a b HTTP/1.1", b"GET  / HTTP/1.1", b"G\xc3T / HTTP/1.1"]
)
def test_a_line_that_is_no_request_is_refused(gateway: Gateway, octets: bytes) -> None:
    with Wire(gateway) as wire:
        wire.say(octets + b"\r\nHost: a\r\n\r\n")
        assert well(wire.reply()).status == 400


# methods, and other sites


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PROPFIND", "get"])
def test_other_methods_are_not_allowed(gateway: Gateway, method: str) -> None:
    with Wire(gateway) as wire:
        reply = well(wire.ask(method, SYSTEM, basic("admin", gateway.password)))
        assert reply.status == 405
        assert "GET" in reply.headers["allow"]
        assert wire.ask("GET", SYSTEM, basic("admin", gateway.password)).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Origin: https://evil.example"], 403),
        (["Origin: null"], 403),
        (["Origin: http://127.0.0.1:8443"], 403),
        (["Origin: https://127.0.0.1:8443.evil.example"], 403),
        (["Origin: https://["], 403),
        (["Sec-Fetch-Site: cross-site"], 403),
        (["Sec-Fetch-Site: same-site"], 403),
        (["Origin: https://127.0.0.1:8443", "Sec-Fetch-Site: same-origin"], 200),
        (["Sec-Fetch-Site: none"], 200),
    ],
)
def test_requests_of_other_sites_are_refused(gateway: Gateway, headers: list[str], status: int) -> None:
    with Wire(gateway) as wire:
        assert well(wire.ask("GET", SYSTEM, basic("admin", gateway.password), *headers)).status == status


def test_every_answer_has_the_security_headers(gateway: Gateway) -> None:
    own = basic("admin", gateway.password)
    with Wire(gateway) as wire:
        assert well(wire.ask("GET", SYSTEM)).status == 401
        assert well(wire.ask("GET", "/metrics", own)).status == 200
        assert well(wire.ask("GET", "/mgmt/shared/events?interval=0", own)).status == 400
        assert well(wire.ask("POST", "/mgmt/tm/net/vlan", own, body=b"{")).status == 400
        assert well(wire.ask("PUT", "/mgmt/tm/net/vlan", own)).status == 405
        assert well(wire.ask("GET", "/mgmt/shared/events", own)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        *(b"[]", b"null", b"1", b'"x"', b"{", b"\xff", b"[" * 100_000, b'{"a":' * 50_000, b'{"name":NaN}'),
        *(b'{"name": 1e999}', b'{"name": "\\ud800"}', b'{"name":"x","description":"\\u0000"}', b'{"name":["x"]}'),
        *(b'{"name":"x","mtu":' + b"9" * 5000 + b"}", b'{"name":"x","description":{"verb":"add","items":[]}}'),
        *(b'{"name":"x","interfaces":[[[]]]}', b'{"name":"x","interfaces":{"items":7}}'),
        *(b'{"name":"x","partition":["a"]}', b'{"name":"a/b","subPath":"../c"}'),
    ],
    ids=lambda body: body[:30].decode("latin-1"),
)
def test_a_body_that_makes_no_sense_is_the_clients_mistake(gateway: Gateway, body: bytes) -> None:
    with Wire(gateway) as wire:
        for method, target in SENSE:
            reply = well(wire.ask(method, target, basic("admin", gateway.password), body=body))
            assert reply.status in (400, 401, 404), (target, reply)


@pytest.mark.parametrize("options", ["%7B", "%7D", "%0E%26", "%22", "description", "x%20y%20z", "%7B%7B%7B"])
def test_options_that_are_no_words_of_tmsh_are_the_clients_mistake(gateway: Gateway, options: str) -> None:
    with Wire(gateway) as wire:
        own = basic("admin", gateway.password)
        for method in ("PATCH", "PUT"):
            target = f"/mgmt/tm/cli/admin-partitions?options={options}"
            reply = well(wire.ask(method, target, own, body={"updatePartition": "Common"}))
            assert reply.status == 400, reply


def test_the_web_process_is_nobody(gateway: Gateway) -> None:
    found = 0
    for pid in gateway.lab.namespace(gateway.node).pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if b"culvert-rest" in Path(f"/proc/{pid}/cmdline").read_bytes():
                assert "\nCapEff:\t0000000000000000\n" in Path(f"/proc/{pid}/status").read_text()
                found += 1
    assert found
