//! Clear packets, at once and one by one: the same verdicts and octets; and the peer opens what was sent, to what it was.

use culvert_engine::tables::sa::Direction;
use culvert_engine::wire::ip;

use super::world;

pub fn judge(script: &[u8]) {
    let packets = world::packets(script);
    let one_by_one = world::out_one_by_one(&mut world::gateway(Direction::Out, false), &packets);
    let at_once = world::out_at_once(&mut world::gateway(Direction::Out, true), &packets);
    assert_eq!(one_by_one, at_once);
    let sent: Vec<Vec<u8>> = one_by_one.into_iter().flatten().flatten().collect();
    let whole = sent.iter().all(|packet| ip::parse(packet).is_some_and(|outer| outer.fragment.is_none()));
    assert!(sent.iter().all(|packet| ip::parse(packet).is_some_and(|outer| outer.length == packet.len())));
    let opened = world::in_one_by_one(&mut world::gateway(Direction::In, false), &sent);
    if whole {
        for outcome in &opened {
            // The peer's own selectors and header checks may still say no, but never that it isn't authentic.
            assert!(!outcome.as_ref().is_err_and(|words| words.starts_with("Integrity")), "{outcome:?}");
        }
    }
}
