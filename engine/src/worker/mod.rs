//! The packets' way through the process: from the TUN to the network, and from the network to the TUN.
//!
//! It takes bursts. The order of two steps is a promise: a sequence number is in the counters file before its packet
//! leaves, so a killed process's successor repeats none. What happens to packets is in `transform`; here is where they
//! come from, where they go, and what is counted.

mod arriving;
mod changes;
mod leaving;
mod overflows;
mod past;

use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustc_hash::FxBuildHasher;

use self::arriving::Delivery;
use self::overflows::Overflows;
pub use self::past::Queue;
use crate::account::describe;
use crate::crypto::Random;
use crate::io::coalesce::Coalescer;
use crate::io::counters::Counters;
use crate::io::journal::Journal;
use crate::io::poller::Patience;
use crate::io::raw::{RawReceiver, RawSender, Received};
use crate::io::routes::Routes;
use crate::io::tun::{READ_OCTETS, Tun};
use crate::io::udp::UdpPort;
use crate::reason::Reason;
use crate::tables::leases::{Lease, Spent};
use crate::tables::reassembly::WAIT_SECONDS;
use crate::tables::sadb::{Id, Record};
use crate::transform::batch_in::Admissions;
use crate::transform::batch_out::{OutBatch, Plans};
use crate::transform::gateway::Gateway;
use crate::transform::verdict::{Dropped, Verdict};

/// How often what runs on its own is looked after.
pub const CHORES_SECONDS: f64 = 1.0;
/// How often the edges of replay windows are saved.
const EDGES_SECONDS: f64 = 5.0;

/// The descriptors that the worker works with.
pub struct Doors {
    /// Where clear packets come and go.
    pub tun: Tun,
    /// By IP version.
    pub senders: HashMap<u8, RawSender>,
    /// Where ESP and AH arrive.
    pub receivers: Vec<RawReceiver>,
    /// Where ICMP arrives.
    pub complaints: Vec<RawReceiver>,
    /// Where ESP in UDP leaves and arrives.
    pub ports: Vec<UdpPort>,
    /// Where ESP leaves and arrives past the kernel's stack.
    pub queues: Vec<Queue>,
    /// What says where it leaves to.
    pub routes: Option<Routes>,
}

/// How an outbound SA's packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Raw,
    /// By one of `Doors::ports`.
    Port(usize),
}

/// By SA.
type Ways = HashMap<Id, Way, FxBuildHasher>;

/// See the module.
pub struct Worker {
    number: usize,
    gateway: Gateway,
    doors: Doors,
    counters: Counters,
    random: Box<dyn Random>,
    plans: Plans,
    admissions: Admissions,
    batch: OutBatch,
    coalescer: Coalescer,
    delivery: Delivery,
    read: Vec<u8>,
    received: Received,
    ways: Arc<Ways>,
    /// SAs that send by themselves.
    talkative: usize,
    /// So long a fragment may still wait for others.
    waiting_until: f64,
    journal: Journal,
    /// Of SAs that are being added, and the last number of each.
    new_leases: Vec<(Arc<Lease>, u64)>,
    spent: Spent,
    /// By the changes that are being made.
    removed: Vec<changes::Removed>,
    /// When the edges of replay windows were saved.
    edges_at: f64,
    /// Inbound SAs whose windows moved since.
    moved: HashSet<Id, FxBuildHasher>,
    overflows: Overflows,
    /// How soon a link has to be asked, in whose queue frames wait that it didn't take at once.
    rest: Option<f64>,
    /// Of the burst that is being sent.
    patience: Patience,
}

/// What became readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The TUN.
    Tun,
    /// One of `Doors::receivers`.
    Receiver(usize),
    /// One of `Doors::complaints`.
    Complaints(usize),
    /// One of `Doors::ports`.
    Port(usize),
    /// One of `Doors::queues`.
    Queue(usize),
    /// `Doors::routes`.
    Routes,
}

/// Seconds since the epoch.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

impl Worker {
    /// `random`: for what is asked outside of the gateway.
    pub fn new(
        number: usize,
        gateway: Gateway,
        doors: Doors,
        counters: Counters,
        journal: Journal,
        random: Box<dyn Random>,
    ) -> Worker {
        let overflows = Overflows::new(&doors, &counters);
        Worker {
            number,
            gateway,
            doors,
            counters,
            random,
            plans: Plans::new(),
            admissions: Admissions::new(),
            batch: OutBatch::default(),
            coalescer: Coalescer::default(),
            delivery: Delivery::default(),
            read: vec![0; READ_OCTETS],
            received: Received::default(),
            ways: Arc::default(),
            talkative: 0,
            waiting_until: 0.0,
            journal,
            new_leases: Vec::new(),
            spent: Spent::default(),
            removed: Vec::new(),
            edges_at: 0.0,
            moved: HashSet::default(),
            overflows,
            rest: None,
            patience: Patience::default(),
        }
    }

