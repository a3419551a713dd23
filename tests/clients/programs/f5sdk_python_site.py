"""Builds or removes one site with f5-sdk-python, whose one way to objects is `make_request`.

The task is JSON on standard input; `verb` is build or remove.
"""

import json
import sys
from typing import Any

import urllib3
from f5sdk.bigip import ManagementClient

Json = Any


def build(device: ManagementClient, task: Json) -> None:
    assert device.get_info()["version"].count(".") == 2
    device.make_request("/mgmt/tm/sys/global-settings", method="PATCH", body={"hostname": task["hostname"]})
    for each in task["objects"]:
        path = f"{each['collection']}/~Common~{each['name']}"
        if device.make_request(path, bool_response=True):
            device.make_request(path, method="PATCH", body=each["body"])
        else:
            device.make_request(each["collection"], method="POST", body=each["body"])


def remove(device: ManagementClient, task: Json) -> None:
    for each in reversed(task["objects"]):
        path = f"{each['collection']}/~Common~{each['name']}"
        _, status = device.make_request(path, method="DELETE", advanced_return=True)
        assert status == 200, (path, status)
    device.make_request("/mgmt/tm/sys/global-settings", method="PATCH", body={"hostname": task["hostname_before"]})


if __name__ == "__main__":
    urllib3.disable_warnings()
    given = json.load(sys.stdin)
    connected = ManagementClient(given["host"], port=given["port"], user=given["user"], password=given["password"])
    {"build": build, "remove": remove}[given["verb"]](connected, given)
