//! Out past the kernel's stack, by the queues of links, and what that means for what goes by a raw socket.
//!
//! A packet never overtakes one that was before it. What finds no room in line, and what has to go by a raw socket while
//! others are in line, waits within the patience of its burst, and is then dropped: the queue is full.

use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard};

use super::leaving::full;
use super::{Worker, now};
use crate::io::poller::Patience;
use crate::io::xsk::{self, Xsk};
use crate::reason::Reason;
use crate::transform::batch_out::Framed;
use crate::wire::address::Address;

/// One of a link's queues. All workers send by it; one of them receives.
#[derive(Clone)]
pub struct Queue {
    /// With the link that it is of, and its descriptor.
    pub xsk: Arc<Mutex<Xsk>>,
    /// Of the link.
    pub link: u32,
    /// For a poller.
    pub fd: RawFd,
    /// This worker receives.
    pub is_own: bool,
}

impl Queue {
    pub(super) fn lock(&self) -> MutexGuard<'_, Xsk> {
        xsk::lock(&self.xsk)
    }

    /// Let what is in line for this one leave; whether it has, and how many frames the link dropped.
    fn clear(&self, destination: Address, patience: &mut Patience) -> (bool, u64) {
        let mut xsk = self.lock();
        let mut is_clear = xsk.is_clear(destination);
        if !is_clear {
            (xsk, is_clear) = xsk::wait(&self.xsk, xsk, patience, |xsk| xsk.is_clear(destination));
        }
        (is_clear, xsk.take_lost())
    }
}

impl Worker {
    /// Packets of one destination from the first on, by a link's queue; how many are done with. None where the first has to
    /// go by the raw socket: no queue, no known neighbour or one to be asked again, too large.
    pub(super) fn send_past_the_stack(&mut self, framed: &[&Framed], octets: &[u8], now: f64) -> Option<usize> {
        let destination = |framed: &Framed| self.gateway.sadb.outbound_ref(framed.record).service.sa.destination;
        let first = destination(framed[0]);
        let (hop, should_ask) = self.doors.routes.as_mut()?.hop(first, now)?;
        let queue = self.doors.queues.iter().find(|queue| queue.link == hop.link)?;
        if should_ask {
            let (is_clear, lost) = queue.clear(first, &mut self.patience);
            self.count_lost(queue.link, lost, now);
            if is_clear {
                return None;
            }
        }
        let mut xsk = queue.lock();
        let fits = |each: &&&Framed| each.range.len() <= hop.mtu && xsk.fits(each.range.len());
        let taken = framed.iter().take_while(|each| destination(each) == first).take_while(fits).count();
        let mut put = 0;
        while put < taken {
            let mut has_room = xsk.has_room();
            if !has_room {
                (xsk, has_room) = xsk::wait(&queue.xsk, xsk, &mut self.patience, Xsk::has_room);
            }
            if !has_room || !xsk.put(&hop.header, &octets[framed[put].range.clone()]) {
                break;
            }
            put += 1;
        }
        if put > 0 {
            xsk.note(first);
        }
        self.rest = sooner(self.rest, xsk.flush());
        let lost = xsk.take_lost();
        drop(xsk);
        self.count_lost(queue.link, lost, now);
        // By the raw socket they would overtake what is in line.
        for each in &framed[put..taken] {
            self.count_refused(each.record, &octets[each.range.clone()], &full(), now);
        }
        (taken > 0).then_some(taken)
    }

    /// What a link's queue didn't take at once.
    pub fn send_rest(&mut self) {
        if self.rest.take().is_none() {
            return;
        }
        for queue in &self.doors.queues {
            let mut xsk = queue.lock();
            self.rest = sooner(self.rest, xsk.flush());
            let lost = xsk.take_lost();
            drop(xsk);
            self.count_lost(queue.link, lost, now());
        }
    }

    /// Let what went there past the stack, by whichever link, leave before a packet by the raw socket; whether it has.
    pub(super) fn clear_way(&mut self, destination: Address) -> bool {
        for queue in &self.doors.queues {
            let (is_clear, lost) = queue.clear(destination, &mut self.patience);
            self.count_lost(queue.link, lost, now());
            if !is_clear {
                return false;
            }
        }
        true
    }

    /// So many the link dropped after they were ours; which ones, it doesn't say.
    fn count_lost(&self, link: u32, lost: u64, now: f64) {
        if lost > 0 {
            let words = format!("{lost} together, at link {link}");
            self.counters.count_drops(Reason::SendFailed, lost, now, &words);
        }
    }
}

fn sooner(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    [one, other].into_iter().flatten().reduce(f64::min)
}
