//! Changes of SAs and policies: all of a message, or none.

use super::{Way, Ways, Worker, now};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::control::{Change, Reply};
use crate::tables::leases::{Known, Lease};
use crate::tables::sa::{Direction, SecurityAssociation};
use crate::tables::sadb::Record;

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
        let mut done: Vec<(Change, i64)> = Vec::with_capacity(changes.len());
        let mut leases = leases.into_iter();
        for (position, (change, slot)) in changes.into_iter().enumerate() {
            let is_out = matches!(&change, Change::AddSa(sa) if sa.direction == Direction::Out);
            let known = if is_out { leases.next() } else { None };
            if let Err(sentence) = self.step(&change, slot, known.as_ref()) {
                self.undo(done);
                self.new_leases.clear();
                return Reply { failed: Some(position), sentence };
            }
            done.push((change, slot));
        }
        self.lease_new_ones();
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
        left.chain(gone).map(|change| (change, crate::control::NO_SLOT)).collect()
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

    /// Before the first packet of a new SA its first block is on the disk.
    fn lease_new_ones(&mut self) {
        let short: Vec<(Arc<Lease>, u64)> =
            self.new_leases.drain(..).filter(|(lease, number)| lease.is_short(*number)).collect();
        if !short.is_empty()
            && let Err(error) = self.journal.extend_now(&short)
        {
            eprintln!("the counter journal can't be written: {error}");
        }
    }

    fn undo(&mut self, done: Vec<(Change, i64)>) {
        for (change, slot) in done.into_iter().rev() {
            // What was done a moment ago can be undone.
            let _ = self.step(&change.inverse(), slot, None);
        }
    }

    fn step(&mut self, change: &Change, slot: i64, known: Option<&Known>) -> Result<(), String> {
        match change {
            Change::AddSa(sa) => self.add_sa(sa, slot, known),
            Change::RemoveSa(sa) => self.remove_sa(sa),
            Change::AddPolicy(policy) => self.gateway.add_policy(policy.clone()).map_err(|error| error.to_string()),
            Change::RemovePolicy(policy) => self.gateway.remove_policy(policy).map_err(|error| error.to_string()),
        }
    }

    fn add_sa(&mut self, sa: &SecurityAssociation, slot: i64, known: Option<&Known>) -> Result<(), String> {
        let slot = usize::try_from(slot).ok().and_then(|slot| self.counters.slot(slot));
        let mut slot = slot.ok_or("the counters file has no such slot")?;
        if self.gateway.claims.are_kept() {
            slot = slot.shared();
        }
        slot.set_worker(0);
        if slot.sequence() > sa.sequence_max() {
            slot.set_sequence(sa.sequence_max());
        }
        let now = now();
        let record = self.gateway.add_sa(sa.clone(), slot, now).map_err(|refused| refused.to_string())?;
        if let Record::Out(id) = record {
            let way = self.way_of(sa);
            self.ways().insert(id, way);
            self.talkative += usize::from(is_talkative(sa));
            let lease = known.and_then(|known| Lease::new(known, sa.sequence_max())).map(Arc::new);
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
        self.gateway.remove_sa(sa).map_err(|refused| refused.to_string())?;
        if let Some(id) = found {
            self.ways().remove(&id);
            self.talkative -= usize::from(is_talkative(sa));
        }
        Ok(())
    }
}

fn is_talkative(sa: &SecurityAssociation) -> bool {
    sa.dummy_seconds != 0 || sa.keep_alive_seconds != 0
}
