"""Keys and SPIs of the lab's security associations: made afresh, or read from a file."""

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from culvert.lab.errors import LabError

ASSOCIATIONS = ("a-to-b", "b-to-a", "a-to-b-v6", "b-to-a-v6")
_AUTH_OCTETS = 20
_ENCRYPT_OCTETS = 16


@dataclass(frozen=True, slots=True)
class Keys:
    """What both systems must know of one security association. The texts are never shown by repr."""

    spi: int
    auth_key: str = field(repr=False)
    encrypt_key: str = field(repr=False)


def fresh() -> dict[str, Keys]:
    return {
        name: Keys(1001 + number, _random_key(_AUTH_OCTETS), _random_key(_ENCRYPT_OCTETS))
        for number, name in enumerate(ASSOCIATIONS)
    }


def _random_key(octets: int) -> str:
    return "0x" + secrets.token_hex(octets)


def load(path: Path) -> dict[str, Keys]:
    """A JSON object with the four names, each `{"spi": 1001, "auth-key": "0x...", "encrypt-key": "0x..."}`."""
    try:
        document = json.loads(path.read_text())
        return {
            name: Keys(int(document[name]["spi"]), str(document[name]["auth-key"]), str(document[name]["encrypt-key"]))
            for name in ASSOCIATIONS
        }
    except OSError as failure:
        raise LabError(f"{path}: {failure.strerror}") from None
    except (KeyError, TypeError, ValueError) as failure:
        # The text of a JSON error never quotes the document, so no key gets out this way.
        raise LabError(f"{path} is no key file: {type(failure).__name__} {failure}") from None
