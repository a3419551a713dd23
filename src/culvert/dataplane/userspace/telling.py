"""What the packet process tells: a line on its stderr, which culvertd's log takes."""

import sys
from contextlib import suppress


def tell(text: str) -> None:
    """As well as it goes: who reads it may be gone, and packets go on."""
    with suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)
