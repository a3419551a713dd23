//! Waiting: epoll, and the control socket.

use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use libc::{c_int, epoll_event};

const EVENTS: usize = 64;

/// What says which descriptors have something.
pub struct Poller {
    fd: RawFd,
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

impl Poller {
    /// Of nothing yet.
    pub fn new() -> io::Result<Poller> {
        // SAFETY: no pointers.
        Ok(Poller { fd: check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })? })
    }

    /// Look at this one too.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: `event` is live, and only read.
        check(unsafe { libc::epoll_ctl(self.fd, libc::EPOLL_CTL_ADD, fd, &mut event) }).map(|_| ())
    }

    /// Look at this one no more.
    pub fn remove(&self, fd: RawFd) {
        // SAFETY: a null event is what EPOLL_CTL_DEL takes.
        unsafe { libc::epoll_ctl(self.fd, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
    }

    /// Wait at most so many seconds (None: for ever). Tokens of what is ready, and whether it is broken.
    pub fn wait(&self, seconds: Option<f64>, ready: &mut Vec<(u64, bool)>) -> io::Result<()> {
        let patience = seconds.map_or(-1, |seconds| (seconds.clamp(0.0, 60.0) * 1000.0).ceil() as c_int);
        let mut events = [epoll_event { events: 0, u64: 0 }; EVENTS];
        // SAFETY: `events` has room for EVENTS of them.
        let count = unsafe { libc::epoll_wait(self.fd, events.as_mut_ptr(), EVENTS as c_int, patience) };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        let broken = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        ready.extend(events[..count as usize].iter().map(|event| (event.u64, event.events & broken != 0)));
        Ok(())
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        // SAFETY: this descriptor was made here and is nobody else's.
        unsafe { libc::close(self.fd) };
    }
}

/// Wait until there is room to send; false where there is none after so many milliseconds.
pub(super) fn wait_for_room(fd: RawFd, patience_ms: c_int) -> bool {
    let mut one = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: `one` is live, and the count is right.
    unsafe { libc::poll(&mut one, 1, patience_ms) > 0 }
}

/// How long one burst waits for links that are slow.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

/// How long a burst waits, all its waits together: from the first on. Whoever waits for the worker waits for that too.
#[derive(Default)]
pub struct Patience {
    until: Option<Instant>,
}

impl Patience {
    pub(super) fn is_over(&mut self) -> bool {
        Instant::now() >= *self.until.get_or_insert_with(|| Instant::now() + PATIENCE)
    }
}

/// The socket that the parent speaks by.
pub struct Control {
    fd: RawFd,
}

const RECEIVE_OCTETS: usize = 1 << 20;

impl Control {
    /// A stream.
    pub fn from_fd(fd: RawFd) -> io::Result<Control> {
        Ok(Control { fd })
    }

    /// What has come, behind what `to` holds; 0 octets at the end.
    pub fn receive(&mut self, to: &mut Vec<u8>) -> io::Result<usize> {
        let begin = to.len();
        to.resize(begin + RECEIVE_OCTETS, 0);
        let place = to[begin..].as_mut_ptr().cast();
        // SAFETY: `to` has so many octets behind `begin`.
        let got = unsafe { libc::recv(self.fd, place, RECEIVE_OCTETS, libc::MSG_DONTWAIT) };
        to.truncate(begin + got.max(0) as usize);
        if got < 0 { Err(io::Error::last_os_error()) } else { Ok(got as usize) }
    }

    /// Its descriptor.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// One line, and descriptors with it, at most 253, which is the kernel's limit.
    pub fn send_with(&mut self, octets: &[u8], fds: &[RawFd]) -> io::Result<()> {
        let mut vector = libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
        let mut room = [0u64; 130];
        let data = std::mem::size_of_val(fds);
        // SAFETY: CMSG_SPACE and CMSG_LEN only calculate.
        let (space, length) = unsafe { (libc::CMSG_SPACE(data as u32) as usize, libc::CMSG_LEN(data as u32) as usize) };
        if space > std::mem::size_of_val(&room) {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        // SAFETY: all zeros is a valid msghdr.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &mut vector;
        header.msg_iovlen = 1;
        header.msg_control = room.as_mut_ptr().cast();
        header.msg_controllen = space;
        // SAFETY: `room` is aligned and has `space` octets, as was looked at, which hold one header and the descriptors.
        unsafe {
            let said = &mut *libc::CMSG_FIRSTHDR(&header);
            said.cmsg_level = libc::SOL_SOCKET;
            said.cmsg_type = libc::SCM_RIGHTS;
            said.cmsg_len = length;
            std::ptr::copy_nonoverlapping(fds.as_ptr(), libc::CMSG_DATA(said).cast(), fds.len());
        }
        // SAFETY: every pointer in `header` is to memory that lives until the call returns.
        let sent = unsafe { libc::sendmsg(self.fd, &header, libc::MSG_NOSIGNAL) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        self.send(&octets[sent as usize..])
    }

    /// Close it, where it was accepted or inherited.
    pub fn close(self) {
        // SAFETY: this descriptor is the process's own, and nobody uses it any more.
        unsafe { libc::close(self.fd) };
    }

    /// All of it, whatever it takes.
    pub fn send(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            // SAFETY: pointer and length are of one live slice.
            let sent = unsafe { libc::send(self.fd, octets.as_ptr().cast(), octets.len(), libc::MSG_NOSIGNAL) };
            if sent < 0 {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
                continue;
            }
            octets = &octets[sent as usize..];
        }
        Ok(())
    }
}

/// The next parent that has come to a listening socket.
pub fn accept(listener: RawFd) -> io::Result<Control> {
    // SAFETY: null pointers say that nobody wants to know the other's address.
    let fd = check(unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC) })?;
    Control::from_fd(fd)
}
