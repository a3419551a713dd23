"""Keys that were typed, kept out of everything that remembers what was typed."""

import re

_KEY = re.compile(r'((?:auth|encrypt|preshared)-k[a-z-]*\s+)("(?:[^"\\]|\\.)*"?|[^\s{}]+)')


def without_keys(line: str) -> str:
    """`line` with "..." in place of every key."""
    return _KEY.sub(r'\1"..."', line)
