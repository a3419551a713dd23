//! One gateway: an SPD, an SADB, and what they make of packets.
//!
//! Packets never panic: any octets give a verdict. No socket, clock or random source of its own.

use std::sync::Arc;

use super::claims::Claims;
use super::inbound::{self, Incoming};
use super::outbound::{self, Outgoing};
use super::verdict::{Dropped, Verdict};
use crate::crypto::{Engine, Random};
use crate::reason::Reason;
use crate::tables::leases::Lease;
use crate::tables::sa::{Policy, SecurityAssociation};
use crate::tables::sadb::{Id, Inbound, Outbound, Record, Refused, Sadb};
use crate::tables::slots::Slot;
use crate::tables::spd::{Spd, SpdError};
use crate::wire::icmp;

/// What an ICMP message from the way out came to (RFC 4301 section 8.2.1).
pub enum Heard {
    /// The path of an SA is this many octets wide from here on.
    Learned(Id, usize),
    /// Forged.
    Dropped(Verdict),
    /// It teaches nothing.
    Nothing,
}

/// See the module. Several gateways, each a worker's, may share their tables. They are changed while only one has them.
pub struct Gateway {
    /// SAs in service.
    pub sadb: Arc<Sadb>,
    /// Policies in service.
    pub spd: Arc<Spd>,
    /// Numbers that were taken and have not left.
    pub claims: Claims,
    pub(super) engine: Box<dyn Engine>,
    /// Of the keys that ever went out of service, the engine has heard of so many.
    forgotten: u64,
    pub(super) random: Box<dyn Random>,
    pub(super) outgoing: outbound::Memory,
    pub(super) incoming: inbound::Memory,
}

impl Gateway {
    /// Without SAs and policies: every packet passes by.
    pub fn new(engine: Box<dyn Engine>, random: Box<dyn Random>) -> Gateway {
        Gateway {
            sadb: Arc::default(),
            spd: Arc::default(),
            claims: Claims::default(),
            engine,
            forgotten: 0,
            random,
            outgoing: outbound::Memory::default(),
            incoming: inbound::Memory::default(),
        }
    }

    /// What runs the algorithms.
    pub fn engine_name(&self) -> String {
        self.engine.name()
    }

    /// Put an SA into service; its slot says where its counters stand.
    pub fn add_sa(&mut self, sa: SecurityAssociation, slot: Slot, now: f64) -> Result<Record<Id, Id>, Refused> {
        alone(&mut self.sadb).add(sa, slot, now)
    }

    /// The numbers that an outbound SA may use; None: all that there are.
    pub fn set_lease(&mut self, id: Id, lease: Option<Arc<Lease>>) {
        alone(&mut self.sadb).outbound(id).lease = lease;
    }

    /// Take an SA out of service.
    pub fn remove_sa(&mut self, sa: &SecurityAssociation) -> Result<Record<Inbound, Outbound>, Refused> {
        let removed = alone(&mut self.sadb).remove(sa);
        self.forget_keys();
        removed
    }

    /// Nothing that the engine prepared of keys outlives their service.
    fn forget_keys(&mut self) {
        let gone = &self.sadb.gone;
        if gone.count() != self.forgotten {
            self.engine.forget(gone.since(self.forgotten).as_deref());
            self.forgotten = gone.count();
        }
    }

    /// How many prepared keys its engine holds.
    pub fn prepared_keys(&self) -> usize {
        self.engine.prepared()
    }

    /// Put a policy into service.
    pub fn add_policy(&mut self, policy: Policy) -> Result<(), SpdError> {
        alone(&mut self.spd).add(policy)?;
        self.forget_trails();
        Ok(())
    }

    /// Take a policy out of service.
    pub fn remove_policy(&mut self, policy: &Policy) -> Result<(), SpdError> {
        alone(&mut self.spd).remove(policy)?;
        self.forget_trails();
        Ok(())
    }

    /// Have no tables for a while, so that another gateway may change them.
    pub fn let_tables_go(&mut self) {
        (self.sadb, self.spd) = (Arc::default(), Arc::default());
    }

    /// Have the tables of this one, which were changed.
    pub fn share_tables(&mut self, other: &Gateway) {
        (self.sadb, self.spd) = (other.sadb.clone(), other.spd.clone());
        self.forget_keys();
        self.forget_trails();
    }

    /// See `Claims::turn`.
    pub fn turn(&self, from: usize) -> usize {
        self.claims.turn(from, &self.sadb)
    }

    /// See `Claims::leave`.
    pub fn leave(&self, claims: std::ops::Range<usize>) {
        self.claims.leave(claims, &self.sadb);
    }

    fn forget_trails(&mut self) {
        self.outgoing.forget_trails();
        self.incoming.forget_trails();
    }

