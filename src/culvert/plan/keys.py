"""Key text to key octets."""

from culvert.ipsec.secret import Secret
from culvert.model.values import KeyText


def octets(key: KeyText | None, length: int) -> Secret:
    """The key of `length` octets behind key text that has passed the model's rules; empty for no key."""
    if key is None or length == 0:
        return Secret(b"")
    found = key.octets(length)
    assert found is not None
    return found
