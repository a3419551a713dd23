//! What arrived and found no room: the kernel counts it at each socket, and here it becomes drops with a reason.
//!
//! Raw sockets and UDP ports outlive a packet process, and so does what the kernel counts at them. Therefore the counters
//! file says up to where it is counted already: a successor with the same sockets goes on there, and so counts what was
//! lost while there was nobody to hear. AF_XDP's sockets end with the process.

use std::hash::Hasher;
use std::os::fd::RawFd;

use rustc_hash::FxHasher;

use super::{Doors, Worker, now};
use crate::io::counters::Counters;
use crate::io::overflow::{cookie, lost_at_socket, lost_at_xsk};
use crate::reason::Reason;

/// How much of it is counted.
pub(super) struct Overflows {
    /// Something arrived since `count_overflows`, so something may have been lost: without, nothing was.
    pub is_due: bool,
    sockets: Vec<RawFd>,
    /// Of the sockets, to know them again.
    cookies: u64,
    /// At all sockets together; it goes round.
    counted: u32,
    /// Each with its link, and how much of it is counted.
    rings: Vec<(RawFd, u32, u64)>,
}

impl Overflows {
    /// Go on where a predecessor stopped that had the same sockets.
    pub fn new(doors: &Doors, counters: &Counters) -> Overflows {
        let sockets: Vec<RawFd> =
            doors.receivers.iter().map(|each| each.fd()).chain(doors.ports.iter().map(|each| each.fd())).collect();
        let rings = doors.queues.iter().filter(|queue| queue.is_own).map(|queue| (queue.fd, queue.link, 0)).collect();
        let mut hasher = FxHasher::default();
        sockets.iter().for_each(|fd| hasher.write_u64(cookie(*fd).unwrap_or(0)));
        let (cookies, lost) = (hasher.finish(), lost_at(&sockets));
        let (known, counted) = counters.looked();
        // The numbers of sockets begin anew with the machine, and what is counted at them too.
        let is_same = known == cookies && counted <= lost;
        let counted = if is_same { counted } else { lost };
        Overflows { is_due: counted != lost, sockets, cookies, counted, rings }
    }
}

/// What a kernel doesn't tell was nothing.
fn lost_at(sockets: &[RawFd]) -> u32 {
    sockets.iter().fold(0, |sum, fd| sum.wrapping_add(lost_at_socket(*fd).unwrap_or(0)))
}

impl Worker {
    /// What was lost since the last time.
    pub fn count_overflows(&mut self) {
        let (now, overflows) = (now(), &mut self.overflows);
        overflows.is_due = false;
        for (fd, link, counted) in &mut overflows.rings {
            let lost = lost_at_xsk(*fd).unwrap_or(*counted);
            let more = lost.wrapping_sub(*counted);
            *counted = lost;
            if more > 0 {
                let words = format!("{more} together, at link {link}");
                self.counters.count_drops(Reason::RingFull, more, now, &words);
            }
        }
        let lost = lost_at(&overflows.sockets);
        let more = lost.wrapping_sub(overflows.counted);
        overflows.counted = lost;
        self.counters.note_looked(overflows.cookies, lost);
        if more > 0 {
            let words = format!("{more} together, at the packet process's sockets");
            self.counters.count_drops(Reason::BufferFull, more.into(), now, &words);
        }
    }
}