    pub(super) fn way_out(&mut self) -> Outgoing<'_> {
        Outgoing {
            sadb: &self.sadb,
            spd: &self.spd,
            claims: &mut self.claims,
            engine: self.engine.as_mut(),
            random: self.random.as_mut(),
            memory: &mut self.outgoing,
        }
    }

    pub(super) fn way_in(&mut self) -> Incoming<'_> {
        Incoming { sadb: &self.sadb, spd: &self.spd, engine: self.engine.as_mut(), memory: &mut self.incoming }
    }

    /// What becomes of a clear IP packet (RFC 4301 section 5.1).
    pub fn outbound(&mut self, packet: &[u8], now: f64) -> Verdict {
        self.way_out().protect(packet, now)
    }

    /// What becomes of an IP packet that carries ESP or AH (RFC 4301 section 5.2).
    pub fn inbound(&mut self, packet: &[u8], now: f64) -> Verdict {
        self.way_in().open(packet, now)
    }

    /// What an ICMP packet from the way out teaches.
    pub fn told_too_big(&mut self, packet: &[u8], now: f64) -> Heard {
        let Some(complaint) = icmp::parse_too_big(packet) else {
            return Heard::Nothing;
        };
        let found = self.sadb.find_out(complaint.spi, complaint.destination, complaint.protocol);
        let known = found.filter(|id| self.sadb.outbound_ref(*id).service.sa.encapsulation == complaint.encapsulation);
        let Some(id) = known else {
            if complaint.encapsulation.is_some() {
                // UDP of other ports belongs to another program of this host.
                return Heard::Nothing;
            }
            return Heard::Dropped(Dropped::of_stranger(Reason::ForgedTooBig));
        };
        self.believe(id, &complaint, now)
    }

    fn believe(&mut self, id: Id, complaint: &icmp::Complaint, now: f64) -> Heard {
        let record = self.sadb.outbound_ref(id);
        let sequence = record.service.slot.sequence();
        let age = sequence.wrapping_sub(complaint.sequence_low.into()) & 0xFFFF_FFFF;
        // Numbers begin at 1, so there are no more ages than numbers sent.
        if complaint.source != record.service.sa.source || age >= sequence.min(icmp::RECENT) {
            record.service.slot.count_drop(Reason::ForgedTooBig);
            let record = Some(Record::Out(id));
            let reason = Reason::ForgedTooBig;
            return Heard::Dropped(Verdict::Drop(Dropped { reason, record, policy: None, answer: None }));
        }
        if complaint.mtu > record.mtu(now) {
            // About a packet from before the last lesson: nothing new.
            return Heard::Nothing;
        }
        Heard::Learned(id, record.learn_mtu(complaint.mtu, now))
    }

    /// What the gateway sends by itself, asked about once a second: keep-alives, and dummies of silent SAs.
    pub fn due(&mut self, now: f64) -> Vec<Verdict> {
        self.talkative().into_iter().flat_map(|id| self.due_of(id, now)).collect()
    }

    /// SAs that send by themselves.
    pub fn talkative(&self) -> Vec<Id> {
        let talkative =
            |record: &Outbound| record.service.sa.keep_alive_seconds != 0 || record.service.sa.dummy_seconds != 0;
        self.sadb.all_outbound().filter(|(_, record)| talkative(record)).map(|(id, _)| id).collect()
    }

    /// What is due of one SA.
    pub fn due_of(&mut self, id: Id, now: f64) -> Vec<Verdict> {
        let record = self.sadb.outbound_ref(id);
        let (sa, slot) = (&record.service.sa, &record.service.slot);
        let last = slot.last_use().max(slot.created());
        let (keep_alive, dummy) = (sa.keep_alive_seconds, sa.dummy_seconds);
        let is_silent = |since: f64, seconds: u64| seconds != 0 && now - since >= seconds as f64;
        let mut verdicts = Vec::new();
        if is_silent(last.max(record.kept_alive()), keep_alive) {
            verdicts.push(self.way_out().keep_alive(id, now));
        }
        if is_silent(last, dummy) && !self.sadb.outbound_ref(id).service.is_dead(now) {
            verdicts.push(self.way_out().dummy(id, now));
        }
        verdicts
    }

    /// The numbers that windows left behind unseen count from 0 again.
    pub fn forget_losses(&mut self) {
        self.sadb.all_inbound().for_each(|(_, record)| record.replay().set_lost(0));
    }

    /// Packets whose other fragments didn't come in time, asked about once a second: one of those that came, of each.
    pub fn expire(&mut self, now: f64) -> Vec<Vec<u8>> {
        let mut expired = self.outgoing.expire(now);
        expired.append(&mut self.incoming.expire(now));
        expired
    }
}

fn alone<T>(table: &mut Arc<T>) -> &mut T {
    Arc::get_mut(table).expect("a table is changed while only one gateway has it")
}
