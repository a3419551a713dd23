"""The one live object: what is configured, what runs, and the only way to change either.

A change goes words -> transaction -> checked snapshot -> intent -> ordered changes -> plane. Whatever fails on
the way, the snapshot and the plane stay as they were.
"""

import contextlib
import gc
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from culvert.change import AddSa, Change, RemoveSa
from culvert.config import transaction as tx
from culvert.config.snapshot import Snapshot
from culvert.config.store import Store, StoreError
from culvert.config.transaction import SHIPPED, Transaction
from culvert.control import (
    access,
    administrators,
    causes,
    errors,
    explain,
    kept_shows,
    logs,
    operations,
    preferences,
    requests,
    resets,
    seen,
    shows,
    verify,
)
from culvert.control.generations import Generations
from culvert.control.listener import Peer
from culvert.dataplane.plane import DataPlane, PlaneError
from culvert.ipsec.sa import SecurityAssociation
from culvert.model import cli, net_ipsec
from culvert.model.fields import Reader, Sealer
from culvert.model.foreign import FOREIGN
from culvert.model.names import COMMON
from culvert.model.problems import Invalid
from culvert.model.registry import KINDS
from culvert.model.shows import NAMES
from culvert.model.text import read as read_text
from culvert.observe.publisher import Outlet
from culvert.plan.delta import narrow
from culvert.plan.intent import Intent, intend
from culvert.plan.steps import steps

Json = Any
RETRY_SECONDS = 2.0
EVENTS_KEPT = 20


class Publisher(Protocol):
    """Where events of IPsec go: a log of our own, and the local syslog when a publisher names it."""

    def configure(self, level: str, outlets: Sequence[Outlet]) -> None: ...

    @property
    def level(self) -> str: ...

    def tail(self, lines: int) -> list[str]: ...

    def report(self) -> dict[str, object]: ...

    def emit(self, level: str, *texts: str) -> None: ...


