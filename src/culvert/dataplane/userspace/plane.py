"""The userspace plane: the kernel steers, one packet process protects, and this keeps them in order.

Theory of operation. A batch goes through four hands: `steering` (nftables) first, so that what a selector
protects is held before the links that it could leave by are opened; then the `host`; then the packet process;
then `steering` once more if the batch also took protection away. Forwarding is opened last. Each hand can undo
its part. What is never allowed in between is a protected packet that leaves in clear.

The first batch after a start has to be the whole configuration: it replaces whatever a killed predecessor left
at once, and until it comes, what was left goes on stopping packets.

A thread waits for the end of the packet process and for changes that others make to the host, and repairs at
once. It takes the same lock as every call; what it did is told by the next `tick`.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from culvert.change import AddPolicy, AddSa, Change, RemovePolicy, RemoveSa
from culvert.dataplane.account import MODES
from culvert.dataplane.batch import apply_all, undo_all
from culvert.dataplane.notices import Notices
from culvert.dataplane.plane import (
    DropCount,
    Features,
    ForwarderStat,
    JournalState,
    LinkState,
    PlaneError,
    SaUsage,
    WorkerStat,
)
from culvert.dataplane.userspace import custody, marks, nftables, program, wire, xdp
from culvert.dataplane.userspace.counters import CountersFile, wait_for_lock
from culvert.dataplane.userspace.detour import Detour
from culvert.dataplane.userspace.doors import Doors
from culvert.dataplane.userspace.host import Host
from culvert.dataplane.userspace.inheritance import Meeting, version_of
from culvert.dataplane.userspace.journal import Journal
from culvert.dataplane.userspace.kernel import Kernel
from culvert.dataplane.userspace.process import Backoff, PacketProcess, ProcessDown
from culvert.dataplane.userspace.replacing import host_changes
from culvert.dataplane.userspace.slots import Slots
from culvert.dataplane.userspace.steering import REASONS, Steering, forwarder_counter, reason_counter, render
from culvert.dataplane.userspace.wanted import Wanted, udp_port
from culvert.dataplane.userspace.watch import Events, Watch
from culvert.ipsec.drops import Reason
from culvert.ipsec.sa import SecurityAssociation

BREATH_SECONDS = 0.02
"""Pause between two repairs, so that a busy routing daemon next to us doesn't keep us busy too."""

PACKET_CHANGES = (AddSa, RemoveSa, AddPolicy, RemovePolicy)


