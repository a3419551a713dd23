"""`culvert pcap` from its command line: configuration, capture in, capture out, report."""

import json
import os
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import rdpcap, wrpcap
from sealing import SITE_A

from culvert.cli import offline
from culvert.config import transaction as tx
from culvert.config.vault import Vault
from culvert.model.fields import Reader

CIPHER_KEY = bytes.fromhex("00112233445566778899aabbccddeeff")


def peer(spi: int, source: str, destination: str) -> SecurityAssociation:
    """The same SA as scapy has it."""
    return SecurityAssociation(
        ESP,
        spi=spi,
        crypt_algo="AES-CBC",
        crypt_key=CIPHER_KEY,
        auth_algo="HMAC-SHA1-96",
        auth_key=b"a" * 20,
        tunnel_header=IP(src=source, dst=destination),
    )


def run(tmp_path: Path, *more: str) -> tuple[int, list[dict[str, object]]]:
    words = ["--config", "site.conf", "--read", "in.pcap", "--write", "out.pcap", "--json", "report"]
    os.chdir(tmp_path)
    status = offline.run([*words, *more])
    return status, [json.loads(line) for line in Path("report").read_text().splitlines()]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.conf").write_text(SITE_A)
    clear = IP(src="10.1.0.10", dst="10.2.0.10") / UDP(sport=1, dport=2) / Raw(b"to the far side")
    back = IP(src="10.2.0.10", dst="10.1.0.10") / UDP(sport=2, dport=1) / Raw(b"and back")
    association = peer(1002, "3.3.3.3", "2.2.2.2")
    sealed, forged = association.encrypt(back), association.encrypt(back)
    forged[ESP].data = bytes(len(forged[ESP].data))
    other = IP(src="10.9.0.1", dst="10.2.0.10") / UDP() / Raw(b"nobody's")
    packets = [Ether() / packet for packet in (clear, sealed, sealed, forged, other)]
    for number, packet in enumerate(packets):
        packet.time = 1_700_000_000 + number / 8
    wrpcap(str(tmp_path / "in.pcap"), packets)


def test_both_directions_against_scapy(tmp_path: Path) -> None:
    status, report = run(tmp_path)
    assert status == 0
    assert [(line["index"], line["direction"], line["verdict"], line["reason"]) for line in report] == [
        (1, "out", "protect", None),
        (2, "in", "open", None),
        (3, "in", "drop", "replay"),
        (4, "in", "drop", "integrity"),
        (5, "out", "bypass", None),
    ]
    assert report[0]["selector"] == "/Common/ts-out"
    protected, opened, bypassed = rdpcap(str(tmp_path / "out.pcap"))
    assert (protected[IP].src, protected[IP].dst) == ("2.2.2.2", "3.3.3.3")
    inner = peer(1001, "2.2.2.2", "3.3.3.3").decrypt(protected[IP])
    assert (inner[IP].src, bytes(inner[Raw])) == ("10.1.0.10", b"to the far side")
    assert bytes(opened[Raw]) == b"and back"
    assert bytes(bypassed[Raw]) == b"nobody's"
    assert float(opened.time) == pytest.approx(1_700_000_000.125)


def test_sealed_keys_need_the_master_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vault = Vault.open(tmp_path / "master.key")
    sealed = tx.saved_text(tx.read_file(SITE_A, tx.SHIPPED, Reader("/Common", vault)).check())
    (tmp_path / "site.conf").write_text(sealed)
    assert run(tmp_path, "--master-key", "master.key")[0] == 0
    assert offline.run(["--config", "site.conf", "--read", "in.pcap", "--write", "out.pcap"]) == 1
    assert "the key is sealed; name the system's master key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("site.conf", b"net vlan {", '"{" is never closed'),
        ("site.conf", b"\xff", "is not UTF-8"),
        ("in.pcap", b"not a capture at all, but text", "neither a pcap nor a pcapng"),
    ],
)
def test_bad_files_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert offline.run(["--config", "site.conf", "--read", "in.pcap", "--write", "out.pcap"]) == 1
    assert told in capsys.readouterr().err


VIRTUAL = SITE_A[SITE_A.index("ltm virtual") : SITE_A.index("net ipsec ipsec-policy")]
KEYS = SITE_A[SITE_A.index("net ipsec ipsec-policy") :]


@pytest.mark.parametrize(
    ("config", "verdicts"),
    [
        (SITE_A.replace(VIRTUAL, ""), ["not-forwarded", "not-forwarded", "replay", "integrity", "not-forwarded"]),
        (
            SITE_A.replace("    ip-forward\n", "    ip-forward\n    disabled\n"),
            ["not-forwarded", "not-forwarded", "replay", "integrity", "not-forwarded"],
        ),
        (KEYS, ["protect", "open", "replay", "integrity", "bypass"]),
        (
            VIRTUAL.replace("0.0.0.0:any", "10.1.0.0:any").replace("mask any", "mask 255.255.0.0") + KEYS,
            ["protect", "open", "replay", "integrity", "not-forwarded"],
        ),
    ],
    ids=["no virtual server", "disabled", "only keys", "virtual server without self IP"],
)
def test_virtual_servers(tmp_path: Path, config: str, verdicts: list[str]) -> None:
    (tmp_path / "site.conf").write_text(config)
    status, report = run(tmp_path)
    assert status == 0
    assert [line["reason"] or line["verdict"] for line in report] == verdicts


def test_the_help_says_when_forwarding_is_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        offline.run(["--help"])
    assert "describes only keys" in " ".join(capsys.readouterr().out.split())
