//! What one worker's thread does: it sleeps until something comes to a door of the worker's, and has the worker serve it.

use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::io::poller::Poller;
use crate::worker::{CHORES_SECONDS, Door, Worker, now};

/// The waiting of one worker, which is somebody else's at times.
pub struct Shift {
    poller: Poller,
    doors: Vec<(RawFd, Door)>,
    chores_at: f64,
    /// So long it looks for more packets before it sleeps; zero where it sleeps at once.
    busy_poll: Duration,
    /// Until then it doesn't sleep.
    awake_until: Option<Instant>,
}

impl Shift {
    /// Looks at no door yet. `busy_poll`: how long it looks for more packets, after it has had some, before it sleeps.
    pub fn new(worker: &Worker, busy_poll: Duration) -> io::Result<Shift> {
        Ok(Shift { poller: Poller::new()?, doors: worker.doors(), chores_at: 0.0, busy_poll, awake_until: None })
    }

    /// For what isn't a door.
    pub fn poller(&self) -> &Poller {
        &self.poller
    }

    /// From now on at all doors, whose tokens are small numbers.
    pub fn begin_reading(&self) -> io::Result<()> {
        self.doors.iter().enumerate().try_for_each(|(token, (fd, _))| self.poller.add(*fd, token as u64))
    }

    /// Sleep until something is there, or chores are due; tokens, and whether it is broken. `patience`: the worker's.
    pub fn wait(&self, patience: Option<f64>, ready: &mut Vec<(u64, bool)>) -> io::Result<()> {
        let until_chores = || patience.map(|seconds| seconds.min(self.chores_at - now()));
        let patience = if self.is_awake() { Some(0.0) } else { until_chores() };
        self.poller.wait(patience, ready)?;
        if ready.is_empty() && self.is_awake() {
            // Who could bring the next packet may want this processor.
            std::thread::yield_now();
        }
        Ok(())
    }

    fn is_awake(&self) -> bool {
        self.awake_until.is_some_and(|until| Instant::now() < until)
    }

    /// What has come to a door.
    pub fn serve(&mut self, worker: &mut Worker, token: u64, broken: bool) {
        let (fd, door) = self.doors[token as usize];
        if broken && door == Door::Tun {
            // The device was deleted by hand. The parent notices too, and gives us a new one by a restart.
            self.poller.remove(fd);
            return;
        }
        // A packet must never end the process, not even through a mistake of ours: the mistake is told.
        if catch_unwind(AssertUnwindSafe(|| worker.serve(door))).is_err() {
            worker.count_mistake();
        }
        if !self.busy_poll.is_zero() {
            self.awake_until = Some(Instant::now() + self.busy_poll);
        }
    }

    /// What is due once a second, and what a link didn't take.
    pub fn do_chores(&mut self, worker: &mut Worker) {
        worker.send_rest();
        let now = now();
        // The clock may have been set back.
        let is_due = now >= self.chores_at || self.chores_at > now + 2.0 * CHORES_SECONDS;
        if is_due {
            self.chores_at = now + CHORES_SECONDS;
            if worker.has_chores() {
                worker.do_chores();
            }
        }
    }
}
