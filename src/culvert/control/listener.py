"""Where culvertd listens: its Unix sockets, a claim that it is the only one, and who is at the other end."""

import contextlib
import fcntl
import grp
import os
import pwd
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from culvert.control.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks, by the kernel's word. `user` is the login name, or the number when the uid has none.

    With `by_password` the process, which the numbers are about, speaks for another: `user` is then one whom an
    `auth user` names, who proved it from `address`, and what the process may do is of no account.
    """

    pid: int
    uid: int
    gid: int
    user: str
    address: str = ""
    by_password: bool = False


class Lock:
    """A claim on a file that ends with the process, however that ends. The file says whose it is and stays."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def take(self) -> None:
        """Raises Unavailable when another process holds it ("another culvertd is running, pid 12")."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot open {self._path}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(fd, 32).decode("ascii", "replace").strip()
            os.close(fd)
            raise _running(holder, self._path) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Give it up; harmless when not held. The file stays: removing it would race with the next holder."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Listener:
    """A socket at `path`, mode 0660: of the user `owner` if given, else of our own, and of the group `gid` if given."""

    def __init__(self, path: Path, *, owner: int | None = None, gid: int | None = None) -> None:
        self._path = path
        self._owner = -1 if owner is None else owner
        self._gid = -1 if gid is None else gid
        self._inode: tuple[int, int] | None = None

    def open(self) -> socket.socket:
        """Raises Unavailable when another daemon answers there, or it can't be made."""
        _remove_stale(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self._path))
            self._path.chmod(0o660)
            if (self._owner, self._gid) != (-1, -1):
                os.chown(self._path, self._owner, self._gid)
            found = self._path.lstat()
        except OSError as error:
            listener.close()
            raise Unavailable(f"cannot listen at {self._path}: {error.strerror or error}") from None
        self._inode = (found.st_dev, found.st_ino)
        return listener

    def remove(self) -> None:
        """Take the socket away, if it is still the one that `open` made."""
        with contextlib.suppress(OSError):
            found = self._path.lstat()
            if (found.st_dev, found.st_ino) == self._inode:
                self._path.unlink()


def group_id(name: str) -> int | None:
    """None when there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def peer_of(connection: socket.socket) -> Peer:
    """Who is at the other end, as the kernel says."""
    size = struct.calcsize("3i")
    # The uid is unsigned: -2 in a container's map would otherwise compare unlike anything in the password file.
    pid, uid, gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return Peer(pid, uid, gid, user)


def _running(holder: str, path: Path) -> Unavailable:
    pid = f", pid {holder}" if holder.isdigit() and holder != "0" else ""
    return Unavailable(f"another culvertd is running{pid} (it holds {path})")


def _remove_stale(path: Path) -> None:
    """Remove the socket of a daemon that died. Raises Unavailable when one answers, or it isn't a socket."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise Unavailable(f"cannot listen at {path}: something that is not a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            _unlink(path)
            return
        except OSError as error:
            raise _running("", path) from error
        raise _running(str(peer_of(probe).pid), path)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot remove the socket of a dead culvertd at {path}: {error.strerror}") from None
