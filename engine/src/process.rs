//! The loop of the packet process: what wakes it, and who tells it what to do. What happens to packets is in `worker`.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use zeroize::Zeroize;

use crate::control::{self, Message};
use crate::crew::Crew;
use crate::io::poller::{Control, accept};
use crate::shift::Shift;
use crate::worker::Worker;

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

/// Workers and their parent. The first works here, the others in threads of their own.
pub struct Process {
    worker: Worker,
    shift: Shift,
    crew: Crew,
    /// None while there is no parent.
    control: Option<Control>,
    estate: Estate,
    pending: Vec<u8>,
    configured: bool,
    reading: bool,
    ended: bool,
}

impl Process {
    /// Waits for the first changes before it looks at a packet: a predecessor's packets wait in the sockets. `busy_poll`:
    /// how long a worker looks for more packets, after it has had some, before it sleeps.
    pub fn new(mut workers: Vec<Worker>, control: RawFd, estate: Estate, busy_poll: Duration) -> io::Result<Process> {
        if workers.len() > 1 {
            workers.iter_mut().for_each(Worker::join);
        }
        let others = workers.split_off(1);
        let worker = workers.pop().expect("there is a first worker");
        let process = Process {
            shift: Shift::new(&worker, busy_poll)?,
            crew: Crew::new(others, busy_poll)?,
            worker,
            control: Some(Control::from_fd(control)?),
            estate,
            pending: Vec::new(),
            configured: false,
            reading: false,
            ended: false,
        };
        process.shift.poller().add(control, CONTROL)?;
        if let Some(listener) = process.listener() {
            process.shift.poller().add(listener, LISTENER)?;
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
            if self.shift.wait(self.worker.patience(), &mut ready).is_err() {
                return;
            }
            for (token, broken) in ready.drain(..) {
                match token {
                    CONTROL => self.hear(),
                    LISTENER => self.meet(),
                    door => self.shift.serve(&mut self.worker, door, broken),
                }
            }
            if self.configured {
                self.shift.do_chores(&mut self.worker);
            }
            self.worker.look_after_journal();
        }
        self.worker.count_overflows();
        self.crew.stop();
    }

    fn begin_reading(&mut self) -> io::Result<()> {
        self.reading = true;
        self.shift.begin_reading()
    }

    /// A successor of the parent.
    fn meet(&mut self) {
        let Some(Ok(newcomer)) = self.listener().map(accept) else { return };
        self.forsaken();
        self.ended = self.shift.poller().add(newcomer.fd(), CONTROL).is_err();
        self.control = Some(newcomer);
    }

    /// The parent is gone: packets go on, and another may come.
    fn forsaken(&mut self) {
        self.ended |= self.listener().is_none();
        self.pending.zeroize();
        if let Some(control) = self.control.take() {
            self.shift.poller().remove(control.fd());
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
            let rest = self.pending.split_off(searched + end + 1);
            let mut line = std::mem::replace(&mut self.pending, rest);
            let done = self.obey(&line);
            // Keys were in it. With all of the memory that it came in.
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
            Ok(Message::Apply(changes, leases)) => self.change(|worker| worker.apply(changes, leases)),
            Ok(Message::Replace(changes, leases)) => self.change(|worker| worker.replace(changes, leases)),
            Ok(Message::Reset) => {
                self.change(Worker::reset);
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
        if self.configured && !self.ended {
            self.crew.go_on();
        }
        self.worker.wait_for_new_ones();
        self.answer(&control::emit(&reply), &[])
    }

    fn change<T>(&mut self, make: impl FnOnce(&mut Worker) -> T) -> T {
        self.crew.change(&mut self.worker, make)
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
