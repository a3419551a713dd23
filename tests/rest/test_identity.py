"""What clients ask a system before anything else."""

from tests.rest.asking import Web

BASH = "/mgmt/tm/util/bash"


def test_the_device_is_called_as_the_host_is(client: Web) -> None:
    client.good("PATCH", "/mgmt/tm/sys/global-settings", {"hostname": "gw.example"})
    (own,) = client.good("GET", "/mgmt/tm/cm/device")["items"]
    assert (own["name"], own["selfDevice"]) == ("gw.example", "true")
    move = {"command": "mv", "name": "old.example", "target": "gw.example"}
    assert client.good("POST", "/mgmt/tm/cm/device", move)["target"] == "gw.example"
    client.good("POST", "/mgmt/tm/cm/device", {"command": "mv", "name": "gw.example", "target": "new.example"})
    assert client.good("GET", "/mgmt/tm/sys/global-settings")["hostname"] == "new.example"
    assert client.bad("POST", "/mgmt/tm/cm/device", {"command": "mv", "name": "a", "target": "b"})[0] == 404
    assert client.bad("POST", "/mgmt/tm/cm/device", {"command": "rm"})[0] == 400
    assert client.ask("OPTIONS", "/mgmt/tm/cm/device").headers["Allow"] == "GET, POST"
    assert client.ask("OPTIONS", "/mgmt/tm/cm/device/new.example").headers["Allow"] == "GET"


def test_whether_it_is_still_starting_is_answered_and_nothing_is_run(client: Web) -> None:
    asked = {"command": "run", "utilCmdArgs": '-c "runlevel"'}
    assert client.good("POST", BASH, asked)["commandResult"] == "N 3\n"
    asked["utilCmdArgs"] = "-c \"ps aux | grep '[m]prov'\""
    assert "commandResult" not in client.good("POST", BASH, asked)
    asked["utilCmdArgs"] = '-c "ps aux"'
    assert client.bad("POST", BASH, asked)[0] >= 400
