//! The loop of the packet process: what wakes it, and who tells it what to do. What happens to packets is in `worker`.

use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::control::{self, Message};
use crate::io::poller::{Control, Poller, accept};
use crate::worker::{CHORES_SECONDS, Door, Worker, now};

/// What a poller's events are about, beside doors.
const CONTROL: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

/// What a later parent is told and given.
pub struct Estate {
    /// Of program and words.
    pub version: String,
    /// All descriptors but the control socket, by name.
    pub fds: Vec<(String, RawFd)>,
}

/// A worker and its parent.
pub struct Process {
    worker: Worker,
    /// None while there is no parent.
    control: Option<Control>,
    estate: Estate,
    poller: Poller,
    doors: Vec<(RawFd, Door)>,
    pending: Vec<u8>,
    configured: bool,
    reading: bool,
    chores_at: f64,
    /// So long it looks for more packets before it sleeps; zero where it sleeps at once.
    busy_poll: Duration,
    /// Until then it doesn't sleep.
    awake_until: Option<Instant>,
    ended: bool,
}

impl Process {
    /// Waits for the first changes before it looks at a packet: a predecessor's packets wait in the sockets. `busy_poll`:
    /// how long it looks for more packets, after it has had some, before it sleeps.
    pub fn new(worker: Worker, control: RawFd, estate: Estate, busy_poll: Duration) -> io::Result<Process> {
        let poller = Poller::new()?;
        poller.add(control, CONTROL)?;
        let process = Process {
            doors: worker.doors(),
            worker,
            control: Some(Control::from_fd(control)?),
            estate,
            poller,
            pending: Vec::new(),
            configured: false,
            reading: false,
            chores_at: 0.0,
            busy_poll,
            awake_until: None,
            ended: false,
        };
        if let Some(listener) = process.listener() {
            process.poller.add(listener, LISTENER)?;
        }
        Ok(process)
    }

    /// Where a later parent comes; without, this process ends with its parent.
    fn listener(&self) -> Option<RawFd> {
        self.estate.fds.iter().find(|(name, _)| name == "listen").map(|(_, fd)| *fd)
    }

    /// Move packets until it is told to end.
    pub fn run(&mut self) {
        let mut ready = Vec::new();
        while !self.ended {
            if self.configured && !self.reading && self.begin_reading().is_err() {
                return;
            }
            if self.poller.wait(self.patience(), &mut ready).is_err() {
                return;
            }
            if ready.is_empty() && self.is_awake() {
                // Who could bring the next packet may want this processor.
                std::thread::yield_now();
            }
            for (token, broken) in ready.drain(..) {
                match token {
                    CONTROL => self.hear(),
                    LISTENER => self.meet(),
                    door => self.serve(door as usize, broken),
                }
            }
            self.do_chores();
            self.worker.look_after_journal();
        }
    }

    /// How long it may sleep; None for ever.
    fn patience(&self) -> Option<f64> {
        if self.is_awake() {
            return Some(0.0);
        }
        self.worker.has_chores().then(|| self.chores_at - now())
    }

    fn is_awake(&self) -> bool {
        self.awake_until.is_some_and(|until| Instant::now() < until)
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
        if !self.busy_poll.is_zero() {
            self.awake_until = Some(Instant::now() + self.busy_poll);
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

    /// A successor of the parent.
    fn meet(&mut self) {
        let Some(Ok(newcomer)) = self.listener().map(accept) else { return };
        self.forsaken();
        self.ended = self.poller.add(newcomer.fd(), CONTROL).is_err();
        self.control = Some(newcomer);
    }

    /// The parent is gone: packets go on, and another may come.
    fn forsaken(&mut self) {
        self.ended |= self.listener().is_none();
        self.pending.zeroize();
        if let Some(control) = self.control.take() {
            self.poller.remove(control.fd());
            control.close();
        }
    }

    /// What the parent says.
    fn hear(&mut self) {
        let Some(control) = &mut self.control else { return };
        let from = self.pending.len();
        match control.receive(&mut self.pending) {
            Ok(1..) => self.obey_lines(from),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => self.forsaken(),
        }
    }

    /// Only the new octets can hold the end of a line; a whole configuration is one long line.
    fn obey_lines(&mut self, mut searched: usize) {
        while let Some(end) = self.pending[searched..].iter().position(|octet| *octet == b'\n') {
            let mut line: Vec<u8> = self.pending.drain(..=searched + end).collect();
            let done = self.obey(&line);
            // Keys were in it.
            line.zeroize();
            if done.is_err() {
                self.forsaken();
                return;
            }
            searched = 0;
        }
    }

    fn obey(&mut self, line: &[u8]) -> io::Result<()> {
        let reply = match control::parse(line) {
            Ok(Message::Apply(changes, leases)) => self.worker.apply(changes, leases),
            Ok(Message::Replace(changes, leases)) => self.worker.replace(changes, leases),
            Ok(Message::Reset) => {
                self.worker.reset();
                control::Reply::default()
            }
            Ok(Message::Hello) => return self.welcome(),
            Ok(Message::End) => {
                self.ended = true;
                control::Reply::default()
            }
            Err(sentence) => control::Reply { failed: None, sentence },
        };
        self.configured |= reply.sentence.is_empty();
        self.answer(&control::emit(&reply), &[])
    }

    fn welcome(&mut self) -> io::Result<()> {
        let (names, fds): (Vec<String>, Vec<RawFd>) = self.estate.fds.iter().cloned().unzip();
        let line = control::emit_welcome(&self.estate.version, &names);
        self.answer(&line, &fds)
    }

    fn answer(&mut self, line: &[u8], fds: &[RawFd]) -> io::Result<()> {
        match &mut self.control {
            None => Ok(()),
            Some(control) if fds.is_empty() => control.send(line),
            Some(control) => control.send_with(line, fds),
        }
    }
}
