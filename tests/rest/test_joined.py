"""Writes that go out together, and sockets that don't wait for acknowledgements."""

import asyncio
import socket

import pytest

from culvert.rest.joined import AT_ONCE_OCTETS, Joined
from culvert.rest.listening import Listening


class Transport:
    """What was asked of a transport, in order."""

    def __init__(self) -> None:
        self.done: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

    def is_closing(self) -> bool:
        return "close" in self.done


def run(*steps: tuple[str, bytes]) -> list[bytes | str]:
    """What comes of these within one turn of the loop, and when the turn is over."""

    async def turn() -> list[bytes | str]:
        under = Transport()
        joined = Joined(under, asyncio.get_running_loop())  # type: ignore[arg-type]
        for word, data in steps:
            getattr(joined, word)(*([data] if word == "write" else []))
        await asyncio.sleep(0)
        assert joined.is_closing() is under.is_closing()
        return under.done

    return asyncio.run(turn())


def test_a_head_and_a_body_are_one_piece() -> None:
    assert run(("write", b"head "), ("write", b"body"), ("write", b"")) == [b"head body"]


def test_an_end_comes_behind_what_was_written() -> None:
    assert run(("write", b"last"), ("close", b"")) == [b"last", "close"]
    assert run(("write", b"lost"), ("abort", b"")) == ["abort"]


def test_what_is_long_does_not_wait() -> None:
    long = b"x" * AT_ONCE_OCTETS
    done = run(("write", b"head "), ("write", long), ("write", b"end"), ("close", b""))
    assert done == [b"head " + long, b"end", "close"]


def test_turns_are_pieces_of_their_own() -> None:
    async def two() -> list[bytes | str]:
        under = Transport()
        joined = Joined(under, asyncio.get_running_loop())  # type: ignore[arg-type]
        for data in (b"one", b"two"):
            joined.write(data)
            await asyncio.sleep(0)
        return under.done

    assert asyncio.run(two()) == [b"one", b"two"]


@pytest.mark.parametrize("protocol", [0, socket.IPPROTO_TCP])
def test_no_answer_waits_for_an_acknowledgement(protocol: int) -> None:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    made.bind(("127.0.0.1", 0))
    made.listen()
    with Listening.of(made, 8, 8) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
