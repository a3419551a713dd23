//! libipsec-mb against the portable ciphers: the same octets sealed, the same packets found authentic, whatever the mix.
#![cfg(culvert_ipsec_mb)]

use culvert_engine::crypto::ipsec_mb::IpsecMb;
use culvert_engine::crypto::portable::Portable;
use culvert_engine::crypto::table::{AUTHS, CIPHERS, NONE};
use culvert_engine::crypto::{ESP_HEADER_OCTETS, Engine, Job, Keyed, Random};
use culvert_engine::tables::sa::Secret;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The same for both engines.
struct Dice(ChaCha12Rng);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(ChaCha12Rng::seed_from_u64(seed))
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        self.0.fill_bytes(&mut octets);
        octets
    }

    fn below(&mut self, end: usize) -> usize {
        (self.0.next_u64() % end as u64) as usize
    }
}

impl Random for Dice {
    fn fill(&mut self, octets: &mut [u8]) {
        self.0.fill_bytes(octets);
    }
}

/// One SA's keys.
struct Suite {
    name: String,
    keyed: Keyed,
}

/// All by itself.
fn library() -> IpsecMb {
    IpsecMb::new(false).expect("the library works on this processor")
}

/// What ring knows by ring.
fn with_ring() -> IpsecMb {
    IpsecMb::new(true).expect("the library works on this processor")
}

/// Every pair of algorithms that may go together, with and without extended sequence numbers.
fn every_suite(dice: &mut Dice) -> Vec<Suite> {
    let mut suites = Vec::new();
    for cipher in &CIPHERS {
        let beside = AUTHS.iter().filter(|auth| auth.iv == 0).map(|auth| (auth.name, auth.key));
        let beside: Vec<_> = if cipher.combined() { vec![(NONE, 0)] } else { beside.collect() };
        for (auth, auth_key) in beside {
            let (key, auth_key) = (Secret::new(dice.octets(cipher.key)), Secret::new(dice.octets(auth_key)));
            for esn in [false, true] {
                let keyed = Keyed::esp(cipher.name, &key, auth, &auth_key, esn).expect("good keys");
                suites.push(Suite { name: format!("{} {auth} esn {esn}", cipher.name), keyed });
            }
        }
    }
    suites
}

/// A packet of a batch, and what it is told to the engines with.
#[derive(Clone)]
struct Packet {
    suite: usize,
    number: u64,
    esp: Vec<u8>,
}

fn framed(suites: &[Suite], suite: usize, payload: usize, dice: &mut Dice) -> Packet {
    let number = (dice.0.next_u64() >> dice.below(63)) | 1;
    let mut esp = dice.octets(suites[suite].keyed.layout.sealed(payload));
    esp[4..8].copy_from_slice(&(number as u32).to_be_bytes());
    Packet { suite, number, esp }
}

fn jobs<'a>(suites: &'a [Suite], packets: &'a mut [Packet]) -> Vec<Job<'a>> {
    let job = |packet: &'a mut Packet| {
        let Packet { suite, number, esp } = packet;
        Job { key: &suites[*suite].keyed, esp, number: *number, right: false }
    };
    packets.iter_mut().map(job).collect()
}

fn seal(engine: &mut dyn Engine, suites: &[Suite], packets: &mut [Packet], seed: u64) {
    let mut jobs = jobs(suites, packets);
    engine.seal(&mut jobs, &mut Dice::new(seed));
    assert!(jobs.iter().all(|job| job.right), "all are sealed");
}

fn open(engine: &mut dyn Engine, suites: &[Suite], packets: &mut [Packet]) -> Vec<bool> {
    let mut jobs = jobs(suites, packets);
    engine.open(&mut jobs);
    jobs.iter().map(|job| job.right).collect()
}

/// Seal by both, and return what both made.
fn sealed_alike(engine: &mut IpsecMb, suites: &[Suite], clear: &[Packet], seed: u64) -> Vec<Packet> {
    let (mut fast, mut plain) = (clear.to_vec(), clear.to_vec());
    seal(engine, suites, &mut fast, seed);
    seal(&mut Portable::new(), suites, &mut plain, seed);
    for (one, other) in fast.iter().zip(&plain) {
        assert!(one.esp == other.esp, "{} of {} octets", suites[one.suite].name, one.esp.len());
    }
    fast
}

fn text<'a>(suites: &[Suite], packet: &'a Packet) -> &'a [u8] {
    let layout = &suites[packet.suite].keyed.layout;
    let start = ESP_HEADER_OCTETS + layout.iv;
    packet.esp.get(start..packet.esp.len().saturating_sub(layout.icv)).unwrap_or(&[])
}

