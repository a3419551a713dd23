"""Keys of the tunnel wizard: made here, put into our configuration, and into one answer for the peer.

Nowhere else does a key go to a browser. Here it has to: the peer's administrator needs it, and tmsh on the peer is
typed by a person. What keeps that safe:

* Keys are made when the user presses Finished, in this process, by `secrets`. No form holds them before that.
* They go over the control socket into the configuration, and into the one answer that says what the peer has to type.
  That answer is `no-store`; its address has no key in it; nothing is kept here, and the logs name properties only.
* Who loads that page again is told that the commands were shown once. New keys are made instead, on both systems.
* Keys that were typed (the peer's administrator gave them) go to culvertd alone: the peer has them already.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from culvert.model.suites import Suite
from culvert.web.visit import Form

SPI_LEAST, SPI_MOST = 256, 2**32 - 1
WORDS = ("auth-key", "encrypt-key")


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """The key texts of one association; "" where an algorithm takes none. Nothing prints it."""

    auth: str = field(default="", repr=False)
    encrypt: str = field(default="", repr=False)

    def properties(self) -> dict[str, str]:
        """As properties of the association."""
        given = {"auth-key": self.auth, "encrypt-key": self.encrypt}
        return {word: text for word, text in given.items() if text}


PLACES = Keys("AUTHENTICATION-KEY", "ENCRYPTION-KEY")
"""What stands in the peer's commands for keys that its administrator has."""


def made(suite: Suite) -> Keys:
    """New keys of the right lengths."""
    return Keys(_key(suite.auth_octets), _key(suite.encrypt_octets))


def _key(octets: int) -> str:
    return f"0x{secrets.token_hex(octets)}" if octets else ""


def places(suite: Suite) -> Keys:
    """PLACES, as far as the suite has keys."""
    return Keys(PLACES.auth if suite.auth_octets else "", PLACES.encrypt if suite.encrypt_octets else "")


def typed(form: Form, side: str, suite: Suite) -> Keys:
    """What was typed for one direction; what the suite has no key for isn't taken."""
    auth, encrypt = (form.one(f"{side}-{word}").strip() for word in WORDS)
    return Keys(auth if suite.auth_octets else "", encrypt if suite.encrypt_octets else "")


def missing(keys: Mapping[str, Keys], suite: Suite) -> list[str]:
    """The fields of keys that nobody filled."""
    wanted = {"auth-key": suite.auth_octets, "encrypt-key": suite.encrypt_octets}
    words = [word for word in WORDS if wanted[word]]
    return [f"{side}-{word}" for side, own in keys.items() for word in words if word not in own.properties()]


def free_spi(taken: frozenset[int]) -> int:
    """A number that no association here has, by chance, so that the peer hardly has it either."""
    while (found := SPI_LEAST + secrets.randbelow(SPI_MOST - SPI_LEAST + 1)) in taken:
        pass
    return found
