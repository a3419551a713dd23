"""The packet process, `culvert-tmm`: one loop between the TUN and the sockets.

It gets everything by inheritance: `culvert-tmm tun=3 control=4 counters=5 send4=6 esp4=7 ...` names the open
descriptors. It has no privileges and no configuration file. It goes on when its parent is gone, waits for another one
at the socket `listen`, and ends when it is told to; without that socket, when the control socket closes. What happens
to packets is in `mover`; here is what wakes it, and who tells it what to do.
"""

import ctypes
import gc
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable

from culvert.change import AddPolicy, AddSa, Change, RemovePolicy, RemoveSa
from culvert.dataplane.batch import apply_all
from culvert.dataplane.plane import PlaneError
from culvert.dataplane.userspace import sockets, wire
from culvert.dataplane.userspace.counters import Counters
from culvert.dataplane.userspace.leases import Lease, Leases
from culvert.dataplane.userspace.ledger import Ledger
from culvert.dataplane.userspace.mover import Mover, Place
from culvert.dataplane.userspace.telling import tell
from culvert.ipsec.drops import Reason
from culvert.ipsec.sa import Direction

CHORES_SECONDS = 1.0
UNPRIVILEGED = 65534
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
NOT_SOCKETS = ("tun", "counters", "control", "leases", "listen")


