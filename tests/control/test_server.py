"""The door: what it lets in, what garbage does to it, and who may wait for whom."""

import asyncio
import grp
import json
import logging
import os
import pwd
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from culvert.control.errors import NotFound, Unavailable
from culvert.control.listener import Lock, Peer
from culvert.control.server import Server, may_enter
from culvert.control.stream import Stream
from tests.control.running import Raw, as_other, serving

NOBODY = 65534


MADE: list[int] = []
"""The parts that were worked out."""


def parts(number: int, octets: int, fault: str) -> Iterator[list[object]]:
    MADE.clear()
    for each in range(number):
        MADE.append(each)
        yield [each, "x" * octets]
    if fault == "missing":
        raise NotFound("IPsec policy", "/Common/x")
    if fault:
        raise ValueError("auth-key 0x0123456789abcdef0123")


def answer(call: str, args: dict, peer: Peer) -> object:
    if call == "echo":
        return args
    if call == "who":
        return [peer.pid, peer.uid, peer.gid, peer.user]
    if call == "big":
        return "x" * args["octets"]
    if call == "parts":
        return Stream(args["parts"] * 2, parts(args["parts"], args.get("octets", 1), args.get("fault", "")))
    if call == "missing":
        raise NotFound("IPsec policy", "/Common/x")
    if call == "not-json":
        return {1, 2}
    if call == "nan":
        return float("nan")
    raise ValueError("auth-key 0x0123456789abcdef0123")


@pytest.fixture
def path(place: Path) -> Path:
    return place / "c.sock"


def request(number: object, call: str, **args: object) -> bytes:
    return json.dumps({"id": number, "call": call, "args": args}).encode() + b"\n"


def test_result_and_number_come_back(path: Path) -> None:
    with serving(Server(path, answer)):
        client = Raw(path)
        assert client.ask(request(7, "echo", text='ü"\n', n=[1, None])) == {
            "id": 7,
            "result": {"text": 'ü"\n', "n": [1, None]},
        }
        assert client.ask(b'{"id": "a", "call": "echo"}\n') == {"id": "a", "result": {}}
        client.close()


def test_error_of_the_handler_is_the_answer(path: Path) -> None:
    with serving(Server(path, answer)):
        client = Raw(path)
        found = client.ask(request(1, "missing"))
        assert found["id"] == 1
        assert (found["error"]["code"], found["error"]["http"]) == ("01020036", 404)
        client.close()