class UserspacePlane:
    """A DataPlane for any Linux with nftables and TUN."""

    def __init__(
        self,
        state: Path,
        *,
        random: Callable[[int], bytes],
        clock: Callable[[], float],
        log: Callable[[str], None] = lambda _: None,
        tun_name: str = marks.TUN_NAME,
    ) -> None:
        """Takes over what a killed predecessor left, but changes nothing on the host before the first batch.

        `random` is what every plane is given; here chance is used in the packet process only, which asks the
        kernel for it itself.
        """
        del random
        self._clock = clock
        self._log = log
        self._tun_name = tun_name
        self._sentences: list[str] = []
        self._program = program.chosen()
        self._sentences += self._program.sentences
        self._meeting = Meeting(state)
        left = dict(self._found(state))
        if "counters" not in left:
            wait_for_lock(state / "counters")
        self._leases = custody.opened(state / "leases", clock(), left.pop("leases", -1), self._sentences)
        self._counters = CountersFile(state / "counters", journal=self._leases, inherited=left.pop("counters", -1))
        self._sentences += self._counters.sentences
        self._journal = Journal(state / "host.journal")
        self._is_successor = bool(self._journal.inherited)
        self._kernel = Kernel()
        self._host = Host(self._journal, self._kernel)
        self._detour = Detour(self._kernel, tun_name, offloads=self._program.is_native, queues=self._program.workers)
        self._wanted = Wanted()
        self._steering: Steering | None = None
        self._counts: dict[str, tuple[int, int]] = {}
        self._counted_when: dict[Reason, float] = {}
        self._doors = Doors(xdp.chosen() if self._program.is_native else xdp.RAW, self._program.workers)
        if left:
            self._inherit_tun({name: left.pop(name) for name in list(left) if name.startswith("tun")})
            self._doors.inherit(left)
        self._slots = Slots(self._counters, self._leases, self._sentences)
        self._notices = Notices()
        self._backoff = Backoff()
        self._complaint = ""
        self._start_at = 0.0
        self._opened = False
        self._lock = threading.RLock()
        self._watch = Watch()
        self._table = nftables.Table(self._watch.own_loads.add)
        self._watcher = threading.Thread(target=self._look_after, name="culvert-watch", daemon=True)
        self._features = Features(
            engine=self._program.engine,
            workers=self._program.workers,
            counter_journal=self._leases is not None,
            vlan_tagging=self._kernel.can_tag(),
        )

    def _found(self, state: Path) -> Mapping[str, int]:
        """The descriptors of the packet process that a predecessor left, if it can go on with this parent."""
        self._process: PacketProcess | None = None
        self._is_stranger = False
        """It moves packets by what a predecessor told it."""
        found = self._meeting.find()
        if found is None:
            return {}
        names = {"listen", "tun", "counters", *custody.needed(state / "leases")}
        if found.version != version_of(self._program.words) or not names <= found.fds.keys():
            found.refuse()
            return {}
        self._process, self._is_stranger = found.process, True
        self._sentences.append("the packet process of before goes on")
        fds = dict(found.fds)
        self._meeting.inherit(fds.pop("listen"))
        return fds

    def _inherit_tun(self, fds: dict[str, int]) -> None:
        try:
            self._detour.inherit(fds)
        except OSError as error:
            # Without its device the process is of no use any more.
            self._sentences.append(f"the packet process of before can't go on: {error}")
            self._detour.forget()
            if self._process is not None:
                self._process.end()
            self._process, self._is_stranger = None, False

    @property
    def features(self) -> Features:
        doubt = "" if self._leases is None else self._leases.doubt.sentence
        return replace(self._features, doors=self._doors.words, journal_doubt=doubt)

    @property
    def process_id(self) -> int | None:
        """The packet process's, for reports."""
        with self._lock:
            return self._process.pid if self._process else None

    # Changes

    def apply(self, changes: Sequence[Change]) -> None:
        """Make all changes, in order, or none. Raises PlaneError; the plane is then as it was."""
        with self._lock:
            before, after = self._wanted, self._wanted.after(changes)
            try:
                with ExitStack() as undo:
                    self._apply_staged(changes, before, after, undo)
                    undo.pop_all()
            except OSError as error:
                raise PlaneError(None, str(error)) from error
            self._settle(after)

    def _apply_staged(self, changes: Sequence[Change], before: Wanted, after: Wanted, undo: ExitStack) -> None:
        if self._opened:
            undo.callback(self._load_again, before)
        self._load(before.guarding_both(after).steering(self._tun_name))
        self._open(after, undo)
        steps = host_changes(changes)
        undo.callback(self._host.settle)
        apply_all(steps, self._host.step)
        undo.callback(undo_all, steps, self._host.step)
        self._host.settle()
        self._tell(changes, before, after, undo)
        self._load(after.steering(self._tun_name))
        self._host.open_forwarding(self._tun_name)

    def _open(self, after: Wanted, undo: ExitStack) -> None:
        mtu = after.tunnel_mtu
        if not self._opened:
            self._detour.open(mtu)
            self._doors.open()
            self._watcher.start()
            self._opened = True
            self._notices.begin(self.drops())
        elif mtu != self._wanted.tunnel_mtu:
            undo.callback(self._detour.set_mtu, self._wanted.tunnel_mtu)
            self._detour.set_mtu(mtu)

    def _settle(self, after: Wanted) -> None:
        self._wanted = after
        self._doors.close_ports_but(after.udp_ports)
        self._host.drop_inherited()
        self._sentences += _taken(self._host.sentences)
        # What is heard of the host now is our own doing; a change of somebody else's in between shows at the next tick.
        if self._watch.hear().steering:
            self._repair_steering()

    def _load(self, steering: Steering) -> None:
        if steering != self._steering:
            self._reload(steering)

    def _reload(self, steering: Steering) -> None:
        self._table.replace(render(steering), self._counts)
        self._steering = steering

    def _load_again(self, wanted: Wanted) -> None:
        try:
            self._load(wanted.steering(self._tun_name))
        except OSError as error:
            self._sentences.append(f"the steering could not be put back: {error}")

    # The packet process

    def _tell(self, changes: Sequence[Change], before: Wanted, after: Wanted, undo: ExitStack) -> None:
        concerned = [change for change in changes if isinstance(change, PACKET_CHANGES)]
        slots = self._slots.of(concerned, before.sas.values())
        leases = self._slots.leases(concerned, slots)
        self._slots.begin(concerned, slots, self._clock())
        self._open_ports(concerned, undo)
        if self._process is None or not self._process.alive or self._doors.lacks(after):
            # It inherits its sockets when it starts; what it knew goes on from the counters file.
            undo.callback(self._start, before)
            self._start(after)
        elif self._is_stranger:
            undo.callback(self._start, before)
            self._tell_all(self._process, after)
        elif concerned:
            undo.callback(self._untell, concerned)
            self._ask_or_restart(wire.Apply(tuple(concerned), tuple(slots), tuple(leases)), after)
            undo.callback(self._doors.steer, before.sas.values())
            self._doors.steer(after.sas.values())

    def _open_ports(self, changes: Sequence[wire.PacketChange], undo: ExitStack) -> None:
        for change in changes:
            port = udp_port(change.sa) if isinstance(change, AddSa) else None
            if port is None:
                continue
            try:
                if self._doors.open_port(port):
                    undo.callback(self._doors.close_port, port)
            except OSError as error:
                raise PlaneError(change, str(error.strerror)) from error

    def _untell(self, concerned: Sequence[wire.PacketChange]) -> None:
        inverses = [change.inverse() for change in reversed(concerned)]
        slots = self._slots.of(inverses, self._wanted.sas.values())
        leases = self._slots.leases(inverses, slots)
        with suppress(PlaneError):
            self._ask_or_restart(wire.Apply(tuple(inverses), tuple(slots), tuple(leases)), self._wanted)

    def _ask_or_restart(self, message: wire.Apply, after: Wanted) -> None:
        assert self._process is not None
        try:
            reply = self._process.ask(message)
        except ProcessDown as error:
            self._sentences.append(str(error))
            self._start(after)
            return
        if reply.failed is not None or reply.sentence:
            blamed = None if reply.failed is None else message.changes[reply.failed]
            raise PlaneError(blamed, reply.sentence)

    def _start(self, wanted: Wanted) -> None:
        """Start the packet process anew and tell it everything."""
        self._end_process()
        fds = {**self._doors.renew(wanted), **self._detour.fds, "counters": self._counters.lent()}
        self._sentences += self._doors.sentences()
        fds["listen"] = self._meeting.listener()
        if self._leases is not None:
            fds["leases"] = self._leases.lent()
        self._backoff.started()
        self._process = PacketProcess.start(fds, self._program, version_of(self._program.words))
        self._meeting.note(self._process.pid)
        self._tell_all(self._process, wanted)

    def _tell_all(self, process: PacketProcess, wanted: Wanted) -> None:
        changes: list[wire.PacketChange] = [AddSa(sa) for sa in wanted.sas.values()]
        changes += [AddPolicy(policy) for policy in wanted.policies]
        slots = self._slots.of(changes, wanted.sas.values())
        leases = self._slots.leases(changes, slots)
        self._slots.begin(changes, slots, self._clock())
        self._watch.follow(process.pidfd)
        self._is_stranger = False
        try:
            reply = process.ask(wire.Apply(tuple(changes), tuple(slots), tuple(leases), replace=True))
        except ProcessDown as error:
            raise PlaneError(None, str(error)) from error
        if reply.failed is not None or reply.sentence:
            self._end_process()
            raise PlaneError(None if reply.failed is None else changes[reply.failed], reply.sentence)
        self._doors.steer(wanted.sas.values())

    def _end_process(self) -> None:
        self._watch.follow(-1)
        if self._process is not None:
            self._process.end()
            self._process = None

    # Repairs

    def _look_after(self) -> None:
        while True:
            self._watch.wait(self._patience())
            with self._lock:
                events = self._watch.hear()
                if events.stop:
                    return
                self._repair(events)
            time.sleep(BREATH_SECONDS)

    def _patience(self) -> float | None:
        """How long the watcher may sleep: until the next start of the packet process is due."""
        return max(0.0, self._start_at - time.monotonic()) if self._process is None else None

    def _repair(self, events: Events) -> None:
        try:
            with ExitStack() as whatever:
                # Nothing is heard of that, and it keeps what is in the clear from leaving.
                whatever.callback(self._host.reflect)
                if events.steering:
                    self._repair_steering()
                if events.host:
                    self._repair_host()
                self._repair_process()
        except Exception as error:
            # Whatever it is, the next tick tries again; to end here would end all repairs.
            complaint = f"a repair failed and will be tried again: {error}"
            if complaint != self._complaint:
                self._sentences.append(complaint)
            self._complaint = complaint
        else:
            self._complaint = ""

    def _repair_steering(self) -> None:
        if self._steering is not None:
            self._table.distrust()
            self._reload(self._steering)
            self._sentences.append("the nftables rules were changed by another program; put them back")

    def _repair_host(self) -> None:
        sentences, is_new_tun = self._detour.heal()
        self._sentences += sentences
        self._host.heal()
        self._sentences += _taken(self._host.sentences)
        self._host.open_forwarding(self._tun_name)
        if is_new_tun or (self._process is not None and self._doors.lacks(self._wanted)):
            self._start(self._wanted)
        self._watch.looked()

    def _repair_process(self) -> None:
        if self._process is not None and not self._process.alive:
            wait = self._backoff.ended()
            self._start_at = time.monotonic() + wait
            self._sentences.append(f"the packet process {self._process.epitaph()}; starting it again")
            self._end_process()
        self._sentences += custody.renewed(self._leases, self._clock(), self._end_process)
        if self._process is None and time.monotonic() >= self._start_at:
            try:
                self._start(self._wanted)
            except PlaneError:
                self._start_at = time.monotonic() + self._backoff.ended()
                self._end_process()
                raise

    def tick(self, now: float) -> list[str]:
        """Look after what runs on its own. Returns what happened since the last time, in sentences."""
        with self._lock:
            if self._opened:
                heard = self._watch.hear()
                self._repair(Events(process=True, host=self._watch.must_look, steering=heard.steering))
                self._note_counts(now)
                self._sentences += custody.tidied(self._leases, now)
                self._sentences += self._notices.lives(self._slots.watched(), now)
                self._sentences += self._notices.audit(self._drops(self._counts))
            return _taken(self._sentences)

    def _note_counts(self, now: float) -> None:
        counts = nftables.counters()
        if counts is None:
            self._repair_steering()
            return
        for reason in REASONS:
            name = reason_counter(reason)
            if counts.get(name, (0, 0))[0] > self._counts.get(name, (0, 0))[0]:
                self._counted_when[reason] = now
        self._counts = counts

    # Reports

    def usage(self, sas: Collection[SecurityAssociation] | None = None) -> list[SaUsage]:
        with self._lock:
            return list(self._slots.usages(self._wanted.sas.values() if sas is None else sas, self._clock()))

    def drops(self) -> list[DropCount]:
        with self._lock:
            return self._drops(self._nft_counts())

    def _drops(self, counts: dict[str, tuple[int, int]]) -> list[DropCount]:
        return [count for count in (self._drop(reason, counts) for reason in Reason) if count.packets]

    def _drop(self, reason: Reason, counts: dict[str, tuple[int, int]]) -> DropCount:
        if reason in REASONS:
            packets = counts.get(reason_counter(reason), (0, 0))[0]
            return DropCount(reason, packets, self._counted_when.get(reason, 0.0))
        return DropCount(reason, *self._counters.drop(reason))

    def _nft_counts(self) -> dict[str, tuple[int, int]]:
        if not self._opened:
            return {}
        return nftables.counters() or self._counts

    def worker_stats(self) -> list[WorkerStat]:
        with self._lock:
            return [
                WorkerStat(worker, mode.name, protocol.name, *self._counters.mode(row, worker))
                for worker in range(self._program.workers)
                for row, (mode, protocol) in enumerate(MODES)
            ]

    def links(self) -> list[LinkState]:
        with self._lock:
            return self._host.links()

    def forwarder_stats(self) -> list[ForwarderStat]:
        with self._lock:
            counts = self._nft_counts()
            labels = dict.fromkeys(forwarder.label for forwarder in self._wanted.forwarders)
            return [ForwarderStat(label, *counts.get(forwarder_counter(label), (0, 0))) for label in labels]

    def counter_journal(self) -> JournalState | None:
        with self._lock:
            return None if self._leases is None else custody.state(self._leases, self._slots, self._wanted.sas.values())

    def trust_counter_journal(self) -> None:
        with self._lock:
            if self._leases is not None:
                custody.settle(self._leases)

    def reset_stats(self, forwarders: Collection[str] | None = None) -> None:
        """Zero packet, octet and drop counts. Sequence numbers and replay windows stay."""
        with self._lock:
            if forwarders is not None:
                self._counts = nftables.reset_some(self._counts, map(forwarder_counter, forwarders))
                return
            try:
                if self._process is None:
                    raise ProcessDown("there is none")
                self._process.ask(wire.Reset())
            except ProcessDown:
                self._counters.zero()
            if self._opened:
                nftables.reset_counters()
            self._counts = {}
            self._counted_when.clear()
            self._notices.begin(())

    # The end

    def close(self) -> None:
        """Stop, and take back from the host all that was added and nothing else."""
        if self._watcher.is_alive():
            self._watch.stop()
            self._watcher.join()
        with self._lock:
            self._host.close_forwarding()
            self._end_process()
            self._host.undo_all()
            self._meeting.close()
            self._doors.close()
            if self._steering is not None or self._is_successor:
                self._detour.close()
                nftables.delete()
            for sentence in (*self._sentences, *self._host.sentences):
                self._log(sentence)
            self._journal.close()
            self._watch.close()
            self._kernel.close()
            self._counters.close()
            if self._leases is not None:
                self._leases.close()
            self._opened = False


def _taken(sentences: list[str]) -> list[str]:
    """The sentences, which are told only once."""
    told = list(sentences)
    sentences.clear()
    return told
