"""The door's two sockets: what stands under "as", and the one that is the web process's alone."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from culvert.control.client import Client
from culvert.control.errors import SyntaxProblem
from culvert.control.listener import Peer
from culvert.control.server import Server
from tests.control.running import Raw, as_other, serving

NOBODY = 65534
WEB = 4242
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


def answer(call: str, args: dict, peer: Peer) -> object:
    return [peer.pid, peer.uid, peer.gid, peer.user] if call == "who" else args


@pytest.fixture
def path(place: Path) -> Path:
    return place / "c.sock"


def request(number: object, call: str, **args: object) -> bytes:
    return json.dumps({"id": number, "call": call, "args": args}).encode() + b"\n"


class Echo:
    """A door that tells what it was asked, and takes its time over `slow`."""

    async def answer(self, call: str, args: dict, peer: Peer, credentials: object) -> object:
        if call == "slow":
            await asyncio.sleep(2.0)
        return [call, args, peer.uid, credentials]


def test_credentials_reach_the_door(path: Path) -> None:
    with serving(Server(path, answer, door=Echo())), Client(path) as client:
        shown = {"token": "T", "address": "192.0.2.1"}
        assert client.call_as(shown, "list", kind="net") == ["list", {"kind": "net"}, os.getuid(), shown]
        assert client.call("list") == ["list", {}, os.getuid(), None]


def test_credentials_are_not_dropped_where_nobody_judges_them(path: Path) -> None:
    with serving(Server(path, answer)), Client(path) as client:
        with pytest.raises(SyntaxProblem):
            client.call_as({"token": "T"}, "echo")
        assert client.call("echo") == {}


@pytest.mark.parametrize("credentials", [None, 3, "ann", [], True])
def test_credentials_that_are_none(path: Path, credentials: object) -> None:
    with serving(Server(path, answer, door=Echo())):
        client = Raw(path)
        line = json.dumps({"id": 1, "call": "echo", "as": credentials}).encode() + b"\n"
        assert client.ask(line)["error"]["message"] == 'Syntax Error: "as" of the request is not an object'
        client.close()


@pytest.mark.alone
def test_a_slow_answer_holds_up_nobody_else(path: Path) -> None:
    with serving(Server(path, answer, door=Echo())):
        slow, fast = Raw(path), Raw(path)
        slow.socket.sendall(request(1, "slow"))
        begun = time.monotonic()
        for number in range(20):
            fast.ask(request(number, "echo"))
        assert time.monotonic() - begun < 1.5
        assert slow.answer()["id"] == 1
        slow.close()
        fast.close()


@NEEDS_ROOT
def test_the_web_process_has_a_socket_of_its_own(path: Path) -> None:
    web = path.with_name("c.sock.web")
    with serving(Server(path, answer, web=WEB)):
        found = web.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (WEB, os.getgid(), 0o660)
        told, state = as_other(web, WEB, WEB)
        assert told["result"][1] == WEB and state == "open"
        # Nobody else there, not even where the file lets him; and nobody new at the other one.
        for uid in (0, NOBODY):
            web.chmod(0o666)
            told, state = as_other(web, uid, uid)
            assert told["error"]["http"] == 403 and "web process alone" in told["error"]["message"]
            assert state == "closed"
        path.chmod(0o666)
        assert as_other(path, NOBODY, NOBODY)[0]["error"]["http"] == 403
        assert as_other(path, WEB, WEB)[0]["result"][1] == WEB
    assert not web.exists() and not path.exists()


@NEEDS_ROOT
def test_without_a_web_user_there_is_no_such_socket(path: Path) -> None:
    with serving(Server(path, answer)):
        assert not path.with_name("c.sock.web").exists()
        path.chmod(0o666)
        assert as_other(path, WEB, WEB)[0]["error"]["http"] == 403


@NEEDS_ROOT
def test_the_web_process_can_not_take_every_connection(path: Path) -> None:
    web = path.with_name("c.sock.web")
    # The kernel says who connected, not who holds the socket now: so a helper that was that user connects.
    with serving(Server(path, answer, web=WEB, connections_max=4)):
        child = subprocess.Popen(
            [sys.executable, "-c", MANY, str(web), str(WEB)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None and child.stdin is not None
        assert child.stdout.readline().split() == ["200", "200", "503"]
        with Client(path) as client:
            assert client.call("echo") == {}
        child.communicate("\n", timeout=20)


MANY = """
import json, os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
held, told = [], []
for _ in range(3):
    s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1]); held.append(s)
    try:
        s.sendall(b'{"id": 5, "call": "who"}\\n')
    except BrokenPipeError:
        pass
    answer = json.loads(s.makefile("rb").readline())
    told.append(str(answer["error"]["http"]) if "error" in answer else "200")
print(*told, flush=True)
sys.stdin.readline()
"""


def test_a_stale_socket_of_either_kind_is_replaced(path: Path) -> None:
    for name in ("c.sock", "c.sock.web"):
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(path.with_name(name)))
        left.close()
    web = WEB if os.geteuid() == 0 else os.geteuid()
    with serving(Server(path, answer, web=web)):
        assert Raw(path).ask(request(1, "echo"))["id"] == 1
