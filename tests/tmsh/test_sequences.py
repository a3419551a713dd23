"""Any sequence of commands: whatever comes of each, the configuration stays one that saves and loads to itself."""

import gc
import io
import os
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sealing import SITE_A

from culvert.control.errors import ControlError
from culvert.tmsh import command
from culvert.tmsh.session import Session
from tests.control.live import Site
from tests.tmsh import wholeness
from tests.tmsh.commands import KEYS
from tests.tmsh.commands import command as typed_by

EXAMPLES = int(os.environ.get("CULVERT_SEQUENCES", "50"))
"""How many sequences; thousands find more than a test run has time for."""
LENGTH = 60
SAVED_WRONG = {
    "a partition that a user has a role in": (
        "create auth partition p",
        "create auth user u partition-access add { p { role guest } }",
        "delete auth partition p",
    ),
    "a partition that a user has a role in, renamed": (
        "create auth partition p",
        "create auth user u partition-access add { p { role guest } }",
        "mv auth partition p q",
    ),
    "the partition that shells start in": (
        "create auth partition p",
        "modify cli admin-partitions update-partition p",
        "delete auth partition p",
    ),
    "the partition that shells start in, renamed": (
        "create auth partition p",
        "modify cli admin-partitions update-partition p",
        "mv auth partition p q",
    ),
    "no partition that shells start in": ("modify cli admin-partitions update-partition none",),
    "a partition with something in it, renamed": (
        "create auth partition p",
        "create net ipsec ipsec-policy /p/x",
        "mv auth partition p q",
    ),
    "the route domain of a partition": (
        "create net route-domain r id 7",
        "create auth partition p default-route-domain 7",
        "delete net route-domain r",
    ),
    "the number of a partition's route domain": (
        "create net route-domain r id 7",
        "create auth partition p default-route-domain 7",
        "modify net route-domain r id 8",
    ),
    "the direction of a selector that goes the other way at a new self IP": (
        "delete net self outside",
        "modify net ipsec traffic-selector ts-out direction in",
        "create net self outside address 2.2.2.2/24 vlan external",
    ),
    "a self IP at which a selector's direction hangs": (
        "create net self far-end address 3.3.3.3/24 vlan external",
        "modify net ipsec traffic-selector ts-out direction in",
        "delete net self far-end",
    ),
    "a folder with something in it, renamed": (
        "create sys folder f",
        "create net ipsec ipsec-policy f/x",
        "mv sys folder f g",
    ),
}


SHIPPED_OTHERWISE = (
    "modify net ipsec ike-daemon ikedaemon log-publisher none",
    "modify net ipsec ipsec-policy default-ipsec-policy-interface mode transport",
    "modify sys log-config publisher default-ipsec-log-publisher destinations none",
    "modify net tunnels tunnel http-tunnel description none",
)


@pytest.mark.parametrize("line", SHIPPED_OTHERWISE)
def test_what_is_shipped_may_be_set_to_its_default(site: Site, line: str) -> None:
    """A default isn't written, and so the next load brought back what the system came with."""
    assert site.type(line) == [""]
    with wholeness.twin(site) as other:
        wholeness.check(site, other)


def test_a_foreign_stanza_comes_with_a_file_only(site: Site) -> None:
    """One of a kind that is known was kept as foreign, and came back from a file as what it said."""
    foreign = {"kind": "foreign", "properties": {"text": "net self /Common/x { address 10.9.0.1/24 vlan internal }"}}
    assert "comes with a file" in site.refused("create", name="net self /Common/x", **foreign).text
    site.call("load", text="ltm pool /Common/web { }", merge=True)
    assert "comes with a file" in site.refused("modify", names=["ltm pool /Common/web"], **foreign).text
    for line in ('create foreign "net self /Common/x"', 'cp foreign "ltm pool /Common/web" "ltm pool /Common/two"'):
        assert site.type(line)[0].startswith("Syntax Error")
    assert site.type("delete ltm pool web") == [""]


@pytest.mark.parametrize("lines", SAVED_WRONG.values(), ids=SAVED_WRONG)
def test_what_others_need_stays(site: Site, lines: tuple[str, ...]) -> None:
    """Each last command was carried out, and what was saved then could not be loaded."""
    *before, last = lines
    assert site.type(*before) == [""] * len(before)
    assert site.type(last) != [""]
    with wholeness.twin(site) as other:
        wholeness.check(site, other)


def test_a_member_that_is_given_twice_is_told(site: Site) -> None:
    """It came to a TypeError, which is an internal error of the daemon."""
    assert "e0 is given twice" in site.type("create net vlan v interfaces { e0 { tagged } e0 { untagged } }")[0]
    assert "e0 is given twice" in site.refused("load", text="net vlan v { interfaces { e0 { } e0 { tagged } } }").text
    assert site.type("create net vlan v interfaces { e0 { tagged } e0 { tagged } }") == [""]


def carried_out(typed: str, session: Session) -> bool:
    """Whether a command was; what it reads from the terminal stands below its first line."""
    line, _, below = typed.partition("\n")
    try:
        with patch("sys.stdin", io.StringIO(below)):
            command.run(line, session)
    except ControlError as error:
        assert error.text and "Internal" not in error.text
        return False
    return True


@pytest.mark.timeout(120 + 5 * EXAMPLES)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**62), st.lists(st.booleans(), min_size=LENGTH, max_size=LENGTH))
def test_any_sequence_leaves_a_configuration_that_loads_to_itself(seed: int, kept: list[bool]) -> None:
    """`kept`: which commands of a long sequence are typed, so that hypothesis can leave out what doesn't matter."""
    lines = [typed_by(seed * LENGTH + at) for at, typed in enumerate(kept) if typed]
    with tempfile.TemporaryDirectory(dir=wholeness.MEMORY) as directory:
        site = Site(Path(directory))
        site.call("load", text=SITE_A)
        session = Session(site)
        with wholeness.twin(site) as other:
            text, runs = site.call("text"), wholeness.running(site)
            for line in lines:
                done = carried_out(line, session)
                shown = command.run("list recursive", Session(site, folder="/"))
                assert shown and not any(key.strip('"') in shown for key in KEYS)
                assert "Saving" in command.run("save sys config", Session(site))
                if site.call("text") != text:
                    assert done and session.batch is None
                    wholeness.check(site, other)
                    text, runs = site.call("text"), wholeness.running(site)
                assert wholeness.running(site) == runs
            assert not any(key.strip('"') in text + site.log for key in KEYS)
        site.close()
        # A load freezes what is alive then.
        gc.unfreeze()
