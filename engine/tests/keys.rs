//! Prepared keys: only so many, none in anybody's way, and none left of an SA that is out of service.

use culvert_engine::crypto::chance::Chance;
use culvert_engine::crypto::portable::Portable;
use culvert_engine::crypto::{Engine, Job, Keyed, engine_called, engines};
use culvert_engine::tables::sa::Secret;

/// More than an engine keeps.
const MANY: usize = 5000;
const PAYLOAD: usize = 40;

/// Of two algorithms in turn.
fn keyed(number: usize) -> Keyed {
    let octets = |count: usize| Secret::new((0..count).map(|at| (number >> (at % 3 * 8)) as u8 ^ at as u8).collect());
    let (cipher, key, auth, auth_key) =
        if number.is_multiple_of(2) { ("aes-gcm128", 20, "none", 0) } else { ("aes128", 16, "sha1", 20) };
    Keyed::esp(cipher, &octets(key), auth, &octets(auth_key), false).expect("good keys")
}

fn jobs<'a>(keys: &'a [Keyed], packets: &'a mut [Vec<u8>]) -> Vec<Job<'a>> {
    let job = |(key, esp): (&'a Keyed, &'a mut Vec<u8>)| Job { key, esp, number: 1, right: false };
    keys.iter().zip(packets).map(job).collect()
}

fn clear(keys: &[Keyed]) -> Vec<Vec<u8>> {
    keys.iter().map(|key| vec![0x5A; key.layout.sealed(PAYLOAD)]).collect()
}

fn seal(engine: &mut dyn Engine, keys: &[Keyed], packets: &mut [Vec<u8>]) {
    let mut jobs = jobs(keys, packets);
    engine.seal(&mut jobs, &mut Chance::new().expect("the kernel has chance"));
    assert!(jobs.iter().all(|job| job.right), "all are sealed");
}

fn right(engine: &mut dyn Engine, keys: &[Keyed], packets: &mut [Vec<u8>]) -> usize {
    let mut jobs = jobs(keys, packets);
    engine.open(&mut jobs);
    jobs.iter().filter(|job| job.right).count()
}

#[test]
fn a_batch_may_have_more_keys_than_are_kept() {
    let keys: Vec<Keyed> = (0..MANY).map(keyed).collect();
    for name in engines() {
        let (mut engine, mut packets) = (engine_called(name).expect("it is of this build"), clear(&keys));
        seal(engine.as_mut(), &keys, &mut packets);
        assert!(engine.prepared() <= 4096 && engine.prepared() > 3000, "{name} holds {}", engine.prepared());
        let mut again = packets.clone();
        assert_eq!(right(&mut Portable::new(), &keys, &mut packets), MANY, "{name}");
        assert_eq!(right(engine.as_mut(), &keys, &mut again), MANY, "{name}");
        assert_eq!(packets, again, "{name}");
        again[MANY - 1][20] ^= 1;
        assert_eq!(right(engine.as_mut(), &keys[MANY - 1..], &mut again[MANY - 1..]), 0, "{name}");
    }
}

#[test]
fn keys_are_prepared_once_and_go_when_they_are_told_to() {
    let keys: Vec<Keyed> = (0..20).map(keyed).collect();
    for name in engines() {
        let (mut engine, mut packets) = (engine_called(name).expect("it is of this build"), clear(&keys));
        engine.forget(None);
        assert_eq!(engine.prepared(), 0, "{name}");
        for _ in 0..3 {
            seal(engine.as_mut(), &keys, &mut packets);
            assert_eq!(engine.prepared(), 20, "{name}");
        }
        engine.forget(Some(&[keys[3].serial(), keys[4].serial(), keyed(0).serial(), keys[3].serial()]));
        assert_eq!(engine.prepared(), 18, "{name}");
        seal(engine.as_mut(), &keys, &mut packets);
        assert_eq!(right(&mut Portable::new(), &keys, &mut packets), 20, "{name}");
        assert_eq!(engine.prepared(), 20, "{name}");
        engine.forget(None);
        assert_eq!(engine.prepared(), 0, "{name}");
    }
}

#[test]
fn keys_of_ah_are_prepared_and_go_as_well() {
    for name in engines() {
        let mut engine = engine_called(name).expect("it is of this build");
        let key = Keyed::ah("sha256", &Secret::new(vec![7; 32]), true).expect("a good key");
        let mut icv = vec![0; key.icv];
        engine.sign(&key, 1 << 40, b"covered", &mut icv);
        assert!(engine.verify(&key, 1 << 40, b"covered", &icv) && !engine.verify(&key, 1, b"covered", &icv));
        assert_eq!(engine.prepared(), 1, "{name}");
        engine.forget(Some(&[key.serial()]));
        assert_eq!(engine.prepared(), 0, "{name}");
    }
}
