"""Keys that were typed, kept out of everything that remembers what was typed."""

import re

_QUOTED = r'"(?:[^"\\]|\\.)*"?'
_SPEAKING = r"(?:[\w-]*(?:key|password|passphrase|secret|psk)[\w-]*|(?:auth|encrypt|preshared)-k[\w-]*)"
_HIDDEN = re.compile(
    rf"""(?P<description>\bdescription\s*{_QUOTED})
    | (?P<word>{_SPEAKING}(?:[\s=]+|(?=["{{])))(?:{_QUOTED}|\{{[^}}]*\}}?|[^\s{{}}"]+)
    | {_QUOTED}
    | \b0x[0-9a-f]{{16,}}""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def without_keys(line: str) -> str:
    """`line` with "..." in place of every key and of whatever may be one.

    That is what follows a word that speaks of keys, however it is misspelt; every quoted value but a description; and
    every long number in hexadecimal.
    """
    return _HIDDEN.sub(lambda found: found["description"] or f'{found["word"] or ""}"..."', line)
