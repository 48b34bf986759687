//! Which addresses share the limit of a network interface (facts.md sections 3.4 and 4).

use std::net::IpAddr;

use crate::capture::linklocal::{ADDRESSES, MOST_RESOLVERS};

/// The services that share the limit of one network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinkLocalService {
    /// The VPC resolver.
    Dns,
    /// The instance metadata service.
    Imds,
    /// The time service.
    Ntp,
    /// Windows licensing.
    Other,
}

impl LinkLocalService {
    /// Every service; the index is the number that the kernel half knows.
    pub const ALL: [Self; 4] = [Self::Dns, Self::Imds, Self::Ntp, Self::Other];

    /// As it stands in labels, lines and recordings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Imds => "imds",
            Self::Ntp => "ntp",
            Self::Other => "other",
        }
    }
}

/// The well-known addresses, and the VPC resolvers of this node. Other link-local addresses do not count: NodeLocal
/// DNSCache, ECS and EKS Pod Identity answer on the node itself.
#[derive(Clone, Debug, Default)]
pub struct Services {
    configured: Vec<IpAddr>,
    /// Those of the source: what it says later takes the place of what it said before.
    found: Vec<IpAddr>,
}

impl Services {
    /// Adds VPC resolvers that count whatever the source says.
    pub fn add(&mut self, resolvers: &[IpAddr]) {
        for resolver in resolvers {
            if self.configured.len() < MOST_RESOLVERS && !self.configured.contains(resolver) {
                self.configured.push(*resolver);
            }
        }
    }

    /// Takes the VPC resolvers that the source knows now, where it knows any.
    pub fn find(&mut self, resolvers: &[IpAddr]) {
        let resolvers = resolvers.get(..MOST_RESOLVERS).unwrap_or(resolvers);
        if !resolvers.is_empty() && self.found != resolvers {
            self.found = resolvers.to_vec();
        }
    }

    /// The service at this address, if it is one that counts.
    #[inline]
    pub fn at(&self, address: IpAddr) -> Option<LinkLocalService> {
        if may_be_well_known(address)
            && let Some((_, number)) = ADDRESSES.iter().find(|(known, _)| *known == address)
        {
            return LinkLocalService::ALL.get(*number as usize).copied();
        }
        let counts = self.configured.contains(&address) || self.found.contains(&address);
        counts.then_some(LinkLocalService::Dns)
    }

    /// Is it a VPC resolver?
    #[inline]
    pub fn is_resolver(&self, address: IpAddr) -> bool {
        self.at(address) == Some(LinkLocalService::Dns)
    }
}

/// Nearly every address is told from the well-known ones by its beginning.
#[inline]
fn may_be_well_known(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => matches!(ip.octets(), [169, 254, 169, _]),
        IpAddr::V6(ip) => matches!(ip.segments(), [0xfd00, 0xec2, ..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_by_the_interface_counts() {
        let mut services = Services::default();
        let vpc: IpAddr = "10.0.0.2".parse().unwrap();
        let check = |services: &Services, address: &str, expected: Option<&str>| {
            let found = services.at(address.parse().unwrap()).map(LinkLocalService::as_str);
            assert_eq!(found, expected, "{address}");
        };
        for (address, expected) in [
            ("169.254.169.253", Some("dns")),
            ("fd00:ec2::253", Some("dns")),
            ("169.254.169.254", Some("imds")),
            ("fd00:ec2::254", Some("imds")),
            ("169.254.169.123", Some("ntp")),
            ("fd00:ec2::123", Some("ntp")),
            ("169.254.169.250", Some("other")),
            ("169.254.169.251", Some("other")),
            // NodeLocal DNSCache, ECS, EKS Pod Identity, the bridge of ECS, this machine, other link-local addresses,
            // CoreDNS, a Route 53 Resolver endpoint.
            ("169.254.20.10", None),
            ("169.254.170.2", None),
            ("169.254.170.23", None),
            ("fd00:ec2::23", None),
            ("169.254.172.1", None),
            ("169.254.175.254", None),
            ("127.0.0.53", None),
            ("169.254.169.1", None),
            ("169.254.1.1", None),
            ("10.96.0.10", None),
            ("10.0.0.2", None),
        ] {
            check(&services, address, expected);
        }
        services.add(&[vpc, vpc]);
        check(&services, "10.0.0.2", Some("dns"));
        assert!(services.is_resolver(vpc) && services.configured.len() == 1);
        // A guess, and then what is known: nothing was said at all is no news.
        services.find(&["10.0.32.2".parse().unwrap()]);
        check(&services, "10.0.32.2", Some("dns"));
        services.find(&["10.7.0.2".parse().unwrap()]);
        services.find(&[]);
        check(&services, "10.0.32.2", None);
        check(&services, "10.7.0.2", Some("dns"));
        assert!(services.is_resolver(vpc));
        let many = (0..200).map(|last| IpAddr::from([10, 1, 0, last])).collect::<Vec<_>>();
        services.add(&many);
        services.find(&many);
        assert_eq!((services.configured.len(), services.found.len()), (MOST_RESOLVERS, MOST_RESOLVERS));
    }
}
