"""Which inputs are worth keeping: the smallest that together go wherever any known one goes."""

import sys
from collections.abc import Callable, Iterable
from types import CodeType, FrameType
from typing import Any

Step = tuple[CodeType, int, int]
"""From one line of a function to another."""


def steps_of(judge: Callable[[bytes], None], octets: bytes) -> set[Step]:
    """The steps inside our package that judging this input takes."""
    found: set[Step] = set()

    def enter(frame: FrameType, _event: str, _what: Any) -> Any:
        if "/culvert/" not in frame.f_code.co_filename:
            return None
        code, last = frame.f_code, 0

        def step(_frame: FrameType, event: str, _what: Any) -> Any:
            nonlocal last
            if event == "line":
                found.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return step

        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        judge(octets)
    finally:
        sys.settrace(before)
    return found


def worth_keeping(judge: Callable[[bytes], None], inputs: Iterable[bytes], most: int) -> list[bytes]:
    """In the order of their size, each that takes a step that no smaller one took."""
    kept: list[bytes] = []
    seen: set[Step] = set()
    for octets in sorted(set(inputs), key=lambda octets: (len(octets), octets)):
        new = steps_of(judge, octets) - seen
        if new and len(kept) < most:
            kept.append(octets)
            seen |= new
    return kept
