# ruff: noqa: E402  (what is imported behind the first skip needs the engine)
"""The engine against what others have published: the answers of tests/vectors, those that the reference is held to too.

Answers of bare AEADs with associated data of any length can't be asked of an engine that knows ESP only; their packets
can, and are here.
"""

import pytest

culvert_native = pytest.importorskip(
    "culvert_native", reason="the native engine isn't built: it needs cargo (tools/engine)"
)

from culvert.ipsec.algorithms import AUTHS, NONE, auth_row, cipher_row
from tests.ipsec.test_vector_packets import AUTHENTIC
from tests.ipsec.vectors import MacAnswer, Packet, macs

ENGINES: list[str] = culvert_native.engines()
ESP = {name: packet for name, packet in AUTHENTIC.items() if packet.protocol == "esp"}
MACS = {case.id: case for case in macs()}


def rows_of(case: MacAnswer) -> list[str]:
    """Every row that this answer is of: its own, and one with another truncation."""
    own = auth_row(case.auth)
    same = [row.name for row in AUTHS.values() if row.title.rsplit("-", 1)[0] == own.title.rsplit("-", 1)[0]]
    return [name for name in same if AUTHS[name].key_octets == len(case.key)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", MACS)
def test_a_published_mac_is_made(name: str, engine: str) -> None:
    case = MACS[name]
    signed = 0
    for row in rows_of(case):
        icv = culvert_native.sign(engine, row, case.key, int.from_bytes(case.iv), case.message)
        expected = (case.mac or case.icv)[: AUTHS[row].icv_octets]
        assert icv[: len(expected)] == expected
        signed += 1
    assert signed or len(case.key) != auth_row(case.auth).key_octets


def test_most_published_macs_have_a_key_that_an_sa_may_have() -> None:
    assert sum(bool(rows_of(case)) for case in MACS.values()) >= 20


def opened(packet: Packet, octets: bytes, engine: str) -> bytes | None:
    found: bytes | None = culvert_native.open_esp(
        engine, packet.cipher, packet.cipher_key, packet.auth, packet.auth_key, packet.sequence_high is not None,
        packet.number, octets,
    )  # fmt: skip
    return found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ESP)
def test_a_published_packet_opens(name: str, engine: str) -> None:
    packet = ESP[name]
    assert opened(packet, packet.body, engine) == packet.clear
    for at in (0, 5, len(packet.body) // 2, len(packet.body) - 1):
        damaged = bytearray(packet.body)
        damaged[at] ^= 1
        assert opened(packet, bytes(damaged), engine) is None


def test_there_are_enough_of_them() -> None:
    assert len(ESP) >= 30
    ciphers = {packet.cipher for packet in ESP.values()}
    assert {"aes-gcm128", "chacha20-poly1305", "aes128", "3des", "null"} <= ciphers
    assert any(cipher_row(packet.cipher).combined and packet.auth == NONE for packet in ESP.values())