/// Open by both, and look that they agree; how many were authentic.
fn opened_alike(engine: &mut IpsecMb, suites: &[Suite], sealed: &[Packet]) -> usize {
    let (mut fast, mut plain) = (sealed.to_vec(), sealed.to_vec());
    let right = open(engine, suites, &mut fast);
    let expected = open(&mut Portable::new(), suites, &mut plain);
    for (at, right) in right.iter().enumerate() {
        let (name, seen) = (&suites[sealed[at].suite].name, text(suites, &fast[at]));
        let octets = sealed[at].esp.len();
        assert!(
            *right == expected[at],
            "{name}, {octets} octets, {at} of {}: authentic is {}",
            sealed.len(),
            expected[at]
        );
        if *right {
            assert!(seen == text(suites, &plain[at]), "{name}");
        } else {
            let is_hidden = seen == text(suites, &sealed[at]) || seen.iter().all(|octet| *octet == 0);
            assert!(is_hidden, "{name}: what isn't authentic was decrypted");
        }
    }
    right.iter().filter(|right| **right).count()
}

/// Mostly one bit somewhere; or the number that the receiver takes it for; or the end.
fn damage(packet: &mut Packet, dice: &mut Dice) {
    match dice.below(8) {
        0 => packet.number ^= 1 << (32 + dice.below(32)),
        // Whoever knows a packet's key has seen its header.
        1 => packet.esp.truncate(ESP_HEADER_OCTETS + dice.below(packet.esp.len() - ESP_HEADER_OCTETS)),
        2 => *packet.esp.last_mut().expect("not empty") ^= 0x80,
        _ => {
            let at = dice.below(packet.esp.len());
            packet.esp[at] ^= 1 << dice.below(8);
        }
    }
}

#[test]
fn every_suite_seals_and_opens_the_same_octets_at_every_small_size() {
    let (mut engine, mut dice) = (library(), Dice::new(1));
    let suites = every_suite(&mut dice);
    assert!(suites.len() > 150);
    for suite in 0..suites.len() {
        let sizes = (0..70).chain([255, 256, 257, 1400, 9000, 65400]);
        let clear: Vec<_> = sizes.map(|payload| framed(&suites, suite, payload, &mut dice)).collect();
        let sealed = sealed_alike(&mut engine, &suites, &clear, 7);
        assert_eq!(opened_alike(&mut engine, &suites, &sealed), sealed.len());
    }
}

#[test]
fn mixed_batches_are_sealed_and_opened_alike() {
    mixed_batches(library());
}

#[test]
fn mixed_batches_of_two_libraries_are_sealed_and_opened_alike() {
    mixed_batches(with_ring());
}

#[test]
fn mixed_batches_of_more_keys_than_are_kept_are_sealed_and_opened_alike() {
    mixed_batches(library().with_sets(1));
    mixed_batches(with_ring().with_sets(2));
}

fn mixed_batches(mut engine: IpsecMb) {
    let mut dice = Dice::new(2);
    let suites = every_suite(&mut dice);
    for round in 0..60 {
        let count = [1, 2, 7, 64, 255, 256, 257, 600][dice.below(8)];
        let largest = [40, 200, 1500, 9000][dice.below(4)];
        let any = |dice: &mut Dice| {
            let (suite, payload) = (dice.below(suites.len()), dice.below(largest + 1));
            framed(&suites, suite, payload, dice)
        };
        let clear: Vec<_> = (0..count).map(|_| any(&mut dice)).collect();
        let mut sealed = sealed_alike(&mut engine, &suites, &clear, round);
        assert_eq!(opened_alike(&mut engine, &suites, &sealed), count);
        let damaged = (0..count).filter(|at| at % 3 == 1 || count == 1).collect::<Vec<_>>();
        damaged.iter().for_each(|at| damage(&mut sealed[*at], &mut dice));
        // The upper half of a number counts only where it is extended.
        assert!(opened_alike(&mut engine, &suites, &sealed) >= count - damaged.len());
    }
}

#[test]
fn every_octet_of_a_packet_counts() {
    let (mut engine, mut dice) = (library(), Dice::new(3));
    let suites = every_suite(&mut dice);
    for suite in 0..suites.len() {
        let clear = [framed(&suites, suite, 21, &mut dice)];
        let sealed = sealed_alike(&mut engine, &suites, &clear, 9);
        let flipped = |at: usize| {
            let mut packet = sealed[0].clone();
            packet.esp[at] ^= 1 << (at % 8);
            packet
        };
        let batch: Vec<_> = (0..sealed[0].esp.len()).map(flipped).collect();
        assert_eq!(opened_alike(&mut engine, &suites, &batch), 0, "{}", suites[suite].name);
    }
}

