//! The workers beside the first: a thread for each, and how a change of the tables gets to all of them at once.
//!
//! Every worker has doors and memory of its own, and all look into the same tables. For a change everybody's burst comes to
//! its end, the first worker has the tables to itself, and the others go on with what has become of them: so a packet meets
//! all of a change or nothing. A burst is a fraction of a millisecond, or some 20 where it waits for a link; meanwhile packets
//! wait where they came.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::io::tell;
use crate::shift::Shift;
use crate::worker::Worker;

/// What everybody passes before a burst. A worker that is busy would else take its own lock again before anybody else
/// gets it.
struct Gate {
    looks_closed: AtomicBool,
    is_closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        if self.looks_closed.load(Ordering::Acquire) {
            let closed = self.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.opened.wait_while(closed, |closed| *closed));
        }
    }

    fn set(&self, closed: bool) {
        self.looks_closed.store(closed, Ordering::Release);
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = closed;
        self.opened.notify_all();
    }
}

/// See the module.
pub struct Crew {
    others: Vec<Arc<Mutex<Worker>>>,
    gate: Arc<Gate>,
}

impl Crew {
    /// Their threads have begun, and wait for `go_on`.
    pub fn new(others: Vec<Worker>, busy_poll: Duration) -> io::Result<Crew> {
        let gate = Gate { looks_closed: AtomicBool::new(true), is_closed: Mutex::new(true), opened: Condvar::new() };
        let gate = Arc::new(gate);
        let (begun, begins) = channel();
        let mut crew = Crew { others: Vec::new(), gate };
        for (number, worker) in (1..).zip(others) {
            crew.employ(number, worker, busy_poll, begun.clone())?;
            // What a thread asks of the kernel at its start is not what it may ask later: see `harden::confine`.
            begins.recv().map_err(io::Error::other)?;
        }
        Ok(crew)
    }

    fn employ(&mut self, number: usize, worker: Worker, busy_poll: Duration, begun: Sender<()>) -> io::Result<()> {
        let shift = Shift::new(&worker, busy_poll)?;
        let worker = Arc::new(Mutex::new(worker));
        let (own, gate) = (worker.clone(), self.gate.clone());
        thread::Builder::new().name(format!("tmm.{number}")).spawn(move || {
            // A send that fails has nobody to wait for it.
            begun.send(()).unwrap_or(());
            let ended = catch_unwind(AssertUnwindSafe(|| work(shift, &own, &gate)));
            // Its doors would be nobody's. The parent starts a whole process again.
            tell(format_args!("the thread of a worker ended: {:?}", ended.map_err(|_| "a mistake")));
            exit(1);
        })?;
        self.others.push(worker);
        Ok(())
    }

    /// Have the first worker make a change, and all others know of it. Nobody begins a burst before `go_on`.
    pub fn change<T>(&self, first: &mut Worker, make: impl FnOnce(&mut Worker) -> T) -> T {
        let mut others = self.stopped();
        others.iter_mut().for_each(|other| other.let_tables_go());
        let made = make(first);
        others.iter_mut().for_each(|other| other.share_tables(first));
        made
    }

    /// After a change, or at the beginning.
    pub fn go_on(&self) {
        self.gate.set(false);
    }

    /// Every burst has come to its end, and none begins.
    fn stopped(&self) -> Vec<MutexGuard<'_, Worker>> {
        self.gate.set(true);
        self.others.iter().map(|other| lock(other)).collect()
    }

    /// Stop for good: what is under way comes to its end, and nobody works again.
    pub fn stop(&self) {
        let mut others = self.stopped();
        others.iter_mut().for_each(|other| other.count_overflows());
        others.into_iter().for_each(std::mem::forget);
    }
}

fn lock(worker: &Mutex<Worker>) -> MutexGuard<'_, Worker> {
    worker.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(mut shift: Shift, worker: &Mutex<Worker>, gate: &Gate) -> io::Result<()> {
    let (mut ready, mut patience) = (Vec::new(), None);
    gate.pass();
    shift.begin_reading()?;
    loop {
        shift.wait(patience, &mut ready)?;
        gate.pass();
        let mut worker = lock(worker);
        for (token, broken) in ready.drain(..) {
            shift.serve(&mut worker, token, broken);
        }
        shift.do_chores(&mut worker);
        worker.look_after_journal();
        patience = worker.patience();
    }
}
