//! The network namespaces as they are told: who lives in each, by which interfaces and addresses its packets are known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::addresses;
use super::contents::Contents;
use super::links::Links;
use super::proc::Proc;
use super::table::{Group, GroupKey, Speaker};
use crate::identity::statement::{Home, Inhabitant, Namespace};

/// The addresses of a namespace are read again so often, and sooner while it is young.
const ADDRESSES: Duration = Duration::from_secs(30);
/// So long a namespace may still get its addresses.
const YOUNG: Duration = Duration::from_secs(10);

/// The addresses of each namespace, as they were read last.
#[derive(Default)]
pub struct Addresses(BTreeMap<u64, Read>);

struct Read {
    /// Who lived there: of others another namespace may be meant, with the same inode.
    oldest: Speaker,
    first_seen: Instant,
    read: Instant,
    addresses: Vec<IpAddr>,
}

/// The oldest process of each namespace.
pub fn oldest(groups: &BTreeMap<GroupKey, Group>) -> BTreeMap<u64, Speaker> {
    let mut oldest: BTreeMap<u64, Speaker> = BTreeMap::new();
    for ((inode, _), group) in groups {
        let Some(first) = group.speakers.first() else { continue };
        let known = oldest.entry(*inode).or_insert_with(|| first.clone());
        if first < known {
            *known = first.clone();
        }
    }
    oldest
}

impl Addresses {
    /// Reads those that are new, young or old; with `all` every one.
    pub fn refresh(&mut self, proc: &Proc, oldest: &BTreeMap<u64, Speaker>, now: Instant, all: bool) {
        self.0.retain(|inode, _| oldest.contains_key(inode));
        for (inode, speaker) in oldest {
            let known = self.0.get(inode).filter(|read| read.oldest == *speaker);
            let holds = known.is_some_and(|read| {
                let young = now.saturating_duration_since(read.first_seen) < YOUNG;
                !all && !young && now.saturating_duration_since(read.read) < ADDRESSES
            });
            if holds {
                continue;
            }
            let first_seen = known.map_or(now, |read| read.first_seen);
            let Some(process) = proc.process(speaker.pid) else { continue };
            let addresses = addresses::of(&process);
            self.0.insert(*inode, Read { oldest: speaker.clone(), first_seen, read: now, addresses });
        }
    }

    fn of(&self, inode: u64) -> Vec<IpAddr> {
        self.0.get(&inode).map(|read| read.addresses.clone()).unwrap_or_default()
    }
}

/// Every namespace by its inode; `own` is that of the node.
pub fn namespaces(
    groups: &BTreeMap<GroupKey, Group>,
    oldest: &BTreeMap<u64, Speaker>,
    own: Option<u64>,
    links: Option<&mut Links>,
    addresses: &Addresses,
    contents: &Contents,
) -> BTreeMap<u64, Namespace> {
    let mut found = BTreeMap::new();
    let mut links = links;
    for (inode, speaker) in oldest {
        let is_node = own == Some(*inode);
        let interfaces = match links.as_deref_mut() {
            Some(links) if !is_node => links.leading_into(*inode, (speaker.start, speaker.pid)),
            _ => Vec::new(),
        };
        let mut inhabitants: Vec<Inhabitant> = groups
            .range((*inode, 0)..=(*inode, u32::MAX))
            .filter(|(_, group)| !is_node || tells_apart(group))
            .map(|(key, group)| inhabitant(*key, group, contents))
            .collect();
        // In an order that does not hang on when each was met: what is told again is what changed.
        inhabitants.sort_by(|one, other| one.home.cmp(&other.home).then(one.process.cmp(&other.process)));
        let addresses = addresses.of(*inode);
        let pid = speaker.pid;
        found.insert(*inode, Namespace { inode: *inode, is_node, interfaces, addresses, inhabitants, pid });
    }
    settle_addresses(&mut found);
    found
}

/// On the node itself, where all share its addresses, those without a cgroup of their own are nobody.
fn tells_apart(group: &Group) -> bool {
    group.place.cgroup.is_some() || group.place.home != Home::Process
}

fn inhabitant(key: GroupKey, group: &Group, contents: &Contents) -> Inhabitant {
    let (resolver, libc, name) = contents.of(key);
    let mut home = group.place.home.clone();
    if let Home::Container { name: known, .. } = &mut home
        && name.is_some()
    {
        *known = name;
    }
    let process = group.speakers.first().map(|speaker| speaker.comm.clone()).unwrap_or_default();
    Inhabitant { home, cgroup: group.place.cgroup, process, resolver, libc }
}

