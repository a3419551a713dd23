"""Golden transcripts: what was typed, and octet for octet what came back.

    # a remark
    ~ A sends 3 packets of 100 octets from 10.1.0.10 to 10.2.0.10      something that happens, see systems.py
    > tmsh show net ipsec-stat                                         typed at the shell of system A
    B> tmsh show net ipsec-stat                                        typed at that of system B

Every line behind a command, up to the next one, is its output; empty lines at the end of it only part the commands.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PLACEHOLDERS = {
    "<time>": r"[0-2][0-9]:[0-5][0-9]:[0-5][0-9]",
    "<date>": r"20[0-9]{2}-[01][0-9]-[0-3][0-9]",
    "<number>": r"[0-9]+",
    "<version>": r"[0-9]+\.[0-9]+\.[0-9]+",
    "<sealed>": r"\$M\$[A-Za-z0-9]{2}\$(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
    "<directory>": r"/[A-Za-z0-9_./-]+",
}
_PLACE = re.compile("|".join(PLACEHOLDERS))
_TYPED = re.compile(r"(?P<system>B?)> (?P<command>\S.*)\Z")


@dataclass(slots=True)
class Step:
    """A command of `system`, with its output; or with no system something that happens."""

    line: int
    command: str
    system: str = ""
    output: list[str] = field(default_factory=list)


def steps(path: Path) -> list[Step]:
    """The steps of a golden file."""
    found: list[Step] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if typed := _TYPED.match(line):
            found.append(Step(number, typed["command"], typed["system"] or "A"))
        elif line.startswith("~ "):
            found.append(Step(number, line[2:]))
        elif line.startswith("#"):
            continue
        elif found:
            found[-1].output.append(line)
    for step in found:
        while step.output and not step.output[-1]:
            step.output.pop()
        assert step.system or not step.output, f"{path.name}:{step.line}: what happens has no output"
    return found


def fits(expected: str, line: str) -> bool:
    """Whether a line of output is the expected one, placeholders aside."""
    pattern, end = "", 0
    for place in _PLACE.finditer(expected):
        pattern += re.escape(expected[end : place.start()]) + PLACEHOLDERS[place.group()]
        end = place.end()
    return re.fullmatch(pattern + re.escape(expected[end:]), line) is not None


def differences(expected: Sequence[str], output: Sequence[str]) -> Iterator[str]:
    """The lines that aren't as they should be."""
    for number in range(max(len(expected), len(output))):
        wanted = expected[number] if number < len(expected) else None
        line = output[number] if number < len(output) else None
        if wanted is None or line is None or not fits(wanted, line):
            yield f"  output line {number + 1}: expected {wanted!r}"
            yield f"  {' ' * len(f'output line {number + 1}:')}      got {line!r}"
