//! Hash maps with a quicker hash than std's, seeded at random all the same: keys come off the wire.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

/// A map.
pub type Map<K, V> = std::collections::HashMap<K, V, hashlink::DefaultHashBuilder>;
/// A set.
pub type Set<K> = std::collections::HashSet<K, hashlink::DefaultHashBuilder>;

/// What begins hashes that are made with [`mix`]: random, another one in every process and place.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u64);

impl Default for Seed {
    fn default() -> Self {
        Self(hashlink::DefaultHashBuilder::default().hash_one(0_u64))
    }
}

impl Seed {
    /// Hashes an address: a multiplication for IPv4, two for IPv6, where std's hash goes through slices of octets.
    #[inline]
    pub fn address(self, address: IpAddr) -> u64 {
        match address {
            IpAddr::V4(ip) => mix(self.0, ip.to_bits().into()),
            // Not the hash of any IPv4 address, which sets the low half alone.
            IpAddr::V6(ip) => mix(mix(self.0, !(ip.to_bits() >> 64) as u64), ip.to_bits() as u64),
        }
    }
}

/// Adds a value to a hash that was seeded at random: one multiplication, both halves of it kept, as in wyhash and foldhash.
#[inline]
pub const fn mix(hash: u64, value: u64) -> u64 {
    // Half of the bits are set, without any order: the digits of pi, as in foldhash.
    const DIGITS: u64 = 0x243f_6a88_85a3_08d3;
    let product = (hash ^ value) as u128 * DIGITS as u128;
    product as u64 ^ (product >> 64) as u64
}
