//! The addresses of a network namespace, by the `/proc/PID/net` of someone inside: no need to enter it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::proc::ProcessDirectory;

/// Of a longer table the beginning is read: whoever has thousands of routes is no pod.
const TABLE_BYTES: usize = 256 * 1024;
/// More addresses than that are not kept of one namespace.
const ADDRESSES: usize = 64;
/// `IPV6_ADDR_LOOPBACK` and `IPV6_ADDR_LINKLOCAL` of net/ipv6.h, as the scope in `if_inet6`.
const LOCAL_SCOPES: [u32; 2] = [0x10, 0x20];

/// Its addresses but for loopback and link-local ones, in order.
pub fn of(process: &ProcessDirectory) -> Vec<IpAddr> {
    let table = |name: &str| process.read(name, TABLE_BYTES).unwrap_or_default();
    let mut found: BTreeSet<IpAddr> = fib_trie(&table("net/fib_trie")).map(IpAddr::V4).collect();
    found.extend(if_inet6(&table("net/if_inet6")).map(IpAddr::V6));
    found.into_iter().take(ADDRESSES).collect()
}

/// The leaves of `fib_trie` that are local hosts: `|-- 10.1.2.3`, and below it `/32 host LOCAL`.
fn fib_trie(text: &[u8]) -> impl Iterator<Item = Ipv4Addr> + '_ {
    let mut leaf = None;
    text.split(|octet| *octet == b'\n').filter_map(move |line| {
        let line = std::str::from_utf8(line).ok()?.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
            return None;
        }
        let local = line == "/32 host LOCAL";
        leaf.filter(|address| local && !address.is_loopback() && !address.is_link_local())
    })
}

/// The lines of `if_inet6`: 32 digits, then index, prefix length, scope, flags and name.
fn if_inet6(text: &[u8]) -> impl Iterator<Item = Ipv6Addr> + '_ {
    text.split(|octet| *octet == b'\n').filter_map(|line| {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let address = u128::from_str_radix(words.next().filter(|digits| digits.len() == 32)?, 16).ok()?;
        let scope = u32::from_str_radix(words.nth(2)?, 16).ok()?;
        (!LOCAL_SCOPES.contains(&scope)).then_some(Ipv6Addr::from_bits(address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.99.1.0/24 2 0 2
        +-- 10.99.1.0/30 2 0 2
           |-- 10.99.1.0
              /24 link UNICAST
           |-- 10.99.1.2
              /32 host LOCAL
        |-- 10.99.1.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     |-- 169.254.172.3
        /32 host LOCAL
";

    #[test]
    fn only_its_own_addresses_are_taken() {
        assert_eq!(fib_trie(FIB_TRIE.as_bytes()).collect::<Vec<_>>(), [Ipv4Addr::new(10, 99, 1, 2)]);
        let lines = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fd000099000100000000000000000002 02 40 00 82     eth0\n\
                     fe80000000000000a8aaaafffeaaaaaa 02 40 20 80     eth0\n";
        let expected: Ipv6Addr = "fd00:99:1::2".parse().unwrap();
        assert_eq!(if_inet6(lines.as_bytes()).collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn nonsense_is_passed_over() {
        for text in ["", "|-- ", "|-- 1.2.3\n/32 host LOCAL", "zz 01 80 00", "\u{fffd}", "|-- 10.0.0.1"] {
            assert_eq!(fib_trie(text.as_bytes()).count() + if_inet6(text.as_bytes()).count(), 0, "{text}");
        }
    }
}
