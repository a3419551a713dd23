//! The loop of the packet process: what wakes it, and who tells it what to do. What happens to packets is in `worker`.

use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use zeroize::Zeroize;

use crate::control::{self, Message};
use crate::io::poller::{Control, Poller};
use crate::worker::{CHORES_SECONDS, Door, Worker, now};

/// What a poller's events are about.
const CONTROL: u64 = u64::MAX;

/// A worker and its parent.
pub struct Process {
    worker: Worker,
    control: Control,
    poller: Poller,
    doors: Vec<(RawFd, Door)>,
    pending: Vec<u8>,
    configured: bool,
    reading: bool,
    chores_at: f64,
}

impl Process {
    /// Waits for the first changes before it looks at a packet: a predecessor's packets wait in the sockets.
    pub fn new(worker: Worker, control: RawFd) -> io::Result<Process> {
        let poller = Poller::new()?;
        poller.add(control, CONTROL)?;
        let doors = worker.doors();
        let control = Control::from_fd(control)?;
        let pending = Vec::new();
        Ok(Process { worker, control, poller, doors, pending, configured: false, reading: false, chores_at: 0.0 })
    }

    /// Move packets until the control socket closes.
    pub fn run(&mut self) {
        let mut ready = Vec::new();
        loop {
            if self.configured && !self.reading && self.begin_reading().is_err() {
                return;
            }
            let patience = if self.worker.has_chores() { Some(self.chores_at - now()) } else { None };
            if self.poller.wait(patience, &mut ready).is_err() {
                return;
            }
            for (token, broken) in ready.drain(..) {
                if token == CONTROL {
                    if !self.hear() {
                        return;
                    }
                } else {
                    self.serve(token as usize, broken);
                }
            }
            self.do_chores();
            self.worker.look_after_journal();
        }
    }

    fn begin_reading(&mut self) -> io::Result<()> {
        self.reading = true;
        for (token, (fd, _)) in self.doors.iter().enumerate() {
            self.poller.add(*fd, token as u64)?;
        }
        Ok(())
    }

    fn serve(&mut self, token: usize, broken: bool) {
        let (fd, door) = self.doors[token];
        if broken && door == Door::Tun {
            // The device was deleted by hand. The parent notices too, and gives us a new one by a restart.
            self.poller.remove(fd);
            return;
        }
        // A packet must never end the process, not even through a mistake of ours: the mistake is told.
        if catch_unwind(AssertUnwindSafe(|| self.worker.serve(door))).is_err() {
            self.worker.count_mistake();
        }
    }

    fn do_chores(&mut self) {
        let now = now();
        // The clock may have been set back.
        let is_due = now >= self.chores_at || self.chores_at > now + 2.0 * CHORES_SECONDS;
        if self.configured && is_due {
            self.chores_at = now + CHORES_SECONDS;
            if self.worker.has_chores() {
                self.worker.do_chores();
            }
        }
    }

    /// What the parent says; false at its end.
    fn hear(&mut self) -> bool {
        let from = self.pending.len();
        match self.control.receive(&mut self.pending) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
        // Only the new octets can hold the end of a line; a whole configuration is one long line.
        let mut searched = from;
        while let Some(end) = self.pending[searched..].iter().position(|octet| *octet == b'\n') {
            let mut line: Vec<u8> = self.pending.drain(..=searched + end).collect();
            let answer = self.obey(&line);
            // Keys were in it.
            line.zeroize();
            if self.control.send(&answer).is_err() {
                return false;
            }
            searched = 0;
        }
        true
    }

    fn obey(&mut self, line: &[u8]) -> Vec<u8> {
        let reply = match control::parse(line) {
            Ok(Message::Apply(changes, leases)) => {
                let reply = self.worker.apply(changes, leases);
                self.configured |= reply.sentence.is_empty();
                reply
            }
            Ok(Message::Reset) => {
                self.worker.reset();
                control::Reply::default()
            }
            Err(sentence) => control::Reply { failed: None, sentence },
        };
        control::emit(&reply)
    }
}
