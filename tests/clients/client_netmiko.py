"""netmiko's f5_tmsh driver over a real OpenSSH, unmodified."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from netmiko import ConnectHandler

from tests.clients.sshd import serving


@pytest.fixture(params=["bash", "tmsh"])
def device(request: pytest.FixtureRequest, tmp_path: Path, control_socket: Path) -> Iterator[Any]:
    with (
        serving(tmp_path, control_socket, login_shell=request.param) as server,
        ConnectHandler(
            device_type="f5_tmsh",
            host="127.0.0.1",
            port=server.port,
            username="root",
            use_keys=True,
            key_file=str(server.key),
            session_log=str(tmp_path / "session.log"),
        ) as connection,
    ):
        yield connection


def test_shows_and_lists(device: Any) -> None:
    shown = device.send_command("show net ipsec ipsec-sa")
    assert shown.splitlines()[0] == "IPsec::SecurityAssociations"
    assert shown.rstrip().endswith("Total records returned: 4")
    listed = device.send_command("list net ipsec ipsec-policy policy-out")
    assert listed.strip() == (
        "net ipsec ipsec-policy policy-out {\n    mode tunnel\n    tunnel-local-address 2.2.2.2\n"
        "    tunnel-remote-address 3.3.3.3\n}"
    )
    assert "unexpected argument" in device.send_command("show net nonsense")


def test_a_long_answer_comes_whole(device: Any) -> None:
    shown = device.send_command("list net ipsec all-properties")
    assert shown.count("\nnet ipsec traffic-selector") == 5
    assert shown.rstrip().endswith("}")


def test_changes(device: Any) -> None:
    device.send_command("create net ipsec ipsec-policy from-netmiko description {one}".replace("{one}", '"by netmiko"'))
    assert 'description "by netmiko"' in device.send_command("list net ipsec ipsec-policy from-netmiko")
    again = device.send_command("create net ipsec ipsec-policy from-netmiko")
    assert again.strip() == (
        "01020066:3: The requested IPsec policy (/Common/from-netmiko) already exists in partition Common."
    )
    device.send_command("delete net ipsec ipsec-policy from-netmiko")
    assert "01020036:3:" in device.send_command("list net ipsec ipsec-policy from-netmiko")
