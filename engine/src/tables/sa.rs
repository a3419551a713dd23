//! Security associations and policies as configured (RFC 4301 section 4.4), in the vocabulary of `culvert.ipsec`.
//!
//! They come as JSON, whose names are the field names here. What changes per packet lives in `sadb`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, de};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto::table::known_name;
use crate::wire::address::Address;

/// Every SPI below is reserved (RFC 4303 section 2.1).
pub const SPI_MIN: u32 = 256;
/// The largest anti-replay window.
pub const REPLAY_WINDOW_MAX: usize = 4096;
/// Payload of a dummy packet, at least.
pub const DUMMY_OCTETS_DEFAULT: usize = 64;

/// Key octets that can't be printed, and are overwritten when they go.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes the octets over.
    pub fn new(mut octets: Vec<u8>) -> Secret {
        // Not `into_boxed_slice`, which may move them and leave a copy behind.
        let own = octets.as_slice().into();
        octets.zeroize();
        Secret(own)
    }

    /// The only way to the octets: for a cipher.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Secret({} octets)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        let mut text = String::deserialize(from)?;
        let octets = unhex(&text);
        text.zeroize();
        // Without a word of the text in it.
        octets.map(Secret::new).ok_or_else(|| de::Error::custom("a key is not in hex"))
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |octet: u8| (octet as char).to_digit(16).map(|value| value as u8);
    // All of its room at once: what grows leaves copies behind.
    let mut octets = Vec::with_capacity(text.len() / 2);
    for two in text.as_bytes().chunks(2) {
        octets.push(digit(two[0])? << 4 | digit(two[1])?);
    }
    Some(octets)
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
        let text = String::deserialize(from)?;
        text.parse::<IpAddr>().map(Address::from).map_err(|_| de::Error::custom("not an address"))
    }
}

/// An address prefix. Bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// The first address.
    pub address: Address,
    /// Leading bits that count.
    pub prefix: u32,
}

impl Network {
    /// Whether the address lies inside.
    pub fn contains(&self, address: Address) -> bool {
        address.version == self.address.version && cut(address, self.prefix) == cut(self.address, self.prefix)
    }
}

/// The leading bits of an address.
pub fn cut(address: Address, prefix: u32) -> u128 {
    if prefix == 0 { 0 } else { address.value >> (address.bits() - prefix) }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Network, D::Error> {
        let text = String::deserialize(from)?;
        parse_network(&text).ok_or_else(|| de::Error::custom("not a network"))
    }
}

fn parse_network(text: &str) -> Option<Network> {
    let (address, prefix) = text.split_once('/')?;
    let address = Address::from(address.parse::<IpAddr>().ok()?);
    let prefix = prefix.parse().ok()?;
    (prefix <= address.bits()).then_some(Network { address, prefix })
}

/// A security protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "u8")]
pub enum Protocol {
    /// RFC 4303.
    Esp = 50,
    /// RFC 4302.
    Ah = 51,
}

impl TryFrom<u8> for Protocol {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Protocol, &'static str> {
        match number {
            50 => Ok(Protocol::Esp),
            51 => Ok(Protocol::Ah),
            _ => Err("neither ESP nor AH"),
        }
    }
}

/// RFC 4301 section 4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Mode {
    Transport,
    Tunnel,
}

/// Seen from this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Direction {
    In,
    Out,
}

/// What a tunnel's outer header does with a bit of the inner one (RFC 4301 section 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Copying {
    Copy,
    Set,
    Clear,
}

/// Where a packet is cut that is too large once it is protected, as far as its DF bit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Fragmentation {
    Before,
    After,
}

/// How a tunnel's outer header follows from the inner one (RFC 4301 section 5.1.2). None: copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderRules {
    /// 0..63 in place of the inner one.
    pub dscp: Option<u8>,
    /// False: the compatibility mode of RFC 6040 section 4.1.
    pub ecn: bool,
    /// The DF bit.
    pub dont_fragment: Copying,
    /// TTL or hop limit.
    pub hops: Option<u8>,
    /// True: copied from IPv6 into IPv6, else 0.
    pub flow_label: bool,
}

/// Of the packets of one SA that goes in UDP, as they stand in the packet (RFC 3948).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct UdpPorts(
    /// Source.
    pub u16,
    /// Destination.
    pub u16,
);

