//! Which VPC resolvers this machine asks beside the well-known ones: at AWS the second address of its VPC, by which most
//! machines know the resolver.
//!
//! What is read (DMI, resolv.conf, addresses) and what follows from it are apart, so that the latter is tested. It is a
//! guess: once `identity` knows the blocks of the VPC, what follows from them takes its place. Deliberately absent:
//! questions to the instance metadata service, which count against the limit that is measured.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Netlink;

/// Files that name the vendor of the machine: Nitro says `Amazon EC2` (EC2 guide, "Detect whether a host is an EC2
/// instance").
const VENDORS: [&str; 2] = ["/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/board_vendor"];
/// Files with the machine's UUID, which begins with `ec2` on Xen.
const UUIDS: [&str; 2] = ["/sys/hypervisor/uuid", "/sys/class/dmi/id/product_uuid"];
/// Nameservers; the first names the stub of systemd-resolved where that runs, the second then those behind it.
const RESOLV_CONFS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// The largest and the smallest VPC (VPC guide, "VPC CIDR blocks").
const PREFIXES: std::ops::RangeInclusive<u32> = 16..=28;

/// The VPC resolvers beside the well-known ones, by where they are known from.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolvers {
    configured: Vec<IpAddr>,
    guessed: Vec<IpAddr>,
    told: Vec<IpAddr>,
}

impl Resolvers {
    /// `configured` ones, and those that this machine's files and addresses tell.
    pub(super) fn find(configured: &[IpAddr]) -> Self {
        Self { configured: configured.to_vec(), guessed: find(), told: Vec::new() }
    }

    /// As [`Resolvers::find`]; with `told`, `configured` ones alone: they come from a capture that has asked already.
    pub(super) fn of(configured: &[IpAddr], told: bool) -> Self {
        if told {
            Self { configured: configured.to_vec(), ..Self::default() }
        } else {
            Self::find(configured)
        }
    }

    /// One that the VPC's own blocks tell. The first of them takes the place of all guesses.
    pub(super) fn tell(&mut self, address: IpAddr) {
        if !self.told.contains(&address) {
            self.told.push(address);
        }
    }

    /// All that hold now, each once.
    pub(super) fn all(&self) -> Vec<IpAddr> {
        let known = if self.told.is_empty() { &self.guessed } else { &self.told };
        let mut all = self.configured.clone();
        for address in known {
            if !all.contains(address) {
                all.push(*address);
            }
        }
        all
    }
}

/// `configured` ones and those that are found.
pub fn resolvers(configured: &[IpAddr]) -> Vec<IpAddr> {
    Resolvers::find(configured).all()
}

/// What this machine's files and addresses tell. What cannot be read tells nothing.
fn find() -> Vec<IpAddr> {
    if !on_ec2() {
        return Vec::new();
    }
    among(&configured_nameservers(), &addresses().unwrap_or_default())
}

/// Do this machine's files say that it is an instance of EC2?
pub(crate) fn on_ec2() -> bool {
    let [vendors, uuids] = [VENDORS, UUIDS].map(read);
    is_instance(&vendors, &uuids)
}

/// The nameservers of this machine, those behind a stub of systemd-resolved too.
pub(crate) fn configured_nameservers() -> Vec<IpAddr> {
    read(RESOLV_CONFS).iter().flat_map(|text| nameservers(text)).collect()
}

fn read(paths: [&str; 2]) -> [String; 2] {
    paths.map(|path| std::fs::read_to_string(path).unwrap_or_default())
}

/// Is the machine an instance of EC2?
fn is_instance(vendors: &[String], uuids: &[String]) -> bool {
    vendors.iter().any(|vendor| vendor.trim() == "Amazon EC2")
        || uuids.iter().any(|uuid| uuid.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("ec2")))
}

/// The nameservers of a resolv.conf (resolv.conf(5)).
fn nameservers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    })
}

