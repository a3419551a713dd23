//! Two gateways that know each other, in every mode; several times the same, to be compared.

use std::cell::RefCell;

use culvert_engine::crypto::portable::Portable;
use culvert_engine::crypto::{Engine, Job, Keyed, Random, Serial, best_engine};
use culvert_engine::tables::sa::{
    Action, Copying, Direction, Fragmentation, HeaderRules, Lifetime, Limits, Mode, Network, Policy, Protocol, Secret,
    SecurityAssociation, Selector, UdpPorts,
};
use culvert_engine::tables::slots::{HeapWords, SLOT_WORDS, Slot};
use culvert_engine::transform::batch_in::{Admissions, Arrived, In};
use culvert_engine::transform::batch_out::{Framing, Out, OutBatch, Plans};
use culvert_engine::transform::gateway::Gateway;
use culvert_engine::transform::verdict::Verdict;
use culvert_engine::wire::address::Address;

/// The same each time, whoever asks first: a batch draws in another order.
struct Dice;

impl Random for Dice {
    fn fill(&mut self, octets: &mut [u8]) {
        octets.fill(0x5A);
    }
}

thread_local! {
    static BEST: RefCell<Box<dyn Engine>> = RefCell::new(best_engine());
}

/// The best engine there is, which takes its time to begin: one for all gateways.
struct Shared;

impl Engine for Shared {
    fn name(&self) -> String {
        BEST.with_borrow(|engine| engine.name())
    }

    fn seal(&mut self, jobs: &mut [Job<'_>], random: &mut dyn Random) {
        BEST.with_borrow_mut(|engine| engine.seal(jobs, random));
    }

    fn open(&mut self, jobs: &mut [Job<'_>]) {
        BEST.with_borrow_mut(|engine| engine.open(jobs));
    }

    fn sign(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &mut [u8]) {
        BEST.with_borrow_mut(|engine| engine.sign(key, number, covered, icv));
    }

    fn verify(&mut self, key: &Keyed, number: u64, covered: &[u8], icv: &[u8]) -> bool {
        BEST.with_borrow_mut(|engine| engine.verify(key, number, covered, icv))
    }

    fn forget(&mut self, serials: Option<&[Serial]>) {
        BEST.with_borrow_mut(|engine| engine.forget(serials));
    }

    fn prepared(&self) -> usize {
        BEST.with_borrow(|engine| engine.prepared())
    }
}

/// How the SAs of one pair differ from the others'.
struct Shape {
    cipher: &'static str,
    auth: &'static str,
    mode: Mode,
    protocol: Protocol,
    six: bool,
    esn: bool,
    compression: u16,
    udp: bool,
    fragmentation: Fragmentation,
    tfc: usize,
    hard_packets: u64,
}

const USUAL: Shape = Shape {
    cipher: "aes-gcm128",
    auth: "none",
    mode: Mode::Tunnel,
    protocol: Protocol::Esp,
    six: false,
    esn: false,
    compression: 0,
    udp: false,
    fragmentation: Fragmentation::Before,
    tfc: 0,
    hard_packets: 0,
};

const SHAPES: [Shape; 10] = [
    USUAL,
    Shape { cipher: "aes128", auth: "sha1", ..USUAL },
    Shape { cipher: "aes128", auth: "sha256", six: true, esn: true, ..USUAL },
    Shape { cipher: "chacha20-poly1305", compression: 2, ..USUAL },
    Shape { cipher: "null", auth: "sha1", mode: Mode::Transport, ..USUAL },
    Shape { cipher: "null", auth: "sha256", protocol: Protocol::Ah, ..USUAL },
    Shape { cipher: "null", auth: "sha1", protocol: Protocol::Ah, six: true, mode: Mode::Transport, ..USUAL },
    Shape { udp: true, ..USUAL },
    Shape { fragmentation: Fragmentation::After, tfc: 700, six: true, ..USUAL },
    Shape { cipher: "aes128", auth: "sha512", hard_packets: 3, ..USUAL },
];

fn address(six: bool, last: u8) -> Address {
    let mut octets = [0xFD, 0x0F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    if six {
        return Address::from_octets(&octets);
    }
    octets[..4].copy_from_slice(&[192, 0, 2, last]);
    Address::from_octets(&octets[..4])
}

fn key_octets(name: &str) -> usize {
    match name {
        "aes-gcm128" => 20,
        "aes128" => 16,
        "chacha20-poly1305" => 36,
        "sha1" => 20,
        "sha256" => 32,
        "sha512" => 64,
        _ => 0,
    }
}

fn association(number: usize, shape: &Shape, direction: Direction) -> SecurityAssociation {
    let none = Limits { seconds: 0, octets: 0, packets: 0 };
    let secret = |name: &str| Secret::new((0..key_octets(name)).map(|at| (at * 13 + number + 1) as u8).collect());
    SecurityAssociation {
        spi: 1000 + number as u32,
        source: address(shape.six, 1),
        destination: address(shape.six, 2),
        protocol: shape.protocol,
        mode: shape.mode,
        direction,
        auth: shape.auth.into(),
        auth_key: secret(shape.auth),
        cipher: shape.cipher.into(),
        cipher_key: secret(shape.cipher),
        reqid: 1 + number as u32,
        replay_window: 64,
        esn: shape.esn,
        compression: shape.compression,
        encapsulation: shape.udp.then_some(UdpPorts(4500, 4500)),
        header: HeaderRules { dscp: None, ecn: true, dont_fragment: Copying::Copy, hops: Some(64), flow_label: false },
        fragmentation: shape.fragmentation,
        path_mtu: 1500,
        mss: Some(1200),
        tfc_octets: shape.tfc,
        dummy_seconds: 0,
        keep_alive_seconds: 0,
        lifetime: Lifetime { soft: none, hard: Limits { packets: shape.hard_packets, ..none } },
        label: format!("sa-{number}"),
    }
}

/// By the second octet of an inner IPv4 destination, or the second of an IPv6 one; in transport mode between the gateways.
fn policy(number: usize, shape: &Shape, six: bool, direction: Direction) -> Policy {
    let network = |version6: bool, first: [u8; 2], prefix| {
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&first);
        Network { address: Address::from_octets(&octets[..if version6 { 16 } else { 4 }]), prefix }
    };
    let (source, destination) = match shape.mode {
        Mode::Transport => {
            let host = |last| Network { address: address(shape.six, last), prefix: if shape.six { 128 } else { 32 } };
            (host(1), host(2))
        }
        Mode::Tunnel => (network(six, [0, 0], 0), network(six, [if six { 0xFD } else { 10 }, number as u8], 16)),
    };
    Policy {
        direction,
        selector: Selector { source, destination, protocol: None, source_ports: None, destination_ports: None },
        order: number as i64,
        label: format!("ts-{number}-{six}"),
        reqid: 1 + number as u32,
        action: Action::Protect,
        protocol: shape.protocol,
        mode: shape.mode,
        bundle_ah: false,
        tunnel_source: None,
        tunnel_destination: None,
    }
}

/// A gateway of one direction. `fast`: with the best engine there is.
pub fn gateway(direction: Direction, fast: bool) -> Gateway {
    let engine: Box<dyn Engine> = if fast { Box::new(Shared) } else { Box::new(Portable::new()) };
    let mut made = Gateway::new(engine, Box::new(Dice));
    for (number, shape) in SHAPES.iter().enumerate() {
        let slot = Slot::new(std::sync::Arc::new(HeapWords::new(SLOT_WORDS)), 0);
        made.add_sa(association(number, shape, direction), slot, 1.0).expect("a good SA");
        for six in [false, true] {
            if shape.mode == Mode::Tunnel || six == shape.six {
                made.add_policy(policy(number, shape, six, direction)).expect("a good policy");
            }
        }
    }
    made
}

/// What became of clear packets: octets that leave, or words.
pub type Outcome = Result<Vec<Vec<u8>>, String>;

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Send(sent) => Ok(sent.packets),
        Verdict::Deliver(delivered) => Ok(vec![delivered.packet]),
        Verdict::Drop(dropped) => Err(format!("{:?} {:?}", dropped.reason, dropped.answer)),
        other => Err(format!("{other:?}")),
    }
}

