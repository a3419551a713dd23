"""Shows of many records: in parts, through pipes and pagers, and ended early."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sealing import AUTH_KEY, CIPHER_KEY, SITE_A

from culvert.control.server import Server
from culvert.tmsh import command
from culvert.tmsh import format as layout
from culvert.tmsh.session import Session
from tests.control.live import Site
from tests.control.running import serving
from tests.tmsh.terminal import PROMPT, Terminal

SAS = 450
MANY = "".join(
    f"net ipsec manual-security-association /Common/more{number} {{\n    spi {5000 + number}\n"
    f"    source-address 2.2.2.2\n    destination-address 3.3.3.3\n    auth-key {AUTH_KEY}\n"
    f"    encrypt-key {CIPHER_KEY}\n    ipsec-policy /Common/pol-out\n}}\n"
    for number in range(SAS)
)


@pytest.fixture
def socket(tmp_path: Path, place: Path) -> Iterator[Path]:
    site = Site(tmp_path)
    site.call("load", text=SITE_A + MANY)
    path = place / "c.sock"
    with serving(Server(path, site.gateway.call)):
        yield path
    site.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.call("load", text=SITE_A + MANY)
    yield made
    made.close()


def program(name: str, socket: Path, words: str, pipe: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"{sys.executable} -m culvert.{name} {words} {pipe}; echo ${{PIPESTATUS[0]}} >&2"],
        env={**os.environ, "CULVERT_SOCKET": str(socket)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


@pytest.mark.parametrize("options", ["", "all-properties", "json", "field-fmt"])
def test_in_parts_it_says_what_it_says_in_one_piece(site: Site, options: str) -> None:
    told: list[str] = []
    line = f"show net ipsec ipsec-sa {options}"
    command.run(line, Session(site, stream=site.stream, tell=told.extend))
    assert len(told) > 4, "in parts"
    assert "\n".join(told) == command.run(line, Session(site))


@pytest.mark.parametrize("options", [set(), {"json"}, {"field-fmt"}])
def test_nothing_in_parts_is_nothing_in_one_piece(options: set[str]) -> None:
    for what in ("net ipsec ipsec-sa", "net ipsec drops"):
        assert "\n".join(layout.pieces(what, [], options)) == layout.lay_out(what, [], options)


def test_a_module_shows_the_same_in_parts(site: Site) -> None:
    told: list[str] = []
    command.run("show net ipsec", Session(site, stream=site.stream, tell=told.extend))
    assert "\n".join(told) == command.run("show net ipsec", Session(site))


def test_a_filter_that_is_wrong_shows_no_title(site: Site) -> None:
    told: list[str] = []
    session = Session(site, stream=site.stream, tell=told.extend)
    with pytest.raises(Exception, match="was not found"):
        command.run("show net ipsec ipsec-sa traffic-selector absent", session)
    assert told == []


@pytest.mark.parametrize(
    ("name", "words"), [("tmsh", "show net ipsec ipsec-sa all-properties"), ("racoonctl", "show-sa esp")]
)
def test_who_reads_only_the_head_hears_no_complaint(socket: Path, name: str, words: str) -> None:
    done = program(name, socket, words, "| head -2")
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.split() == ["1"]


def test_all_of_it_goes_through_a_pipe(socket: Path) -> None:
    done = program("tmsh", socket, "show net ipsec ipsec-sa", "| cat")
    assert done.stdout.count("SPI(") == SAS + 2 and done.stderr.split() == ["0"]
    assert done.stdout.splitlines()[-1] == f"Total records returned: {SAS + 2}"


@pytest.mark.parametrize("keys", [["q"], ["\x03", "q"], [" ", " ", "\x03", "q"]])
def test_a_pager_is_left_whenever_one_likes(socket: Path, tmp_path: Path, keys: list[str]) -> None:
    terminal = Terminal(socket, tmp_path)
    try:
        terminal.until(PROMPT)
        first = terminal.type("show net ipsec ipsec-sa all-properties\n", r"\n:")
        assert "IPsec::SecurityAssociations" in first
        for key in keys[:-1]:
            terminal.type(key, r"\n:")
        told = terminal.type(keys[-1], PROMPT)
        assert "Traceback" not in told and "culvertd" not in told
        assert "/Common" in terminal.type("pwd\n"), "and the shell goes on"
        terminal.type("quit\n", "")
    finally:
        terminal.close()
