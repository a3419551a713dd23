"""Key text to key octets: the rules of setkey(8), `0x` and hexadecimal digits or the characters themselves."""

from culvert.ipsec.secret import Secret
from culvert.model.values import KeyText


def octets(key: KeyText | None, length: int) -> Secret:
    """The key of `length` octets behind key text that has passed the model's rules; empty for no key."""
    if key is None or length == 0:
        return Secret(b"")
    text = key.secret.reveal()
    return Secret(text if len(text) == length else bytes.fromhex(text[2:].decode("ascii")))
