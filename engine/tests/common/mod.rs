//! What the tests of several workers begin with: outbound SAs, policies that send packets to them, and gateways.
#![allow(dead_code, reason = "not every test needs all of it")]

use culvert_engine::crypto::chance::Chance;
use culvert_engine::crypto::engine_called;
use culvert_engine::tables::sa::{
    Action, Copying, Direction, Fragmentation, HeaderRules, Lifetime, Limits, Mode, Network, Policy, Protocol, Secret,
    SecurityAssociation, Selector,
};
use culvert_engine::transform::gateway::Gateway;
use culvert_engine::wire::address::Address;

/// Numbers of SAs end here.
pub const SAS: u32 = 3;

pub fn address(value: u32) -> Address {
    Address::from_octets(&value.to_be_bytes())
}

/// The last one is for AH, whose packets go one by one.
pub fn sa(number: u32) -> SecurityAssociation {
    let none = Limits { seconds: 0, octets: 0, packets: 0 };
    let is_ah = number == SAS - 1;
    SecurityAssociation {
        spi: 1000 + number,
        source: address(0xC000_0201),
        destination: address(0xC633_6401),
        protocol: if is_ah { Protocol::Ah } else { Protocol::Esp },
        mode: Mode::Tunnel,
        direction: Direction::Out,
        auth: if is_ah { "sha1" } else { "none" }.into(),
        auth_key: Secret::new(vec![7; if is_ah { 20 } else { 0 }]),
        cipher: if is_ah { "null" } else { "aes-gcm128" }.into(),
        cipher_key: Secret::new(vec![number as u8; if is_ah { 0 } else { 20 }]),
        reqid: 1 + number,
        replay_window: 64,
        esn: false,
        compression: 0,
        encapsulation: None,
        header: HeaderRules { dscp: None, ecn: true, dont_fragment: Copying::Copy, hops: Some(64), flow_label: false },
        fragmentation: Fragmentation::Before,
        path_mtu: 0,
        mss: None,
        tfc_octets: 0,
        dummy_seconds: 0,
        keep_alive_seconds: 0,
        lifetime: Lifetime { soft: none, hard: none },
        label: format!("/Common/sa-{number}"),
    }
}

pub fn policy(number: u32) -> Policy {
    let network = |first: u32, prefix| Network { address: address(first), prefix };
    Policy {
        direction: Direction::Out,
        selector: Selector {
            source: network(0, 0),
            destination: network(0x0B00_0000 + number, 32),
            protocol: None,
            source_ports: None,
            destination_ports: None,
        },
        order: 1,
        label: format!("/Common/ts-{number}"),
        reqid: 1 + number,
        action: Action::Protect,
        protocol: if number == SAS - 1 { Protocol::Ah } else { Protocol::Esp },
        mode: Mode::Tunnel,
        bundle_ah: false,
        tunnel_source: None,
        tunnel_destination: None,
    }
}

pub fn gateway() -> Gateway {
    let chance = Chance::new().expect("the kernel has random numbers");
    let mut made = Gateway::new(engine_called("portable").expect("it is always there"), Box::new(chance));
    made.claims.keep();
    made
}

/// To the network of one SA.
pub fn packet(sa: u32) -> Vec<u8> {
    let mut packet = vec![0x5A; 60];
    packet[..20].copy_from_slice(&[0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0]);
    packet[16..20].copy_from_slice(&(0x0B00_0000 + sa).to_be_bytes());
    packet[20..28].copy_from_slice(&[4, 0, 0, 53, 0, 40, 0, 0]);
    packet
}
