//! Changes of SAs and policies: all of a message, or none.

use super::{Way, Ways, Worker, now};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::control::{Change, NO_SLOT, Reply};
use crate::io::journal::Journal;
use crate::tables::leases::{Known, Lease};
use crate::tables::sa::{Direction, SaKey, SecurityAssociation};
use crate::tables::sadb::Record;
use crate::tables::slots::Slot;

/// What the parent says of an SA that it wants: the number of its slot, and of an outbound one what is in the journal.
struct Place {
    slot: i64,
    known: Option<Known>,
}

impl Default for Place {
    fn default() -> Place {
        Place { slot: NO_SLOT, known: None }
    }
}

/// An SA that a message took away, with its numbers: it may turn out that it has to come back.
pub(super) type Removed = (Direction, SaKey, Slot, Option<Arc<Lease>>);

impl Worker {
    /// One of several from now on; others may use the same SAs.
    pub fn join(&mut self) {
        self.gateway.claims.keep();
    }

    /// Know nothing for a while, so that another worker may make changes.
    pub fn let_tables_go(&mut self) {
        self.gateway.let_tables_go();
        self.ways = Arc::default();
    }

    /// Know what this one knows, which has made changes.
    pub fn share_tables(&mut self, other: &Worker) {
        self.gateway.share_tables(&other.gateway);
        self.ways = other.ways.clone();
    }

    fn ways(&mut self) -> &mut Ways {
        Arc::get_mut(&mut self.ways).expect("changes are made while no other worker knows anything")
    }

    /// Make these changes, each with the number of its SA's slot.
    pub fn apply(&mut self, changes: Vec<(Change, i64)>, leases: Vec<Known>) -> Reply {
        if let Err(error) = self.counters.refresh() {
            return Reply { failed: None, sentence: format!("the counters file can't be mapped: {error}") };
        }
        self.spent.begin();
        let mut done: Vec<Change> = Vec::with_capacity(changes.len());
        let mut leases = leases.into_iter();
        for (position, (change, slot)) in changes.into_iter().enumerate() {
            let is_out = matches!(&change, Change::AddSa(sa) if sa.direction == Direction::Out);
            let known = if is_out { leases.next() } else { None };
            if let Err(sentence) = self.step(&change, Place { slot, known }) {
                self.undo(done);
                self.new_leases.clear();
                return Reply { failed: Some(position), sentence };
            }
            done.push(change);
        }
        self.removed.clear();
        self.ask_for_new_ones();
        Reply::default()
    }

    /// The same; and what isn't among them goes, what is there already stays as it is.
    pub fn replace(&mut self, changes: Vec<(Change, i64)>, leases: Vec<Known>) -> Reply {
        let (mut steps, mut known) = (self.superfluous(&changes), Vec::new());
        let mut leases = leases.into_iter();
        let mut positions: Vec<Option<usize>> = vec![None; steps.len()];
        for (position, (change, slot)) in changes.into_iter().enumerate() {
            let is_out = matches!(&change, Change::AddSa(sa) if sa.direction == Direction::Out);
            let lease = if is_out { leases.next() } else { None };
            if !self.is_there(&change) {
                known.extend(lease);
                positions.push(Some(position));
                steps.push((change, slot));
            }
        }
        let mut reply = self.apply(steps, known);
        reply.failed = reply.failed.and_then(|step| positions[step]);
        reply
    }

    fn superfluous(&self, changes: &[(Change, i64)]) -> Vec<(Change, i64)> {
        let (mut sas, mut policies) = (HashMap::new(), HashSet::new());
        for (change, _) in changes {
            match change {
                Change::AddSa(sa) => drop(sas.insert((sa.direction, sa.key()), sa)),
                Change::AddPolicy(policy) => drop(policies.insert(policy)),
                _ => {}
            }
        }
        let is_wanted =
            |sa: &SecurityAssociation| sas.get(&(sa.direction, sa.key())).is_some_and(|other| ***other == *sa);
        let gone = self.services().filter(|sa| !is_wanted(sa)).map(|sa| Change::RemoveSa(Box::new(sa.clone())));
        let ways = [Direction::In, Direction::Out];
        let there = ways.into_iter().flat_map(|way| self.gateway.spd.policies(way));
        let left = there.filter(|policy| !policies.contains(policy.as_ref()));
        let left = left.map(|policy| Change::RemovePolicy(policy.as_ref().clone()));
        left.chain(gone).map(|change| (change, NO_SLOT)).collect()
    }

    fn services(&self) -> impl Iterator<Item = &SecurityAssociation> {
        let sadb = &self.gateway.sadb;
        let inbound = sadb.all_inbound().map(|(_, record)| &record.service.sa);
        inbound.chain(sadb.all_outbound().map(|(_, record)| &record.service.sa))
    }

    fn is_there(&self, change: &Change) -> bool {
        let sadb = &self.gateway.sadb;
        match change {
            Change::AddSa(sa) if sa.direction == Direction::In => sadb
                .find_in(sa.spi, sa.destination, sa.protocol as u8)
                .is_some_and(|id| sadb.inbound_ref(id).service.sa == **sa),
            Change::AddSa(sa) => sadb
                .find_out(sa.spi, sa.destination, sa.protocol as u8)
                .is_some_and(|id| sadb.outbound_ref(id).service.sa == **sa),
            Change::AddPolicy(policy) => self.gateway.spd.has(policy),
            _ => false,
        }
    }

