"""What must hold of a gateway after any command: it can be listed and saved, and another one loads that to the same."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from culvert.ipsec.sa import Direction
from tests.control.live import Site

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A directory where saving doesn't wait for a disk."""


@contextmanager
def twin(site: Site) -> Iterator[Site]:
    """Another gateway with the same master key and nothing configured."""
    directory = Path(tempfile.mkdtemp(prefix="culvert-twin-", dir=MEMORY))
    shutil.copy2(site.directory / "master.key", directory)
    made = Site(directory)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(directory)


def running(site: Site) -> Counter[object]:
    """All that the plane has: SAs, policies, links, addresses, routes and forwarders."""
    inner = site.plane._gateway
    policies = [policy for direction in Direction for policy in inner.spd.policies(direction)]
    return Counter([*(record.sa for record in inner.sadb), *policies, *site.plane._things])


def check(site: Site, other: Site) -> None:
    """`other`, a twin of `site` in whatever state, loads what `site` saves, and runs the same."""
    text = site.call("text")
    other.call("load", text=text)
    assert other.call("text") == text
    assert running(other) == running(site)
