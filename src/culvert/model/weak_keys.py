"""Keys that are weak whatever their length: DES keys that decrypt themselves (RFC 2405, RFC 2451), and patterns."""

WEAK_DES_KEYS = frozenset(
    key.to_bytes(8)
    for key in (
        0x0101010101010101,
        0xFEFEFEFEFEFEFEFE,
        0xE0E0E0E0F1F1F1F1,
        0x1F1F1F1F0E0E0E0E,
        0x01FE01FE01FE01FE,
        0xFE01FE01FE01FE01,
        0x1FE01FE00EF10EF1,
        0xE01FE01FF10EF10E,
        0x01E001E001F101F1,
        0xE001E001F101F101,
        0x1FFE1FFE0EFE0EFE,
        0xFE1FFE1FFE0EFE0E,
        0x011F011F010E010E,
        0x1F011F010E010E01,
        0xE0FEE0FEF1FEF1FE,
        0xFEE0FEE0FEF1FEF1,
    )
)
"""The four weak and the twelve semi-weak keys, with odd parity (RFC 2405 section 4.1)."""


def _with_parity(key: bytes) -> bytes:
    """The lowest bit of every octet of a DES key says nothing: set it so that the number of bits is odd."""
    return bytes(octet & 0xFE | (octet & 0xFE).bit_count() & 1 ^ 1 for octet in key)


def triple_des_problem(key: bytes) -> str:
    """What is wrong with a 3DES key of 24 octets; empty when nothing is."""
    first, second, third = (_with_parity(key[at : at + 8]) for at in (0, 8, 16))
    if first == second or second == third:
        return "two neighbouring thirds of the key are the same, which makes it single DES"
    if {first, second, third} & WEAK_DES_KEYS:
        return "a third of the key is one of the weak or semi-weak DES keys"
    return ""


def repeats(text: bytes) -> bool:
    """Whether key text is a pattern of at most four characters, again and again."""
    body = text[2:] if text[:2] in (b"0x", b"0X") else text
    return len(body) > 8 and any(body == (body[:size] * len(body))[: len(body)] for size in (1, 2, 3, 4))
