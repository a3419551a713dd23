"""`culvertd`: the daemon. Owns the configuration, the host's part of the gateway and the packet process."""

import argparse
import asyncio
import ctypes
import gc
import os
import pwd
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from culvert import __version__
from culvert.config.store import Store, StoreError
from culvert.config.vault import Vault, VaultError
from culvert.control.accounts import Accounts
from culvert.control.audit import Audit, Audited
from culvert.control.captures import Captures
from culvert.control.client import default_path
from culvert.control.door import Door
from culvert.control.errors import ControlError, Unavailable
from culvert.control.first_password import FirstPassword
from culvert.control.gateway import Gateway
from culvert.control.listener import Lock, Peer
from culvert.control.new_passwords import NewPasswords
from culvert.control.server import Server
from culvert.control.verifier import Verifier
from culvert.dataplane.memory import MemoryPlane
from culvert.dataplane.plane import PlaneError
from culvert.dataplane.userspace.plane import UserspacePlane
from culvert.observe import log
from culvert.observe.log import EventLog
from culvert.observe.publisher import Publisher

TICK_SECONDS = 0.5
WEB_USER = "culvert-web"
LOG = EventLog("culvert.control.main")
_PR_SET_DUMPABLE = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 after a clean stop, 1 when it could not start."""
    options = _options(arguments)
    log.configure(sys.stderr, options.log_format)
    _keep_memory_private()
    try:
        if options.check:
            return _check(options)
        # An answer about ten thousand tunnels makes a million objects, and little of anything here is a cycle.
        gc.set_threshold(100_000, 50, 100)
        asyncio.run(_serve(options))
    except (ControlError, StoreError, VaultError, PlaneError, OSError) as error:
        LOG.error("start-failed", reason=str(error))
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="culvertd", description="The Culvert gateway daemon.")
    parser.add_argument("--config", type=Path, default=Path("/etc/culvert/culvert.conf"), help="saved configuration")
    parser.add_argument("--socket", type=Path, default=default_path(), help="control socket")
    parser.add_argument("--state", type=Path, default=Path("/var/lib/culvert"), help="keys, counters, history, log")
    parser.add_argument(
        "--web-user",
        default=WEB_USER,
        metavar="NAME|UID",
        help="the user of the web process, who has a socket of its own; none if there is no such user (%(default)s)",
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--check", action="store_true", help="say whether the configuration loads; change nothing")
    parser.add_argument("--version", action="version", version=f"culvertd {__version__}")
    return parser.parse_args(arguments)


def _keep_memory_private() -> None:
    """No core dumps and no debugger: both would hold keys."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _check(options: argparse.Namespace) -> int:
    """Say whether the saved configuration loads: 0, else 1. A daemon may be running: host and state aren't touched.

    All that a gateway wants to write goes to a scratch directory; `load` with `verify` never reaches the plane.
    """
    with TemporaryDirectory(prefix="culvertd-check-") as directory:
        scratch = Path(directory)
        key = options.state / "master.key"
        vault = Vault.open(key if key.exists() else scratch / "master.key")
        publisher = Publisher(scratch / "ipsec.log", time.time)
        store = Store(scratch / "culvert.conf", scratch / "history")
        plane = MemoryPlane(random=os.urandom, clock=time.time)
        ourselves = Peer(os.getpid(), os.geteuid(), os.getegid(), "")
        try:
            text = options.config.read_bytes().decode("utf-8")
            Gateway(store, vault, plane, publisher, time.time).call("load", {"text": text, "verify": True}, ourselves)
        except (ControlError, OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            print(f"culvertd: {options.config}: {reason}", file=sys.stderr)
            return 1
        finally:
            publisher.close()
    print(f"culvertd: {options.config} is good")
    return 0


async def _serve(options: argparse.Namespace) -> None:
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not options.socket.parent.exists():
        options.socket.parent.mkdir(parents=True)
        # Not by mkdir's mode: the umask would keep the group out of the directory, and so away from its socket.
        options.socket.parent.chmod(0o755)
    claim = Lock(options.state / "lock")
    claim.take()
    try:
        await _run(options)
    finally:
        claim.release()


async def _run(options: argparse.Namespace) -> None:
    # One thread for all that is live: control stays single threaded, and the netlink library, which runs an event
    # loop of its own for each call, is kept away from ours.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="control") as live:
        await _run_on(live, options)


async def _run_on(live: ThreadPoolExecutor, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    publisher = Publisher(options.state / "log" / "ipsec.log", time.time)
    store = Store(options.config, options.state / "history")
    vault = Vault.open(options.state / "master.key")
    gateway = live.submit(lambda: Gateway(store, vault, _plane(options.state), publisher, time.time)).result()
    try:
        if trouble := live.submit(gateway.start).result():
            LOG.error("configuration-not-loaded", reason=trouble)
        await _serve_until(stop, live, gateway, vault, options)
    finally:
        live.submit(gateway.close).result()
        publisher.close()
        LOG.info("stopped")


async def _serve_until(
    stop: asyncio.Event, live: ThreadPoolExecutor, gateway: Gateway, vault: Vault, options: argparse.Namespace
) -> None:
    web = _web_uid(options.web_user)
    audit, verifier = Audit(options.state, time.time), Verifier()
    audited = Audited(lambda *call: live.submit(_call, gateway, *call).result(), audit)
    accounts = Accounts(lambda: gateway.snapshot, verifier, audit, time.monotonic, time.time, web)
    first = FirstPassword(options.state)
    ourselves = Peer(os.getpid(), os.geteuid(), os.getegid(), "culvertd")
    passwords = NewPasswords(lambda: gateway.snapshot, accounts, verifier, vault.hash_password)
    soon = asyncio.get_running_loop().call_soon_threadsafe
    captures = Captures(audited.call, audit, lambda: gateway.snapshot, options.state, soon)
    door = Door(accounts, captures, audit, passwords, lambda: first.settle(gateway.snapshot), web)
    server = Server(options.socket, captures.call, door=door, web=web)
    try:
        first.recognise(gateway.snapshot)
        if web is not None:
            first.begin(lambda: gateway.snapshot, lambda call, **args: audited.call(call, args, ourselves))
        audit.sync()
        await server.start()
        LOG.info("ready", version=__version__, socket=options.socket, config=options.config)
        _notify("READY=1")
        await _tick_until(stop, live, gateway)
        _notify("STOPPING=1")
    finally:
        await server.close()
        captures.close()
        verifier.close()
        audit.close()


def _web_uid(word: str) -> int | None:
    """The uid of the web process; None when the host has no such user."""
    try:
        uid = int(word) if word.isascii() and word.isdigit() else pwd.getpwnam(word).pw_uid
    except KeyError:
        return None
    if uid in (0, os.geteuid()):
        raise Unavailable(f"--web-user {word}: the web process must not run as root or as culvertd does")
    return uid


def _plane(state: Path) -> UserspacePlane:
    return UserspacePlane(state, random=os.urandom, clock=time.time, log=lambda text: LOG.info("plane", text=text))


def _call(gateway: Gateway, name: str, args: dict[str, object], peer: Peer) -> object:
    if name not in ("list", "show", "describe", "text", "generations"):
        LOG.info("call", call=name, kind=args.get("kind", ""), user=peer.user, pid=peer.pid)
    return gateway.call(name, args, peer)


async def _tick_until(stop: asyncio.Event, live: ThreadPoolExecutor, gateway: Gateway) -> None:
    while not stop.is_set():
        try:
            live.submit(gateway.tick, time.time()).result()
        except (PlaneError, OSError) as error:
            LOG.error("tick-failed", reason=str(error))
        except Exception:
            # A fault of ours in a look around must not take the tunnels down; the next tick may do better.
            LOG.exception("tick-failed")
        try:
            await asyncio.wait_for(stop.wait(), TICK_SECONDS)
        except TimeoutError:
            continue


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
    except OSError as error:
        LOG.warning("notify-failed", state=state, reason=error.strerror)


if __name__ == "__main__":
    sys.exit(main())
