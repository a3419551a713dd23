"""`culvert pcap`: a capture file through the gateway that a configuration file describes; no root, no daemon.

Packets are judged as the live gateway judges them: by its traffic selectors and SAs, and by its virtual servers,
since what no enabled virtual server accepts is not forwarded. A file with neither an ltm virtual nor a self IP
describes only keys, to look into captures with, and no gateway that forwards; so forwarding is not judged then.
The file has no connections or incoming links: the answer to a forwarded flow is let by, and a virtual server that
is limited to VLANs counts as accepting.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from culvert.cli import pcap
from culvert.config import transaction as tx
from culvert.config.snapshot import Snapshot
from culvert.config.transaction import SHIPPED
from culvert.config.vault import Vault, VaultError
from culvert.dataplane.admission import Admission
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.lifetime import Lifetime
from culvert.ipsec.sa import Direction, IPAddress
from culvert.ipsec.secret import Secret
from culvert.model import ltm, net, tokens
from culvert.model.fields import Reader, Sealer
from culvert.model.names import COMMON
from culvert.model.problems import BadSyntax, Invalid
from culvert.plan.intent import Intent, intend


class NoVault:
    """Key text typed in clear needs no master key; sealed text does."""

    def seal(self, secret: Secret) -> str:
        return "$M$--$"

    def hash_password(self, password: Secret) -> str:
        return "!"  # Nobody logs in to a capture file.

    def unseal(self, text: str) -> Secret:
        raise ValueError("the key is sealed; name the system's master key with --master-key FILE")


def run(arguments: Sequence[str]) -> int:
    """0 when the capture was read to its end, else 1."""
    options = _options(arguments)
    try:
        snapshot = _snapshot(options.config, _sealer(options.master_key))
        intent = intend(snapshot, counter_journal=True)
        gateway = _gateway(intent)
        endpoints = {sa.destination if sa.direction is Direction.IN else sa.source for sa in intent.sas}
        with Path(options.json or os.devnull).open("w") as report:
            summary = pcap.run(
                gateway,
                endpoints,
                options.read,
                options.write,
                report if options.json else None,
                options.keep_sequence,
                _admission(snapshot, intent, endpoints),
                options.sequence_high,
            )
    except Invalid as error:
        print("\n".join(f"culvert pcap: {options.config}: {problem}" for problem in error.problems), file=sys.stderr)
        return 1
    except tx.Refusal as error:
        print(f"culvert pcap: {options.config}: the {error.title} ({error.name}) does not fit", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"culvert pcap: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except (VaultError, BadSyntax, ValueError) as error:
        print(f"culvert pcap: {error}", file=sys.stderr)
        return 1
    for note in intent.notes:
        print(f"culvert pcap: {note}", file=sys.stderr)
    print(summary)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="culvert pcap", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a saved configuration")
    parser.add_argument("--read", type=Path, required=True, help="the capture to send through (pcap)")
    parser.add_argument("--write", type=Path, required=True, help="what the gateway would emit (pcap)")
    parser.add_argument("--json", type=Path, help="one JSON line for each packet")
    parser.add_argument("--keep-sequence", action="store_true", help="replay checks start at the first packet seen")
    parser.add_argument(
        "--sequence-high",
        type=int,
        default=0,
        metavar="N",
        help="with --keep-sequence, the upper half of the first extended sequence numbers (default 0)",
    )
    parser.add_argument("--master-key", type=Path, help="the master key that sealed the keys, for $M$ texts")
    return parser.parse_args(arguments)


def _sealer(master_key: Path | None) -> Sealer:
    if master_key is None:
        return NoVault()
    if not master_key.exists():
        raise VaultError(f"master key {master_key}: No such file or directory")
    return Vault.open(master_key)


def _snapshot(config: Path, sealer: Sealer) -> Snapshot:
    text = tokens.decode(config.read_bytes())
    return tx.read_file(text, SHIPPED, Reader(COMMON, sealer)).check()


def _admission(snapshot: Snapshot, intent: Intent, endpoints: set[IPAddress]) -> Admission:
    # Asked of the snapshot: a disabled virtual server is no forwarder, but shows that the file describes a gateway.
    forwards = any(True for path in (ltm.VIRTUAL, net.SELF) for _ in snapshot.all(path))
    own = endpoints | {address.interface.ip for address in intent.addresses}
    return Admission(intent.policies, intent.forwarders if forwards else None, own)


def _gateway(intent: Intent) -> Gateway:
    gateway = Gateway(os.urandom)
    for sa in intent.sas:
        # A capture is from another time than its keys: how long they may live is nothing to judge it by.
        soft, hard = (replace(limits, seconds=0) for limits in (sa.lifetime.soft, sa.lifetime.hard))
        gateway.add_sa(replace(sa, lifetime=Lifetime(soft, hard)), now=0.0)
    for policy in intent.policies:
        gateway.add_policy(policy)
    return gateway