def test_a_fault_is_internal_and_only_the_log_has_the_traceback(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(Server(path, answer)), caplog.at_level(logging.ERROR):
        client = Raw(path)
        for call in ("boom", "not-json", "nan"):
            found = client.ask(request(1, call))
            assert found["error"]["http"] == 500
            assert "0x0123" not in json.dumps(found) and "Traceback" not in json.dumps(found)
        assert client.ask(request(2, "echo")) == {"id": 2, "result": {}}
        client.close()
    assert [record.getMessage() for record in caplog.records] == ["request-failed"] * 3
    assert all(record.exc_info for record in caplog.records)


GARBAGE = [
    b"\n",
    b"hello\n",
    b"\xff\xfe\n",
    b"[]\n",
    b"3\n",
    b"null\n",
    b'{"id": 1}\n',
    b'{"id": 1, "call": 3}\n',
    b'{"id": 1, "call": "echo", "args": []}\n',
    b'{"id": 1, "call": "echo", "args": {"n": NaN}}\n',
    b'{"id": 1, "call": "echo", "args": {"n": ' + b"9" * 5000 + b"}}\n",
    b"[" * 200_000 + b"\n",
    b'{"id": 1, "call": "echo", "args": {}} trailing\n',
    b"\x00" * 100 + b"\n",
]


def test_garbage_gets_an_error_and_the_connection_goes_on(path: Path) -> None:
    with serving(Server(path, answer)):
        client = Raw(path)
        for octets in GARBAGE:
            assert client.ask(octets)["error"]["message"].startswith("Syntax Error: "), octets[:60]
            assert client.ask(request(2, "echo")) == {"id": 2, "result": {}}
        client.close()


def test_a_line_over_the_limit_is_refused_and_closed(path: Path) -> None:
    with serving(Server(path, answer, line_limit=1000)):
        client = Raw(path)
        assert client.ask(request(1, "echo", text="x" * 900))["id"] == 1
        # Sent from a thread: the server stops reading, so the socket may fill before its answer is read.
        sender = threading.Thread(target=lambda: _send_quietly(client.socket, b"x" * 5000))
        sender.start()
        assert "longer than 1000 octets" in client.answer()["error"]["message"]
        with suppress(ConnectionResetError):
            assert client.lines.readline() == b""
        sender.join()
        client.close()


def _send_quietly(connection: socket.socket, octets: bytes) -> None:
    with suppress(OSError):
        connection.sendall(octets)


def test_default_limit_takes_megabytes(path: Path) -> None:
    with serving(Server(path, answer)):
        client = Raw(path, 30)
        text = "x" * (8 * 1024 * 1024)
        sender = threading.Thread(target=client.socket.sendall, args=(request(1, "echo", text=text),))
        sender.start()
        assert client.answer()["result"]["text"] == text
        sender.join()
        client.close()


def test_half_a_line_and_eof_is_not_a_request(path: Path) -> None:
    seen = []
    with serving(Server(path, lambda call, args, peer: seen.append(call))):
        client = Raw(path)
        client.socket.sendall(b'{"id": 1, "call": "delete-everything"}')
        client.socket.shutdown(socket.SHUT_WR)
        assert client.lines.readline() == b""
        client.close()
    assert seen == []


def test_fifty_clients_at_once(path: Path) -> None:
    server = Server(path, answer)
    with serving(server):
        clients = [Raw(path) for _ in range(50)]
        for turn in range(20):
            for number, client in enumerate(clients):
                client.socket.sendall(request(turn, "echo", n=number))
            for number, client in enumerate(clients):
                assert client.answer() == {"id": turn, "result": {"n": number}}
        assert server.connections == 50
        for client in clients:
            client.close()
        _until(lambda: server.connections == 0)


def test_idle_slow_and_deaf_clients_hold_nobody_up(path: Path) -> None:
    with serving(Server(path, answer)):
        idle = Raw(path)
        slow = Raw(path)
        slow.socket.sendall(b'{"id": 1, "call": ')
        deaf = Raw(path)
        deaf.socket.sendall(request(1, "big", octets=5_000_000) * 20)
        brisk = Raw(path)
        started = time.monotonic()
        for number in range(100):
            assert brisk.ask(request(number, "echo"))["id"] == number
        assert time.monotonic() - started < 5
        slow.socket.sendall(b'"echo"}\n')
        assert slow.answer()["id"] == 1
        for client in (idle, slow, deaf, brisk):
            client.close()


def test_an_unread_answer_is_held_once_and_not_for_ever(path: Path) -> None:
    calls = []

    def big(call: str, args: dict, peer: Peer) -> str:
        calls.append(call)
        return "x" * 3_000_000

    server = Server(path, big, send_seconds=0.5)
    with serving(server):
        deaf = Raw(path)
        deaf.socket.sendall(request(1, "big") * 50)
        _until(lambda: server.connections == 1)
        _until(lambda: server.connections == 0)
        assert len(calls) == 1
        received = 0
        with suppress(ConnectionResetError):
            while chunk := deaf.socket.recv(1 << 20):
                received += len(chunk)
        assert received < 3_000_000, "the rest of the answer was kept for a client that was dropped"
        deaf.close()


def test_a_flood_of_lines_is_served_in_turns(path: Path) -> None:
    order = []

    def note(call: str, args: dict, peer: Peer) -> None:
        order.append(call)
        time.sleep(0.001)

    with serving(Server(path, note)):
        flood, other = Raw(path), Raw(path)
        flood.socket.sendall(request(1, "flood") * 300)
        flood.answer()
        other.ask(request(1, "other"))
        place = order.index("other")
        for _ in range(299):
            flood.answer()
        flood.close()
        other.close()
    assert place < 200 and order.count("flood") == 300


def test_more_connections_than_the_bound_are_turned_away(path: Path) -> None:
    with serving(Server(path, answer, connections_max=2)):
        first, second = Raw(path), Raw(path)
        assert first.ask(request(1, "echo"))["id"] == 1
        assert second.ask(request(1, "echo"))["id"] == 1
        third = Raw(path)
        assert third.answer()["error"]["http"] == 503
        assert third.lines.readline() == b""
        for client in (first, second, third):
            client.close()


def test_peer_is_the_kernels_word(path: Path) -> None:
    with serving(Server(path, answer)):
        client = Raw(path)
        me = [os.getpid(), os.getuid(), os.getgid(), pwd.getpwuid(os.getuid()).pw_name]
        assert client.ask(request(1, "who"))["result"] == me
        client.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_stranger_is_refused_even_when_the_file_mode_lets_him_in(path: Path) -> None:
    with serving(Server(path, answer)):
        path.chmod(0o666)
        found, state = as_other(path, NOBODY, NOBODY)
        assert found["id"] is None and found["error"]["http"] == 403
        assert state == "closed"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_member_of_the_group_is_served(path: Path) -> None:
    group = grp.getgrgid(1)
    with serving(Server(path, answer, group=group.gr_name)):
        assert path.stat().st_gid == group.gr_gid
        found, state = as_other(path, NOBODY, group.gr_gid)
        assert state == "open" and found["id"] == 5 and found["result"][1] == NOBODY


def test_who_may_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = Peer(1, 4242, 4242, "4242")
    assert may_enter(Peer(1, 0, 0, "root"))
    assert may_enter(Peer(1, os.geteuid(), 9, "me"))
    assert not may_enter(stranger, "no-such-group")
    real = grp.getgrgid(1)
    assert not may_enter(stranger, real.gr_name)
    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: 4242)
        assert may_enter(stranger, "no-such-group")
    monkeypatch.setattr(os, "getgrouplist", lambda user, gid: [gid, 1] if user == "4242" else [gid])
    assert may_enter(stranger, real.gr_name)