/// 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Of age.
    pub seconds: u64,
    /// Of inner packets.
    pub octets: u64,
    /// As above.
    pub packets: u64,
}

impl Limits {
    /// Whether any is reached.
    pub fn reached(&self, seconds: f64, octets: u64, packets: u64) -> bool {
        (self.seconds != 0 && seconds >= self.seconds as f64)
            || (self.octets != 0 && octets >= self.octets)
            || (self.packets != 0 && packets >= self.packets)
    }

    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.seconds != 0 || self.octets != 0 || self.packets != 0
    }
}

/// The limits of one SA: behind the soft one its owner is warned, behind the hard one it carries nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Lifetime {
    pub soft: Limits,
    pub hard: Limits,
}

/// What names an SA on the wire (RFC 4301 section 4.1, unicast).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct SaKey {
    pub spi: u32,
    pub destination: Address,
    pub protocol: Protocol,
}

/// A name that is known takes no memory of its own.
fn algorithm<'de, D: Deserializer<'de>>(from: D) -> Result<Cow<'static, str>, D::Error> {
    let name = String::deserialize(from)?;
    Ok(known_name(&name).map_or(Cow::Owned(name), Cow::Borrowed))
}

/// One unidirectional SA, as it was configured. Each field is explained in `culvert.ipsec.sa`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SecurityAssociation {
    pub spi: u32,
    pub source: Address,
    pub destination: Address,
    pub protocol: Protocol,
    pub mode: Mode,
    pub direction: Direction,
    #[serde(deserialize_with = "algorithm")]
    pub auth: Cow<'static, str>,
    pub auth_key: Secret,
    #[serde(deserialize_with = "algorithm")]
    pub cipher: Cow<'static, str>,
    pub cipher_key: Secret,
    pub reqid: u32,
    pub replay_window: usize,
    pub esn: bool,
    /// The IPComp index of what this SA carries, 0 for none.
    pub compression: u16,
    pub encapsulation: Option<UdpPorts>,
    pub header: HeaderRules,
    pub fragmentation: Fragmentation,
    /// Octets of the largest outer packet on the way out, 0 where unknown.
    pub path_mtu: usize,
    /// The largest TCP segment let into SYNs, 0 what fits the path, None leaves them alone.
    pub mss: Option<usize>,
    /// Shorter payloads are padded to this.
    pub tfc_octets: usize,
    pub dummy_seconds: u64,
    pub keep_alive_seconds: u64,
    pub lifetime: Lifetime,
    /// The configured object's name, carried only for reports.
    pub label: String,
}

impl SecurityAssociation {
    /// Its name on the wire.
    pub fn key(&self) -> SaKey {
        SaKey { spi: self.spi, destination: self.destination, protocol: self.protocol }
    }

    /// The last number that this SA can send; it never wraps (RFC 4303 section 3.3.3).
    pub fn sequence_max(&self) -> u64 {
        if self.esn { u64::MAX } else { u32::MAX.into() }
    }
}

/// Ports `first`..`last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct PortRange {
    pub first: u32,
    pub last: u32,
}

impl PortRange {
    /// Whether the port is one of them; NO_PORT never is.
    pub fn contains(&self, port: u32) -> bool {
        port != crate::wire::ip::NO_PORT && self.first <= port && port <= self.last
    }
}

/// Source, destination, protocol and ports as they stand in the packet. None means any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Selector {
    pub source: Network,
    pub destination: Network,
    pub protocol: Option<u8>,
    pub source_ports: Option<PortRange>,
    pub destination_ports: Option<PortRange>,
}

/// What happens to a packet that an entry matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Action {
    Protect,
    Discard,
}

/// One SPD entry. `order` is tried from low to high, then `label`. `reqid` names the SAs that serve it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Policy {
    pub direction: Direction,
    pub selector: Selector,
    pub order: i64,
    pub label: String,
    pub reqid: u32,
    pub action: Action,
    pub protocol: Protocol,
    pub mode: Mode,
    /// What its ESP SA made is signed by an AH SA of the same reqid, in transport mode (RFC 4301 section 5).
    pub bundle_ah: bool,
    pub tunnel_source: Option<Address>,
    pub tunnel_destination: Option<Address>,
}
