//! The packet process. Only culvertd starts it, and hands it open descriptors: `culvert-tmm tun=3 control=4 counters=5
//! send4=6 esp4=7 ...` names them. It has no privileges, no configuration file and no name in the file system; it goes on
//! when its parent is gone, waits for another one at the socket `listen`, and ends when it is told to; without that socket,
//! when the control socket closes.
//!
//! There are as many workers as were given descriptors: `tun` and `esp4` are the first one's, `tun.1` and `esp4.1` those of
//! the next. Where there are several, they write to the TUN by `tun-out`, `tun-out.1`.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use culvert_engine::crypto::best_engine;
use culvert_engine::crypto::chance::Chance;
use culvert_engine::io::counters::{Counters, WORKERS_MAX};
use culvert_engine::io::harden::{harden, ignore_interrupts};
use culvert_engine::io::journal::Journal;
use culvert_engine::io::raw::{RawReceiver, RawSender};
use culvert_engine::io::routes::Routes;
use culvert_engine::io::tun::Tun;
use culvert_engine::io::turns::ask_for_short_turns;
use culvert_engine::io::udp::UdpPort;
use culvert_engine::io::xsk::Xsk;
use culvert_engine::process::{Estate, Process};
use culvert_engine::transform::gateway::Gateway;
use culvert_engine::worker::{Doors, Queue, Worker};

type Fds = HashMap<String, RawFd>;

/// Descriptors by name, and what isn't one.
#[derive(Default)]
struct Arguments {
    fds: Fds,
    /// To tell a later parent.
    version: String,
    busy_poll: Duration,
}

fn parse_arguments() -> Option<Arguments> {
    let mut arguments = Arguments::default();
    for argument in std::env::args().skip(1) {
        let (name, value) = argument.split_once('=')?;
        match name {
            "version" => arguments.version = value.to_string(),
            "busy-poll" => arguments.busy_poll = Duration::from_micros(value.parse().ok()?),
            _ => drop(arguments.fds.insert(name.to_string(), value.parse().ok()?)),
        }
    }
    Some(arguments)
}

fn broken(error: std::io::Error) -> String {
    format!("a descriptor that culvertd gave is broken: {error}")
}

/// The descriptors of each worker, by the first one's names.
fn by_worker(fds: &Fds) -> Result<Vec<Fds>, String> {
    let mut all = vec![Fds::new()];
    for (name, fd) in fds {
        let (name, number) = name.split_once('.').unwrap_or((name, "0"));
        let number: usize = number.parse().ok().filter(|number| *number < WORKERS_MAX).ok_or("a worker too many")?;
        if number >= all.len() {
            all.resize(number + 1, Fds::new());
        }
        all[number].insert(name.to_string(), *fd);
    }
    Ok(all)
}

/// All queues of links, each with its number.
fn open_queues(fds: &Fds) -> Result<Vec<(usize, Queue)>, String> {
    let mut queues = Vec::new();
    let mut names: Vec<_> = fds.iter().collect();
    names.sort();
    for (name, fd) in names {
        if let Some((link, number)) = name.strip_prefix("xsk").and_then(|rest| rest.split_once('-')) {
            let memory = fds.get(&format!("umem{link}-{number}")).ok_or("a queue without memory")?;
            let (link, number) = (link.parse().ok(), number.parse().ok());
            let (link, number) = link.zip(number).ok_or("a queue of no link")?;
            let xsk = Arc::new(Mutex::new(Xsk::from_fds(*fd, *memory, link).map_err(broken)?));
            queues.push((number, Queue { xsk, link, fd: *fd, is_own: false }));
        }
    }
    Ok(queues)
}

fn open_doors(fds: &Fds, queues: Vec<Queue>) -> Result<Doors, String> {
    let tun = *fds.get("tun").ok_or("no TUN was given")?;
    let tun = Tun::from_fds(tun, *fds.get("tun-out").unwrap_or(&tun)).map_err(broken)?;
    let mut doors = Doors {
        tun,
        senders: HashMap::new(),
        receivers: Vec::new(),
        complaints: Vec::new(),
        ports: Vec::new(),
        queues,
        routes: fds.get("routes").map(|fd| Routes::from_fd(*fd)),
    };
    let mut names: Vec<_> = fds.iter().collect();
    names.sort();
    for (name, fd) in names {
        let version = |text: &str| if text.starts_with('4') { 4 } else { 6 };
        if let Some(rest) = name.strip_prefix("send") {
            doors.senders.insert(version(rest), RawSender::from_fd(*fd));
        } else if name.starts_with("icmp") {
            doors.complaints.push(RawReceiver::from_fd(*fd).map_err(broken)?);
        } else if name.starts_with("esp") || name.starts_with("ah") {
            doors.receivers.push(RawReceiver::from_fd(*fd).map_err(broken)?);
        } else if let Some((rest, port)) = name.strip_prefix("udp").and_then(|rest| rest.split_once('-')) {
            let port = port.parse().map_err(|_| "a UDP port without a number")?;
            doors.ports.push(UdpPort::from_fd(*fd, version(rest), port));
        }
    }
    Ok(doors)
}

fn open_workers(fds: &Fds, counters: &Counters, journal: &Journal) -> Result<Vec<Worker>, String> {
    let chance = || Chance::new().map_err(|error| format!("the kernel has no random numbers: {error}"));
    let (all, queues) = (by_worker(fds)?, open_queues(fds)?);
    let count = all.len();
    let open = |(number, fds): (usize, &Fds)| -> Result<Worker, String> {
        let own = |(at, queue): &(usize, Queue)| Queue { is_own: at % count == number, ..queue.clone() };
        let doors = open_doors(fds, queues.iter().map(own).collect())?;
        let gateway = Gateway::new(best_engine(), Box::new(chance()?));
        Ok(Worker::new(number, gateway, doors, counters.of_worker(number), journal.clone(), Box::new(chance()?)))
    };
    all.iter().enumerate().map(open).collect()
}

fn open() -> Result<Process, String> {
    let stranger = "culvert-tmm is started by culvertd, which gives it open descriptors";
    let Arguments { fds, version, busy_poll } = parse_arguments().ok_or(stranger)?;
    let (control, counters) = (fds.get("control").ok_or(stranger)?, fds.get("counters").ok_or(stranger)?);
    let counters = Counters::from_fd(*counters).map_err(|error| format!("the counters file: {error}"))?;
    let journal = Journal::new(fds.get("leases").copied()).map_err(|error| format!("the journal's thread: {error}"))?;
    let workers = open_workers(&fds, &counters, &journal)?;
    let mut left: Vec<(String, RawFd)> = fds.iter().map(|(name, fd)| (name.clone(), *fd)).collect();
    left.retain(|(name, _)| name != "control");
    let estate = Estate { version, fds: left };
    Process::new(workers, *control, estate, busy_poll).map_err(|error| format!("the control socket: {error}"))
}

/// What `show sys version` calls it.
fn version() -> String {
    format!("native ({}, af_xdp)", best_engine().name())
}

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|argument| argument == "--version") {
        println!("{}", version());
        return ExitCode::SUCCESS;
    }
    if let Err(error) = ask_for_short_turns() {
        eprintln!("culvert-tmm may be woken late beside others: {error}");
    }
    let mut process = match open() {
        Ok(process) => process,
        Err(sentence) => {
            eprintln!("{sentence}");
            return ExitCode::FAILURE;
        }
    };
    ignore_interrupts();
    if let Err(error) = harden() {
        eprintln!("culvert-tmm could not give up its privileges: {error}");
        return ExitCode::FAILURE;
    }
    process.run();
    ExitCode::SUCCESS
}