/// Those of `nameservers` that are the second address of a block of private addresses which is as large as a VPC may be,
/// and which one of `addresses` stands in (VPC guide, "Amazon DNS server": base plus two).
///
/// AWS keeps that address of every block to itself, so it is no server of somebody's own, unless it stands in the midst of
/// a larger subnet.
fn among(nameservers: &[IpAddr], addresses: &[Ipv4Addr]) -> Vec<IpAddr> {
    let is_base_plus_two = |server: Ipv4Addr| {
        let own = addresses.iter().filter(|own| **own != server);
        own.into_iter().any(|own| {
            PREFIXES.into_iter().any(|prefix| {
                let mask = u32::MAX << (32 - prefix);
                (own.to_bits() & mask) + 2 == server.to_bits()
            })
        })
    };
    let resolvers = nameservers.iter().filter(|server| match server {
        IpAddr::V4(ip) => (ip.is_private() || is_shared(*ip)) && is_base_plus_two(*ip),
        IpAddr::V6(_) => false,
    });
    resolvers.copied().collect()
}

/// 100.64.0.0/10 (RFC 6598), which a VPC may use too.
fn is_shared(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [100, 64..=127, ..])
}

/// The IPv4 addresses of this network namespace.
fn addresses() -> std::io::Result<Vec<Ipv4Addr>> {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet;
    let answers = Netlink::new()?.dump(RouteNetlinkMessage::GetAddress(request))?;
    let local = |message: &RouteNetlinkMessage| {
        let RouteNetlinkMessage::NewAddress(address) = message else { return None };
        address.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(IpAddr::V4(ip)) if !ip.is_loopback() => Some(*ip),
            _ => None,
        })
    };
    Ok(answers.iter().filter_map(local).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_known_by_its_vendor_or_uuid() {
        let check = |vendor: &str, uuid: &str, expected| {
            assert_eq!(is_instance(&[vendor.into()], &[uuid.into()]), expected, "{vendor} {uuid}");
        };
        check("Amazon EC2\n", "", true);
        check("Xen\n", "ec2e1916-9099-7caf-fd21-012345abcdef\n", true);
        check("Xen\n", "EC2E1916-9099-7CAF-FD21-012345ABCDEF\n", true);
        check("QEMU\n", "12345678-9099-7caf-fd21-012345abcdef\n", false);
        check("Amazon EC2 look-alike", "", false);
        check("", "", false);
        check("", "é2", false);
    }

    #[test]
    fn what_is_told_takes_the_place_of_guesses() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (configured, guessed) = (vec![address("10.9.0.2")], vec![address("10.0.32.2")]);
        let mut resolvers = Resolvers { configured, guessed, told: Vec::new() };
        assert_eq!(resolvers.all(), [address("10.9.0.2"), address("10.0.32.2")]);
        for told in ["10.0.0.2", "10.0.0.2", "10.9.0.2"] {
            resolvers.tell(address(told));
        }
        assert_eq!(resolvers.all(), [address("10.9.0.2"), address("10.0.0.2")]);
    }

    #[test]
    fn nameservers_are_read_as_the_resolver_reads_them() {
        let text = "# nameserver 10.0.0.9\nsearch a.test\nnameserver 10.0.0.2\n  nameserver\tfd00:ec2::253 \n\
                    nameserver\nnameserver x\nnameservers 10.0.0.3\n";
        let found: Vec<String> = nameservers(text).map(|server| server.to_string()).collect();
        assert_eq!(found, ["10.0.0.2", "fd00:ec2::253"]);
    }

    #[track_caller]
    fn check(nameserver: &str, own: &str, expected: bool) {
        let server: IpAddr = nameserver.parse().unwrap();
        let found = among(&[server], &[own.parse().unwrap()]);
        assert_eq!(!found.is_empty(), expected, "{nameserver} for {own}");
    }

    #[test]
    fn the_second_address_of_the_vpc_is_its_resolver() {
        // 10.0.0.0/16, the default VPC, a subnet within a /20, the smallest VPC, shared addresses.
        check("10.0.0.2", "10.0.33.7", true);
        check("172.31.0.2", "172.31.45.9", true);
        check("10.1.16.2", "10.1.19.200", true);
        check("10.1.2.18", "10.1.2.29", true);
        check("100.64.0.2", "100.64.9.1", true);
    }

    #[test]
    fn other_servers_are_not() {
        // Other addresses of the VPC, another network, a public address, a stub, the machine itself, IPv6.
        check("10.0.0.53", "10.0.33.7", false);
        check("10.0.5.2", "10.0.33.7", false);
        check("10.9.0.2", "10.0.33.7", false);
        check("8.8.0.2", "8.8.33.7", false);
        check("127.0.0.53", "10.0.33.7", false);
        check("10.0.0.2", "10.0.0.2", false);
        check("fd00:ec2::253", "10.0.0.7", false);
    }
}
