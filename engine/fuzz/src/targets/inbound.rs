//! Protected packets, some of them changed on their way, and octets from anywhere: at once and one by one the same.

use culvert_engine::tables::sa::Direction;

use super::world;

/// The first octet of each packet of the script says what becomes of it: up to 127 it is protected first and, above 3,
/// changed in one place; the others go as they are.
pub fn judge(script: &[u8]) {
    let mut sender = world::gateway(Direction::Out, true);
    let mut wire = Vec::new();
    for packet in world::packets(script) {
        let Some((how, rest)) = packet.split_first() else { continue };
        if *how > 127 {
            wire.push(rest.to_vec());
            continue;
        }
        for outcome in world::out_one_by_one(&mut sender, &[rest]) {
            for (number, mut sealed) in outcome.into_iter().flatten().enumerate() {
                if *how > 3 && number == 0 {
                    let at = usize::from(*how) * 31 % sealed.len();
                    sealed[at] ^= 1 << (how & 7);
                }
                wire.push(sealed);
            }
        }
    }
    let one_by_one = world::in_one_by_one(&mut world::gateway(Direction::In, false), &wire);
    let at_once = world::in_at_once(&mut world::gateway(Direction::In, true), &wire);
    assert_eq!(one_by_one, at_once);
}
