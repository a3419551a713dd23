"""The vendor's procedure as it is typed, and what it answers: see transcript.py for how a golden file reads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.conftest import place as place
from tests.golden import transcript
from tests.golden.systems import Systems, two_systems

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.golden"))
AFTER = "after "
"""`~ after NAME`: first everything of another golden file, whose outputs that file's own test compares."""

SEED_COMMANDS = (
    "tmsh modify net ipsec ike-daemon ikedaemon log-level debug",
    "racoonctl -l show-sa isakmp",
    "racoonctl -ll show-sa internal",
    "tmsh show net ipsec ipsec-sa",
    "tmsh show net ipsec ipsec-sa all-properties",
    "tmsh show net ipsec ike-sa all-properties",
    "tmsh show net ipsec ipsec-sa traffic-selector ts_codec",
    "tmsh show net ipsec-stat",
    "tmsh delete net ipsec ipsec-sa",
    "tmsh delete net ipsec ike-sa",
    "racoonctl flush-sa isakmp",
    "tmsh create sys log-config publisher ipsec { destinations add { local-syslog }}",
    "tmsh list sys log-config publisher ipsec",
    "tmsh modify net ipsec ike-daemon ikedaemon log-publisher ipsec",
    "tmsh modify net ipsec ike-daemon ikedaemon log-level debug2",
    "tmsh modify net ipsec ike-daemon ikedaemon log-level info",
)
"""Every command of the vendor's procedure, character for character and in its order."""

SEED_FILTERS = ("spi", "src_addr", "dst_addr")
"""What else `show net ipsec ipsec-sa` can be filtered by, as the procedure spells it."""


CATALOGUE = (
    "01020066:3: The requested IPsec policy (/Common/",
    "01020036:3: The requested IPsec policy (/Common/",
    "01070265:3: The IPsec policy (/Common/",
    "01070734:3: Configuration error: ",
    'Syntax Error: unexpected argument "',
    'Syntax Error: "colour" unknown property',
    "Syntax Error: one or more properties must be specified",
)
"""How every error begins that the vendor is known to print and that can be made here."""


@pytest.fixture
def systems(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Systems]:
    with two_systems(place, capsys, monkeypatch) as found:
        yield found


def play(path: Path, systems: Systems) -> Iterator[str]:
    """Run a file's steps; what differs, with the line of the file."""
    for step in transcript.steps(path):
        if step.system:
            answer = systems.type(step.system, step.command)
            found = list(transcript.differences(step.output, answer.lines))
            failed = any(not line.startswith("Warning: ") for line in answer.errors.splitlines())
            if answer.status != int(failed):
                found.append(f"  status {answer.status}, but errors {answer.errors!r}")
            if found:
                yield "\n".join([f"{path.name}:{step.line}: {step.system}> {step.command}", *found])
        elif step.command.startswith(AFTER):
            yield from play(HERE / f"{step.command.removeprefix(AFTER)}.golden", systems)
        else:
            systems.happen(step.command)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path: Path, systems: Systems) -> None:
    found = list(play(path, systems))
    assert not found, "\n" + "\n".join(found)


def typed() -> list[str]:
    return [step.command for path in FILES for step in transcript.steps(path) if step.system]


@pytest.mark.parametrize("command", SEED_COMMANDS)
def test_every_command_of_the_procedure_is_in_a_transcript(command: str) -> None:
    assert command in typed()


@pytest.mark.parametrize("word", SEED_FILTERS)
def test_every_filter_of_the_procedure_is_in_a_transcript(word: str) -> None:
    assert any(command.startswith(f"tmsh show net ipsec ipsec-sa {word} ") for command in typed())


@pytest.mark.parametrize("beginning", CATALOGUE)
def test_every_error_of_the_catalogue_is_in_a_transcript(beginning: str) -> None:
    outputs = [line for path in FILES for step in transcript.steps(path) for line in step.output]
    assert any(line.startswith(beginning) for line in outputs)


@pytest.mark.parametrize(
    ("expected", "line", "same"),
    [
        ("a <time>: b", "a 16:45:13: b", True),
        ("a <time>: b", "a 16:45: b", False),
        ("<date> <number>", "2012-06-29 7", True),
        ("<number>", "7K", False),
        ("key <sealed>", "key $M$tt$YWFhYQ==", True),
        ("key <sealed>", "key aaaa", False),
        ("a (b)", "a  (b)", False),
        ("a", "a ", False),
    ],
)
def test_placeholders_are_strict(expected: str, line: str, same: bool) -> None:
    assert transcript.fits(expected, line) is same


def test_missing_and_surplus_lines_are_differences() -> None:
    assert not list(transcript.differences(["a"], ["a"]))
    assert list(transcript.differences(["a", "b"], ["a"]))
    assert list(transcript.differences(["a"], ["a", "b"]))
