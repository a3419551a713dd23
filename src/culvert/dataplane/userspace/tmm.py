"""The packet process, `culvert-tmm`: one loop between the TUN and the raw sockets.

It gets everything by inheritance: `culvert-tmm tun=3 control=4 counters=5 send4=6 esp4=7 ...` names the open
descriptors. It has no privileges, no configuration file and no name in the file system; it ends when the
control socket closes.

The loop takes bursts, and per packet does only what must be done per packet: the verdict, the sequence number
into the counters file, the system call. Counts are written once per burst.
"""

import ctypes
import errno
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
from typing import NamedTuple

from culvert.change import AddPolicy, AddSa, Change, RemovePolicy, RemoveSa
from culvert.dataplane.account import describe, mode_row
from culvert.dataplane.batch import apply_all
from culvert.dataplane.plane import PlaneError
from culvert.dataplane.userspace import counters as file
from culvert.dataplane.userspace import wire
from culvert.dataplane.userspace.counters import Counters
from culvert.dataplane.userspace.sockets import PACKET_OCTETS_MAX, may_fragment, receive6, send_fragmented
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import SecurityAssociation
from culvert.ipsec.sadb import Outbound, Record
from culvert.ipsec.verdict import Deliver, Drop, Send

BURST = 64
UNPRIVILEGED = 65534
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38

Receive = Callable[[], bytes]


class Way(NamedTuple):
    """What a record needs here: its slot, and for an outbound one where its packets go."""

    slot: int
    sequence_at: int
    """Index of the slot's sequence in `Counters.numbers`."""
    send: Callable[[bytes, tuple[str, int]], int]
    address: tuple[str, int]
    fragmenter: socket.socket | None


