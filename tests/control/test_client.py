"""The client: what it raises when the daemon is away, slow, refusing, or something else altogether."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from culvert.control.client import DEFAULT_PATH, Client, Part, default_path
from culvert.control.errors import ControlError, NotFound, Refused, SyntaxProblem, Unavailable
from culvert.control.listener import Peer
from culvert.control.server import Server
from culvert.control.stream import Stream
from tests.control.running import serving


def answer(call: str, args: dict, peer: Peer) -> object:
    if call == "missing":
        raise NotFound("IPsec policy", "/Common/x")
    if call == "syntax":
        raise SyntaxProblem("unmatched brace", 3, 4)
    if call == "sleep":
        time.sleep(args["seconds"])
    return args


@pytest.fixture
def path(place: Path) -> Path:
    return place / "c.sock"


@contextmanager
def speaking(path: Path, script: Callable[[socket.socket], None]) -> Iterator[None]:
    """Something at `path` that takes one connection and does `script` with it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def take() -> None:
        connection, _ = listener.accept()
        script(connection)
        connection.close()

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield
    finally:
        thread.join(10)
        listener.close()


def test_result_of_a_call(path: Path) -> None:
    with serving(Server(path, answer)), Client(path) as client:
        for number in range(3):
            args = {"name": f"/Common/ü{number}", "properties": {"log-level": "debug\n", "n": [1.5, None, True]}}
            assert client.call("echo", **args) == args


def test_names_of_arguments_are_free(path: Path) -> None:
    with serving(Server(path, answer)), Client(path) as client:
        assert client.call("echo", self=1, call=2, name=3) == {"self": 1, "call": 2, "name": 3}


def test_the_daemons_errors_are_raised_as_they_are(path: Path) -> None:
    with serving(Server(path, answer)), Client(path) as client:
        with pytest.raises(NotFound) as missing:
            client.call("missing")
        assert missing.value.text == "01020036:3: The requested IPsec policy (/Common/x) was not found."
        with pytest.raises(SyntaxProblem) as syntax:
            client.call("syntax")
        assert (syntax.value.line, syntax.value.column) == (3, 4)
        assert client.call("echo", n=1) == {"n": 1}


def test_no_daemon(path: Path) -> None:
    sentence = f"culvertd does not answer at {path}: No such file or directory; is it running?"
    with pytest.raises(Unavailable) as caught:
        Client(path).call("echo")
    assert (caught.value.text, caught.value.http) == (sentence, 503)


def test_dead_daemon(path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with pytest.raises(Unavailable, match="Connection refused; is it running"):
        Client(path).call("echo")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_no_permission(path: Path) -> None:
    with serving(Server(path, answer)):
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                Client(path).call("echo")
            except Refused:
                os._exit(3)
            os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


def test_a_refusal_is_told_even_when_the_daemon_never_reads(path: Path) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(b'{"id": null, "error": {"kind": "refused", "message": "not you"}}\n')

    with speaking(path, refuse), Client(path) as client, pytest.raises(Refused, match="not you"):
        client.call("echo", text="x" * 1_000_000)


@pytest.mark.alone
def test_a_slow_daemon_is_given_up_and_its_late_answer_not_believed(path: Path) -> None:
    with serving(Server(path, answer)), Client(path, timeout=0.3) as client:
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"no answer within 0\.3 seconds; the request may still"):
            client.call("sleep", seconds=0.8, which="late")
        assert time.monotonic() - started < 0.7
        time.sleep(0.7)
        assert client.call("echo", which="next") == {"which": "next"}


def test_a_trickle_does_not_stretch_the_timeout(path: Path) -> None:
    def trickle(connection: socket.socket) -> None:
        for _ in range(20):
            try:
                connection.sendall(b" ")
            except OSError:
                return
            time.sleep(0.05)

    with speaking(path, trickle), Client(path, timeout=0.3) as client, pytest.raises(Unavailable, match="no answer"):
        client.call("echo")


