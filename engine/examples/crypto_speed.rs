//! Bench: how fast packets are sealed and opened in memory, by one core: the whole way out (`protect_run` and
//! `seal_batch`: look-up, outer header, trailer, cipher) and in (`open_batch`), next to the bare engine over the same
//! octets. Rounds are interleaved; medians of nanoseconds per packet.
//!
//! cargo run --release --example crypto_speed [ROUNDS]

use std::sync::Arc;
use std::time::Instant;

use culvert_engine::control::{self, Change, Message};
use culvert_engine::crypto::chance::Chance;
use culvert_engine::crypto::{Engine, Job, Random, engine_called, engines};
use culvert_engine::tables::sa::Secret;
use culvert_engine::tables::slots::{HeapWords, SLOT_WORDS, Slot};
use culvert_engine::transform::batch_in::{Admissions, Arrived, In};
use culvert_engine::transform::batch_out::{Framing, Out, OutBatch, Plans};
use culvert_engine::transform::gateway::Gateway;

const BATCH: usize = 64;
const BATCHES: usize = 200;

fn key(octets: usize) -> String {
    (0..octets).map(|at| format!("{:02x}", (at * 7 + 1) & 0xFF)).collect()
}

struct Suite {
    cipher: &'static str,
    key: usize,
    auth: &'static str,
    auth_key: usize,
}

const SUITES: [Suite; 4] = [
    Suite { cipher: "aes-gcm128", key: 20, auth: "none", auth_key: 0 },
    Suite { cipher: "aes128", key: 16, auth: "sha1", auth_key: 20 },
    Suite { cipher: "aes128", key: 16, auth: "sha256", auth_key: 32 },
    Suite { cipher: "chacha20-poly1305", key: 36, auth: "none", auth_key: 0 },
];

fn sa(suite: &Suite, direction: &str) -> String {
    let limits = r#"{"seconds":0,"octets":0,"packets":0}"#;
    format!(
        r#"{{"kind":"AddSa","content":{{"spi":1001,"source":"192.0.2.1","destination":"192.0.2.2","protocol":50,
        "mode":"tunnel","direction":"{direction}","auth":"{}","auth_key":"{}","cipher":"{}","cipher_key":"{}","reqid":7,
        "replay_window":64,"esn":false,"compression":0,"encapsulation":null,
        "header":{{"dscp":null,"ecn":true,"dont_fragment":"copy","hops":64,"flow_label":false}},
        "fragmentation":"before","path_mtu":0,"mss":null,"tfc_octets":0,"dummy_seconds":0,"keep_alive_seconds":0,
        "lifetime":{{"soft":{limits},"hard":{limits}}},"label":"/Common/sa"}}}}"#,
        suite.auth,
        key(suite.auth_key),
        suite.cipher,
        key(suite.key)
    )
}

fn policy(direction: &str) -> String {
    format!(
        r#"{{"kind":"AddPolicy","content":{{"direction":"{direction}","selector":{{"source":"10.1.0.0/16",
        "destination":"10.2.0.0/16","protocol":null,"source_ports":null,"destination_ports":null}},"order":1,
        "label":"/Common/ts","reqid":7,"action":"protect","protocol":50,"mode":"tunnel","bundle_ah":false,
        "tunnel_source":null,"tunnel_destination":null}}}}"#
    )
}

