//! Addresses as numbers: quick to compare, to hash and to cut to a prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 or IPv6 address. Packed as 24 octets, not 32: there are many of them in tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(Rust, packed(8))]
pub struct Address {
    /// 4 or 6.
    pub version: u8,
    /// The octets in network order as one number.
    pub value: u128,
}

impl Address {
    /// Of four octets or sixteen.
    pub fn from_octets(octets: &[u8]) -> Address {
        if let Ok(four) = <[u8; 4]>::try_from(octets) {
            Address { version: 4, value: u32::from_be_bytes(four).into() }
        } else {
            let mut sixteen = [0; 16];
            sixteen.copy_from_slice(octets);
            Address { version: 6, value: u128::from_be_bytes(sixteen) }
        }
    }

    /// Octets on the wire: 4 or 16.
    pub fn octets(self) -> usize {
        if self.version == 4 { 4 } else { 16 }
    }

    /// Into the first `octets()` of `to`.
    pub fn write(self, to: &mut [u8]) {
        let all = self.value.to_be_bytes();
        to[..self.octets()].copy_from_slice(&all[16 - self.octets()..]);
    }

    /// Bits of a whole address: 32 or 128.
    pub fn bits(self) -> u32 {
        if self.version == 4 { 32 } else { 128 }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Address {
        match address {
            IpAddr::V4(four) => Address::from_octets(&four.octets()),
            IpAddr::V6(six) => Address::from_octets(&six.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> IpAddr {
        match address.version {
            4 => IpAddr::V4(Ipv4Addr::from(address.value as u32)),
            _ => IpAddr::V6(Ipv6Addr::from(address.value)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(to)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}
