"""Key octets that can't be printed, logged, pickled or compared in variable time."""

import hashlib
import hmac
from typing import NoReturn


class Secret:
    """Key material. `reveal()` is the only way to the octets; `wipe()` overwrites them in place."""

    __slots__ = ("_hash", "_octets")

    def __init__(self, octets: bytes | bytearray) -> None:
        self._octets = bytearray(octets)
        self._hash: int | None = None

    def reveal(self) -> bytes:
        """The key octets, for a cipher or for the channel to the packet process; never for a person."""
        return bytes(self._octets)

    def wipe(self) -> None:
        """Overwrite the octets with zeros. Copies made by `reveal()` are the caller's to drop."""
        for position in range(len(self._octets)):
            self._octets[position] = 0
        self._hash = None

    def digest(self, label: bytes) -> bytes:
        """32 octets that name this key without giving it away; `label` separates uses."""
        return hashlib.sha256(b"culvert " + label + b"\0" + self._octets).digest()

    def __len__(self) -> int:
        return len(self._octets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._octets, other._octets)

    def __hash__(self) -> int:
        # Kept: keys are looked up in several indexes, and each time a digest of the octets would be made.
        if self._hash is None:
            self._hash = hash(self.digest(b"hash"))
        return self._hash

    def __repr__(self) -> str:
        return f"Secret({len(self)} octets)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret can't be pickled or copied")
