"""Builds or removes one site with f5-sdk: its classes where it has one, its own session for what it has none.

The task is JSON on standard input; `verb` is build or remove, and `token` whether to log in for one.
"""

import json
import sys
from typing import Any

import urllib3
from f5.bigip import ManagementRoot

Json = Any
FIXED = ("name", "partition", "network")
"""What the SDK lets nobody change."""


def organised(root: ManagementRoot, collection: str) -> Any:
    """The class for a collection, or None."""
    return {
        "/mgmt/tm/net/vlan": root.tm.net.vlans.vlan,
        "/mgmt/tm/net/self": root.tm.net.selfips.selfip,
        "/mgmt/tm/net/route": root.tm.net.routes.route,
        "/mgmt/tm/ltm/virtual": root.tm.ltm.virtuals.virtual,
    }.get(collection)


def build(root: ManagementRoot, task: Json) -> None:
    settings = root.tm.sys.global_settings.load()
    if settings.hostname != task["hostname"]:
        settings.modify(hostname=task["hostname"])
    for each in task["objects"]:
        name, own = each["name"], organised(root, each["collection"])
        if own is None:
            raw_build(root, each)
        elif own.exists(name=name, partition="Common"):
            found = own.load(name=name, partition="Common")
            found.update()
            found.modify(**{key: text for key, text in each["body"].items() if key not in FIXED})
        else:
            own.create(**each["body"])


def raw_build(root: ManagementRoot, each: Json) -> None:
    session = root._meta_data["icr_session"]
    base = f"https://{root._meta_data['hostname']}:{root._meta_data['port']}{each['collection']}/"
    there = {own["name"] for own in session.get(base).json()["items"]}
    if each["name"] in there:
        session.patch(f"{base}~Common~{each['name']}/", json=each["body"])
    else:
        session.post(base, json=each["body"])


def remove(root: ManagementRoot, task: Json) -> None:
    session = root._meta_data["icr_session"]
    for each in reversed(task["objects"]):
        own = organised(root, each["collection"])
        if own is None:
            base = f"https://{root._meta_data['hostname']}:{root._meta_data['port']}{each['collection']}"
            session.delete(f"{base}/~Common~{each['name']}/")
        else:
            own.load(name=each["name"], partition="Common").delete()
    root.tm.sys.global_settings.load().modify(hostname=task["hostname_before"])


if __name__ == "__main__":
    urllib3.disable_warnings()
    given = json.load(sys.stdin)
    connected = ManagementRoot(
        given["host"], given["user"], given["password"], port=given["port"], verify=False, token=given["token"]
    )
    {"build": build, "remove": remove}[given["verb"]](connected, given)
