//! Several gateways with the same tables, each in a thread of its own, to which the same packets arrive: each is let in
//! once, by whoever comes first.

mod common;

use std::sync::Barrier;
use std::thread;

use culvert_engine::crypto::best_engine;
use culvert_engine::crypto::chance::Chance;
use culvert_engine::reason::Reason;
use culvert_engine::tables::sa::{Direction, Policy, Protocol, SecurityAssociation};
use culvert_engine::tables::slots::Slot;
use culvert_engine::transform::batch_in::{Admissions, Arrived, In};
use culvert_engine::transform::gateway::Gateway;
use culvert_engine::transform::verdict::Verdict;

use common::{SAS, packet, policy, sa};

const WORKERS: usize = 3;
const PACKETS: u16 = 4000;

fn gateway() -> Gateway {
    Gateway::new(best_engine(), Box::new(Chance::new().expect("the kernel has random numbers")))
}

/// Sealed packets in their order, whose inner identification is their number.
fn sealed(out: SecurityAssociation, number: u32) -> Vec<Vec<u8>> {
    let mut sender = gateway();
    sender.add_sa(out, Slot::alone(), 0.0).expect("a good SA");
    sender.add_policy(policy(number)).expect("a good policy");
    let seal = |identification: u16| {
        let mut packet = packet(number);
        packet[4..6].copy_from_slice(&identification.to_be_bytes());
        match sender.outbound(&packet, 1.0) {
            Verdict::Send(mut sent) => sent.packets.remove(0),
            verdict => panic!("a packet that isn't sent: {verdict:?}"),
        }
    };
    (0..PACKETS).map(seal).collect()
}

/// The identifications of what is let in, by bursts of so many or, with 1, one by one.
fn opened(mut own: Gateway, wire: &[Vec<u8>], burst: usize) -> Vec<u16> {
    let identification = |packet: &[u8]| u16::from_be_bytes([packet[4], packet[5]]);
    let (mut admissions, mut let_in) = (Admissions::new(), Vec::new());
    for packets in wire.chunks(burst) {
        if let [packet] = packets {
            if let Verdict::Deliver(delivered) = own.inbound(packet, 1.0) {
                let_in.push(identification(&delivered.packet));
            }
            continue;
        }
        let (mut octets, mut arrived) = (Vec::new(), Vec::new());
        for packet in packets {
            arrived.push(Arrived { range: octets.len()..octets.len() + packet.len(), headers: None });
            octets.extend_from_slice(packet);
        }
        for verdict in own.open_batch(&mut octets, &arrived, &mut admissions, 1.0) {
            match verdict {
                In::Deliver { range, .. } => let_in.push(identification(&octets[range])),
                In::Other(other) => {
                    if let Verdict::Deliver(delivered) = &other.0 {
                        let_in.push(identification(&delivered.packet));
                    }
                }
            }
        }
    }
    let_in
}

/// All that several let in who got the same packets at once.
fn race(number: u32, esn: bool, compression: u16) {
    let out = || SecurityAssociation { esn, compression, ..sa(number) };
    let wire = sealed(out(), number);
    let mut first = gateway();
    let slot = Slot::alone().shared();
    first.add_sa(SecurityAssociation { direction: Direction::In, ..out() }, slot.clone(), 0.0).expect("a good SA");
    let arriving = Policy { direction: Direction::In, ..policy(number) };
    first.add_policy(arriving).expect("a good policy");
    let start = Barrier::new(WORKERS);
    let mut let_in: Vec<u16> = thread::scope(|scope| {
        let each = |worker: usize| {
            let mut own = gateway();
            own.share_tables(&first);
            let (wire, start) = (&wire, &start);
            scope.spawn(move || {
                start.wait();
                opened(own, wire, 1 + 8 * worker)
            })
        };
        let all: Vec<_> = (0..WORKERS).map(each).collect();
        all.into_iter().flat_map(|each| each.join().expect("nobody panicked")).collect()
    });
    let_in.sort_unstable();
    assert_eq!(let_in, (0..PACKETS).collect::<Vec<u16>>());
    let (once, again) = (u64::from(PACKETS), u64::from(PACKETS) * (WORKERS as u64 - 1));
    assert_eq!((slot.sequence(), slot.packets(), slot.lost()), (once, once, 0));
    // What is far behind has another extended number, by which it isn't authentic.
    assert_eq!((slot.drops(Reason::Replay) + slot.drops(Reason::Integrity), slot.window()), (again, u64::MAX));
    assert!(esn || slot.drops(Reason::Integrity) == 0);
}

#[test]
fn a_packet_is_let_in_once_whoever_gets_it() {
    race(0, false, 0);
}

#[test]
fn with_extended_numbers_too() {
    race(0, true, 0);
}

#[test]
fn and_of_ah_which_goes_one_by_one() {
    assert_eq!(sa(SAS - 1).protocol, Protocol::Ah);
    race(SAS - 1, false, 0);
}

#[test]
fn and_compressed() {
    race(0, false, 2);
}
