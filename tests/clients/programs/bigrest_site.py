"""Builds or removes one site with bigrest, as its own documentation says. Run by bigrest's own Python.

The task is JSON on standard input; `verb` is build or remove, and `token` whether to log in for one.
"""

import json
import sys
from typing import Any

import urllib3
from bigrest.bigip import BIGIP

Json = Any


def connect(task: Json) -> BIGIP:
    urllib3.disable_warnings()
    device = f"{task['host']}:{task['port']}"
    return BIGIP(device, task["user"], task["password"], request_token=task["token"], session_verify=False)


def differs(own: Json, key: str, wanted: Json) -> bool:
    """What bigrest leaves to its users: whether what is there is what is wanted. Secrets never come back."""
    if key in ("authKey", "encryptKey", "interfaces", "profiles", "name", "partition"):
        return False
    return bool(own.properties.get(key) != wanted)


def build(device: BIGIP, task: Json) -> None:
    settings = device.load("/mgmt/tm/sys/global-settings")
    if settings.properties["hostname"] != task["hostname"]:
        device.modify("/mgmt/tm/sys/global-settings", {"hostname": task["hostname"]})
    for each in task["objects"]:
        path = f"{each['collection']}/~Common~{each['name']}"
        if not device.exist(path):
            device.create(each["collection"], each["body"])
            continue
        own = device.load(path)
        changed = {key: wanted for key, wanted in each["body"].items() if differs(own, key, wanted)}
        assert not changed, (path, changed, own.properties)
        # The whole object is put back as it came, with kind, generation and links: no change.
        saved = device.save(own)
        assert saved.properties == own.properties, (saved.properties, own.properties)
        device.modify(path, {key: value for key, value in each["body"].items() if key not in ("name", "partition")})


def remove(device: BIGIP, task: Json) -> None:
    for each in reversed(task["objects"]):
        path = f"{each['collection']}/~Common~{each['name']}"
        device.delete(path)
        assert not device.exist(path)
    device.modify("/mgmt/tm/sys/global-settings", {"hostname": task["hostname_before"]})


def look_around(device: BIGIP, task: Json) -> None:
    """Everything else that bigrest has for a BIG-IP."""
    policies = "/mgmt/tm/net/ipsec/ipsec-policy"
    names = {own.properties["name"] for own in device.load(policies)}
    assert {"policy-out", "policy-in", "policy-out-v6", "policy-in-v6"} <= names, names
    device.example(policies)
    shown = device.show("/mgmt/tm/net/ipsec-stat")
    assert shown, shown
    device.show("/mgmt/tm/net/ipsec/traffic-selector/~Common~selector-out")
    bash = {"command": "run", "utilCmdArgs": '-c "tmsh -c \\"list net ipsec ipsec-policy policy-out\\""'}
    assert "tunnel-local-address" in device.command("/mgmt/tm/util/bash", bash)
    device.command("/mgmt/tm/sys/config", {"command": "save"})
    with device as transaction:
        assert transaction.properties["state"] == "STARTED"
        device.create(policies, {"name": "one-of-two", "mode": "transport"})
        device.create(policies, {"name": "two-of-two", "mode": "transport"})
    assert device.exist(f"{policies}/one-of-two")
    device.transaction_create()
    device.delete(f"{policies}/~Common~one-of-two")
    device.delete(f"{policies}/~Common~two-of-two")
    device.transaction_validate()
    device.transaction_commit()
    assert not device.exist(f"{policies}/one-of-two")
    own = device.load(f"{policies}/~Common~policy-out")
    own.properties["description"] = "by bigrest"
    assert device.save(own).properties["description"] == "by bigrest"
    del own.properties["description"]
    assert "description" not in device.save(own).properties


VERBS = {"build": build, "remove": remove, "look-around": look_around}

if __name__ == "__main__":
    given = json.load(sys.stdin)
    VERBS[given["verb"]](connect(given), given)
