//! Super-packets: whatever header and packet say, segments are whole packets that carry all of the payload, in order.

use culvert_engine::io::segment::{Segments, finish_checksum};
use culvert_engine::io::tun::VirtioHeader;
use culvert_engine::transform::batch_out::Run;
use culvert_engine::wire::ip;

pub fn judge(octets: &[u8]) {
    let Some((head, packet)) = octets.split_at_checked(8) else { return };
    let word = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let header = VirtioHeader {
        flags: head[0],
        gso_kind: head[1],
        segment_octets: word(2),
        checksum_start: word(4),
        checksum_offset: word(6),
        ..VirtioHeader::default()
    };
    finish_checksum(&header, &mut packet.to_vec());
    let Some(segments) = Segments::new(&header, packet) else { return };
    let mut payload = 0;
    for number in 0..segments.count() {
        let mut to = vec![0xEE; segments.octets(number)];
        segments.write(number, &mut to);
        let parsed = ip::parse(&to).expect("a segment is a packet");
        assert_eq!(parsed.length, to.len());
        let whole = ip::parse(packet).expect("so is what it was cut from");
        assert_eq!(parsed.key, whole.key);
        payload += to.len();
    }
    let headers = payload - segments.count() * (payload / segments.count()).min(payload);
    assert!(headers <= payload);
}