#[test]
fn the_upper_half_of_the_number_counts_where_it_is_extended() {
    let (mut engine, mut dice) = (library(), Dice::new(4));
    let suites = every_suite(&mut dice);
    for (at, suite) in suites.iter().enumerate() {
        let clear = [framed(&suites, at, 100, &mut dice)];
        let mut sealed = sealed_alike(&mut engine, &suites, &clear, 11);
        sealed[0].number ^= 1 << 40;
        assert_eq!(opened_alike(&mut engine, &suites, &sealed), usize::from(!suite.keyed.esn), "{}", suite.name);
    }
}

#[test]
fn what_one_engine_sealed_another_opens() {
    let mut dice = Dice::new(5);
    let suites = every_suite(&mut dice);
    let clear: Vec<_> = (0..suites.len()).map(|suite| framed(&suites, suite, 300, &mut dice)).collect();
    let sealed = sealed_alike(&mut library(), &suites, &clear, 13);
    let other = std::thread::spawn(move || opened_alike(&mut library(), &suites, &sealed) == sealed.len());
    assert!(other.join().expect("it doesn't panic"));
}

#[test]
fn what_cannot_be_sealed_does_not_leave_in_clear() {
    cannot_be_sealed(library());
    cannot_be_sealed(with_ring());
}

fn cannot_be_sealed(mut engine: IpsecMb) {
    let (mut portable, mut dice) = (Portable::new(), Dice::new(6));
    let suites = every_suite(&mut dice);
    for (at, suite) in suites.iter().enumerate() {
        let layout = &suite.keyed.layout;
        for octets in [layout.sealed(64) + 1, 7, 0] {
            let mut packets = [Packet { suite: at, number: 1, esp: vec![0x5A; octets] }];
            let mut jobs = jobs(&suites, &mut packets);
            if layout.alignment > 1 || octets < ESP_HEADER_OCTETS {
                portable.seal(&mut jobs, &mut dice);
                assert!(!jobs[0].right && jobs[0].esp.iter().all(|octet| *octet == 0), "{} {octets}", suite.name);
            }
            portable.open(&mut jobs);
            assert!(!jobs[0].right, "{} {octets}", suite.name);
        }
        if engine.key_octets(&suite.keyed).is_none() {
            continue;
        }
        for octets in [
            layout.sealed(64) + 1,
            layout.sealed(1400) + 1,
            layout.sealed(70_000),
            layout.sealed(0) - layout.alignment,
            3,
        ] {
            let mut packets = [Packet { suite: at, number: 1, esp: vec![0x5A; octets] }];
            let mut jobs = jobs(&suites, &mut packets);
            engine.seal(&mut jobs, &mut dice);
            assert!(!jobs[0].right && jobs[0].esp.iter().all(|octet| *octet == 0), "{} {octets}", suite.name);
            jobs[0].esp.fill(0x5A);
            engine.open(&mut jobs);
            assert!(!jobs[0].right, "{} {octets}", suite.name);
        }
    }
}

#[test]
fn an_empty_batch_is_nothing() {
    let mut engine = library();
    engine.seal(&mut [], &mut Dice::new(0));
    engine.open(&mut []);
}

#[test]
fn the_keys_of_an_sa_are_small_and_only_one_cipher_is_left_to_the_portable_engine() {
    let (mut engine, suites) = (library(), every_suite(&mut Dice::new(8)));
    for suite in &suites {
        let octets = engine.key_octets(&suite.keyed);
        assert_eq!(octets.is_none(), suite.name.starts_with("aes-ccm192"), "{}", suite.name);
        assert!(octets.unwrap_or(0) <= 1152, "{} takes {octets:?}", suite.name);
    }
}

#[test]
fn with_ring_one_more_cipher_is_left_to_the_portable_engine() {
    let mut engine = with_ring();
    for suite in every_suite(&mut Dice::new(12)) {
        let elsewhere = suite.name.starts_with("chacha20") || suite.name.starts_with("aes-ccm192");
        assert_eq!(engine.key_octets(&suite.keyed).is_none(), elsewhere, "{}", suite.name);
    }
}

#[test]
fn ah_is_signed_alike() {
    let (mut engine, mut plain, mut dice) = (library(), Portable::new(), Dice::new(10));
    for auth in &AUTHS {
        for esn in [false, true] {
            let key = Secret::new(dice.octets(auth.key));
            let keyed = Keyed::ah(auth.name, &key, esn).expect("a good key");
            let (covered, number) = (dice.octets(333), dice.0.next_u64());
            let (mut icv, mut wanted) = (vec![0; keyed.icv], vec![0; keyed.icv]);
            engine.sign(&keyed, number, &covered, &mut icv);
            plain.sign(&keyed, number, &covered, &mut wanted);
            assert_eq!(icv, wanted, "{}", auth.name);
            assert!(engine.verify(&keyed, number, &covered, &icv));
            icv[auth.icv - 1] ^= 1;
            assert!(!engine.verify(&keyed, number, &covered, &icv));
        }
    }
}