class Tmm:
    """The gateway between open descriptors."""

    def __init__(self, fds: dict[str, int], version: str = "") -> None:
        self._fds = fds
        self._version = version
        self._listener = socket.socket(fileno=fds["listen"]) if "listen" in fds else None
        self._tun = fds["tun"]
        self._counters = Counters(fds["counters"])
        self._ledger = Ledger(self._counters)
        self._control = socket.socket(fileno=fds["control"])
        self._control.setblocking(False)
        self._poller = select.epoll()
        opened = {name: socket.socket(fileno=fd) for name, fd in fds.items() if name not in NOT_SOCKETS}
        senders = {int(name[-1]): opened.pop(name) for name in sorted(opened) if name.startswith("send")}
        self._receivers = opened
        heard = [each for name, each in sorted(opened.items()) if not name.startswith("icmp")]
        self._mover = Mover(self._tun, senders, self._ledger, Leases(fds.get("leases", -1)), heard)
        self._pending = bytearray()
        self._running = True
        self._configured = self._reading = False
        self._chores_at = 0.0

    # The loop

    def run(self) -> None:
        """Move packets until the control socket closes or SIGTERM comes."""
        wakeup, wake = socket.socketpair()
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        handlers = self._handlers()
        handlers[wakeup.fileno()] = lambda: None
        poller = self._poller
        told = {wakeup.fileno(), self._control.fileno()}
        if self._listener is not None:
            told.add(self._listener.fileno())
            handlers[self._listener.fileno()] = self._meet
        for fd in told:
            poller.register(fd, select.EPOLLIN)
        while self._running:
            if self._configured and not self._reading:
                # Not before: a predecessor's packets wait in these, and the gateway has to know what to do.
                self._reading = True
                for fd in handlers.keys() - told:
                    poller.register(fd, select.EPOLLIN)
            for fd, events in poller.poll(self._patience()):
                if events & (select.EPOLLERR | select.EPOLLHUP) and fd == self._tun:
                    # The device was deleted by hand. The parent notices too, and gives us a new one by a restart.
                    poller.unregister(fd)
                    continue
                self._guarded(handlers.get(fd, self._hear))
                self._guarded(self._mover.extend_leases)
            self._do_chores()
            self._mover.save_edges()
            self._ledger.write()

    def _stop(self) -> None:
        self._running = False

    def _patience(self) -> float | None:
        """How long the loop may sleep where nothing comes."""
        return max(0.0, self._chores_at - time.monotonic()) if self._mover.has_chores else None

    def _do_chores(self) -> None:
        now = time.monotonic()
        if now >= self._chores_at and self._configured:
            self._chores_at = now + CHORES_SECONDS
            if self._mover.has_chores:
                self._guarded(self._mover.do_chores)

    def _handlers(self) -> dict[int, Callable[[], None]]:
        handlers: dict[int, Callable[[], None]] = {
            self._tun: self._mover.outbound_burst,
            self._control.fileno(): self._hear,
        }
        for name, opened in self._receivers.items():
            handlers[opened.fileno()] = self._handler(name, opened)
        return handlers

    def _handler(self, name: str, opened: socket.socket) -> Callable[[], None]:
        receive = sockets.receiver(opened)
        if name.startswith("icmp"):
            return lambda: self._mover.complaint_burst(receive)
        return lambda: self._mover.inbound_burst(receive)

    def _guarded(self, handler: Callable[[], None]) -> None:
        """A packet must never end the process, not even through a mistake of ours: the mistake is told."""
        try:
            handler()
        except Exception:
            tell(traceback.format_exc())
            self._counters.count_drop(Reason.INTERNAL, time.time(), "a packet met an internal error")

    # Changes

    def _hear(self) -> None:
        try:
            octets = self._control.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if not octets:
            self._forsaken()
            return
        self._pending += octets
        # Only the new octets can hold the end of a line; a whole configuration is one long line.
        if b"\n" not in octets:
            return
        *lines, rest = self._pending.split(b"\n")
        self._pending = bytearray(rest)
        for line in lines:
            self._answer(self._obey(bytes(line)))

    def _forsaken(self) -> None:
        """The parent is gone: packets go on, and a successor may come."""
        if self._listener is None:
            self._stop()
            return
        self._poller.unregister(self._control.fileno())
        self._control.close()
        self._pending.clear()

    def _meet(self) -> None:
        """A successor of the parent."""
        assert self._listener is not None
        newcomer, _ = self._listener.accept()
        if self._control.fileno() >= 0:
            self._forsaken()
        self._control = newcomer
        self._control.setblocking(False)
        self._poller.register(self._control.fileno(), select.EPOLLIN)

    def _answer(self, reply: wire.Reply | wire.Welcome) -> None:
        self._control.setblocking(True)
        try:
            if isinstance(reply, wire.Welcome):
                fds = [self._fds[name] for name in reply.names]
                socket.send_fds(self._control, [wire.emit(reply)], fds)
            else:
                self._control.sendall(wire.emit(reply))
        except OSError:
            self._forsaken()
        else:
            self._control.setblocking(False)

    def _obey(self, line: bytes) -> wire.Reply | wire.Welcome:
        message = wire.parse(line)
        if isinstance(message, wire.Hello):
            return wire.Welcome(os.getpid(), self._version, tuple(name for name in self._fds if name != "control"))
        if isinstance(message, wire.End):
            self._stop()
        if isinstance(message, wire.Apply):
            return self._apply(message)
        if isinstance(message, wire.Reset):
            self._ledger.reset()
        return wire.Reply()

    def _apply(self, message: wire.Apply) -> wire.Reply:
        self._ledger.write()
        self._counters.refresh()
        slots = {
            id(change.sa): slot
            for change, slot in zip(message.changes, message.slots, strict=True)
            if isinstance(change, AddSa | RemoveSa)
        }
        outbound = (change.sa for change in message.changes if isinstance(change, AddSa) and _is_out(change))
        leases = {id(sa): lease for sa, lease in zip(outbound, message.leases, strict=False)}
        changes = self._mover.differing(message.changes) if message.replace else message.changes
        places: dict[int, Place] = {}
        try:
            apply_all(changes, lambda change: self._step(change, slots, leases, places))
        except PlaneError as error:
            failed = next((at for at, change in enumerate(message.changes) if change is error.change), None)
            return wire.Reply(failed, error.sentence)
        finally:
            self._mover.forget_moved()
        self._mover.extend_leases()
        self._configured = True
        return wire.Reply()

    def _step(self, change: Change, slots: dict[int, int], leases: dict[int, Lease], places: dict[int, Place]) -> None:
        """`places`: of the SAs that this message removed; an SA of the same object is one to put back."""
        match change:
            case AddSa(sa) if id(sa) in places:
                self._mover.put_back(places[id(sa)])
            case AddSa(sa):
                self._mover.add_sa(sa, slots[id(sa)], leases.get(id(sa)))
            case RemoveSa(sa):
                places[id(sa)] = self._mover.remove_sa(sa)
            case AddPolicy(policy):
                self._mover.gateway.add_policy(policy)
            case RemovePolicy(policy):
                self._mover.gateway.remove_policy(policy)


def _is_out(change: AddSa) -> bool:
    return change.sa.direction is Direction.OUT


def _harden() -> None:
    """Keys live in this memory: no core file, no debugger of another user, no privilege to lose."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
        os.setresuid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for option, value in ((PR_SET_DUMPABLE, 0), (PR_SET_NO_NEW_PRIVS, 1)):
        if prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def _parse_arguments(arguments: list[str]) -> tuple[dict[str, int], str]:
    """Descriptors by name, and the version to tell a later parent."""
    words = dict(argument.split("=", 1) for argument in arguments)
    version = words.pop("version", "")
    return {name: int(number) for name, number in words.items()}, version


def main() -> None:
    """The program `culvert-tmm`. Only culvertd starts it."""
    try:
        tmm = Tmm(*_parse_arguments(sys.argv[1:]))
    except (KeyError, ValueError, OSError):
        sys.exit("culvert-tmm is started by culvertd, which gives it open descriptors")
    _harden()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    # No packet leaves a reference cycle behind, so collections would only cost time.
    gc.set_threshold(100_000, 50, 100)
    tmm.run()


if __name__ == "__main__":
    main()
