"""Counters out of the kernel: what the nft program says of them, and nothing of other tables."""

import json
import subprocess
from collections.abc import Iterator
from uuid import uuid4

import pytest

from culvert.dataplane.userspace import nft_counters, nftables
from culvert.lab.namespace import Namespace

TABLES = """
table inet culvert {
    counter replay { packets 7 bytes 700; }
    counter forwarder-0123456789abcdef { packets 9223372036854775807 bytes 3; }
    limit other { rate 400/minute; }
    set big { typeof ip saddr; flags interval; elements = { 10.0.0.0/24, 10.1.0.0/24 }; }
}
table inet stranger {
    counter replay { packets 1 bytes 1; }
}
table ip culvert {
    counter four { packets 1 bytes 1; }
}
"""


@pytest.fixture
def space() -> Iterator[Namespace]:
    name = f"culvert-counters-{uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield Namespace(name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def nft(space: Namespace, *words: str, text: str | None = None) -> str:
    command = space.command(["nft", *words])
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def test_they_are_those_that_nft_lists(space: Namespace) -> None:
    nft(space, "-f", "-", text=TABLES)
    told = json.loads(nft(space, "-j", "list", "counters", "table", "inet", "culvert"))["nftables"]
    listed = {own["name"]: (own["packets"], own["bytes"]) for each in told if (own := each.get("counter"))}
    assert space.inside(nftables.counters) == listed
    assert listed == {"replay": (7, 700), "forwarder-0123456789abcdef": (2**63 - 1, 3)}


def test_without_the_table_there_are_none(space: Namespace) -> None:
    assert space.inside(nftables.counters) is None
    nft(space, "-f", "-", text=TABLES)
    nft(space, "delete", "table", "inet", "culvert")
    assert space.inside(nftables.counters) is None


def test_many_come_in_several_messages(space: Namespace) -> None:
    lines = "".join(f"counter c{number} {{ packets {number} bytes {2 * number} }}\n" for number in range(3000))
    nft(space, "-f", "-", text=f"table inet culvert {{\n{lines}}}\n")
    assert space.inside(nft_counters.read) == {f"c{number}": (number, 2 * number) for number in range(3000)}


@pytest.mark.parametrize("octets", [bytes(15), bytes(16), b"\xff" * 40, nft_counters.request(1)[:-1]])
def test_octets_that_are_no_message_end_in_an_error(octets: bytes) -> None:
    if len(octets) < 16:
        assert list(nft_counters.messages(octets)) == []
    else:
        with pytest.raises(OSError, match="cut off"):
            list(nft_counters.messages(octets))
