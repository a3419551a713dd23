"""Passwords: typed in clear, kept as an argon2 hash, shown as a mask.

What begins with `$` is a hash already. Other systems' hashes (`$6$...`) are kept and written back, but let nobody in.
"""

import re
from dataclasses import dataclass

from culvert.ipsec.secret import Secret
from culvert.model.fields import NONE, Raw, Reader, Shape
from culvert.model.problems import BadValue

MASK = "********"
"""What stands for a password that is there; where it is given back, the password stays as it is."""

LEAST = 8
MOST = 255
LOCKED = frozenset({"!", "!!", "*", "x"})
_FOREIGN = re.compile(r"\$[0-9a-z-]{1,12}\$[!-~]{1,500}")
_ARGON2 = re.compile(
    r"\$argon2(?:id|i|d)\$v=19\$m=(?P<kibibytes>\d{1,7}),t=(?P<passes>\d{1,3}),p=(?P<lanes>\d{1,3})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)
# A hash says by itself what it costs to try a password: one that comes with a file must not take the host down.
_COST_MAX = {"kibibytes": 256 * 1024, "passes": 10, "lanes": 16}


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """What is kept of a password. Neither printed nor listed; only saved files have its text."""

    text: str

    @property
    def lets_in(self) -> bool:
        return self.text.startswith("$argon2")

    def __repr__(self) -> str:
        return "PasswordHash(...)"


def is_typed(raw: Raw) -> bool:
    """Whether this is a password in clear that may be one, and so is to be hashed."""
    if not isinstance(raw, str) or raw.startswith("$") or raw in {NONE, MASK, *LOCKED}:
        return False
    return LEAST <= len(raw) <= MOST and raw.isprintable()


@dataclass(frozen=True, slots=True)
class Password:
    """A password or its hash. No error quotes what was given."""

    shape = Shape.WORD
    expects: str = f"a password of at least {LEAST} characters"

    def parse(self, raw: Raw, reader: Reader) -> PasswordHash | None:
        if raw == NONE or raw == "":
            return None
        if not isinstance(raw, str):
            raise BadValue("one value is expected")
        if raw == MASK:
            raise BadValue(f"{MASK} stands for a password that is not shown, and here is none yet; give the password")
        if raw in LOCKED:
            return PasswordHash(raw)
        if raw.startswith("$"):
            return _hash(raw)
        if not LEAST <= len(raw) <= MOST:
            raise BadValue(f"a password has {LEAST} to {MOST} characters, this has {len(raw)}")
        if not raw.isprintable():
            raise BadValue("a password must not contain control characters")
        return PasswordHash(reader.sealer.hash_password(Secret(raw.encode())))

    def raw(self, value: PasswordHash | None) -> Raw:
        return NONE if value is None else value.text


def _hash(text: str) -> PasswordHash:
    found = _ARGON2.fullmatch(text)
    if found and all(1 <= int(found[word]) <= most for word, most in _COST_MAX.items()):
        return PasswordHash(text)
    if found or text.startswith("$argon2"):
        raise BadValue("the hash is damaged or costs more than 256 MiB, 10 passes or 16 lanes")
    if _FOREIGN.fullmatch(text):
        return PasswordHash(text)
    raise BadValue("a password can't begin with $, as hashes do")
