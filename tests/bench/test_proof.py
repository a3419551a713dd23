"""The witness on the wan tells protected from clear, and can be wrong in neither direction unnoticed."""

import struct

import pytest

from bench.proof import Wire, Witness
from culvert.lab.errors import LabError

ESP = bytes.fromhex("000003e9 00000001") + bytes(40)


def frame(protocol: int, payload: bytes) -> bytes:
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, b"\2\2\2\2", b"\3\3\3\3")
    return bytes(12) + b"\x08\0" + header + payload


def datagram(source: int, destination: int, payload: bytes) -> bytes:
    return frame(17, struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload)


SAMPLES = (
    (frame(50, ESP), Wire.ESP),
    (datagram(4500, 4500, ESP), Wire.ESP_IN_UDP),
    (datagram(4500, 4500, bytes(4) + b"ike" * 20), Wire.ESP_IN_UDP),
    (datagram(500, 500, b"ike" * 20), Wire.ESP_IN_UDP),
    (datagram(51820, 51820, b"\4\0\0\0" + bytes(60)), Wire.WIREGUARD),
    (datagram(51820, 51820, b"not WireGuard at all"), Wire.CLEAR),
    (datagram(4000, 5000, bytes(60)), Wire.CLEAR),
    (frame(6, bytes(40)), Wire.CLEAR),
)


@pytest.mark.parametrize(("octets", "wire"), SAMPLES)
def test_each_frame_is_what_it_is(octets: bytes, wire: Wire) -> None:
    witness = Witness()
    witness.see(octets)
    assert dict(witness.counts) == {wire: 1}


def test_protected_frames_alone_are_right() -> None:
    witness = Witness()
    witness.see(SAMPLES[0][0])
    assert witness.judge(Wire.ESP, missed=0) == "1 x ESP"


@pytest.mark.parametrize("wrong", [own for own, wire in SAMPLES if wire is not Wire.ESP])
def test_one_wrong_frame_is_told(wrong: bytes) -> None:
    witness = Witness()
    witness.see(SAMPLES[0][0])
    witness.see(wrong)
    with pytest.raises(LabError, match="not only ESP"):
        witness.judge(Wire.ESP, missed=0)


def test_nothing_at_all_is_no_proof() -> None:
    with pytest.raises(LabError):
        Witness().judge(Wire.ESP, missed=0)


def test_clear_text_inside_of_esp_is_told() -> None:
    witness = Witness()
    witness.see(frame(50, ESP[:8] + witness.mark))
    with pytest.raises(LabError, match="1 with clear text"):
        witness.judge(Wire.ESP, missed=0)


def test_a_missed_frame_is_no_proof() -> None:
    witness = Witness()
    witness.see(SAMPLES[0][0])
    with pytest.raises(LabError, match="missed 1"):
        witness.judge(Wire.ESP, missed=1)


def test_a_blind_witness_is_told() -> None:
    witness = Witness()
    witness.see(datagram(4000, 5000, bytes(60)))
    with pytest.raises(LabError, match="did not see"):
        witness.judge(Wire.CLEAR, missed=0)
