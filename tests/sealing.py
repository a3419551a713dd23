"""A sealer for tests that need no master key, and shorthand for configurations."""

import base64
import hashlib

from culvert.config import transaction as tx
from culvert.config.snapshot import Snapshot
from culvert.ipsec.secret import Secret
from culvert.model.fields import Reader
from culvert.model.names import COMMON


class PlainSealer:
    """Seals by encoding: enough for tests, nothing for secrets. The real one is tested in test_vault."""

    def seal(self, secret: Secret) -> str:
        return "$M$tt$" + base64.b64encode(secret.reveal()).decode()

    def hash_password(self, password: Secret) -> str:
        return "$plain$" + hashlib.sha256(password.reveal()).hexdigest()

    def unseal(self, text: str) -> Secret:
        try:
            return Secret(base64.b64decode(text[6:], validate=True))
        except ValueError:
            raise ValueError("the key was not sealed by this system") from None


READER = Reader(COMMON, PlainSealer())
AUTH_KEY = '"aaaaaaaaaaaaaaaaaaaa"'
CIPHER_KEY = '"0x00112233445566778899aabbccddeeff"'

TWO_POLICIES = """
net ipsec ipsec-policy /Common/pol-out {
    mode tunnel
    tunnel-local-address 2.2.2.2
    tunnel-remote-address 3.3.3.3
}
net ipsec ipsec-policy /Common/pol-in {
    mode tunnel
    tunnel-local-address 3.3.3.3
    tunnel-remote-address 2.2.2.2
}
"""
SITE_A = f"""
net vlan /Common/external {{
    interfaces {{
        wan0 {{ }}
    }}
}}
net vlan /Common/internal {{
    interfaces {{
        lan0 {{ }}
    }}
}}
net self /Common/outside {{
    address 2.2.2.2/24
    vlan /Common/external
    allow-service {{
        default
    }}
}}
net self /Common/inside {{
    address 10.1.0.1/24
    vlan /Common/internal
    allow-service all
}}
net route /Common/far {{
    gw 2.2.2.1
    network 3.3.3.0/24
}}
ltm virtual /Common/forward {{
    destination 0.0.0.0:any
    ip-forward
    mask any
}}
{TWO_POLICIES}
net ipsec manual-security-association /Common/sa-out {{
    spi 1001
    source-address 2.2.2.2
    destination-address 3.3.3.3
    auth-key {AUTH_KEY}
    encrypt-key {CIPHER_KEY}
    ipsec-policy /Common/pol-out
}}
net ipsec manual-security-association /Common/sa-in {{
    spi 1002
    source-address 3.3.3.3
    destination-address 2.2.2.2
    auth-key {AUTH_KEY}
    encrypt-key {CIPHER_KEY}
    ipsec-policy /Common/pol-in
}}
net ipsec traffic-selector /Common/ts-out {{
    source-address 10.1.0.0/24
    destination-address 10.2.0.0/24
    direction out
    ipsec-policy /Common/pol-out
}}
net ipsec traffic-selector /Common/ts-in {{
    source-address 10.2.0.0/24
    destination-address 10.1.0.0/24
    direction in
    ipsec-policy /Common/pol-in
}}
"""


def configured(text: str) -> Snapshot:
    """The checked snapshot of a file laid over the shipped configuration."""
    return tx.read_file(text, tx.SHIPPED, READER).check()
