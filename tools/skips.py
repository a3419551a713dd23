"""Fail if a test was skipped without a written reason: skips.py REPORT.xml ALLOWED.txt

ALLOWED has one line per reason: the beginning of a test's file path, white space, why it may be skipped there.
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def allowed_prefixes(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def skipped_tests(report: Path) -> tuple[int, list[tuple[str, str]]]:
    """How many test cases ran or were to run, and (path::name, message) of each that was skipped."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    skipped = []
    for case in cases:
        mark = case.find("skipped")
        if mark is not None and mark.get("type") != "pytest.xfail":
            place = case.get("file") or case.get("classname", "")
            skipped.append((f"{place}::{case.get('name')}", mark.get("message", "")))
    return len(cases), skipped


def main() -> int:
    report, allowed = Path(sys.argv[1]), Path(sys.argv[2])
    if not report.exists():
        print(f"{report}: there is no test report")
        return 1
    prefixes = allowed_prefixes(allowed)
    total, skipped = skipped_tests(report)
    wrong = [(test, why) for test, why in skipped if not any(test.startswith(prefix) for prefix in prefixes)]
    for test, why in wrong:
        print(f"skipped, and no reason in {allowed}: {test}: {why}")
    print(f"{total} tests, {len(skipped)} skipped, {len(wrong)} of them without leave")
    return 1 if wrong or total == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
