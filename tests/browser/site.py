"""The lab with the procedure typed in and traffic in its tunnel: something to look at."""

import contextlib
from collections.abc import Iterator

from culvert.lab.topology import GATEWAYS
from tests.clients.pair import Pair, carries_traffic, pair


@contextlib.contextmanager
def busy(name: str) -> Iterator[Pair]:
    """Two gateways whose tunnels carry traffic."""
    with pair(name) as own:
        for node in GATEWAYS:
            own.lab.configure(node, own.keys, lambda line: None)
        carries_traffic(own)
        yield own