/// Takes away the addresses that do not tell a namespace from another one.
///
/// Whoever may configure a namespace of their own may give it any address: one that two claim is nobody's, and so is the node's. A
/// namespace that no interface of the node leads into stands behind another one, by whose address its packets come here,
/// where somebody of the same home has one.
fn settle_addresses(namespaces: &mut BTreeMap<u64, Namespace>) {
    let homes = |namespace: &Namespace| -> Vec<Home> {
        let homes = namespace.inhabitants.iter().map(|inhabitant| inhabitant.home.clone());
        homes.filter(|home| *home != Home::Process).collect()
    };
    let linked: BTreeSet<Home> =
        namespaces.values().filter(|one| !one.interfaces.is_empty() || one.is_node).flat_map(homes).collect();
    // Those that an interface leads into first, then those that only have an address.
    let mut claims: BTreeMap<IpAddr, (bool, usize)> = BTreeMap::new();
    for namespace in namespaces.values_mut() {
        let is_linked = !namespace.interfaces.is_empty() || namespace.is_node;
        if !is_linked && homes(namespace).iter().any(|home| linked.contains(home)) {
            namespace.addresses.clear();
        }
        for address in &namespace.addresses {
            let claim = claims.entry(*address).or_insert((false, 0));
            match (claim.0, is_linked) {
                (false, true) => *claim = (true, 1),
                (true, false) => {}
                _ => claim.1 += 1,
            }
        }
    }
    let nodes: BTreeSet<IpAddr> =
        namespaces.values().filter(|one| one.is_node).flat_map(|one| one.addresses.clone()).collect();
    for namespace in namespaces.values_mut().filter(|one| !one.is_node) {
        let is_linked = !namespace.interfaces.is_empty();
        namespace.addresses.retain(|address| {
            claims.get(address).is_some_and(|claim| *claim == (is_linked, 1)) && !nodes.contains(address)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::frame::Ifindex;

    fn namespace(inode: u64, interfaces: &[u32], addresses: &[&str], home: Home) -> (u64, Namespace) {
        let inhabitant = Inhabitant { home, cgroup: None, process: "app".into(), resolver: None, libc: None };
        let namespace = Namespace {
            inode,
            is_node: inode == 1,
            interfaces: interfaces.iter().copied().map(Ifindex).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            inhabitants: vec![inhabitant],
            pid: 1,
        };
        (inode, namespace)
    }

    fn pod(uid: &str) -> Home {
        Home::Pod { uid: uid.into(), container: None }
    }

    fn addresses_of(namespaces: impl IntoIterator<Item = (u64, Namespace)>) -> Vec<Vec<String>> {
        let mut namespaces: BTreeMap<u64, Namespace> = namespaces.into_iter().collect();
        settle_addresses(&mut namespaces);
        let text = |namespace: &Namespace| namespace.addresses.iter().map(ToString::to_string).collect();
        namespaces.values().map(text).collect()
    }

    #[test]
    fn nobody_takes_the_address_of_another() {
        let told = addresses_of([
            namespace(1, &[], &["10.0.0.1"], Home::Unit("init.scope".into())),
            // The node's address, a neighbour's and its own.
            namespace(2, &[7], &["10.0.0.1", "10.1.0.3", "10.1.0.2"], pod("a")),
            namespace(3, &[8], &["10.1.0.3"], pod("b")),
            // No interface leads there: it cannot have the address of one to which it does.
            namespace(4, &[], &["10.1.0.2", "10.9.0.1"], pod("c")),
        ]);
        assert_eq!(told, [vec!["10.0.0.1"], vec!["10.1.0.2"], vec![], vec!["10.9.0.1"]]);
    }

    #[test]
    fn a_namespace_behind_another_has_no_address_here() {
        let told = addresses_of([
            namespace(2, &[7], &["10.1.0.2"], pod("a")),
            namespace(3, &[], &["172.17.0.2"], pod("a")),
            namespace(4, &[], &["172.18.0.2"], Home::Process),
        ]);
        assert_eq!(told, [vec!["10.1.0.2"], vec![], vec!["172.18.0.2"]]);
    }
}
