//! ENIs of AWS: which elastic network interface stands behind an interface of the node, by the instance metadata service.
//!
//! Input: the node's uplinks, by netlink as they come, and their hardware addresses. Output: [`Statement::Eni`] for each,
//! and the VPC resolvers that follow from its blocks. Requests to this service count against the limit that is measured
//! (facts.md section 4), so it is asked when an interface appears and never again: a token and the list of interfaces, and
//! six requests for each interface on it. What fails is tried [`ATTEMPTS`] times in all.

mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Teller;
use super::facts::{Eni, ServerRole, Source};
use super::statement::Statement;
use crate::capture::frame::{Ifindex, InterfaceKind};
use crate::capture::interfaces::{Interfaces, Selection};
use crate::capture::vpc;
use service::{Description, ImdsError, Service};

/// How often an interface is asked after, at most: one that was just attached may not be on the list yet, and an instance
/// that starts may not have its network.
const ATTEMPTS: u32 = 3;
/// The wait after the first attempt; after the second it is twice as long.
const PAUSE: Duration = Duration::from_secs(10);

/// The wait before the first attempt: until then an interface that was just attached has its addresses, and our programs,
/// which count these requests as they count those of others.
const SETTLE: Duration = Duration::from_secs(1);
/// Interfaces that are remembered although they are gone, at most.
const MOST_LINKS: usize = 64;

/// Is this a machine that has the service? Fargate's machine is an instance of EC2, but gives a task no metadata of it.
pub fn is_here() -> bool {
    let fargate = std::env::var_os("AWS_EXECUTION_ENV").is_some_and(|value| value == "AWS_ECS_FARGATE");
    vpc::on_ec2() && !fargate
}

/// What would be asked here, or why nothing is, for a person. Asks nothing: it would count.
pub fn outlook(asked: bool) -> &'static str {
    if asked || is_here() {
        "ENIs by the instance metadata service at 169.254.169.254, 8 requests for one interface"
    } else {
        "nobody: DMI does not say that this is an instance of EC2; --identity imds asks all the same"
    }
}

/// Runs until nobody listens any more.
pub fn run(teller: &Teller) {
    let interfaces = match Interfaces::find(Selection::Any) {
        Ok(interfaces) => interfaces,
        Err(error) => {
            teller.tell(Statement::Silent(Source::Imds, error.to_string()));
            return;
        }
    };
    let service = Service::default();
    Asker { teller, interfaces, service, links: BTreeMap::new(), resolvers: BTreeSet::new() }.run();
}

/// How far the questions about an interface are.
struct Asked {
    mac: String,
    attempts: u32,
    /// When it is asked after next; `None`: never again.
    next: Option<Instant>,
}

struct Asker<'a> {
    teller: &'a Teller,
    interfaces: Interfaces,
    service: Service,
    /// Every uplink that is there, and some that were.
    links: BTreeMap<Ifindex, Asked>,
    /// All that follow from what was said.
    resolvers: BTreeSet<IpAddr>,
}