    /// The first block of a new SA has to be on the disk before its first packet.
    fn ask_for_new_ones(&mut self) {
        self.new_leases.retain(|(lease, number)| lease.is_short(*number));
        self.new_leases.iter().for_each(|(lease, number)| self.journal.extend(lease, *number));
    }

    /// Wait for those first blocks, but not for a disk that hangs. Other workers need not stand still meanwhile.
    pub fn wait_for_new_ones(&mut self) {
        let leases: Vec<Arc<Lease>> = self.new_leases.drain(..).map(|(lease, _)| lease).collect();
        Journal::wait_for(&leases);
    }

    fn undo(&mut self, done: Vec<Change>) {
        for change in done.into_iter().rev().map(|change| change.inverse()) {
            // What was done a moment ago can be undone.
            let _ = match &change {
                Change::AddSa(sa) => self.put_back(sa),
                change => self.step(change, Place::default()),
            };
        }
        self.removed.clear();
    }

    fn step(&mut self, change: &Change, place: Place) -> Result<(), String> {
        match change {
            Change::AddSa(sa) => self.add_sa(sa, place),
            Change::RemoveSa(sa) => self.remove_sa(sa),
            Change::AddPolicy(policy) => self.gateway.add_policy(policy.clone()).map_err(|error| error.to_string()),
            Change::RemovePolicy(policy) => self.gateway.remove_policy(policy).map_err(|error| error.to_string()),
        }
    }

    /// An SA that the parent wants.
    fn add_sa(&mut self, sa: &SecurityAssociation, place: Place) -> Result<(), String> {
        let slot = usize::try_from(place.slot).ok().and_then(|slot| self.counters.slot(slot));
        let mut slot = slot.ok_or("the counters file has no such slot")?;
        if self.gateway.claims.are_kept() {
            slot = slot.shared();
        }
        let lease = place.known.as_ref().and_then(|known| Lease::new(known, sa.sequence_max())).map(Arc::new);
        if sa.direction == Direction::Out && lease.is_none() && self.journal.is_there() {
            return Err(format!("{}: the counter journal says nothing of the numbers of its key", sa.label));
        }
        slot.set_worker(0);
        if let Some(behind) = lease.as_ref().and_then(|lease| self.spent.teach(lease)) {
            slot.set_sequence(slot.sequence().max(behind));
        }
        self.serve_sa(sa, slot, lease)
    }

    /// One that was there before, with its own numbers.
    fn put_back(&mut self, sa: &SecurityAssociation) -> Result<(), String> {
        let own = |(direction, key, _, _): &Removed| *direction == sa.direction && *key == sa.key();
        let place = self.removed.iter().rposition(own).ok_or("it was not there")?;
        let (_, _, slot, lease) = self.removed.swap_remove(place);
        lease.iter().for_each(|lease| lease.reopen());
        self.serve_sa(sa, slot, lease)
    }

    fn serve_sa(&mut self, sa: &SecurityAssociation, slot: Slot, lease: Option<Arc<Lease>>) -> Result<(), String> {
        let record = self.gateway.add_sa(sa.clone(), slot, now()).map_err(|refused| refused.to_string())?;
        if let Record::Out(id) = record {
            let way = self.way_of(sa);
            self.ways().insert(id, way);
            self.talkative += usize::from(is_talkative(sa));
            let sequence = self.gateway.sadb.outbound_ref(id).service.slot.sequence();
            self.new_leases.extend(lease.clone().map(|lease| (lease, sequence)));
            self.gateway.set_lease(id, lease);
        }
        Ok(())
    }

    /// ESP in UDP leaves by the socket of its port; everything else, and what has no such socket, by the raw one.
    fn way_of(&self, sa: &SecurityAssociation) -> Way {
        let port = sa.encapsulation.map(|ports| ports.0);
        let fits = |door: &crate::io::udp::UdpPort| {
            Some(door.port) == port && door.version == sa.source.version && sa.direction == Direction::Out
        };
        self.doors.ports.iter().position(fits).map_or(Way::Raw, Way::Port)
    }

    fn remove_sa(&mut self, sa: &SecurityAssociation) -> Result<(), String> {
        let found = match sa.direction {
            Direction::Out => self.gateway.sadb.find_out(sa.spi, sa.destination, sa.protocol as u8),
            Direction::In => None,
        };
        let (slot, lease) = match self.gateway.remove_sa(sa).map_err(|refused| refused.to_string())? {
            Record::In(record) => (record.service.slot, None),
            Record::Out(record) => (record.service.slot, record.lease),
        };
        if let Some(id) = found {
            self.ways().remove(&id);
            self.talkative -= usize::from(is_talkative(sa));
        }
        if let Some(lease) = &lease {
            self.spent.add(lease.clone(), slot.sequence());
        }
        self.removed.push((sa.direction, sa.key(), slot, lease));
        Ok(())
    }
}

fn is_talkative(sa: &SecurityAssociation) -> bool {
    sa.dummy_seconds != 0 || sa.keep_alive_seconds != 0
}