def test_socket_mode(path: Path) -> None:
    with serving(Server(path, answer)):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660
    assert not path.exists()


def test_socket_of_a_dead_daemon_is_replaced(path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.listen()
    dead.close()
    with serving(Server(path, answer)):
        client = Raw(path)
        assert client.ask(request(1, "echo"))["id"] == 1
        client.close()


def test_a_live_daemon_is_refused_and_not_disturbed(path: Path) -> None:
    with serving(Server(path, answer)):
        for second in (Server(path, answer), Server(path, answer)):
            with pytest.raises(Unavailable, match=rf"another culvertd is running, pid {os.getpid()}"):
                asyncio.run(second.start())
        client = Raw(path)
        assert client.ask(request(1, "echo"))["id"] == 1
        client.close()


def test_a_live_socket_without_our_lock_is_refused_too(path: Path) -> None:
    live = socket.socket(socket.AF_UNIX)
    live.bind(str(path))
    live.listen()
    with pytest.raises(Unavailable, match=rf"another culvertd is running, pid {os.getpid()}"):
        asyncio.run(Server(path, answer).start())
    assert path.exists()
    live.close()
    with serving(Server(path, answer)):
        pass


def test_a_daemon_too_busy_to_accept_is_alive(path: Path) -> None:
    busy = socket.socket(socket.AF_UNIX)
    busy.bind(str(path))
    busy.listen(0)
    waiting = Raw(path)
    with pytest.raises(Unavailable, match="another culvertd is running"):
        asyncio.run(Server(path, answer).start())
    assert path.exists()
    waiting.close()
    busy.close()


def test_a_daemon_whose_socket_was_removed_still_holds_its_place(path: Path) -> None:
    with serving(Server(path, answer)):
        path.unlink()
        with pytest.raises(Unavailable, match=f"another culvertd is running, pid {os.getpid()}"):
            asyncio.run(Server(path, answer).start())


def test_something_else_at_the_path_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(Unavailable, match="not a socket"):
        asyncio.run(Server(path, answer).start())
    assert path.read_text() == "precious"


def test_missing_directory_and_long_path_are_said(place: Path) -> None:
    with pytest.raises(Unavailable, match="No such file or directory"):
        asyncio.run(Server(place / "none" / "c.sock", answer).start())
    with pytest.raises(Unavailable, match="too long"):
        asyncio.run(Server(place / ("x" * 120), answer).start())


def test_close_drops_clients_and_keeps_a_successors_socket(path: Path) -> None:
    with serving(Server(path, answer)) as stop:
        client = Raw(path)
        client.ask(request(1, "echo"))
        path.unlink()
        other = socket.socket(socket.AF_UNIX)
        other.bind(str(path))
        stop()
        assert client.lines.readline() == b""
        assert path.exists()
        client.close()
        other.close()


def test_close_never_waits_for_a_client_that_was_just_answered(path: Path) -> None:
    for _ in range(100):
        with serving(Server(path, answer)):
            client = Raw(path)
            client.ask(request(1, "echo"))
        client.close()


def test_lock_ends_with_its_process(place: Path) -> None:
    lock = Lock(place / "lock")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib\nfrom culvert.control.listener import Lock\n"
            "Lock(pathlib.Path(sys.argv[1])).take() or print('held', flush=True)\ntime.sleep(60)",
            str(place / "lock"),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(Unavailable, match=f"pid {holder.pid} "):
        lock.take()
    holder.kill()
    holder.communicate()
    lock.take()
    lock.release()
    lock.release()


def _until(condition: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def test_an_answer_in_parts_ends_with_a_result(path: Path) -> None:
    with serving(Server(path, answer)):
        client = Raw(path)
        found = [client.ask(request(3, "parts", parts=2)), client.answer(), client.answer()]
        assert found == [
            {"id": 3, "part": [0, "x"], "of": 4},
            {"id": 3, "part": [1, "x"], "of": 4},
            {"id": 3, "result": []},
        ]
        assert client.ask(request(4, "echo")) == {"id": 4, "result": {}}
        client.close()


@pytest.mark.parametrize(("fault", "status"), [("missing", 404), ("boom", 500)])
def test_what_goes_wrong_midway_ends_the_answer(path: Path, fault: str, status: int) -> None:
    with serving(Server(path, answer)):
        client = Raw(path)
        assert client.ask(request(1, "parts", parts=1, fault=fault)) == {"id": 1, "part": [0, "x"], "of": 2}
        last = client.answer()
        assert last["error"]["http"] == status and "0x0123" not in json.dumps(last)
        assert client.ask(request(2, "echo")) == {"id": 2, "result": {}}
        client.close()


def test_parts_are_made_as_they_are_read_and_others_are_answered_meanwhile(path: Path) -> None:
    with serving(Server(path, answer, send_seconds=0.3)):
        slow, other = Raw(path), Raw(path)
        slow.socket.sendall(request(1, "parts", parts=200, octets=50_000))
        assert slow.answer()["part"][0] == 0
        time.sleep(0.5)
        made = len(MADE)
        assert made < 100, "nobody reads, so nothing is worked out and held"
        assert other.ask(request(2, "echo")) == {"id": 2, "result": {}}
        time.sleep(0.5)
        assert len(MADE) == made
        numbers = [slow.answer()["part"][0] for _ in range(199)]
        assert numbers == list(range(1, 200)), "a reader who takes his time is not dropped"
        assert slow.answer() == {"id": 1, "result": []}
        slow.close(), other.close()


def test_who_leaves_midway_ends_the_work(path: Path) -> None:
    server = Server(path, answer)
    with serving(server):
        client = Raw(path)
        client.socket.sendall(request(1, "parts", parts=200, octets=50_000))
        client.answer()
        client.close()
        until = time.monotonic() + 5
        while server.connections and time.monotonic() < until:
            time.sleep(0.01)
        assert not server.connections and len(MADE) < 200


def test_the_daemon_can_stop_while_parts_wait(path: Path) -> None:
    with serving(Server(path, answer)) as stop:
        client = Raw(path)
        client.socket.sendall(request(1, "parts", parts=200, octets=50_000))
        client.answer()
        stop()
        client.close()