fn gateway(suite: &Suite, engine: &str, direction: &str) -> Gateway {
    let engine = engine_called(engine).expect("it is of this build");
    let mut gateway = Gateway::new(engine, Box::new(Chance::new().expect("chance")));
    let line = format!(r#"{{"apply":[{},{}],"slots":[0,-1]}}"#, sa(suite, direction), policy(direction));
    let Ok(Message::Apply(changes, _)) = control::parse(line.replace('\n', "").as_bytes()) else {
        panic!("the changes are well formed");
    };
    for (change, _) in changes {
        match change {
            Change::AddSa(sa) => {
                let slot = Slot::new(Arc::new(HeapWords::new(SLOT_WORDS)), 0);
                gateway.add_sa(*sa, slot, 0.0).expect("a good SA");
            }
            Change::AddPolicy(policy) => {
                gateway.add_policy(policy).expect("a good policy");
            }
            _ => {}
        }
    }
    gateway
}

fn inner_packet(octets: usize) -> Vec<u8> {
    let mut packet = vec![0x5A; octets];
    packet[..20].copy_from_slice(&[0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 9, 10, 2, 0, 9]);
    packet[2..4].copy_from_slice(&(octets as u16).to_be_bytes());
    packet[20..28].copy_from_slice(&[4, 0, 0, 53, 0, 0, 0, 0]);
    packet
}

/// Nanoseconds per packet of the way out; what was sealed goes to `sealed` where it is wanted.
fn out(gateway: &mut Gateway, packet: &[u8], mut sealed: Option<&mut Vec<Vec<u8>>>) -> f64 {
    let (mut batch, mut plans) = (OutBatch::default(), Plans::new());
    let started = Instant::now();
    for _ in 0..BATCHES {
        batch.clear();
        for _ in 0..BATCH {
            gateway.protect_run(&packet, &mut plans, |_| Framing::Whole(0), &mut batch, 1.0);
        }
        gateway.seal_batch(&mut batch);
        if let Some(sealed) = sealed.as_deref_mut() {
            let framed = |out: &Out| match out {
                Out::Framed(framed) => batch.octets[framed.range.clone()].to_vec(),
                Out::Other(..) => panic!("nothing is special about it"),
            };
            sealed.extend(batch.out.iter().map(framed));
        }
    }
    started.elapsed().as_nanos() as f64 / (BATCH * BATCHES) as f64
}

fn in_again(gateway: &mut Gateway, sealed: &[Vec<u8>]) -> f64 {
    let mut admissions = Admissions::new();
    let mut batches = Vec::new();
    for batch in sealed.chunks(BATCH) {
        let (mut octets, mut arrived) = (Vec::new(), Vec::new());
        for packet in batch {
            arrived.push(Arrived { range: octets.len()..octets.len() + packet.len(), headers: None });
            octets.extend_from_slice(packet);
        }
        batches.push((octets, arrived));
    }
    let started = Instant::now();
    for (octets, arrived) in &mut batches {
        let verdicts = gateway.open_batch(octets, arrived, &mut admissions, 1.0);
        assert!(verdicts.iter().all(|verdict| matches!(verdict, In::Deliver { .. })));
    }
    started.elapsed().as_nanos() as f64 / sealed.len() as f64
}

/// The engine alone, over ready frames.
fn bare(engine: &mut dyn Engine, suite: &Suite, octets: usize) -> f64 {
    let secret = |octets: usize| Secret::new((0..octets).map(|at| (at * 7 + 1) as u8).collect());
    let keyed = engine.prepare_esp(suite.cipher, &secret(suite.key), suite.auth, &secret(suite.auth_key), false);
    let keyed = keyed.expect("good keys");
    let sealed = keyed.layout.sealed(octets);
    let mut frames = vec![vec![1u8; sealed]; BATCH];
    let mut chance = Chance::new().expect("chance");
    let started = Instant::now();
    for round in 0..BATCHES as u64 {
        let number = |at: usize| round * BATCH as u64 + at as u64 + 1;
        let mut jobs: Vec<Job<'_>> = frames
            .iter_mut()
            .enumerate()
            .map(|(at, esp)| Job { key: &keyed, esp, number: number(at), right: false })
            .collect();
        engine.seal(&mut jobs, &mut chance as &mut dyn Random);
    }
    started.elapsed().as_nanos() as f64 / (BATCH * BATCHES) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let rounds: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(7);
    for name in engines() {
        let mut engine = engine_called(name).expect("it is of this build");
        println!("{}", engine.name());
        println!(
            "{:<26}{:>7}{:>10}{:>10}{:>10}{:>10}{:>9}{:>9}",
            "", "octets", "bare ns", "out ns", "in ns", "out Mpps", "in Mpps", "bare/out"
        );
        for suite in &SUITES {
            for octets in [64, 512, 1400] {
                let packet = inner_packet(octets);
                let (mut ours, mut back, mut floor) = (Vec::new(), Vec::new(), Vec::new());
                for _ in 0..rounds {
                    let (mut sender, mut receiver) = (gateway(suite, name, "out"), gateway(suite, name, "in"));
                    let mut sealed = Vec::new();
                    out(&mut sender, &packet, Some(&mut sealed));
                    floor.push(bare(engine.as_mut(), suite, octets));
                    ours.push(out(&mut sender, &packet, None));
                    back.push(in_again(&mut receiver, &sealed));
                }
                let (floor, ours, back) = (median(floor), median(ours), median(back));
                println!(
                    "{:<26}{octets:>7}{floor:>10.0}{ours:>10.0}{back:>10.0}{:>10.2}{:>9.2}{:>9.2}",
                    format!("{} {}", suite.cipher, suite.auth),
                    1000.0 / ours,
                    1000.0 / back,
                    floor / ours
                );
            }
        }
    }
}
