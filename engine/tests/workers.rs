//! Several gateways with the same tables, each in a thread of its own, as workers have them: numbers of one SA leave in the
//! order in which they were taken, none twice, and nobody waits for ever.

use std::collections::HashMap;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use culvert_engine::crypto::chance::Chance;
use culvert_engine::crypto::engine_called;
use culvert_engine::tables::sa::{
    Action, Copying, Direction, Fragmentation, HeaderRules, Lifetime, Limits, Mode, Network, Policy, Protocol, Secret,
    SecurityAssociation, Selector,
};
use culvert_engine::tables::slots::Slot;
use culvert_engine::transform::batch_out::{Framing, Out, OutBatch, Plans};
use culvert_engine::transform::gateway::Gateway;
use culvert_engine::transform::verdict::Verdict;
use culvert_engine::wire::address::Address;

const SAS: u32 = 3;
const WORKERS: usize = 4;
const BURSTS: usize = 400;
const PACKETS: usize = 12;

fn address(value: u32) -> Address {
    Address::from_octets(&value.to_be_bytes())
}

/// The last one is for AH, whose packets go one by one.
fn sa(number: u32) -> SecurityAssociation {
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

fn policy(number: u32) -> Policy {
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

fn gateway() -> Gateway {
    let chance = Chance::new().expect("the kernel has random numbers");
    let mut made = Gateway::new(engine_called("portable").expect("it is always there"), Box::new(chance));
    made.claims.keep();
    made
}

/// To the network of one SA.
fn packet(sa: u32) -> Vec<u8> {
    let mut packet = vec![0x5A; 60];
    packet[..20].copy_from_slice(&[0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0]);
    packet[16..20].copy_from_slice(&(0x0B00_0000 + sa).to_be_bytes());
    packet[20..28].copy_from_slice(&[4, 0, 0, 53, 0, 40, 0, 0]);
    packet
}

/// SPI and number of a packet as it leaves.
fn name(packet: &[u8]) -> (u32, u32) {
    let at = if packet[9] == 51 { 24 } else { 20 };
    let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().expect("four octets"));
    (word(at), word(at + 4))
}

/// As a worker does it; what leaves goes to `wire`.
fn work(mut gateway: Gateway, seed: usize, wire: &Mutex<Vec<(u32, u32)>>) {
    let (mut batch, mut plans) = (OutBatch::default(), Plans::new());
    for burst in 0..BURSTS {
        batch.clear();
        for number in 0..PACKETS {
            // Each worker's SAs in another order.
            let packet = packet(((seed + burst + number * (seed + 1)) % SAS as usize) as u32);
            let run = packet.as_slice();
            gateway.protect_run(&run, &mut plans, |_| Framing::Whole(0), &mut batch, 1.0);
        }
        gateway.seal_batch(&mut batch);
        let (mut from, mut claim) = (0, 0);
        while from < batch.out.len() {
            let next = gateway.turn(claim);
            let to = batch.end_of(next);
            for out in &batch.out[from..to] {
                leave(out, &batch.octets, wire);
            }
            gateway.leave(claim..next);
            (from, claim) = (to, next);
        }
        gateway.claims.clear();
    }
}

fn leave(out: &Out, octets: &[u8], wire: &Mutex<Vec<(u32, u32)>>) {
    let left = match out {
        Out::Framed(framed) => name(&octets[framed.range.clone()]),
        Out::Other(Verdict::Send(sent), _) => name(&sent.packets[0]),
        Out::Other(verdict, _) => panic!("a packet that isn't sent: {verdict:?}"),
    };
    wire.lock().expect("nobody panicked").push(left);
}

#[test]
fn numbers_leave_in_their_order_whoever_took_them() {
    let mut first = gateway();
    for number in 0..SAS {
        first.add_sa(sa(number), Slot::alone().shared(), 0.0).expect("a good SA");
        first.add_policy(policy(number)).expect("a good policy");
    }
    let (wire, start) = (Mutex::new(Vec::new()), Barrier::new(WORKERS));
    let begun = Instant::now();
    thread::scope(|scope| {
        for seed in 0..WORKERS {
            let mut own = gateway();
            own.share_tables(&first);
            let (wire, start) = (&wire, &start);
            scope.spawn(move || {
                start.wait();
                work(own, seed, wire);
            });
        }
    });
    let mut numbers: HashMap<u32, Vec<u32>> = HashMap::new();
    for (spi, number) in wire.into_inner().expect("nobody panicked") {
        numbers.entry(spi).or_default().push(number);
    }
    assert_eq!(numbers.len(), SAS as usize);
    for (spi, numbers) in &numbers {
        let expected: Vec<u32> = (1..=numbers.len() as u32).collect();
        assert_eq!(*numbers, expected, "SPI {spi}");
    }
    assert_eq!(numbers.values().map(Vec::len).sum::<usize>(), WORKERS * BURSTS * PACKETS);
    assert!(begun.elapsed() < Duration::from_secs(20), "nobody waits until his patience ends");
}

#[test]
fn who_gave_numbers_up_lets_the_others_go_on() {
    let mut first = gateway();
    first.add_sa(sa(0), Slot::alone().shared(), 0.0).expect("a good SA");
    first.add_policy(policy(0)).expect("a good policy");
    let mut second = gateway();
    second.share_tables(&first);
    let (mut batch, mut plans, packet) = (OutBatch::default(), Plans::new(), packet(0));
    let run = packet.as_slice();
    first.protect_run(&run, &mut plans, |_| Framing::Whole(0), &mut batch, 1.0);
    second.protect_run(&run, &mut plans, |_| Framing::Whole(0), &mut batch, 1.0);
    assert_eq!((first.claims.count(), second.claims.count()), (1, 1));
    let begun = Instant::now();
    first.leave(0..1);
    assert_eq!(second.turn(0), 1);
    assert!(begun.elapsed() < Duration::from_secs(1));
    second.protect_run(&run, &mut plans, |_| Framing::Whole(0), &mut batch, 1.0);
    assert_eq!(second.claims.count(), 1, "what follows at once is one claim");
}

#[test]
#[should_panic(expected = "only one gateway has it")]
fn nobody_changes_what_others_look_at() {
    let (mut first, mut second) = (gateway(), gateway());
    second.share_tables(&first);
    let _ = first.add_sa(sa(0), Slot::alone(), 0.0);
}

#[test]
fn a_change_is_made_while_one_has_the_tables_and_all_see_it() {
    let (mut first, mut second) = (gateway(), gateway());
    second.share_tables(&first);
    second.let_tables_go();
    first.add_sa(sa(0), Slot::alone(), 0.0).expect("a good SA");
    second.share_tables(&first);
    assert!(second.sadb.find_out(1000, address(0xC633_6401), 50).is_some());
}

/// One packet by this SA.
fn send(gateway: &mut Gateway, number: u32) {
    assert!(matches!(gateway.outbound(&packet(number), 1.0), Verdict::Send(_)));
}

#[test]
fn nobody_keeps_what_he_prepared_of_an_sa_that_is_removed() {
    let mut all: Vec<Gateway> = (0..3).map(|_| gateway()).collect();
    for number in 0..SAS {
        all[0].add_sa(sa(number), Slot::alone().shared(), 0.0).expect("a good SA");
        all[0].add_policy(policy(number)).expect("a good policy");
    }
    let (first, others) = all.split_at_mut(1);
    let first = &mut first[0];
    others.iter_mut().for_each(|other| other.share_tables(first));
    (0..SAS).for_each(|number| send(first, number));
    (0..SAS).for_each(|number| send(&mut others[0], number));
    let held = |first: &Gateway, others: &[Gateway]| {
        (first.prepared_keys(), others[0].prepared_keys(), others[1].prepared_keys())
    };
    assert_eq!(held(first, others), (3, 3, 0));
    for (gone, left) in [(2, 2), (0, 1)] {
        others.iter_mut().for_each(Gateway::let_tables_go);
        first.remove_sa(&sa(gone)).expect("it is there");
        others.iter_mut().for_each(|other| other.share_tables(first));
        assert_eq!(held(first, others), (left, left, 0));
    }
    // As many at once as nobody takes note of.
    others.iter_mut().for_each(Gateway::let_tables_go);
    for _ in 0..2000 {
        first.add_sa(sa(0), Slot::alone().shared(), 0.0).expect("a good SA");
        first.remove_sa(&sa(0)).expect("it is there");
    }
    others.iter_mut().for_each(|other| other.share_tables(first));
    assert_eq!(held(first, others), (1, 0, 0), "who has missed too many forgets all");
    (0..3).for_each(|_| send(&mut others[1], 1));
    assert_eq!(held(first, others), (1, 0, 1));
}
