//! Keys live in this memory: no core file, no debugger of another user, no privilege to lose, and no page on a disk where
//! memory may be locked. And what a packet could make of this process is little: every system call that moving packets
//! doesn't need ends it (seccomp).

use std::collections::BTreeMap;
use std::{env, io, panic};

use libc::{c_int, c_long, c_ulong, rlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

const UNPRIVILEGED: u32 = 65534;

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn prctl(option: c_int, value: c_ulong) -> io::Result<()> {
    // SAFETY: these options take numbers only.
    check(unsafe { libc::prctl(option, value, 0, 0, 0) })
}

/// Ctrl-C at culvertd's terminal is culvertd's to answer.
pub fn ignore_interrupts() {
    // SAFETY: SIG_IGN is a valid disposition for SIGINT.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
}

/// Give up what isn't needed any more; all has to be open, and every thread has begun.
pub fn harden() -> io::Result<()> {
    let none = rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is a live rlimit, which is only read.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) })?;
    // Without a limit, or memory that is asked for later could not be had.
    let all = rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // Where memory may not be locked (in some containers), packets go on, and keys may come to the swap.
    // SAFETY: `all` is a live rlimit, which is only read; the rest has no pointers.
    let _ = unsafe {
        libc::setrlimit(libc::RLIMIT_MEMLOCK, &all) == 0
            && libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) == 0
    };
    // SAFETY: no pointers but a null one, to a list of no groups.
    unsafe {
        if libc::geteuid() == 0 {
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setresgid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED))?;
            check(libc::setresuid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED))?;
        }
    }
    prctl(libc::PR_SET_DUMPABLE, 0)?;
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    confine()
}

/// Packets and the parent; the journal; threads and memory; how a process ends.
const CALLS: &[c_long] = &[
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_accept4,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_fdatasync,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What the C library calls where a processor still has the older ones.
#[cfg(target_arch = "x86_64")]
const OLDER_CALLS: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_CALLS: &[c_long] = &[];

/// Memory, but none that could be run.
const MEMORY_CALLS: [c_long; 2] = [libc::SYS_mmap, libc::SYS_mprotect];
const PROTECTION_ARGUMENT: u8 = 2;

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    rules.extend(CALLS.iter().chain(OLDER_CALLS).map(|call| (*call, Vec::new())));
    for call in MEMORY_CALLS {
        let code = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
        let none = SeccompCondition::new(PROTECTION_ARGUMENT, SeccompCmpArgLen::Dword, code, 0)?;
        rules.insert(call, vec![SeccompRule::new(vec![none])?]);
    }
    let (other, listed) = (SeccompAction::KillProcess, SeccompAction::Allow);
    SeccompFilter::new(rules, other, listed, env::consts::ARCH.try_into()?)?.try_into()
}

/// Where a thread's heap shrinks, glibc reads a file of /proc first. What is freed stays the process's, for later use;
/// what is large (from 128 KiB on, which this fixes too) has pages of its own and goes back all the same.
fn keep_heaps() -> io::Result<()> {
    #[cfg(target_env = "gnu")]
    // SAFETY: numbers only.
    if unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, -1) } == 0 {
        return Err(io::Error::other("the C library has no such setting"));
    }
    Ok(())
}

/// From now on, in every thread, only what moving packets needs.
fn confine() -> io::Result<()> {
    keep_heaps()?;
    // The usual words about a mistake may want to read the program's file, for a backtrace.
    panic::set_hook(Box::new(|mistake| super::tell(mistake)));
    let filter = filter().map_err(io::Error::other)?;
    seccompiler::apply_filter_all_threads(&filter).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus, exit};
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    const DEED: &str = "CULVERT_DEED";

    /// What a confined process does, which is this test in a process of its own.
    fn ended_by(test: &str, deed: &str) -> ExitStatus {
        let test = format!("io::harden::tests::{test}");
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", &test, "--nocapture"]).env(DEED, deed).env("RUST_BACKTRACE", "1");
        child.output().unwrap().status
    }

    fn map(protection: c_int) -> bool {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping where the kernel likes it touches no memory of ours.
        unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) != libc::MAP_FAILED }
    }

    fn commit(deed: &str) {
        confine().unwrap();
        match deed {
            "file" => drop(std::fs::File::open("/")),
            "socket" => drop(std::net::UdpSocket::bind("127.0.0.1:0")),
            "program" => drop(Command::new("/bin/true").status()),
            "thread" => drop(thread::Builder::new().spawn(|| ())),
            "code" => drop(map(libc::PROT_READ | libc::PROT_EXEC)),
            _ => exit(2),
        }
    }

    #[test]
    fn what_packets_do_not_need_ends_the_process() {
        const TEST: &str = "what_packets_do_not_need_ends_the_process";
        if let Ok(deed) = env::var(DEED) {
            commit(&deed);
            exit(0);
        }
        for deed in ["file", "socket", "program", "thread", "code"] {
            assert_eq!(ended_by(TEST, deed).signal(), Some(libc::SIGSYS), "{deed}");
        }
    }

    #[test]
    fn threads_that_run_already_are_confined_too() {
        if env::var(DEED).is_ok() {
            let (go, going) = channel();
            let (begun, begins) = channel();
            let other = thread::spawn(move || {
                begun.send(()).unwrap();
                going.recv().unwrap();
                drop(std::fs::File::open("/"));
            });
            begins.recv().unwrap();
            confine().unwrap();
            go.send(()).unwrap();
            other.join().unwrap();
            exit(0);
        }
        let status = ended_by("threads_that_run_already_are_confined_too", "file");
        assert_eq!(status.signal(), Some(libc::SIGSYS));
    }

    #[test]
    fn a_thread_may_give_memory_back() {
        if env::var(DEED).is_ok() {
            let (go, going) = channel();
            let (begun, begins) = channel();
            let other = thread::spawn(move || {
                begun.send(()).unwrap();
                going.recv().unwrap();
                for octets in [1000, 10_000, 100_000, 1_000_000] {
                    drop((0..300).map(|_| vec![1u8; octets]).collect::<Vec<_>>());
                }
            });
            begins.recv().unwrap();
            confine().unwrap();
            go.send(()).unwrap();
            other.join().unwrap();
            exit(7);
        }
        assert_eq!(ended_by("a_thread_may_give_memory_back", "nothing").code(), Some(7));
    }

    #[test]
    fn memory_time_and_mistakes_are_allowed() {
        if env::var(DEED).is_ok() {
            confine().unwrap();
            let many: Vec<Vec<u8>> = (0..2000).map(|size| vec![1; size * 100]).collect();
            assert!(map(libc::PROT_READ | libc::PROT_WRITE));
            thread::sleep(std::time::Duration::from_millis(1));
            assert!(panic::catch_unwind(|| panic!("{}", many.len())).is_err());
            exit(7);
        }
        assert_eq!(ended_by("memory_time_and_mistakes_are_allowed", "nothing").code(), Some(7));
    }
}