pub fn out_one_by_one(gateway: &mut Gateway, packets: &[&[u8]]) -> Vec<Outcome> {
    packets.iter().map(|packet| outcome(gateway.outbound(packet, 2.0))).collect()
}

pub fn out_at_once(gateway: &mut Gateway, packets: &[&[u8]]) -> Vec<Outcome> {
    let (mut batch, mut plans) = (OutBatch::default(), Plans::new());
    for packet in packets {
        gateway.protect_run(packet, &mut plans, |_| Framing::Whole, &mut batch, 2.0);
    }
    gateway.seal_batch(&mut batch);
    let out = std::mem::take(&mut batch.out);
    let told = |out| match out {
        Out::Framed(framed) => Ok(vec![batch.octets[framed.range].to_vec()]),
        Out::Other(verdict, _) => outcome(verdict),
    };
    out.into_iter().map(told).collect()
}

pub fn in_one_by_one(gateway: &mut Gateway, packets: &[Vec<u8>]) -> Vec<Outcome> {
    packets.iter().map(|packet| outcome(gateway.inbound(packet, 2.0))).collect()
}

/// From the last place to the first, as frames of AF_XDP may lie.
pub fn in_at_once(gateway: &mut Gateway, packets: &[Vec<u8>]) -> Vec<Outcome> {
    let mut octets = vec![0; packets.iter().map(Vec::len).sum()];
    let mut end = octets.len();
    let mut arrived = Vec::new();
    for packet in packets {
        let range = end - packet.len()..end;
        octets[range.clone()].copy_from_slice(packet);
        end = range.start;
        arrived.push(Arrived { range, headers: None });
    }
    let verdicts = gateway.open_batch(&mut octets, &arrived, &mut Admissions::new(), 2.0);
    let told = |verdict| match verdict {
        In::Deliver { range, .. } => Ok(vec![octets[range].to_vec()]),
        In::Other(other) => outcome(other.0),
    };
    verdicts.into_iter().map(told).collect()
}

/// Packets of a script: each with its length in front, in two octets.
pub fn packets(mut script: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((length, rest)) = script.split_at_checked(2) {
        let octets = usize::from(u16::from_be_bytes([length[0], length[1]])).min(rest.len());
        let (packet, behind) = rest.split_at(octets);
        found.push(packet);
        script = behind;
    }
    found
}
