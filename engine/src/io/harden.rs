//! Keys live in this memory: no core file, no debugger of another user, no privilege to lose, no page on a disk.

use std::io;

use libc::{c_int, c_ulong, rlimit};

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

/// Give up what isn't needed any more. Whether the memory could be kept from being swapped.
pub fn harden() -> io::Result<bool> {
    let none = rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is a live rlimit, which is only read.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) })?;
    // Without a limit, or memory that is asked for later could not be had.
    let all = rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `all` is a live rlimit, which is only read; the rest has no pointers.
    let locked = unsafe {
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
    Ok(locked)
}
