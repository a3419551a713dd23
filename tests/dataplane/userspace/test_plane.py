"""The plane where no host is needed: what a full disk does to an apply."""

import errno
import os
from ipaddress import ip_address
from pathlib import Path

import pytest

from culvert.change import AddSa
from culvert.dataplane.plane import PlaneError
from culvert.dataplane.userspace import counters as file
from culvert.dataplane.userspace.plane import UserspacePlane
from culvert.ipsec.sa import Direction, SecurityAssociation
from culvert.ipsec.secret import Secret


def association(spi: int) -> SecurityAssociation:
    return SecurityAssociation(
        spi=spi,
        source=ip_address("2.2.2.2"),
        destination=ip_address("3.3.3.3"),
        direction=Direction.OUT,
        auth="sha1",
        auth_key=Secret(b"k" * 20),
        cipher="null",
        cipher_key=Secret(b""),
        reqid=1,
    )


def test_full_disk_refuses_an_apply_with_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "counters"
    counters = file.CountersFile(path)
    for number in range(file.SLOTS_GROWTH):
        counters.slot_for(number.to_bytes(16), Direction.OUT, set())
    counters.close()
    plane = UserspacePlane(tmp_path, random=os.urandom, clock=lambda: 1.0)
    # Only the steps that would change the host are left out.
    for step in ("_load", "_open"):
        monkeypatch.setattr(plane, step, lambda *_: None)

    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    size = path.stat().st_size
    with pytest.raises(PlaneError, match=f"No space left.*{path}"):
        plane.apply([AddSa(association(1000))])
    assert path.stat().st_size == size
    assert plane.usage() == []
    plane.close()
    monkeypatch.undo()
    assert file.CountersFile(path).sentences == []
