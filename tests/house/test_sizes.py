"""Files and functions stay small enough to be read at once.

A file may be longer than the rest if its first lines say why, after `# house: long, because` (in Rust and C `// house:
long, because`). A function that is one table may be longer if `# house: table` stands on its `def` line or in the line
above it; functions of Rust and C are not looked at.
"""

import ast
import re
from collections.abc import Iterator
from statistics import median, quantiles

from tests.house.tree import PACKAGE, committed, python_files, shown, syntax

SOURCES = {".py", ".rs", ".c", ".h"}
FILE_LINES = 500
FUNCTION_LINES = 60
MEDIAN_LINES = 10
NINE_IN_TEN_LINES = 40
FILE_OCTETS = 1_000_000
LONG_FILE = re.compile(r"^(?:#|//) house: long, because \w+", re.MULTILINE)
TABLE = "# house: table"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[str, int, bool]]:
    """Place, lines without the docstring, whether it is marked as a table."""
    for path in python_files(PACKAGE):
        lines = path.read_text().splitlines()
        for node in ast.walk(syntax(path)):
            if isinstance(node, Function):
                marked = TABLE in "\n".join(lines[max(0, node.lineno - 2) : node.lineno])
                yield f"{shown(path)}:{node.lineno} {node.name}", length(node), marked


def length(node: Function) -> int:
    assert node.end_lineno is not None
    first = node.body[0]
    docstring = 0
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        assert first.end_lineno is not None
        docstring = first.end_lineno - first.lineno + 1
    return node.end_lineno - node.lineno + 1 - docstring


def test_no_file_is_too_long() -> None:
    found = []
    for path in [path for path in committed() if path.suffix in SOURCES]:
        lines = path.read_text().splitlines()
        if len(lines) > FILE_LINES and not LONG_FILE.search("\n".join(lines[:20])):
            found.append(f"{shown(path)}: {len(lines)} lines")
    assert not found, found


def test_no_function_is_too_long() -> None:
    found = [f"{place}: {lines} lines" for place, lines, table in functions() if lines > FUNCTION_LINES and not table]
    assert not found, found


def test_most_functions_are_short() -> None:
    sizes = [lines for _place, lines, _table in functions()]
    assert median(sizes) <= MEDIAN_LINES
    assert quantiles(sizes, n=10)[8] <= NINE_IN_TEN_LINES


def test_no_big_file_is_committed() -> None:
    found = [f"{shown(path)}: {path.stat().st_size} octets" for path in committed()]
    big = [line for line, path in zip(found, committed(), strict=True) if path.stat().st_size > FILE_OCTETS]
    assert not big, big