def test_a_daemon_that_dies_over_a_request(path: Path) -> None:
    with (
        speaking(path, lambda connection: connection.recv(1)),
        Client(path) as client,
        pytest.raises(Unavailable, match="the request may have been carried out"),
    ):
        client.call("echo", text="x" * 1000)


def test_a_restarted_daemon_is_found_again(path: Path) -> None:
    with Client(path) as client:
        for number in range(3):
            with serving(Server(path, answer)):
                assert client.call("echo", n=number) == {"n": number}


def test_a_request_is_never_sent_twice(path: Path) -> None:
    calls = []

    def script(connection: socket.socket) -> None:
        calls.append(connection.recv(1000))

    with speaking(path, script), Client(path) as client, pytest.raises(Unavailable):
        client.call("delete")
    assert len(calls) == 1


@pytest.mark.parametrize(
    "line", [b"hello\n", b"[]\n", b'{"id": 1}\n', b'{"id": 2, "result": 1}\n', b"\xff\n", b"[" * 100_000 + b"\n"]
)
def test_something_else_at_the_socket(path: Path, line: bytes) -> None:
    def say(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(line)

    with speaking(path, say), Client(path) as client, pytest.raises(Unavailable, match="is not culvertd"):
        client.call("echo")


def test_an_error_that_is_none(path: Path) -> None:
    def say(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b'{"id": 1, "error": 3}\n')

    with speaking(path, say), Client(path) as client, pytest.raises(ControlError) as caught:
        client.call("echo")
    assert caught.value.http == 500


def test_big_answers_and_requests(path: Path) -> None:
    with serving(Server(path, answer)), Client(path) as client:
        text = "x" * (4 * 1024 * 1024)
        assert client.call("echo", text=text) == {"text": text}


def test_what_is_not_json_is_the_callers_fault_and_sent_nowhere(path: Path) -> None:
    with Client(path) as client:
        with pytest.raises(TypeError):
            client.call("echo", n={1})
        with pytest.raises(ValueError, match="JSON"):
            client.call("echo", n=float("nan"))


def test_default_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CULVERT_SOCKET", raising=False)
    assert default_path() == DEFAULT_PATH == Path("/run/culvert/culvertd.sock")
    monkeypatch.setenv("CULVERT_SOCKET", "/tmp/other.sock")
    assert default_path() == Path("/tmp/other.sock")


def parted(call: str, args: dict, peer: Peer) -> object:
    if call == "whole":
        return [1, 2]
    if call == "show" and args.get("stream"):
        return Stream(args["parts"] * 2, ([number, "x" * 50_000] for number in range(args["parts"])))
    return answer(call, args, peer)


def test_a_list_comes_in_parts(path: Path) -> None:
    with serving(Server(path, parted)), Client(path) as client:
        found = list(client.stream("show", parts=3))
        assert [part.records[0] for part in found] == [0, 1, 2] and {part.of for part in found} == {6}
        assert client.call("echo", a=1) == {"a": 1}


def test_a_daemon_without_parts_gives_all_as_one(path: Path) -> None:
    with serving(Server(path, parted)), Client(path) as client:
        assert list(client.stream("whole")) == [Part([1, 2], 2)]
        with pytest.raises(NotFound):
            list(client.stream("missing"))


def test_who_ends_it_early_can_go_on_asking(path: Path) -> None:
    with serving(Server(path, parted)), Client(path) as client:
        for _ in client.stream("show", parts=100):
            break
        assert client.call("echo", a=1) == {"a": 1}


def test_a_call_in_between_is_not_answered_with_a_part(path: Path) -> None:
    with serving(Server(path, parted)), Client(path) as client:
        parts = client.stream("show", parts=100)
        next(parts)
        assert client.call("echo", a=1) == {"a": 1}
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="used for something else"):
            list(parts)
        assert time.monotonic() - begun < 5
        assert client.call("echo", a=2) == {"a": 2}
