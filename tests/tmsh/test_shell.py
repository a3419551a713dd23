"""The shell on a terminal of its own: a pty, and a gateway behind a real control socket."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from culvert.control.server import Server
from tests.control.live import Site
from tests.control.running import serving
from tests.tmsh.terminal import PROMPT, Terminal


@pytest.fixture
def terminal(site: Site, place: Path) -> Iterator[Terminal]:
    path = place / "culvertd.sock"
    server = Server(path, lambda call, args, peer: site.gateway.call(call, args, peer))
    with serving(server):
        made = Terminal(path, place)
        try:
            yield made
        finally:
            made.close()


def test_a_session(terminal: Terminal, place: Path) -> None:
    assert terminal.until(PROMPT).endswith("@(culvert)(cfg-sync Standalone)(Active)(/Common)(tmos)# ")
    assert "(tmos.net.ipsec)# " in terminal.type("net ipsec\n")
    listed = terminal.type("list ipsec-policy pol-out mode\n")
    assert "net ipsec ipsec-policy pol-out {\n    mode tunnel\n}\n" in listed
    assert 'Syntax Error: unexpected argument "nonsense"' in terminal.type("nonsense\n")
    assert terminal.type("exit\n").endswith("(tmos)# ")
    assert terminal.type("create cli transaction\n").split("\n")[-1].startswith("[batch mode]")
    assert not terminal.type("delete cli transaction\n").split("\n")[-1].startswith("[batch mode]")
    os.write(terminal.fd, b"quit\n")
    os.waitid(os.P_PID, terminal.pid, os.WEXITED | os.WNOWAIT)
    # Nothing but text: programs read this.
    assert "\x1b" not in terminal.all


def test_question_mark_and_tab(terminal: Terminal) -> None:
    terminal.until(PROMPT)
    told = terminal.type("modify net ipsec ipsec-policy pol-out mode ?", r"(?s)Values:.*mode $")
    assert "Values:\n" in told
    assert "  transport  the default\n" in told
    assert re.search(r"  tunnel\n.*\(tmos\)# modify net ipsec ipsec-policy pol-out mode $", told, re.DOTALL)
    assert "tunnel " in terminal.type("tun\t", "tunnel ")
    terminal.type("\n")
    # Within quotes it is a character.
    terminal.type('modify net ipsec ipsec-policy pol-out description "why?"', r'why\?"$')
    terminal.type("\n")
    assert "description why?" in terminal.type("list net ipsec ipsec-policy pol-out description\n")


def test_a_command_may_span_lines(terminal: Terminal) -> None:
    terminal.until(PROMPT)
    terminal.type("create net ipsec ipsec-policy over {\n", "> $")
    terminal.type("mode interface\n", "> $")
    terminal.type("}\n")
    assert "mode interface" in terminal.type("list net ipsec ipsec-policy over\n")


def test_tab_on_a_line_that_goes_on(terminal: Terminal) -> None:
    terminal.until(PROMPT)
    terminal.type("create net ipsec ipsec-policy over {\n", "> $")
    assert "mode tunnel " in terminal.type("mode tun\t", "tunnel ")
    told = terminal.type("ip?", r"(?s)Properties:.*> mode tunnel ip$")
    assert "  ipcomp-cpi  " in told
    terminal.type("comp deflate\n", "> $")
    terminal.type("tunnel-local-address 1.1.1.1 tunnel-remote-address 1.1.1.2 }\n")
    assert "ipcomp deflate" in terminal.type("list net ipsec ipsec-policy over\n")


def test_the_history_is_kept_without_keys(terminal: Terminal, place: Path) -> None:
    terminal.until(PROMPT)
    terminal.type('modify net ipsec manual-security-association sa-out auth-key "12345678901234567890"\n')
    terminal.type("pwd\n")
    history = (place / ".tmsh-history").read_text()
    assert 'auth-key "..."' in history
    assert "1234567890" not in history
    assert (place / ".tmsh-history").stat().st_mode & 0o077 == 0
    assert "pwd" in terminal.type("\x1b[A", "pwd")


def test_an_interrupt_ends_the_line_and_not_the_shell(terminal: Terminal) -> None:
    terminal.until(PROMPT)
    # The whole of it first: what the terminal hasn't handed over yet, an interrupt throws away.
    terminal.type("create net ipsec ipsec-pol", "ipsec-pol$")
    # An interrupt that comes just before Python's readline waits is seen with the next key.
    os.write(terminal.fd, b"\x03")
    time.sleep(1)
    terminal.type("\n")
    time.sleep(1)
    told = terminal.type("pwd\n", r"/Common\r?\n[^\n]*\(tmos\)# $")
    assert "Syntax Error" not in terminal.all and "pwd" in told


def test_a_session_recalls_as_much_as_is_preferred(terminal: Terminal) -> None:
    terminal.until(PROMPT)
    terminal.type("list net vlan tag\n")
    terminal.type("mod cli pref history-size 2\n")
    terminal.type("pwd\n")
    # The oldest of the two stays where it is, however often one asks for an older one.
    assert "mod cli pref history-size 2" in terminal.type("\x1b[A\x1b[A\x1b[A", "history-size 2$")
    terminal.type("\n")
    assert "history-size 2" in terminal.type("list cli preference history-size\n")


def test_long_lists_ask_first(terminal: Terminal) -> None:
    terminal.until(PROMPT)
    terminal.type("modify cli preference display-threshold 2 pager disabled\n")
    terminal.type("list net ipsec ipsec-policy\n", r"Display all 5 items\? \(y/n\) $")
    assert "pol-out" in terminal.type("y\n")
    terminal.type("list net ipsec ipsec-policy\n", r"\(y/n\) $")
    assert "pol-out" not in terminal.type("n\n")


def test_the_prompt_has_the_parts_that_are_preferred(terminal: Terminal) -> None:
    terminal.until(PROMPT)
    told = terminal.type("modify cli preference prompt { host current-folder }\n")
    assert told.split("\n")[-1] == "(culvert)(/Common)(tmos)# "