class Tmm:
    """The gateway between open descriptors."""

    def __init__(self, fds: dict[str, int]) -> None:
        self._tun = fds["tun"]
        self._counters = Counters(fds["counters"])
        self._control = socket.socket(fileno=fds["control"])
        self._control.setblocking(False)
        self._sockets = {
            name: socket.socket(fileno=fd) for name, fd in fds.items() if name[:-1] in ("send", "esp", "ah")
        }
        self._gateway = Gateway(random=os.urandom)
        self._ways: dict[Record, Way] = {}
        self._written: dict[Record, tuple[int, int]] = {}
        self._touched: set[Record] = set()
        self._pending = bytearray()
        self._running = True
        self._configured = self._reading = False

    # The loop

    def run(self) -> None:
        """Move packets until the control socket closes or SIGTERM comes."""
        wakeup, wake = socket.socketpair()
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        handlers = self._handlers()
        handlers[wakeup.fileno()] = lambda: None
        poller = select.epoll()
        for fd in (wakeup.fileno(), self._control.fileno()):
            poller.register(fd, select.EPOLLIN)
        while self._running:
            if self._configured and not self._reading:
                # Not before: a predecessor's packets wait in these, and the gateway has to know what to do.
                self._reading = True
                for fd in handlers.keys() - {wakeup.fileno(), self._control.fileno()}:
                    poller.register(fd, select.EPOLLIN)
            for fd, events in poller.poll():
                if events & (select.EPOLLERR | select.EPOLLHUP) and fd == self._tun:
                    # The device was deleted by hand. The parent notices too, and gives us a new one by a restart.
                    poller.unregister(fd)
                    continue
                self._guarded(handlers[fd])
            self._write_counts()

    def _stop(self) -> None:
        self._running = False

    def _handlers(self) -> dict[int, Callable[[], None]]:
        handlers: dict[int, Callable[[], None]] = {
            self._tun: self._outbound_burst,
            self._control.fileno(): self._hear,
        }
        for name, opened in self._sockets.items():
            if not name.startswith("send"):
                handlers[opened.fileno()] = self._inbound_handler(_receiver(opened))
        return handlers

    def _inbound_handler(self, receive: Receive) -> Callable[[], None]:
        return lambda: self._inbound_burst(receive)

    def _guarded(self, handler: Callable[[], None]) -> None:
        """A packet must never end the process, not even through a mistake of ours: the mistake is told."""
        try:
            handler()
        except Exception:
            traceback.print_exc()
            self._counters.count_drop(Reason.MALFORMED_HEADER, time.time(), "a packet met an internal error")

    # Packets

    def _outbound_burst(self) -> None:
        now = time.time()
        tun, read, judge = self._tun, os.read, self._gateway.outbound
        ways, numbers, touched = self._ways, self._counters.numbers, self._touched
        for _ in range(BURST):
            try:
                packet = read(tun, PACKET_OCTETS_MAX)
            except OSError:
                return
            verdict = judge(packet, now)
            if type(verdict) is Send:
                record = verdict.record
                way = ways[record]
                numbers[way.sequence_at] = record.sequence
                touched.add(record)
                try:
                    way.send(verdict.packet, way.address)
                except OSError as error:
                    self._send_failed(packet, verdict, way, error, now)
            elif type(verdict) is Drop:
                self._drop(packet, verdict, now)
            else:
                self._drop(packet, Drop(Reason.NO_POLICY), now)

    def _inbound_burst(self, receive: Receive) -> None:
        now = time.time()
        tun, write, judge = self._tun, os.write, self._gateway.inbound
        ways, numbers, touched = self._ways, self._counters.numbers, self._touched
        for _ in range(BURST):
            try:
                packet = receive()
            except OSError:
                return
            verdict = judge(packet, now)
            if type(verdict) is Deliver:
                record = verdict.record
                numbers[ways[record].sequence_at] = record.replay.top
                touched.add(record)
                try:
                    write(tun, verdict.packet)
                except OSError as error:
                    self._host_refused(verdict.packet, verdict, error, now)
            elif type(verdict) is Drop:
                self._drop(packet, verdict, now)

    def _send_failed(self, packet: bytes, verdict: Send, way: Way, error: OSError, now: float) -> None:
        if error.errno == errno.EMSGSIZE and way.fragmenter and may_fragment(verdict.packet):
            try:
                send_fragmented(way.fragmenter, verdict.packet, way.address)
                return
            except OSError as second:
                error = second
        reason = Reason.TOO_BIG if error.errno == errno.EMSGSIZE else Reason.SEND_FAILED
        verdict.record.usage.count_drop(reason)
        self._drop(packet, Drop(reason, verdict.sa, verdict.policy, verdict.record), now, f": {error.strerror}")

    def _host_refused(self, packet: bytes, verdict: Deliver, error: OSError, now: float) -> None:
        verdict.record.usage.count_drop(Reason.SEND_FAILED)
        drop = Drop(Reason.SEND_FAILED, verdict.sa, verdict.policy, verdict.record)
        self._drop(packet, drop, now, f": the TUN: {error.strerror}")

    def _drop(self, packet: bytes, drop: Drop, now: float, why: str = "") -> None:
        self._counters.count_drop(drop.reason, now, describe(packet, drop) + why)
        if drop.record is not None:
            self._touched.add(drop.record)

    def _write_counts(self) -> None:
        for record in self._touched:
            way = self._ways.get(record)
            if way is not None:
                self._write_record(record, way.slot)
        self._touched.clear()

    def _write_record(self, record: Record, slot: int) -> None:
        usage = record.usage
        base = self._counters.base(slot)
        numbers = self._counters.numbers
        packets, octets = self._written[record]
        row = self._counters.mode_base(mode_row(record.sa)) + (2 if isinstance(record, Outbound) else 0)
        numbers[row] += usage.packets - packets
        numbers[row + 1] += usage.octets - octets
        self._written[record] = usage.packets, usage.octets
        numbers[base + file.PACKETS] = usage.packets
        numbers[base + file.OCTETS] = usage.octets
        numbers[base + file.SEQUENCE] = record.sequence
        self._counters.times[base + file.LAST_USE] = usage.last_use
        for reason, count in usage.drops.items():
            numbers[base + file.DROPS + reason] = count

    # Changes

    def _hear(self) -> None:
        octets = self._control.recv(1 << 20)
        if not octets:
            self._stop()
            return
        self._pending += octets
        # Only the new octets can hold the end of a line; a whole configuration is one long line.
        if b"\n" not in octets:
            return
        *lines, rest = self._pending.split(b"\n")
        self._pending = bytearray(rest)
        for line in lines:
            self._answer(self._obey(bytes(line)))

    def _answer(self, reply: wire.Reply) -> None:
        self._control.setblocking(True)
        self._control.sendall(wire.emit(reply))
        self._control.setblocking(False)

    def _obey(self, line: bytes) -> wire.Reply:
        message = wire.parse(line)
        if isinstance(message, wire.Apply):
            return self._apply(message)
        if isinstance(message, wire.Reset):
            self._reset()
        return wire.Reply()

    def _apply(self, message: wire.Apply) -> wire.Reply:
        self._write_counts()
        self._counters.refresh()
        slots = {
            id(change.sa): slot
            for change, slot in zip(message.changes, message.slots, strict=True)
            if isinstance(change, AddSa | RemoveSa)
        }
        try:
            apply_all(message.changes, lambda change: self._step(change, slots))
        except PlaneError as error:
            failed = next(at for at, change in enumerate(message.changes) if change is error.change)
            return wire.Reply(failed, error.sentence)
        self._configured = True
        return wire.Reply()

    def _step(self, change: Change, slots: dict[int, int]) -> None:
        match change:
            case AddSa(sa):
                self._add_sa(sa, slots[id(sa)])
            case RemoveSa(sa):
                self._forget(self._gateway.remove_sa(sa))
            case AddPolicy(policy):
                self._gateway.add_policy(policy)
            case RemovePolicy(policy):
                self._gateway.remove_policy(policy)

    def _add_sa(self, sa: SecurityAssociation, slot: int) -> None:
        counters = self._counters
        base = counters.base(slot)
        record = self._gateway.add_sa(sa, sequence=counters.numbers[base + file.SEQUENCE], now=time.time())
        usage = record.usage
        usage.packets = counters.numbers[base + file.PACKETS]
        usage.octets = counters.numbers[base + file.OCTETS]
        usage.last_use = counters.times[base + file.LAST_USE]
        usage.drops.update(counters.slot_drops(slot))
        self._written[record] = usage.packets, usage.octets
        version = sa.destination.version
        sender = self._sockets.get(f"send{version}")
        self._ways[record] = Way(
            slot=slot,
            sequence_at=base + file.SEQUENCE,
            send=sender.sendto if sender else _no_way_out,
            address=(str(sa.destination), 0),
            fragmenter=self._sockets.get(f"{sa.protocol.name.lower()}{version}"),
        )

    def _forget(self, record: Record) -> None:
        self._write_record(record, self._ways[record].slot)
        del self._ways[record]
        del self._written[record]

    def _reset(self) -> None:
        self._touched.clear()
        self._counters.zero()
        for record in self._ways:
            record.usage.packets = record.usage.octets = 0
            record.usage.drops.clear()
            self._written[record] = 0, 0


def _receiver(opened: socket.socket) -> Receive:
    if opened.family == socket.AF_INET6:
        return lambda: receive6(opened)
    receive = opened.recv
    return lambda: receive(PACKET_OCTETS_MAX)


def _no_way_out(packet: bytes, address: tuple[str, int]) -> int:
    raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))


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


def _parse_arguments(arguments: list[str]) -> dict[str, int]:
    fds = {}
    for argument in arguments:
        name, _, number = argument.partition("=")
        fds[name] = int(number)
    return fds


def main() -> None:
    """The program `culvert-tmm`. Only culvertd starts it."""
    try:
        tmm = Tmm(_parse_arguments(sys.argv[1:]))
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
