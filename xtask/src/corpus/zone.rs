//! What the servers of a scenario know, written as zone files and so the same for each of them.

use std::fmt::Write as _;

use super::names::Names;

/// A zone: its apex with the final dot, and its records as lines of a zone file.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The apex, `.` for the root.
    pub apex: String,
    records: String,
}

/// Everything that is known in a scenario. Names outside all zones do not exist: the root zone is one of them.
#[derive(Clone, Debug)]
pub struct World {
    /// The zones; a record belongs to the one with the longest apex that fits.
    pub zones: Vec<Zone>,
}

impl World {
    /// The root alone, empty.
    pub fn new() -> Self {
        Self { zones: vec![Zone::new(".")] }
    }

    /// With the zone `cluster.local` too, where kubernetes.default is.
    pub fn cluster() -> Self {
        Self::new().zone("cluster.local.").record("kubernetes.default.svc.cluster.local.", 5, "A 10.96.0.1")
    }

    /// Adds a zone.
    pub fn zone(mut self, apex: &str) -> Self {
        self.zones.push(Zone::new(apex));
        self
    }

    /// Adds a record; `data` begins with its type.
    pub fn record(mut self, owner: &str, ttl: u32, data: &str) -> Self {
        let owner = absolute(owner);
        let is_in = |apex: &str| apex == "." || owner == apex || owner.ends_with(&format!(".{apex}"));
        let zone = self.zones.iter_mut().filter(|zone| is_in(&zone.apex)).max_by_key(|zone| zone.apex.len());
        if let Some(zone) = zone {
            writeln!(zone.records, "{owner} {ttl} {data}").ok();
        }
        self
    }

    /// An IPv4 address, and an IPv6 address where `both`.
    pub fn host(self, owner: &str, ttl: u32, names: &mut Names, both: bool) -> Self {
        let world = self.record(owner, ttl, &format!("A {}", names.address()));
        if both { world.record(owner, ttl, &format!("AAAA {}", names.address6())) } else { world }
    }

    /// All of these, with an IPv4 address each, and every second with an IPv6 address.
    pub fn hosts(self, owners: &[String], ttl: u32, names: &mut Names) -> Self {
        owners.iter().enumerate().fold(self, |world, (n, owner)| world.host(owner, ttl, names, n % 2 == 1))
    }

    /// A service of the cluster.
    pub fn service(self, service: &str, namespace: &str, ttl: u32) -> Self {
        let last = 1 + (service.len() * 7 + namespace.len() * 31) % 250;
        self.record(&format!("{service}.{namespace}.svc.cluster.local."), ttl, &format!("A 10.96.4.{last}"))
    }

    /// A name with `count` IPv4 addresses.
    pub fn big(mut self, owner: &str, ttl: u32, count: usize) -> Self {
        for n in 0..count {
            self = self.record(owner, ttl, &format!("A 20.111.{}.{}", n / 250, 1 + n % 250));
        }
        self
    }

    /// A chain of `depth` CNAMEs from `owner` on, each name about 60 octets long, to `addresses` addresses.
    pub fn chain(mut self, owner: &str, ttl: u32, depth: usize, addresses: usize) -> Self {
        let mut from = owner.to_owned();
        for n in 1..=depth {
            let to =
                format!("front-door-standard-{n:02}.region-of-last-resort.pop-{n:02}.edge-network.example.");
            self = self.record(&from, ttl, &format!("CNAME {to}"));
            from = to;
        }
        for n in 1..=addresses {
            self = self.record(&from, ttl, &format!("A 20.112.1.{n}"));
        }
        self
    }

    /// Every name below `suffix` exists, but has neither A nor AAAA: NODATA.
    pub fn empty_below(self, suffix: &str) -> Self {
        self.record(&format!("*.{suffix}"), 30, "TXT \"nothing here\"")
    }
}

impl Zone {
    /// Empty.
    fn new(apex: &str) -> Self {
        Self { apex: absolute(apex), records: String::new() }
    }

    /// The text of the zone file.
    ///
    /// The SOA's last number is how long negative answers are kept (RFC 2308 section 5), short as CoreDNS has it.
    pub fn text(&self) -> String {
        let dot = if self.apex == "." { "" } else { "." };
        let apex = &self.apex;
        let host = format!("ns{dot}{}", if apex == "." { "." } else { apex });
        format!(
            "{apex} 30 SOA {host} hostmaster{dot}{apex} 1 7200 1800 86400 5\n{apex} 30 NS {host}\n{host} 30 A 10.255.0.1\n{}",
            self.records
        )
    }
}

/// With the final dot.
fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_goes_to_the_deepest_zone() {
        let world = World::cluster().service("api", "shop", 5).record("www.acme.example", 60, "A 192.0.2.1");
        let text = |apex: &str| world.zones.iter().find(|zone| zone.apex == apex).unwrap().text();
        assert!(text("cluster.local.").contains("\napi.shop.svc.cluster.local. 5 A 10.96.4."));
        assert!(text(".").ends_with("\nwww.acme.example. 60 A 192.0.2.1\n"), "{}", text("."));
        assert!(text(".").starts_with(". 30 SOA ns. hostmaster. 1 "), "{}", text("."));
    }
}
