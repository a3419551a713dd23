"""culvert-rest: the REST process. It holds no key of IPsec, owns nothing, and asks culvertd for everything."""

import argparse
import asyncio
import gc
import os
import pwd
import resource
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from culvert import __version__
from culvert.control.client import default_path
from culvert.rest import certificate
from culvert.rest.app import App
from culvert.rest.door import Door
from culvert.rest.events import Events
from culvert.rest.exchange import Answer, Request
from culvert.rest.serving import THREADS, Site, serving

WEB_USER = "culvert-web"
FILES_MAX = 4096


Pages = Callable[[Door], Callable[[Request], Answer]]


def main(arguments: Sequence[str] | None = None, pages: Pages | None = None) -> int:
    """The exit status: 0 after a clean stop, 1 when it could not start. `pages`: who answers what isn't of the API."""
    options = _options(arguments)
    try:
        context = _context(options)
        listening = _listening(options.host, options.port)
        _give_up_root(options.user)
        # An answer about ten thousand tunnels makes a million objects, and little of anything here is a cycle.
        gc.set_threshold(100_000, 50, 100)
        asyncio.run(_serve(options, context, listening, None if options.no_gui else pages))
    except (OSError, ssl.SSLError, ValueError, KeyError) as error:
        print(f"culvert-rest: {error}", file=sys.stderr)
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="culvert-rest", description="iControl REST for a Culvert gateway.")
    parser.add_argument("--host", default="::", help="address to listen on (%(default)s: every one)")
    parser.add_argument("--port", type=int, default=443, help="port (%(default)s)")
    parser.add_argument("--socket", type=Path, default=None, help="culvertd's socket for the web process")
    parser.add_argument("--user", default=WEB_USER, metavar="NAME|UID", help="who to become when root (%(default)s)")
    state = Path("/var/lib/culvert-web")
    parser.add_argument("--certificate", type=Path, default=state / "server.crt", help="PEM; made if there is none")
    parser.add_argument("--key", type=Path, default=state / "server.key", help="its key, PEM; made if there is none")
    parser.add_argument("--no-gui", action="store_true", help="the API alone, without the pages for people")
    parser.add_argument("--version", action="version", version=f"culvert-rest {__version__}")
    options = parser.parse_args(arguments)
    if options.socket is None:
        options.socket = default_path().with_name(default_path().name + ".web")
    return options


def _context(options: argparse.Namespace) -> ssl.SSLContext:
    """TLS, while the process may still read the key."""
    if certificate.ensure(options.certificate, options.key, socket.gethostname()):
        print(f"culvert-rest: made a certificate: {options.certificate}", file=sys.stderr, flush=True)
    return certificate.context(options.certificate, options.key)


def _listening(host: str, port: int) -> socket.socket:
    """The socket to listen on, made while the process may still take a low port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host == "::":
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def _give_up_root(user: str) -> None:
    """Become `user` for good. KeyError when there is none such."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() != 0:
        return
    uid, gid = (int(user), int(user)) if user.isdigit() else pwd.getpwnam(user)[2:4]
    if uid == 0:
        raise ValueError("--user: the REST process must not run as root")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


async def _serve(
    options: argparse.Namespace, context: ssl.SSLContext, listening: socket.socket, pages: Pages | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    door = Door(options.socket, THREADS)
    with tempfile.TemporaryDirectory(prefix="culvert-uploads-") as uploads, ThreadPoolExecutor(THREADS) as threads:
        app = App(Path(uploads), door, pages(door) if pages else None)
        async with serving(Site(app.answer, Events(door), threads), listening, context) as port:
            print(f"culvert-rest: listening on port {port}", file=sys.stderr, flush=True)
            await stop.wait()
    door.close()


if __name__ == "__main__":
    sys.exit(main())
