"""The far syslog: real receivers on loopback, by datagrams and by a stream."""

import socket
import time

import pytest

from culvert.observe.publisher import Outlet, Publisher
from culvert.observe.remote import Address, RemoteSyslog, line

NOW = 1340988314.123


@pytest.mark.parametrize(
    ("newer", "expected"),
    [
        # RFC 5424 section 6, RFC 3164 section 4.1: priority 16 * 8 + 6.
        (True, b"<134>1 2012-06-29T16:45:14.123Z gw culvert - - - hello"),
        (False, b"<134>Jun 29 16:45:14 gw culvert: hello"),
    ],
)
def test_the_shapes_of_the_rfcs(newer: bool, expected: bytes) -> None:
    assert line(Address("127.0.0.1", 514, rfc5424=newer), "local0", "info", "hello", NOW, "gw") == expected
    early = line(Address("127.0.0.1", 514, rfc5424=False), "local7", "err", "x", 86400.0 * 3, "gw")
    assert early == b"<187>Jan  4 00:00:00 gw culvert: x"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_arrive(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.bind((host, 0))
        receiver.settimeout(5)
        sender = RemoteSyslog(Address(host, receiver.getsockname()[1]), lambda: NOW)
        sender.send("local3", "warn", "first")
        assert receiver.recv(4096).startswith(b"<156>1 2012-06-29T16:45:14.123Z ")
        sender.close()


def test_a_stream_counts_octets_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("culvert.observe.remote.AGAIN_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        sender = RemoteSyslog(Address("127.0.0.1", listener.getsockname()[1], stream=True), lambda: NOW)
        sender.send("local0", "info", "one")
        first, _ = listener.accept()
        received = first.recv(4096)
        length, _, rest = received.partition(b" ")
        assert int(length) == len(rest)
        assert rest.endswith(b" - - - one")
        first.close()
        deadline = time.monotonic() + 5
        listener.setblocking(False)
        while time.monotonic() < deadline:
            sender.send("local0", "info", "again")
            time.sleep(0.02)
            try:
                second, _ = listener.accept()
                break
            except BlockingIOError:
                continue
        second.settimeout(5)
        assert second.recv(4096).endswith(b"again")
        second.close()
        sender.close()
    assert sender.lost >= 1


@pytest.mark.alone
def test_nobody_there_costs_no_time() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sender = RemoteSyslog(Address("127.0.0.1", port, stream=True), lambda: NOW)
    started = time.monotonic()
    for _ in range(3000):
        sender.send("local0", "info", "lost")
    assert time.monotonic() - started < 2
    assert sender.lost > 1900
    sender.close()


def test_a_publisher_keeps_who_stays_and_closes_who_goes(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        outlet = Outlet("far", "local1", "notice", Address("127.0.0.1", receiver.getsockname()[1]))
        publisher = Publisher(tmp_path / "ipsec.log", lambda: NOW, syslog=str(tmp_path / "none"))
        publisher.configure("info", [Outlet("near"), outlet])
        publisher.emit("info", "ordinary")
        assert receiver.recv(4096).startswith(b"<141>")
        publisher.configure("error", [outlet])
        publisher.emit("info", "filtered")
        publisher.emit("error", "serious")
        assert b"serious" in receiver.recv(4096)
        assert publisher.report()["destinations"] == [{"name": "far", "lost": 0}]
        assert [own[-7:] for own in publisher.tail(1)] == ["serious"]
        publisher.configure("info", [])
        publisher.emit("info", "to the file alone")
        publisher.close()
