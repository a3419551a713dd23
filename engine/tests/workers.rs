//! Several gateways with the same tables, each in a thread of its own, as workers have them: numbers of one SA leave in the
//! order in which they were taken, none twice, and nobody waits for ever.

mod common;

use std::collections::HashMap;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use culvert_engine::tables::slots::Slot;
use culvert_engine::transform::batch_out::{Framing, Out, OutBatch, Plans};
use culvert_engine::transform::gateway::Gateway;
use culvert_engine::transform::verdict::Verdict;

use common::{SAS, address, gateway, packet, policy, sa};

const WORKERS: usize = 4;
const BURSTS: usize = 400;
const PACKETS: usize = 12;

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
            gateway.protect_run(&run, &mut plans, |_| Framing::Whole, &mut batch, 1.0);
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
        let each = |seed| {
            let mut own = gateway();
            own.share_tables(&first);
            let (wire, start) = (&wire, &start);
            scope.spawn(move || {
                start.wait();
                work(own, seed, wire);
            })
        };
        let all: Vec<_> = (0..WORKERS).map(each).collect();
        all.into_iter().for_each(|each| each.join().expect("nobody panicked"));
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
    first.protect_run(&run, &mut plans, |_| Framing::Whole, &mut batch, 1.0);
    second.protect_run(&run, &mut plans, |_| Framing::Whole, &mut batch, 1.0);
    assert_eq!((first.claims.count(), second.claims.count()), (1, 1));
    let begun = Instant::now();
    first.leave(0..1);
    assert_eq!(second.turn(0), 1);
    assert!(begun.elapsed() < Duration::from_secs(1));
    second.protect_run(&run, &mut plans, |_| Framing::Whole, &mut batch, 1.0);
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

#[test]
fn what_goes_one_by_one_fills_a_burst_too() {
    let mut gateway = gateway();
    for number in [0, SAS - 1] {
        gateway.add_sa(sa(number), Slot::alone(), 0.0).expect("a good SA");
        gateway.add_policy(policy(number)).expect("a good policy");
    }
    let (mut batch, mut plans) = (OutBatch::default(), Plans::new());
    let mut used = vec![0];
    // ESP, AH, and what no policy is about.
    for number in [0, SAS - 1, SAS] {
        let packet = packet(number);
        gateway.protect_run(&packet.as_slice(), &mut plans, |_| Framing::Whole, &mut batch, 1.0);
        assert!(batch.used() >= used.last().expect("the first") + packet.len());
        used.push(batch.used());
    }
    assert!(matches!(batch.out[..], [Out::Framed(_), Out::Other(..), Out::Other(..)]));
    batch.clear();
    assert_eq!(batch.used(), 0);
}
