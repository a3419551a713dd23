"""Putting a lab up, and telling what is done while it is done."""

import shutil
import sys
from collections.abc import Mapping

from culvert.lab.errors import LabError
from culvert.lab.keys import Keys
from culvert.lab.lab import Lab
from culvert.lab.screen import Screen
from culvert.lab.sites import Line
from culvert.lab.topology import GATEWAYS


def bring_up(lab: Lab, keys: Mapping[str, Keys], screen: Screen) -> None:
    """All or nothing: what fails is taken down again, except for the logs. A lab that is there already stays."""
    if lab.topology.exists:
        raise LabError("a lab is there already", "take it down first: culvert lab down")
    try:
        _steps(lab, keys, screen)
    except BaseException:
        lab.down(keep_logs=True)
        raise


def _steps(lab: Lab, keys: Mapping[str, Keys], screen: Screen) -> None:
    screen.title("Namespaces and cables")
    lab.add_topology()
    screen.write("  " + " - ".join(namespace.name for namespace in lab.topology.namespaces()))
    for node in GATEWAYS:
        daemon = lab.daemon(node)
        screen.title(f"{daemon.namespace.name}: culvertd")
        daemon.start()
        screen.write(f"  process {daemon.pid}, socket {daemon.socket_path}, log {daemon.log_path}")
        lab.configure(node, keys, lambda line: _tell(screen, line))
        _save(lab, node, screen)


def _tell(screen: Screen, line: Line) -> None:
    screen.write(f"  {screen.paint('dim', 'tmsh')} {line.shown}")


def _save(lab: Lab, node: str, screen: Screen) -> None:
    line = Line("save sys config")
    _tell(screen, line)
    screen.block(lab.enter(node, line), indent="       ")


def next_steps(lab: Lab, screen: Screen) -> None:
    """What a newcomer can do with a lab that is up."""
    # As it was called, where the shell would not find it by its name.
    culvert = ("culvert" if shutil.which("culvert") else sys.argv[0]) + " lab"
    culvert += "" if lab == Lab() else f" --prefix {lab.prefix}"
    screen.title("The lab is up. What now?")
    commands = (
        (f"{culvert} exec client -- ping 10.2.0.10", "from the client, through the tunnel, to the server"),
        (f"{culvert} tmsh a show net ipsec ipsec-sa", "the security associations of culvert-a"),
        (f"{culvert} tmsh b show net ipsec drops", "what died on culvert-b, and why"),
        (f"{culvert} exec wan -- tcpdump -ni a0", "nothing but ESP"),
        (f"{culvert} verify", "the procedure's verification steps"),
        (f"{culvert} down", "take it all away"),
    )
    width = max(len(command) for command, _meaning in commands)
    for command, meaning in commands:
        screen.write(f"  {screen.paint('cyan', command.ljust(width))}  {screen.paint('dim', meaning)}")


def explain_failure(lab: Lab, step: str, failure: LabError, screen: Screen) -> None:
    """Which step, why, and where to read on."""
    screen.check(False, step, failure.sentence)
    screen.block(failure.detail, indent="      ")
    logs = [str(path) for path in lab.log_paths() if path.exists()]
    if logs:
        screen.write(f"  logs: {', '.join(logs)}")
