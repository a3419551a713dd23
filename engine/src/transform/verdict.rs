//! What becomes of a packet: exactly one of these.

use std::sync::Arc;

use crate::reason::Reason;
use crate::tables::sa::Policy;
use crate::tables::sadb::{Id, Record};

/// Of one packet.
#[derive(Debug)]
pub enum Verdict {
    /// Give these outer packets to the network, in order; several where the packet had to be cut.
    Send(Sent),
    /// Give this inner packet to the host, which forwards or takes it.
    Deliver(Delivered),
    /// An outbound packet that no entry of the SPD speaks of.
    Bypass,
    /// A fragment that waits for the others of its packet.
    Hold,
    /// The packet's end.
    Drop(Dropped),
}

/// See `Verdict::Send`.
#[derive(Debug)]
pub struct Sent {
    /// Whole IP packets.
    pub packets: Vec<Vec<u8>>,
    /// None for what the gateway sends by itself.
    pub policy: Option<Arc<Policy>>,
    /// The SA that sealed it.
    pub record: Id,
    /// The AH SA that signed what `record` sealed.
    pub bundled: Option<Id>,
}

/// See `Verdict::Deliver`.
#[derive(Debug)]
pub struct Delivered {
    /// A whole IP packet.
    pub packet: Vec<u8>,
    /// Whose inbound selector let it in.
    pub policy: Arc<Policy>,
    /// The SA that it came through.
    pub record: Id,
    /// The AH SA that it came through too.
    pub bundled: Option<Id>,
}

/// See `Verdict::Drop`. SA and policy as far as they were known by then.
#[derive(Debug)]
pub struct Dropped {
    /// Why.
    pub reason: Reason,
    /// It counts the drop already.
    pub record: Option<Record<Id, Id>>,
    /// The entry of the SPD.
    pub policy: Option<Arc<Policy>>,
    /// An ICMP error for the packet's source, to be given to the host.
    pub answer: Option<Vec<u8>>,
}

impl Dropped {
    /// A packet of which nothing was known.
    pub fn of_stranger(reason: Reason) -> Verdict {
        Verdict::Drop(Dropped { reason, record: None, policy: None, answer: None })
    }

    /// A packet that had a policy and no SA.
    pub fn by_policy(reason: Reason, policy: Arc<Policy>) -> Verdict {
        Verdict::Drop(Dropped { reason, record: None, policy: Some(policy), answer: None })
    }
}