    /// All that a poller should look at.
    pub fn doors(&self) -> Vec<(RawFd, Door)> {
        let mut doors = vec![(self.doors.tun.fd(), Door::Tun)];
        let receivers = self.doors.receivers.iter().enumerate();
        doors.extend(receivers.map(|(at, receiver)| (receiver.fd(), Door::Receiver(at))));
        let complaints = self.doors.complaints.iter().enumerate();
        doors.extend(complaints.map(|(at, receiver)| (receiver.fd(), Door::Complaints(at))));
        let ports = self.doors.ports.iter().enumerate();
        doors.extend(ports.map(|(at, port)| (port.fd(), Door::Port(at))));
        let queues = self.doors.queues.iter().enumerate().filter(|(_, queue)| queue.is_own);
        doors.extend(queues.map(|(at, queue)| (queue.fd, Door::Queue(at))));
        doors.extend(self.doors.routes.iter().map(|routes| (routes.fd(), Door::Routes)));
        doors
    }

    /// Take a burst of what has come there.
    pub fn serve(&mut self, door: Door) {
        self.overflows.is_due |= matches!(door, Door::Receiver(_) | Door::Port(_) | Door::Queue(_));
        match door {
            Door::Tun => self.leave(),
            Door::Receiver(at) => self.arrive_raw(at),
            Door::Complaints(at) => self.hear_complaints(at),
            Door::Port(at) => self.arrive_in_udp(at),
            Door::Queue(at) => self.arrive_past_the_stack(at),
            Door::Routes => self.doors.routes.iter_mut().for_each(Routes::forget),
        }
    }

    /// Whether `do_chores` has to be called though no packet comes.
    pub fn has_chores(&self) -> bool {
        self.talkative > 0 || self.overflows.is_due || !self.moved.is_empty() || now() < self.waiting_until + 2.0
    }

    /// How soon it or `send_rest` has to be called though no packet comes.
    pub fn patience(&self) -> Option<f64> {
        self.rest.or_else(|| self.has_chores().then_some(CHORES_SECONDS))
    }

    /// Send what the gateway sends by itself; give up fragments that wait in vain; count what was lost.
    pub fn do_chores(&mut self) {
        self.patience = Patience::default();
        self.count_overflows();
        let now = now();
        for packet in self.gateway.expire(now) {
            let dropped = Dropped { reason: Reason::ReassemblyTimeout, record: None, policy: None, answer: None };
            self.count(&packet, &dropped, now, "", false);
        }
        let talkative = if self.talkative > 0 { self.gateway.talkative() } else { Vec::new() };
        for id in talkative {
            let due = self.gateway.due_of(id, now);
            let claims = self.gateway.turn(0);
            due.into_iter().for_each(|verdict| self.finish_due(verdict, now));
            self.gateway.leave(0..claims);
            self.gateway.claims.clear();
        }
    }

    fn finish_due(&mut self, verdict: Verdict, now: f64) {
        match verdict {
            Verdict::Send(sent) => self.send_slowly(&sent, &[], now),
            Verdict::Drop(dropped) => self.count(&[], &dropped, now, "", false),
            _ => {}
        }
    }

    /// Zero what is statistics; sequences, lives and what was learned stay.
    pub fn reset(&mut self) {
        self.counters.zero();
        self.gateway.forget_losses();
    }

    /// Save the edges of replay windows now and then.
    pub fn look_after_journal(&mut self) {
        if self.moved.is_empty() {
            return;
        }
        let now = now();
        if (now - self.edges_at).abs() < EDGES_SECONDS {
            return;
        }
        self.edges_at = now;
        for id in std::mem::take(&mut self.moved) {
            if let Some(record) = self.gateway.sadb.try_inbound(id) {
                self.journal.save_edge(record.service.slot.identity(), record.replay().top());
            }
        }
    }

    /// A number of this SA was used: perhaps it needs a further block.
    fn used_number(&self, id: Id) {
        let record = self.gateway.sadb.outbound_ref(id);
        if let Some(lease) = &record.lease {
            let number = record.service.slot.sequence();
            if lease.is_short(number) {
                self.journal.extend(lease, number);
            }
        }
    }

    /// No number of this SA was there. Of a disk that hangs nobody hears whether it ever can be written.
    fn lacked_number(&mut self, id: Id) {
        self.used_number(id);
        if let Some(lease) = self.gateway.sadb.outbound_ref(id).lease.as_ref().filter(|lease| !lease.strict)
            && self.journal.is_stuck()
        {
            lease.refuse();
        }
    }

    /// A packet met a mistake of ours. What was half done with the others of its burst is lost with it.
    pub fn count_mistake(&mut self) {
        self.gateway.leave(0..self.gateway.claims.count());
        self.gateway.claims.clear();
        self.batch = OutBatch::default();
        self.coalescer = Coalescer::default();
        self.delivery = Delivery::default();
        self.read.resize(READ_OCTETS, 0);
        self.counters.count_drop(Reason::Internal, now(), "a packet met an internal error");
    }

    fn hold(&mut self, now: f64) {
        self.waiting_until = now + WAIT_SECONDS;
    }

    /// The end of a packet.
    fn count(&self, packet: &[u8], dropped: &Dropped, now: f64, why: &str, arrived: bool) {
        let mut labels = Vec::new();
        match dropped.record {
            Some(Record::In(id)) => labels.push(self.gateway.sadb.inbound_ref(id).service.sa.label.as_str()),
            Some(Record::Out(id)) => labels.push(self.gateway.sadb.outbound_ref(id).service.sa.label.as_str()),
            None => {}
        }
        labels.extend(dropped.policy.iter().map(|policy| policy.label.as_str()));
        let words = describe(packet, dropped.reason, &labels, arrived) + why;
        self.counters.count_drop(dropped.reason, now, &words);
    }
}