impl Asker<'_> {
    fn run(mut self) {
        loop {
            self.look_at_links();
            let now = Instant::now();
            if self.links.values().any(|asked| asked.next.is_some_and(|next| next <= now)) && !self.ask(now) {
                return;
            }
            self.wait();
        }
    }

    /// Enters uplinks that are new. One that is gone is remembered: should only its default route have gone, it comes
    /// back, and is not asked after a second time.
    fn look_at_links(&mut self) {
        // What cannot be read now comes with the next notice.
        let _ = self.interfaces.changes();
        let uplinks = self.interfaces.watched().filter(|watched| watched.kind == InterfaceKind::Uplink);
        let macs: BTreeMap<Ifindex, String> = uplinks
            .filter_map(|watched| Some((watched.link.ifindex, mac_text(watched.link.hardware_address?))))
            .collect();
        if self.links.len() > MOST_LINKS {
            self.links.retain(|ifindex, _| macs.contains_key(ifindex));
        }
        for (ifindex, mac) in macs {
            if self.links.get(&ifindex).is_none_or(|asked| asked.mac != mac) {
                self.links.insert(ifindex, Asked { mac, attempts: 0, next: Some(Instant::now() + SETTLE) });
            }
        }
    }

    /// Waits for a link to change, or until something is due.
    fn wait(&self) {
        let next = self.links.values().filter_map(|asked| asked.next).min();
        let rest = next.map(|next| next.saturating_duration_since(Instant::now()));
        let rest =
            rest.map(|rest| Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: rest.subsec_nanos().into() });
        let mut fds = [PollFd::from_borrowed_fd(self.interfaces.as_fd(), PollFlags::IN)];
        // An interrupted wait is only a look too early.
        let _ = poll(&mut fds, rest.as_ref());
    }

    /// Asks after all interfaces that are due; `false` once nobody listens.
    fn ask(&mut self, now: Instant) -> bool {
        let due: Vec<Ifindex> = self
            .links
            .iter()
            .filter(|(_, asked)| asked.next.is_some_and(|next| next <= now))
            .map(|(ifindex, _)| *ifindex)
            .collect();
        let (described, failed) = self.describe(&due);
        let last = match failed {
            None => Statement::Speaks(Source::Imds),
            Some(error) => Statement::Silent(Source::Imds, error.to_string()),
        };
        let told = described.into_iter().all(|(ifindex, description)| self.tell(ifindex, description))
            && self.teller.tell(last);
        // Those that were described are not asked after again.
        for ifindex in due {
            if let Some(asked) = self.links.get_mut(&ifindex)
                && asked.next.is_some()
            {
                asked.attempts += 1;
                asked.next = (asked.attempts < ATTEMPTS).then(|| Instant::now() + PAUSE * asked.attempts);
            }
        }
        told
    }

    /// Descriptions of those that the service has on its list, and why they are not all.
    fn describe(&mut self, due: &[Ifindex]) -> (Vec<(Ifindex, Description)>, Option<ImdsError>) {
        let mut described = Vec::new();
        let macs = match self.service.macs() {
            Ok(macs) => macs,
            Err(error) => return (described, Some(error)),
        };
        for ifindex in due {
            let Some(asked) = self.links.get_mut(ifindex) else { continue };
            if !macs.contains(&asked.mac) {
                continue;
            }
            match self.service.describe(&asked.mac) {
                Ok(description) => described.push((*ifindex, description)),
                Err(error) => return (described, Some(error)),
            }
            asked.next = None;
        }
        (described, None)
    }

    fn tell(&mut self, interface: Ifindex, description: Description) -> bool {
        let Some(asked) = self.links.get(&interface) else { return true };
        let nameservers = vpc::configured_nameservers();
        self.resolvers.extend(resolvers(&description, &nameservers));
        let eni = Eni {
            interface,
            id: description.id,
            mac: asked.mac.clone(),
            addresses: description.addresses,
            vpc_blocks: description.vpc_blocks.iter().map(ToString::to_string).collect(),
        };
        let servers = self.resolvers.iter().copied().collect();
        self.teller.tell(Statement::Eni(eni))
            && self.teller.tell(Statement::Servers(ServerRole::Vpc, servers))
    }
}

/// The VPC resolvers by what is said of an interface: base plus two of each IPv4 block of its VPC, and of its subnet where
/// that address is a nameserver here. AWS keeps all of them to itself (VPC guide, "Subnet CIDR blocks").
fn resolvers(description: &Description, nameservers: &[IpAddr]) -> Vec<IpAddr> {
    let of_vpc = description.vpc_blocks.iter().filter_map(service::Block::resolver);
    let of_subnet = description.subnet_blocks.iter().filter_map(service::Block::resolver);
    of_vpc.chain(of_subnet.filter(|address| nameservers.contains(address))).collect()
}

/// In lower case with colons.
fn mac_text(octets: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = octets;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::Block;

    #[test]
    fn resolvers_follow_from_the_blocks() {
        let block = |text: &str| Block::parse(text).unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let description = Description {
            id: "eni-0".into(),
            addresses: Vec::new(),
            vpc_blocks: vec![block("10.0.0.0/16"), block("100.64.0.0/16"), block("2001:db8::/56")],
            subnet_blocks: vec![block("10.0.32.0/20")],
        };
        let of_vpc = vec![address("10.0.0.2"), address("100.64.0.2")];
        assert_eq!(resolvers(&description, &[]), of_vpc);
        let with_subnet = [of_vpc, vec![address("10.0.32.2")]].concat();
        assert_eq!(resolvers(&description, &[address("10.0.32.2"), address("8.8.8.8")]), with_subnet);
    }

    #[test]
    fn a_hardware_address_is_written_as_the_service_writes_it() {
        assert_eq!(mac_text([2, 0x29, 0x96, 0x8f, 0x6a, 0x2d]), "02:29:96:8f:6a:2d");
    }
}
