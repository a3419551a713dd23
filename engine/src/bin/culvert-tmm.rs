//! The packet process. Only culvertd starts it, and hands it open descriptors: `culvert-tmm tun=3 control=4 counters=5
//! send4=6 esp4=7 ...` names them. It has no privileges, no configuration file and no name in the file system; it goes on
//! when its parent is gone, waits for another one at the socket `listen`, and ends when it is told to; without that socket,
//! when the control socket closes.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::time::Duration;

use culvert_engine::crypto::best_engine;
use culvert_engine::crypto::chance::Chance;
use culvert_engine::io::counters::Counters;
use culvert_engine::io::harden::{harden, ignore_interrupts};
use culvert_engine::io::journal::Journal;
use culvert_engine::io::raw::{RawReceiver, RawSender};
use culvert_engine::io::routes::Routes;
use culvert_engine::io::tun::Tun;
use culvert_engine::io::udp::UdpPort;
use culvert_engine::io::xsk::Xsk;
use culvert_engine::process::{Estate, Process};
use culvert_engine::transform::gateway::Gateway;
use culvert_engine::worker::{Doors, Worker};

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

fn open_doors(fds: &Fds) -> Result<Doors, String> {
    let broken = |error: std::io::Error| format!("a descriptor that culvertd gave is broken: {error}");
    let tun = Tun::from_fd(*fds.get("tun").ok_or("no TUN was given")?).map_err(broken)?;
    let mut doors = Doors {
        tun,
        senders: HashMap::new(),
        receivers: Vec::new(),
        complaints: Vec::new(),
        ports: Vec::new(),
        queues: Vec::new(),
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
        } else if let Some((link, queue)) = name.strip_prefix("xsk").and_then(|rest| rest.split_once('-')) {
            let memory = fds.get(&format!("umem{link}-{queue}")).ok_or("a queue without memory")?;
            let link = link.parse().map_err(|_| "a queue of no link")?;
            doors.queues.push(Xsk::from_fds(*fd, *memory, link).map_err(broken)?);
        }
    }
    Ok(doors)
}

fn open() -> Result<Process, String> {
    let stranger = "culvert-tmm is started by culvertd, which gives it open descriptors";
    let Arguments { fds, version, busy_poll } = parse_arguments().ok_or(stranger)?;
    let (control, counters) = (fds.get("control").ok_or(stranger)?, fds.get("counters").ok_or(stranger)?);
    let counters = Counters::from_fd(*counters).map_err(|error| format!("the counters file: {error}"))?;
    let chance = || Chance::new().map_err(|error| format!("the kernel has no random numbers: {error}"));
    let gateway = Gateway::new(best_engine(), Box::new(chance()?));
    let journal = Journal::new(fds.get("leases").copied()).map_err(|error| format!("the journal's thread: {error}"))?;
    let worker = Worker::new(gateway, open_doors(&fds)?, counters, journal, Box::new(chance()?));
    let mut left: Vec<(String, RawFd)> = fds.iter().map(|(name, fd)| (name.clone(), *fd)).collect();
    left.retain(|(name, _)| name != "control");
    let estate = Estate { version, fds: left };
    Process::new(worker, *control, estate, busy_poll).map_err(|error| format!("the control socket: {error}"))
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
