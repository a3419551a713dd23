"""Times as people read them."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def ago(then: float, now: float) -> str:
    """How long ago it was; `then` is 0 for never."""
    if not then:
        return "never"
    seconds = max(0, int(now - then))
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
