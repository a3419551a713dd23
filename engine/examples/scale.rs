//! Bench: what the number of SAs and selectors costs. One core, in memory, AES-GCM-128, packets of 1400 octets:
//! nanoseconds per packet out where 32 go to one flow before a random other SA has its turn (a TCP super-packet is up to
//! 44 of them), and where each packet is another SA's; octets of memory per SA (with its selector and its counters); and
//! how long one more SA with its selector takes, and takes to go.
//!
//! cargo run --release --example scale ["portable"]

use std::sync::Arc;
use std::time::Instant;

use culvert_engine::crypto::chance::Chance;
use culvert_engine::crypto::{Engine, Random, best_engine, engine_called};
use culvert_engine::tables::sa::{
    Action, Copying, Direction, Fragmentation, HeaderRules, Lifetime, Limits, Mode, Network, Policy, Protocol, Secret,
    SecurityAssociation, Selector,
};
use culvert_engine::tables::slots::{HeapWords, SLOT_WORDS, Slot, Words};
use culvert_engine::transform::batch_out::{Framing, Out, OutBatch, Plans};
use culvert_engine::transform::gateway::Gateway;
use culvert_engine::wire::address::Address;

const BATCH: usize = 64;
const PACKETS: usize = 200_000;
const ROUNDS: usize = 5;

fn address(value: u32) -> Address {
    Address::from_octets(&value.to_be_bytes())
}

fn sa(number: u32) -> SecurityAssociation {
    let none = Limits { seconds: 0, octets: 0, packets: 0 };
    SecurityAssociation {
        spi: 1000 + number,
        source: address(0xC000_0201),
        destination: address(0xC633_6401),
        protocol: Protocol::Esp,
        mode: Mode::Tunnel,
        direction: Direction::Out,
        auth: "none".into(),
        auth_key: Secret::new(Vec::new()),
        cipher: "aes-gcm128".into(),
        cipher_key: Secret::new((0..20).map(|at| (number.rotate_left(at) as u8) ^ at as u8).collect()),
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

fn policy(number: u32) -> Policy {
    let network = |first: u32| Network { address: address(first), prefix: 32 };
    Policy {
        direction: Direction::Out,
        selector: Selector {
            source: network(0x0A00_0001),
            destination: network(0x0B00_0000 + number),
            protocol: None,
            source_ports: None,
            destination_ports: None,
        },
        order: 1,
        label: format!("/Common/ts-{number}"),
        reqid: 1 + number,
        action: Action::Protect,
        protocol: Protocol::Esp,
        mode: Mode::Tunnel,
        bundle_ah: false,
        tunnel_source: None,
        tunnel_destination: None,
    }
}

/// As in the counters file, whose slots lie side by side.
fn slots(count: u32) -> impl Fn(u32) -> Slot {
    let words: Arc<dyn Words> = Arc::new(HeapWords::new(count as usize * SLOT_WORDS));
    move |number| {
        let slot = Slot::new(words.clone(), number as usize * SLOT_WORDS);
        slot.set_worker(0);
        slot
    }
}

fn add(gateway: &mut Gateway, number: u32, slot: Slot) {
    gateway.add_sa(sa(number), slot, 0.0).expect("a good SA");
    gateway.add_policy(policy(number)).expect("a good policy");
}

fn resident_octets() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("statm has a second number") * 4096
}

fn packet() -> Vec<u8> {
    let mut packet = vec![0x5A; 1400];
    packet[..20].copy_from_slice(&[0x45, 0, 5, 0x78, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 11, 0, 0, 0]);
    packet[20..28].copy_from_slice(&[4, 0, 0, 53, 0, 0, 0, 0]);
    packet
}

/// Nanoseconds per packet, so many in a row to a random one of so many flows.
fn out(gateway: &mut Gateway, flows: u32, in_a_row: usize, chance: &mut dyn Random) -> f64 {
    let (mut batch, mut plans, mut packet) = (OutBatch::default(), Plans::new(), packet());
    let mut drawn = vec![0; 4 * PACKETS / in_a_row];
    chance.fill(&mut drawn);
    let number = |four: &[u8]| u32::from_be_bytes([four[0], four[1], four[2], four[3]]) % flows;
    let numbers: Vec<u32> = drawn.chunks(4).flat_map(|four| std::iter::repeat_n(number(four), in_a_row)).collect();
    let started = Instant::now();
    for some in numbers.chunks(BATCH) {
        batch.clear();
        for number in some {
            packet[16..20].copy_from_slice(&(0x0B00_0000 + number).to_be_bytes());
            let run = packet.as_slice();
            gateway.protect_run(&run, &mut plans, |_| Framing::Whole, &mut batch, 1.0);
        }
        gateway.seal_batch(&mut batch);
        assert!(batch.out.iter().all(|out| matches!(out, Out::Framed(_))));
    }
    started.elapsed().as_nanos() as f64 / numbers.len() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Microseconds to add an SA with its selector, and to remove them: the median, and the worst of a thousand.
fn change(gateway: &mut Gateway, first: u32) -> (f64, f64) {
    let (mut times, slot) = (Vec::new(), slots(1)(0));
    for number in first..first + 1000 {
        let started = Instant::now();
        add(gateway, number, slot.clone());
        gateway.remove_policy(&policy(number)).expect("it is there");
        gateway.remove_sa(&sa(number)).expect("it is there");
        times.push(started.elapsed().as_nanos() as f64 / 1000.0);
    }
    let worst = times.iter().copied().fold(0.0, f64::max);
    (median(times), worst)
}

/// The one that is named, or the best.
fn engine() -> Box<dyn Engine> {
    std::env::args().nth(1).map_or_else(best_engine, |name| engine_called(&name).expect("it is of this build"))
}

fn main() {
    let mut chance = Chance::new().expect("the kernel has chance");
    println!("{}", engine().name());
    let heads = ["SAs", "ns, 32 a turn", "ns, 1 a turn", "octets an SA", "add and remove us", "worst us"];
    println!("{:>9}{:>15}{:>15}{:>15}{:>20}{:>12}", heads[0], heads[1], heads[2], heads[3], heads[4], heads[5]);
    let before = resident_octets();
    let mut gateway = Gateway::new(engine(), Box::new(Chance::new().expect("the kernel has chance")));
    let mut there = 0;
    for count in [1, 1000, 100_000] {
        let slots = slots(count - there);
        (there..count).for_each(|number| add(&mut gateway, number, slots(number - there)));
        there = count;
        let each = (resident_octets() - before) / count as usize;
        let mut took =
            |in_a_row| median((0..ROUNDS).map(|_| out(&mut gateway, count, in_a_row, &mut chance)).collect());
        let (turns, each_another) = (took(32), took(1));
        let (usual, worst) = change(&mut gateway, count);
        println!("{count:>9}{turns:>15.0}{each_another:>15.0}{each:>15}{usual:>20.1}{worst:>12.1}");
    }
}
