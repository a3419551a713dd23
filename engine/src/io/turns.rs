//! Turns on the processor: short ones, which come soon.
//!
//! Who asks for a shorter slice than others gets the processor sooner when it wakes, even from somebody in the middle of a
//! longer one (EEVDF since Linux 6.12; earlier kernels take no notice). A packet wakes us, culvertd's own work or a
//! routing daemon's may be running: without it some packets of a hundred wait for the end of that, a millisecond or two.

use std::io;
use std::mem::size_of;

use libc::c_long;

/// The shortest that the kernel takes.
const SLICE_NANOSECONDS: u64 = 100_000;

/// Of struct sched_attr, as long as it was first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    octets: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const OCTETS: u32 = size_of::<Attributes>() as u32;

fn check(result: c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn attributes() -> io::Result<Attributes> {
    let mut found = Attributes::default();
    // SAFETY: `found` is as long as the call is told.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &mut found, OCTETS, 0) })?;
    Ok(Attributes { octets: OCTETS, ..found })
}

/// For this thread and those that it will start. Whoever gave it a policy of its own (real-time, batch, idle) knows better.
pub fn ask_for_short_turns() -> io::Result<()> {
    let mut wanted = attributes()?;
    if wanted.policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    wanted.runtime = SLICE_NANOSECONDS;
    // SAFETY: `wanted` is as long as it says.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &wanted, 0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_short_and_all_else_is_as_it_was_also_in_threads() {
        let begun = std::thread::spawn(|| {
            let before = attributes().expect("what every thread has");
            ask_for_short_turns().expect("what everybody may ask for");
            let after = std::thread::spawn(|| attributes().expect("what every thread has"));
            (before, after.join().expect("a thread"))
        });
        let (before, after) = begun.join().expect("a thread");
        assert_eq!((after.policy, after.nice, after.priority), (before.policy, before.nice, before.priority));
        // A kernel that knows slices tells of the usual one too.
        assert_eq!(after.runtime, if before.runtime == 0 { 0 } else { SLICE_NANOSECONDS });
    }
}