class Gateway:
    """`call` is the door for everyone outside; it answers JSON-able values or raises ControlError."""

    def __init__(
        self, store: Store, vault: Sealer, plane: DataPlane, publisher: Publisher, now: Callable[[], float]
    ) -> None:
        self._store = store
        self._vault = vault
        self._plane = plane
        self._publisher = publisher
        self._now = now
        self._snapshot: Snapshot = SHIPPED
        self._intent = Intent()
        self._generations_of = Generations()
        self._trouble = ""
        self._blocked = False
        self._retry_at = 0.0
        self._decisions = logs.Decisions()
        self._preferences = preferences.Preferences(store)
        self._resets = resets.Resets()
        self._events: deque[tuple[float, str]] = deque(maxlen=EVENTS_KEPT)
        self._calls: dict[str, Callable[[Mapping[str, Json], Peer], Json]] = {
            "create": self._create,
            "modify": self._modify,
            "delete": self._delete,
            "transaction": self._transaction,
            "list": self._list_or_page,
            "show": self._show,
            "save": self._save,
            "load": self._load,
            "text": self._text,
            "generations": self._generations,
            "delete-sas": self._delete_sas,
            "reset-stats": self._reset_stats,
            "trust-counter-journal": self._trust_counter_journal,
            "describe": self._describe,
            "folder": self._folder,
            "restart-tmm": self._restart_tmm,
            "access": self._access,
            "audit": lambda args, peer: [],  # `Audited` has the lines; here is only judged who may ask.
            "explain": self._explain,
            "verify": self._verify,
        }

    def start(self) -> str:
        """Run the saved configuration. Returns "", or why the gateway runs less than that for now.

        A host that can't take it yet (a link is missing): what has to be protected is kept from leaving in clear, and
        `tick` tries again. A text that is no configuration: the same for the selectors that can still be read, and
        nothing may be changed or saved until one is loaded.
        """
        saved: str | None = None
        try:
            saved = self._store.load()
            work = Transaction(SHIPPED, self._reader()) if saved is None else self._saved(saved)
        except (Invalid, StoreError, tx.Refusal) as error:
            self._blocked = True
            self._troubled(f"the saved configuration was not loaded: {causes.told(error)}")
            self._guard_readable(saved or "")
            return self._trouble
        try:
            self._commit(work)
        except PlaneError as error:
            self._troubled(f"the saved configuration can't run yet: {error.sentence}")
            self._guard(work.check())
        return self._trouble

    def _saved(self, text: str) -> Transaction:
        work = tx.read_file(text, SHIPPED, self._reader())
        self._intend(work.check())
        return work

    def _intend(self, snapshot: Snapshot) -> Intent:
        features = self._plane.features
        return intend(snapshot, counter_journal=features.counter_journal, journal_doubt=features.journal_doubt)

    def _troubled(self, sentence: str) -> None:
        self._trouble = sentence
        self._publisher.emit("error", sentence)

    def _guard(self, snapshot: Snapshot) -> None:
        """Only what protects: nothing is forwarded, and nothing that a selector names leaves in clear."""
        whole = self._intend(snapshot)
        guard = Intent(policies=whole.policies, sas=whole.sas)
        self._plane.apply(steps(self._intent, guard))
        self._snapshot, self._intent = snapshot, guard
        self._retry_at = self._now() + RETRY_SECONDS

    def _guard_readable(self, text: str) -> None:
        """The guard of those policies and selectors of a damaged text that are whole in themselves.

        With none at all the plane isn't touched: what a killed predecessor left to stop packets stays.
        """
        work = Transaction(SHIPPED, self._reader())
        drafts, _ = read_text(text, KINDS)
        for path in (net_ipsec.POLICY, net_ipsec.SELECTOR):
            for draft in (own for own in drafts if own.kind.path == path):
                with contextlib.suppress(Invalid, tx.Refusal):
                    work.put(draft)
        with contextlib.suppress(Invalid, tx.Refusal, PlaneError):
            guard = Intent(policies=self._intend(work.check()).policies)
            if guard.policies:
                self._plane.apply(steps(self._intent, guard))
                self._intent = guard

    def call(self, name: str, args: Mapping[str, Json], peer: Peer) -> Json:
        """One request. Raises ControlError; the configuration is then as it was."""
        method = self._calls.get(name)
        if method is None:
            raise errors.SyntaxProblem(f'unknown call "{name}"')
        requests.check(name, args)
        try:
            access.of(peer, self._snapshot).check(name, args)
            return method(args, peer)
        except (Invalid, tx.Refusal, StoreError, PlaneError) as error:
            raise causes.told(error) from None

    @property
    def snapshot(self) -> Snapshot:
        """The configuration that is in force."""
        return self._snapshot

    def tick(self, now: float) -> None:
        """About twice a second: look after the plane, and after a configuration that waits for its host."""
        for sentence in self._plane.tick(now):
            self._events.append((now, sentence))
            self._publisher.emit("warning", sentence)
        if self._publisher.level == logs.DECISIONS:
            for sentence in self._decisions.news(now, self._plane.usage(), self._plane.drops()):
                self._publisher.emit(logs.DECISIONS, sentence)
        if not self._trouble or self._blocked or now < self._retry_at:
            return
        self._commit(Transaction(self._snapshot, self._reader()))
        if not self._trouble:
            self._publisher.emit("notify", "the saved configuration runs now")

    def close(self) -> None:
        """Stop, and take back from the host what was added."""
        self._plane.close()

    # configuration

    def _create(self, args: Mapping[str, Json], peer: Peer) -> Json:
        return self._transaction({"operations": [{**args, "verb": "create"}], "folder": args.get("folder")}, peer)

    def _modify(self, args: Mapping[str, Json], peer: Peer) -> Json:
        return self._transaction({"operations": [{**args, "verb": "modify"}], "folder": args.get("folder")}, peer)

    def _delete(self, args: Mapping[str, Json], peer: Peer) -> Json:
        return self._transaction({"operations": [{**args, "verb": "delete"}], "folder": args.get("folder")}, peer)

    def _transaction(self, args: Mapping[str, Json], peer: Peer) -> Json:
        operations, wanted = self._preferences.taken(args["operations"], peer.user)
        changes = operations or wanted is None
        answer = self._changed({**args, "operations": operations}, peer) if changes else {"warnings": []}
        if args.get("validate_only"):
            return answer
        self._preferences.keep(peer.user, wanted)
        if (listed := args.get("listed")) is not None:
            # In the same breath: whoever changed the own password could not ask for it any more.
            answer |= {"listed": self._list({**listed, "folder": "/", "recursive": True}, peer)}
        return answer

    def _changed(self, args: Mapping[str, Json], peer: Peer) -> Json:
        self._refuse_when_blocked()
        work = Transaction(self._snapshot, self._reader(args.get("folder")))
        idle = []
        for operation in args["operations"]:
            idle += operations.carry_out(work, operation, self._plane)
        allowed = access.of(peer, self._snapshot)
        allowed.check_effect(self._snapshot, work.current, work.touched, own_password=True)
        administrators.check(self._snapshot, work.current, work.touched)
        audited = self._is_audited
        self._commit(work, dry=bool(args.get("validate_only")))
        for operation in args["operations"] if not args.get("validate_only") else ():
            self._audit(f"{peer.user}: {logs.told(operation)}", audited)
        return self._advise(work, idle)

    def _commit(self, work: Transaction, *, dry: bool = False) -> None:
        snapshot = work.check()
        intent, changes = self._planned(work, snapshot)
        if dry:
            return
        try:
            self._plane.apply(changes)
        except PlaneError:
            if not self._trouble or self._blocked:
                raise
            self._guard(snapshot)  # Still waiting for the host, now with the changed configuration.
            return
        known = self._intent.notes
        touched = work.touched if work.base is self._snapshot else self._snapshot.differences(snapshot)
        # Clients tell by the number that nothing was changed: what is set to what it was doesn't count.
        if changed := [key for key in touched if self._snapshot.get(*key) != snapshot.get(*key)]:
            self._generations_of.note(changed, snapshot)
        self._snapshot, self._intent = snapshot, intent
        self._trouble, self._blocked = "", False
        self._set_log()
        self._tell(changes, known)

    def _planned(self, work: Transaction, snapshot: Snapshot) -> tuple[Intent, list[Change]]:
        """The next intent, and how to get there."""
        features = self._plane.features
        if work.base is self._snapshot and not self._trouble and not features.journal_doubt:
            near = narrow(
                self._intent, self._snapshot, snapshot, work.touched, counter_journal=features.counter_journal
            )
            if near is not None:
                return near
        intent = self._intend(snapshot)
        return intent, steps(self._intent, intent)

    def _refuse_when_blocked(self) -> None:
        if self._blocked:
            raise errors.Refused(f"{self._trouble}; load a configuration first, or load sys config default")

    def _reader(self, folder: Json = None) -> Reader:
        return Reader(str(folder or COMMON), self._vault)

    def _load(self, args: Mapping[str, Json], peer: Peer) -> Json:
        """Lay a text over the shipped configuration, or with `merge` over the running one."""
        content = args.get("text")
        if content is None:
            content = self._store.load()
        if content is None:
            raise errors.Unavailable("no configuration has been saved yet")
        if args.get("merge"):
            self._refuse_when_blocked()
        with _uncollected():
            return self._laid(content, args, peer)

    def _laid(self, content: str, args: Mapping[str, Json], peer: Peer) -> Json:
        base = self._snapshot if args.get("merge") else SHIPPED
        work = tx.read_file(content, base, self._reader(args.get("folder")), self._snapshot)
        dry = bool(args.get("verify"))
        told = [] if args.get("merge") else administrators.keep(work, self._snapshot)
        keys = work.touched if args.get("merge") else self._snapshot.differences(work.current)
        if not dry:
            access.of(peer, self._snapshot).check_effect(self._snapshot, work.current, keys)
        administrators.check(self._snapshot, work.current, keys)
        how, audited = "merge" if args.get("merge") else "replace", self._is_audited
        backup = 0 if dry or args.get("merge") else self._backed_up(peer)
        self._commit(work, dry=dry)
        if not dry:
            self._audit(f"{peer.user}: load sys config, {how}", audited)
        return self._advise(work, told) | {"backup": backup, "saved": str(self._store.path)}

    def _backed_up(self, peer: Peer) -> int:
        """The running configuration as a generation, before another takes its place. 0 when that would add nothing."""
        content = tx.saved_text(self._snapshot)
        if self._blocked or content in (tx.saved_text(SHIPPED), self._store.load()):
            return 0
        return self._store.keep(content, self._now(), peer.user).number

    def _advise(self, work: Transaction, idle: Sequence[str] = ()) -> Json:
        """What is only unwise about a change, for whoever made it and for the log."""
        warnings = [str(problem) for problem in work.advice()]
        self._publisher.emit("warning", *warnings)
        return {"warnings": [*warnings, *idle]}

    def _save(self, args: Mapping[str, Json], peer: Peer) -> Json:
        self._refuse_when_blocked()
        generation = self._store.save(tx.saved_text(self._snapshot), self._now(), peer.user)
        return {"generation": generation.number, "files": [str(self._store.path)]}

    def _text(self, args: Mapping[str, Json], peer: Peer) -> Json:
        found = self._text_of(args)
        return found if access.of(peer, self._snapshot).may_everything else tx.masked(found)

    def _text_of(self, args: Mapping[str, Json]) -> str:
        if args.get("saved"):
            return self._store.load() or ""
        if args.get("generation") is not None:
            return self._store.read(int(args["generation"]))
        self._refuse_when_blocked()
        return tx.saved_text(self._snapshot)

    def _generations(self, args: Mapping[str, Json], peer: Peer) -> Json:
        return [
            {"number": own.number, "saved_at": own.saved_at, "who": own.who, "octets": own.octets, "sha256": own.sha256}
            for own in self._store.generations()
        ]

    def _list_or_page(self, args: Mapping[str, Json], peer: Peer) -> Json:
        """With a `page` {skip, top}: so many objects of one kind alone, as {total, items}."""
        if (page := args.get("page")) is None:
            return self._list(args, peer)
        kind, begin = args.get("kind"), page.get("skip", 0)
        every = [own["name"] for own in self._list({**args, "names_only": True}, peer) if own["kind"] == kind]
        names = every[begin : begin + page.get("top", len(every))]
        items = self._list({**args, "names": names}, peer) if names else []
        return {"total": len(every), "items": [own for own in items if own["kind"] == kind]}

    def _list(self, args: Mapping[str, Json], peer: Peer) -> Json:
        """Objects as {kind, name, properties}: of the kinds under `kind`, and of `names` when given."""
        path = tuple(str(args.get("kind", "")).split())
        paths = [own for own in sorted(KINDS) if own[: len(path)] == path and (own != FOREIGN or path == FOREIGN)]
        kept = kept_shows.kept(self._snapshot, path, args)
        seen = self._preferences.seen_by(peer.user, self._snapshot, path)
        found = [
            own | {"generation": self._generations_of[each, own["name"]]}
            for each in paths
            for own in shows.objects(seen, self._plane, KINDS[each], kept.names, args)
        ]
        allowed = access.of(peer, self._snapshot)
        seen_of = found + kept.records if allowed.sees_everything else [own for own in found if allowed.sees(own)]
        return shows.only(seen_of, args.get("select"))

    def _access(self, args: Mapping[str, Json], peer: Peer) -> Json:
        """Whether the one who asks may have the host's shell, and the roles that the answer comes from."""
        own = access.of(peer, self._snapshot)
        return {"allowed": own.may_shell, "admin": own.may_everything, "roles": dict(own.roles)}

    def _folder(self, args: Mapping[str, Json], peer: Peer) -> Json:
        name = str(args.get("name", ""))
        if not tx.folder_exists(self._snapshot, name):
            raise errors.NotFound("folder", name)
        return None

    def _restart_tmm(self, args: Mapping[str, Json], peer: Peer) -> Json:
        """End the packet process; the plane starts the next one as after a crash, behind the counter journal."""
        process = self._plane.process_id
        if process is None:
            raise errors.Unavailable("there is no packet process to restart")
        os.kill(process, signal.SIGTERM)
        self._publisher.emit("notify", f"{peer.user} restarts the packet process {process}")
        return {"sentence": f"the packet process {process} was ended; the next one is being started"}

    # running state

    def _show(self, args: Mapping[str, Json], peer: Peer) -> Json:
        what, filters, select = str(args.get("what", "")), args.get("filters", {}), args.get("select")
        if what in logs.SHOWS:
            return logs.shown(what, filters, self._publisher, access.of(peer, self._snapshot))
        view = self._seen_by(peer)
        found = shows.streamed(view, what, filters, select) if args.get("stream") else None
        return shows.show(view, what, filters, select) if found is None else found

    def _explain(self, args: Mapping[str, Json], peer: Peer) -> Json:
        view = self._seen_by(peer)
        steps = explain.explain(explain.Scene(view.snapshot, view.intent, view.plane, view.now), args)
        return [*([] if view.is_whole else [explain.note("partitions", seen.LEFT_OUT)]), *steps]

    def _verify(self, args: Mapping[str, Json], peer: Peer) -> Json:
        view = self._seen_by(peer)
        found = verify.verify(explain.Scene(view.snapshot, view.intent, view.plane, view.now))
        return [*([] if view.is_whole else [verify.note("partitions", seen.LEFT_OUT)]), *found]

    def _seen_by(self, peer: Peer) -> shows.Sight:
        allowed = access.of(peer, self._snapshot)
        return self._sight() if allowed.sees_all_partitions else seen.cut(self._sight(), allowed.sees_inside)

    def _sight(self) -> shows.Sight:
        return shows.Sight(
            snapshot=self._snapshot,
            intent=self._intent,
            plane=self._plane,
            now=self._now(),
            events=tuple(self._events),
            trouble=self._trouble,
            resets=self._resets,
        )

    def _delete_sas(self, args: Mapping[str, Json], peer: Peer) -> Json:
        """Take SAs out and put them back from the configuration. Send counters go on where they were."""
        allowed = access.of(peer, self._snapshot)
        found: list[SecurityAssociation] = shows.chosen_sas(self._sight(), args.get("filters", {}))
        chosen = [sa for sa in found if allowed.acts_on(sa.label)]
        changes = [change for sa in chosen for change in (RemoveSa(sa), AddSa(sa))]
        self._plane.apply(changes)
        self._publisher.emit("info", *logs.news(changes))
        return {"reinstalled": len(chosen)}

    def _reset_stats(self, args: Mapping[str, Json], peer: Peer) -> Json:
        """Counters begin at zero: all of them, or those of what `what` and `names` or `filters` say."""
        what, names = str(args.get("what", "")), args.get("names")
        if what in resets.COUNTED:
            shows.reset(self._sight(), what, args.get("filters", {}) | ({NAMES: names} if names else {}))
            return None
        self._plane.reset_stats(shows.to_reset(self._sight(), what, names))
        if not what:
            self._resets.clear()
        return None

    def _trust_counter_journal(self, args: Mapping[str, Json], peer: Peer) -> Json:
        """Somebody has replaced the keys of counter modes, or knows that nothing was set back: what waits may send."""
        doubt = self._plane.features.journal_doubt
        if doubt:
            self._plane.trust_counter_journal()
            self._publisher.emit("notify", f"{peer.user} trusts the counter journal again, though {doubt}")
            if not self._blocked:
                self._commit(Transaction(self._snapshot, self._reader()))
        return {"doubt": doubt}

    def _describe(self, args: Mapping[str, Json], peer: Peer) -> Json:
        own = preferences.described(self._snapshot, peer.user, self._preferences.of(peer.user))
        return own | {"generation": self._generations_of.newest}

    @property
    def _is_audited(self) -> bool:
        everyone = self._snapshot.get(cli.GLOBAL_SETTINGS, "")
        return everyone is not None and everyone["audit"] == "enabled"

    def _audit(self, sentence: str, before: bool) -> None:
        """Log a change. `before`: whether changes were audited until this one, which may have ended that."""
        self._publisher.emit("notify" if before or self._is_audited else "debug", sentence)

    def _set_log(self) -> None:
        daemon = self._snapshot.get(net_ipsec.IKE_DAEMON, "/Common/ikedaemon")
        assert daemon is not None
        self._publisher.configure(daemon["log-level"], logs.outlets(self._snapshot, daemon["log-publisher"]))

    def _tell(self, changes: Sequence[Change], known: Sequence[str]) -> None:
        """The log of what was changed, and of what waits now and isn't `known` to."""
        self._publisher.emit("info", *logs.news(changes))
        told = frozenset(known)
        self._publisher.emit("notify", *(note for note in self._intent.notes if note not in told))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """A load makes millions of objects that stay: looking for garbage among them is half its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
