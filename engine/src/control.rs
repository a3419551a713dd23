//! What the parent says to the packet process, and what it is answered: one JSON object per line.
//!
//! The vocabulary of `culvert.change`, in the form of `culvert.dataplane.userspace.wire`. Keys travel as hex in these
//! lines and nowhere else, so an error never quotes one.

use serde::{Deserialize, Serialize};

use crate::tables::leases::Known;
use crate::tables::sa::{Policy, SecurityAssociation};

/// In place of a slot for a change that concerns no SA.
pub const NO_SLOT: i64 = -1;

/// One change. Every one has an inverse, so a batch that fails half-way can be undone.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", content = "content")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Change {
    AddSa(Box<SecurityAssociation>),
    RemoveSa(Box<SecurityAssociation>),
    AddPolicy(Policy),
    RemovePolicy(Policy),
}

impl Change {
    /// What undoes it.
    pub fn inverse(self) -> Change {
        match self {
            Change::AddSa(sa) => Change::RemoveSa(sa),
            Change::RemoveSa(sa) => Change::AddSa(sa),
            Change::AddPolicy(policy) => Change::RemovePolicy(policy),
            Change::RemovePolicy(policy) => Change::AddPolicy(policy),
        }
    }
}

/// What the parent wants.
#[derive(Debug)]
pub enum Message {
    /// Make these changes, all or none. For each the SA's slot in the counters file; and for each new outbound SA, in
    /// their order, what the counter journal knows of its numbers.
    Apply(Vec<(Change, i64)>, Vec<Known>),
    /// The same, and what isn't among them goes; what is there already stays as it is.
    Replace(Vec<(Change, i64)>, Vec<Known>),
    /// A new parent asks who is there. The answer brings all descriptors along.
    Hello,
    /// The end.
    End,
    /// Zero the packet, octet and drop counts.
    Reset,
}

#[derive(Deserialize)]
struct Line {
    apply: Option<Vec<Change>>,
    slots: Option<Vec<i64>>,
    #[serde(default)]
    leases: Vec<Known>,
    #[serde(default)]
    replace: bool,
    reset: Option<bool>,
    hello: Option<bool>,
    end: Option<bool>,
}

/// `failed` is the position of the change to blame; None with a sentence blames no single one.
#[derive(Debug, Default, Serialize)]
pub struct Reply {
    /// See above.
    pub failed: Option<usize>,
    /// Empty: it is done.
    pub sentence: String,
}

/// The message of one line; an error says nothing of what stands in it.
pub fn parse(line: &[u8]) -> Result<Message, String> {
    let nonsense = || "not a message between culvertd and the packet process".to_string();
    let line: Line = serde_json::from_slice(line).map_err(|_| nonsense())?;
    match (line.apply, line.slots) {
        (Some(changes), Some(slots)) if changes.len() == slots.len() => {
            let changes = changes.into_iter().zip(slots).collect();
            let message = if line.replace { Message::Replace } else { Message::Apply };
            Ok(message(changes, line.leases))
        }
        (None, None) if line.reset == Some(true) => Ok(Message::Reset),
        (None, None) if line.hello == Some(true) => Ok(Message::Hello),
        (None, None) if line.end == Some(true) => Ok(Message::End),
        _ => Err(nonsense()),
    }
}

/// Who is there, for a new parent: the process's number, the version of its words, and the names of the descriptors.
pub fn emit_welcome(version: &str, names: &[String]) -> Vec<u8> {
    let welcome = serde_json::json!({ "welcome": [std::process::id(), version, names] });
    let mut line = welcome.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// The line, with its newline.
pub fn emit(reply: &Reply) -> Vec<u8> {
    let mut line = serde_json::to_vec(reply).expect("a reply is plain");
    line.push(b'\n');
    line
}
