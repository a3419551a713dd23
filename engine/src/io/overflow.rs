//! What arrived at a socket and found no room there, as the kernel counts it.

use std::io;
use std::os::fd::RawFd;

use libc::c_int;

const SOL_XDP: c_int = 283;
const XDP_STATISTICS: c_int = 7;
/// Of struct xdp_statistics, in numbers of eight octets.
const RX_DROPPED: usize = 0;
const RX_RING_FULL: usize = 3;
/// SK_MEMINFO_DROPS, in numbers of four octets.
const DROPS: usize = 8;

/// Of a raw socket or a UDP port, since it was opened. The number goes round. A run of datagrams that the kernel has put
/// together (UDP_GRO) is one.
pub fn lost_at_socket(fd: RawFd) -> io::Result<u32> {
    let mut said = [0; 36];
    ask(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, &mut said)?;
    Ok(u32::from_ne_bytes(part(&said, DROPS)))
}

/// Of an AF_XDP socket, since it was opened. Either no frame was free (and then the kernel also notes that the fill ring
/// was empty, which must not be counted on top) or the rx ring was full; kernels before 5.9 say the sum of both as the first.
pub fn lost_at_xsk(fd: RawFd) -> io::Result<u64> {
    let mut said = [0; 48];
    ask(fd, SOL_XDP, XDP_STATISTICS, &mut said)?;
    Ok(u64::from_ne_bytes(part(&said, RX_DROPPED)).wrapping_add(u64::from_ne_bytes(part(&said, RX_RING_FULL))))
}

/// What the kernel gave to no other socket.
pub fn cookie(fd: RawFd) -> io::Result<u64> {
    let mut said = [0; 8];
    ask(fd, libc::SOL_SOCKET, libc::SO_COOKIE, &mut said)?;
    Ok(u64::from_ne_bytes(said))
}

fn part<const OCTETS: usize>(said: &[u8], number: usize) -> [u8; OCTETS] {
    let mut octets = [0; OCTETS];
    octets.copy_from_slice(&said[number * OCTETS..][..OCTETS]);
    octets
}

/// What the kernel doesn't know stays as it is in `to`.
fn ask(fd: RawFd, level: c_int, name: c_int, to: &mut [u8]) -> io::Result<()> {
    let mut octets = to.len() as u32;
    // SAFETY: `to` is as long as `octets` says.
    if unsafe { libc::getsockopt(fd, level, name, to.as_mut_ptr().cast(), &mut octets) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
