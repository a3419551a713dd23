"""Typing into one session."""

from culvert.tmsh import command
from culvert.tmsh.session import Session
from tests.control.live import Site


def session_after(site: Site, *lines: str) -> Session:
    session = Session(site)
    for line in lines:
        command.run(line, session)
    return session


def prompt_place(site: Site, *lines: str) -> str:
    return f"({'.'.join(('tmos', *session_after(site, *lines).module))})"
