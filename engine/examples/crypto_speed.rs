//! Bench: how fast packets are sealed and opened in memory, by one core. Three things over the same octets, their rounds
//! interleaved, medians of nanoseconds per packet:
//!
//! * `bare`: libipsec-mb in a loop of its own, which makes no IV and compares no ICV;
//! * `engine`: `Engine::seal` and `Engine::open` over ready frames;
//! * `way`: the whole way out (`protect_run` and `seal_batch`: look-up, outer header, trailer, cipher) or in
//!   (`open_batch`).
//!
//! cargo run --release --example crypto_speed [ROUNDS]

use std::sync::Arc;
use std::time::{Duration, Instant};

use culvert_engine::control::{self, Change, Message};
use culvert_engine::crypto::chance::Chance;
#[cfg(culvert_ipsec_mb)]
use culvert_engine::crypto::ipsec_mb::IpsecMb;
use culvert_engine::crypto::{Engine, Job, Keyed, engine_called, engines};
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
            gateway.protect_run(&packet, &mut plans, |_| Framing::Whole, &mut batch, 1.0);
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

/// The keys of one SA, and a batch that was sealed with them, which is sealed once more or opened.
struct Frames {
    keyed: Keyed,
    sealed: Vec<Vec<u8>>,
}

impl Frames {
    fn new(engine: &mut dyn Engine, suite: &Suite, octets: usize) -> Frames {
        let secret = |octets: usize| Secret::new((0..octets).map(|at| (at * 7 + 1) as u8).collect());
        let keyed = Keyed::esp(suite.cipher, &secret(suite.key), suite.auth, &secret(suite.auth_key), false);
        let keyed = keyed.expect("good keys");
        let mut sealed = vec![vec![1u8; keyed.layout.sealed(octets)]; BATCH];
        engine.seal(&mut jobs(&keyed, &mut sealed), &mut Chance::new().expect("chance"));
        Frames { keyed, sealed }
    }

    /// Nanoseconds per packet of what takes so long for one batch of them.
    fn per_packet(&self, mut once: impl FnMut(&mut [Job<'_>]) -> Option<Duration>) -> Option<f64> {
        let mut frames = self.sealed.clone();
        let mut all = Duration::ZERO;
        for _ in 0..BATCHES {
            frames.iter_mut().zip(&self.sealed).for_each(|(frame, sealed)| frame.copy_from_slice(sealed));
            all += once(&mut jobs(&self.keyed, &mut frames))?;
        }
        Some(all.as_nanos() as f64 / (BATCH * BATCHES) as f64)
    }

    fn engine(&self, engine: &mut dyn Engine, seal: bool) -> f64 {
        let mut chance = Chance::new().expect("chance");
        let measured = self.per_packet(|jobs| {
            let started = Instant::now();
            if seal {
                engine.seal(jobs, &mut chance);
            } else {
                engine.open(jobs);
            }
            let took = started.elapsed();
            assert!(jobs.iter().all(|job| job.right), "all are sealed, or authentic");
            Some(took)
        });
        measured.expect("every engine does it")
    }
}

fn jobs<'a>(keyed: &'a Keyed, frames: &'a mut [Vec<u8>]) -> Vec<Job<'a>> {
    let job = |(at, esp): (usize, &'a mut Vec<u8>)| Job { key: keyed, esp, number: at as u64 + 1, right: false };
    frames.iter_mut().enumerate().map(job).collect()
}

/// What the library alone needs, where this engine is the one over it.
#[cfg(culvert_ipsec_mb)]
fn bare(name: &str, frames: &Frames, seal: bool) -> Option<f64> {
    let mut library = (name == "ipsec-mb").then(|| IpsecMb::new(false).ok()).flatten()?;
    frames.per_packet(|jobs| library.bare(jobs, seal))
}

#[cfg(not(culvert_ipsec_mb))]
fn bare(_: &str, _: &Frames, _: bool) -> Option<f64> {
    None
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[derive(Default)]
struct Row {
    bare: Vec<f64>,
    engine: Vec<f64>,
    way: Vec<f64>,
}

impl Row {
    fn print(self, name: &str, octets: usize) {
        let (bare, engine, way) = (median(self.bare), median(self.engine), median(self.way));
        println!(
            "{name:<30}{octets:>7}{bare:>10.0}{engine:>11.0}{way:>9.0}{:>13.2}{:>10.2}{:>13.2}",
            1000.0 / engine,
            1000.0 / way,
            bare / engine
        );
    }
}

fn measure(name: &str, suite: &Suite, octets: usize, rounds: usize) {
    let mut engine = engine_called(name).expect("it is of this build");
    let (packet, frames) = (inner_packet(octets), Frames::new(engine.as_mut(), suite, octets));
    let (mut outward, mut inward) = (Row::default(), Row::default());
    for _ in 0..rounds {
        let (mut sender, mut receiver) = (gateway(suite, name, "out"), gateway(suite, name, "in"));
        let mut sealed = Vec::new();
        out(&mut sender, &packet, Some(&mut sealed));
        outward.bare.extend(bare(name, &frames, true));
        outward.engine.push(frames.engine(engine.as_mut(), true));
        outward.way.push(out(&mut sender, &packet, None));
        inward.bare.extend(bare(name, &frames, false));
        inward.engine.push(frames.engine(engine.as_mut(), false));
        inward.way.push(in_again(&mut receiver, &sealed));
    }
    outward.print(&format!("{} {} seal", suite.cipher, suite.auth), octets);
    inward.print(&format!("{} {} open", suite.cipher, suite.auth), octets);
}

fn main() {
    let rounds: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(7);
    for name in engines() {
        println!("{}", engine_called(name).expect("it is of this build").name());
        println!(
            "{:<30}{:>7}{:>10}{:>11}{:>9}{:>13}{:>10}{:>13}",
            "", "octets", "bare ns", "engine ns", "way ns", "engine Mpps", "way Mpps", "bare/engine"
        );
        for suite in &SUITES {
            for octets in [64, 512, 1400] {
                measure(name, suite, octets, rounds);
            }
        }
    }
}
