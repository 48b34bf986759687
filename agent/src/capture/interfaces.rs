//! Which interfaces there are, what stands behind each, and which of them to watch.
//!
//! Found and followed by netlink as pods come and go (facts.md section 5).

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use thiserror::Error;

use super::frame::{Ifindex, InterfaceKind, LinkType};
use super::netlink::Netlink;

/// Names that CNIs give to the host side of a pod (facts.md section 5).
const POD_PREFIXES: [&str; 6] = ["cali", "eni", "veth", "lxc", "azv", "gke"];
/// Security groups for pods: `vlan` and eleven hexadecimal digits.
const POD_HASHED_PREFIX: &str = "vlan";
/// Begin like a pod's interface, but are the CNI's own.
const NOT_PODS: [&str; 1] = ["lxc_health"];

/// An interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub ifindex: Ifindex,
    /// Its name.
    pub name: String,
    /// How its frames begin; `None` for a link type that we do not read.
    pub link_type: Option<LinkType>,
    /// `lo`.
    pub loopback: bool,
    /// Administratively up.
    pub up: bool,
    /// A veth or netkit whose other end is in another network namespace.
    pub peer_elsewhere: bool,
    /// A veth or netkit, wherever its other end is.
    pub pair: bool,
    /// A bridge, whose ports are pods.
    pub bridge: bool,
    /// A network card or its virtual function: no software kind.
    pub hardware: bool,
    /// Its hardware address, where it has one as Ethernet has.
    pub hardware_address: Option<[u8; 6]>,
}

/// An interface to watch, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The interface.
    pub link: Link,
    /// What stands behind it.
    pub kind: InterfaceKind,
    /// How we know, for a person.
    pub reason: &'static str,
}

/// What `-i` asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All pod-side interfaces, uplinks and `lo`.
    Any,
    /// Names and shell patterns (`cali*`).
    Named(Vec<String>),
}

impl Selection {
    /// From the values of `-i`; none is `any`.
    pub fn new(values: &[String]) -> Self {
        if values.is_empty() || values.iter().any(|value| value == "any") {
            Self::Any
        } else {
            Self::Named(values.to_vec())
        }
    }
}

impl Selection {
    /// Only interfaces that were named, without pattern characters: none that comes later is wanted.
    pub fn is_fixed(&self) -> bool {
        matches!(self, Self::Named(names) if !names.iter().any(|name| is_pattern(name)))
    }

    /// One interface by its name, without pattern characters?
    pub fn is_one_name(&self) -> bool {
        matches!(self, Self::Named(names) if matches!(names.as_slice(), [name] if !is_pattern(name)))
    }
}

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Named(names) => f.write_str(&names.join(", ")),
        }
    }
}

/// Why the interfaces could not be found.
#[derive(Debug, Error)]
pub enum InterfacesError {
    /// Netlink did not answer.
    #[error("failed to list the interfaces by netlink")]
    Netlink(#[source] io::Error),
    /// A name that no interface has.
    #[error("there is no interface `{name}`; there are: {there}")]
    NoSuchInterface {
        /// What was asked for.
        name: String,
        /// The names that there are.
        there: String,
    },
    /// An interface whose frames we cannot read.
    #[error(
        "interface `{0}` has a link type that is not read here; Ethernet, loopback, PPP and IP tunnels are"
    )]
    LinkType(String),
}

/// Links that came, changed or went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// To be watched from now on.
    pub appeared: Vec<Watched>,
    /// No longer there.
    pub vanished: Vec<Ifindex>,
    /// Watched, and known by another name from now on.
    pub renamed: Vec<(Ifindex, String)>,
}

/// The interfaces of this network namespace that are to be watched.
pub struct Interfaces {
    selection: Selection,
    /// The namespace was entered: it is a workload's, and no node's.
    inside: bool,
    requests: Netlink,
    notices: Netlink,
    default_routes: HashSet<u32>,
    watched: BTreeMap<Ifindex, Watched>,
    /// Every link of the last full list.
    all: Vec<Ifindex>,
}

impl AsFd for Interfaces {
    /// Readable when a link came, changed or went.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

impl Interfaces {
    /// Lists what there is.
    ///
    /// # Errors
    ///
    /// A name without pattern characters that no interface has.
    pub fn find(selection: Selection) -> Result<Self, InterfacesError> {
        Self::list_all(selection, false)
    }

    /// Lists what there is in a namespace that the calling thread has entered: all of it is a workload's.
    pub(super) fn find_inside() -> Result<Self, InterfacesError> {
        Self::list_all(Selection::Any, true)
    }

    fn list_all(selection: Selection, inside: bool) -> Result<Self, InterfacesError> {
        let mut interfaces = Self {
            selection,
            inside,
            // Hear first, list then: nothing that appears in between is missed.
            notices: Netlink::links().map_err(InterfacesError::Netlink)?,
            requests: Netlink::new().map_err(InterfacesError::Netlink)?,
            default_routes: HashSet::new(),
            watched: BTreeMap::new(),
            all: Vec::new(),
        };
        let links = interfaces.list()?;
        interfaces.check_names(&links)?;
        Ok(interfaces)
    }

    /// May others be watched later?
    pub(super) fn follow(&self) -> bool {
        !self.selection.is_fixed()
    }

    /// What is watched now.
    pub fn watched(&self) -> impl Iterator<Item = &Watched> {
        self.watched.values()
    }

    /// Every link there was at the start, watched or not.
    pub fn all(&self) -> &[Ifindex] {
        &self.all
    }

    /// Takes an interface out of the table, so that its next notice enters it anew.
    pub(super) fn forget(&mut self, ifindex: Ifindex) {
        self.watched.remove(&ifindex);
    }

    /// What changed since the last call.
    pub fn changes(&mut self) -> Result<Changes, InterfacesError> {
        let heard = match self.notices.notices() {
            Ok(heard) => heard,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return self.relist(),
            Err(error) => return Err(InterfacesError::Netlink(error)),
        };
        let mut changes = Changes::default();
        let mut default_route_changed = false;
        for message in heard {
            match message {
                // Bridges tell of their ports in messages of a family of their own.
                RouteNetlinkMessage::NewLink(link)
                    if link.header.interface_family != AddressFamily::Bridge =>
                {
                    self.appeared(link_of(&link), &mut changes);
                }
                RouteNetlinkMessage::DelLink(link)
                    if link.header.interface_family != AddressFamily::Bridge =>
                {
                    let ifindex = Ifindex(link.header.index);
                    changes.appeared.retain(|watched| watched.link.ifindex != ifindex);
                    if self.watched.remove(&ifindex).is_some() {
                        changes.vanished.push(ifindex);
                    }
                }
                RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)
                    if route.header.destination_prefix_length == 0 =>
                {
                    default_route_changed = true;
                }
                _ => {}
            }
        }
        if default_route_changed {
            let Changes { appeared, vanished, renamed } = self.relist()?;
            changes.appeared.extend(appeared);
            changes.vanished.extend(vanished);
            changes.renamed.extend(renamed);
        }
        Ok(changes)
    }

    /// All links, with those to watch entered into the table.
    fn list(&mut self) -> Result<Vec<Link>, InterfacesError> {
        self.default_routes = self.routes().map_err(InterfacesError::Netlink)?;
        let dump = self.requests.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()));
        let links: Vec<Link> = dump
            .map_err(InterfacesError::Netlink)?
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(link) => Some(link_of(link)),
                _ => None,
            })
            .collect();
        self.all = links.iter().map(|link| link.ifindex).collect();
        let mut changes = Changes::default();
        for link in &links {
            self.appeared(link.clone(), &mut changes);
        }
        Ok(links)
    }

    /// After lost notices or a new default route: compares a new list with the table. An interface that is something
    /// else now goes and comes.
    fn relist(&mut self) -> Result<Changes, InterfacesError> {
        let before = std::mem::take(&mut self.watched);
        if let Err(error) = self.list() {
            self.watched = before;
            return Err(error);
        }
        let same = |watched: &Watched, other: &BTreeMap<Ifindex, Watched>| {
            other.get(&watched.link.ifindex).is_some_and(|known| known.kind == watched.kind)
        };
        Ok(Changes {
            appeared: self.watched.values().filter(|now| !same(now, &before)).cloned().collect(),
            vanished: before
                .values()
                .filter(|old| !same(old, &self.watched))
                .map(|old| old.link.ifindex)
                .collect(),
            renamed: Vec::new(),
        })
    }

    fn appeared(&mut self, link: Link, changes: &mut Changes) {
        if let Some(known) = self.watched.get_mut(&link.ifindex) {
            if known.link.name != link.name {
                known.link.name.clone_from(&link.name);
                changes.renamed.push((link.ifindex, link.name));
            }
            return;
        }
        if let Some((kind, reason)) = self.judge(&link) {
            let watched = Watched { link, kind, reason };
            self.watched.insert(watched.link.ifindex, watched.clone());
            changes.appeared.push(watched);
        }
    }

    /// Is this link to be watched, and as what?
    fn judge(&self, link: &Link) -> Option<(InterfaceKind, &'static str)> {
        link.link_type?;
        let default_route = self.default_routes.contains(&link.ifindex.0);
        if self.inside {
            return classify_inside(link, default_route);
        }
        let (kind, reason) = classify(link, default_route);
        match &self.selection {
            Selection::Any => kind.map(|kind| (kind, reason)),
            Selection::Named(names) => {
                let asked = names.iter().any(|name| matches_pattern(name, &link.name));
                // Of an interface that nobody knows, only its direction says whose side it shows.
                asked.then(|| {
                    (
                        kind.unwrap_or(if link.bridge { InterfaceKind::Pod } else { InterfaceKind::Uplink }),
                        reason,
                    )
                })
            }
        }
    }

    fn check_names(&self, links: &[Link]) -> Result<(), InterfacesError> {
        let Selection::Named(names) = &self.selection else { return Ok(()) };
        for name in names.iter().filter(|name| !is_pattern(name)) {
            match links.iter().find(|link| link.name == *name) {
                Some(link) if link.link_type.is_none() => {
                    return Err(InterfacesError::LinkType(name.clone()));
                }
                Some(_) => {}
                None => {
                    let there: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
                    return Err(InterfacesError::NoSuchInterface {
                        name: name.clone(),
                        there: there.join(", "),
                    });
                }
            }
        }
        Ok(())
    }

    /// The interfaces that a default route leaves by.
    fn routes(&mut self) -> io::Result<HashSet<u32>> {
        let mut found = HashSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            for message in self.requests.dump(RouteNetlinkMessage::GetRoute(request))? {
                let RouteNetlinkMessage::NewRoute(route) = message else { continue };
                if route.header.destination_prefix_length == 0 {
                    found.extend(route.attributes.iter().filter_map(|attribute| match attribute {
                        RouteAttribute::Oif(ifindex) => Some(*ifindex),
                        _ => None,
                    }));
                }
            }
        }
        Ok(found)
    }
}

/// The link type of all frames, where one interface was asked for by its name; `None` where there may be several.
pub fn one_link_type(selection: &Selection) -> Result<Option<LinkType>, InterfacesError> {
    if !selection.is_one_name() {
        return Ok(None);
    }
    let interfaces = Interfaces::find(selection.clone())?;
    Ok(interfaces.watched().next().and_then(|watched| watched.link.link_type))
}

/// The name of an interface; `None` once it is gone.
pub fn name_of(ifindex: Ifindex) -> Option<String> {
    use rustix::net::{AddressFamily, SocketType, netdevice::index_to_name, socket};
    // Any socket will do: the kernel only wants to know in which network namespace we ask.
    let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None).ok()?;
    index_to_name(&socket, ifindex.0).ok()
}

/// What stands behind a link, and how we know; `None`: nothing that the default set wants.
fn classify(link: &Link, default_route: bool) -> (Option<InterfaceKind>, &'static str) {
    if link.loopback {
        (Some(InterfaceKind::Loopback), "the node's own queries to a resolver on it")
    } else if default_route {
        (Some(InterfaceKind::Uplink), "uplink: a default route leaves by it")
    } else if has_pod_name(&link.name) {
        (Some(InterfaceKind::Pod), "pod: named as a CNI names the host side of a pod")
    } else if link.peer_elsewhere {
        (Some(InterfaceKind::Pod), "pod: its other end is in another network namespace")
    } else if link.hardware {
        (Some(InterfaceKind::Uplink), "uplink: a network card")
    } else {
        (None, "neither a pod's nor an uplink")
    }
}

/// As [`classify`], in a namespace that was entered. A container may hold containers, whose interfaces are named as a CNI
/// names them; what else is up is the workload's own, whatever its kind.
fn classify_inside(link: &Link, default_route: bool) -> Option<(InterfaceKind, &'static str)> {
    if link.loopback {
        Some((InterfaceKind::Loopback, "the workload's own queries to a resolver on it"))
    } else if default_route {
        Some((InterfaceKind::Inside, "inside: the workload's default route leaves by it"))
    } else if has_pod_name(&link.name) {
        Some((InterfaceKind::Pod, "pod: named as a CNI names the host side of a pod"))
    } else if link.up && !link.bridge {
        Some((InterfaceKind::Inside, "inside: the workload's own"))
    } else {
        None
    }
}

fn has_pod_name(name: &str) -> bool {
    if NOT_PODS.contains(&name) {
        return false;
    }
    let hashed = |rest: &str| rest.len() == 11 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    POD_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.strip_prefix(POD_HASHED_PREFIX).is_some_and(hashed)
}

fn link_of(message: &LinkMessage) -> Link {
    let mut link = Link {
        ifindex: Ifindex(message.header.index),
        name: String::new(),
        link_type: match message.header.link_layer_type {
            LinkLayerType::Ether | LinkLayerType::Loopback => Some(LinkType::Ethernet),
            LinkLayerType::None
            | LinkLayerType::Rawip
            | LinkLayerType::Ppp
            | LinkLayerType::Tunnel
            | LinkLayerType::Sit => Some(LinkType::RawIp),
            _ => None,
        },
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        up: message.header.flags.contains(LinkFlags::Up),
        peer_elsewhere: false,
        pair: false,
        bridge: false,
        hardware: message.header.link_layer_type == LinkLayerType::Ether,
        hardware_address: None,
    };
    let mut pair = false;
    let mut elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(address) => link.hardware_address = address.as_slice().try_into().ok(),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.hardware = false;
                        link.bridge |= *kind == InfoKind::Bridge;
                        pair |= matches!(kind, InfoKind::Veth) || kind.to_string() == "netkit";
                    }
                }
            }
            _ => {}
        }
    }
    link.peer_elsewhere = pair && elsewhere;
    link.pair = pair;
    link
}

/// Shell patterns as tcpdump's users write them: `*` any characters, `?` one.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    fn matches(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) if matches(rest, name) => true,
            (Some((b'*', _)), Some((_, behind))) => matches(pattern, behind),
            (Some((b'?', rest)), Some((_, behind))) => matches(rest, behind),
            (Some((expected, rest)), Some((found, behind))) => expected == found && matches(rest, behind),
            _ => false,
        }
    }
    matches(pattern.as_bytes(), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str) -> Link {
        Link {
            ifindex: Ifindex(7),
            name: name.into(),
            link_type: Some(LinkType::Ethernet),
            loopback: name == "lo",
            up: true,
            peer_elsewhere: false,
            pair: false,
            bridge: false,
            hardware: false,
            hardware_address: None,
        }
    }

    #[test]
    fn names_of_cnis_are_pods() {
        for name in
            ["cali7c1dd98133b", "eni0123456789a", "veth12ab34cd", "vlan0123456789a", "azv1234", "gke12"]
        {
            assert_eq!(classify(&link(name), false).0, Some(InterfaceKind::Pod), "{name}");
        }
        for name in ["docker0", "cni0", "vlan.eth.1", "vlan100", "flannel.1", "nodelocaldns", "lxc_health"] {
            assert_eq!(classify(&link(name), false).0, None, "{name}");
        }
    }

    #[test]
    fn a_default_route_makes_an_uplink_of_any_name() {
        assert_eq!(classify(&link("veth0"), true).0, Some(InterfaceKind::Uplink));
        assert_eq!(classify(&Link { hardware: true, ..link("ens5") }, false).0, Some(InterfaceKind::Uplink));
        assert_eq!(classify(&link("lo"), true).0, Some(InterfaceKind::Loopback));
        assert_eq!(classify(&Link { peer_elsewhere: true, ..link("x0") }, false).0, Some(InterfaceKind::Pod));
    }

    #[test]
    fn inside_a_namespace_what_is_up_is_the_workloads() {
        let kind = |link: &Link, default_route| classify_inside(link, default_route).map(|(kind, _)| kind);
        assert_eq!(kind(&link("lo"), false), Some(InterfaceKind::Loopback));
        assert_eq!(kind(&link("eth0"), false), Some(InterfaceKind::Inside));
        assert_eq!(kind(&link("veth0"), true), Some(InterfaceKind::Inside));
        assert_eq!(kind(&link("veth0"), false), Some(InterfaceKind::Pod));
        assert_eq!(kind(&Link { up: false, ..link("sit0") }, false), None);
        assert_eq!(kind(&Link { bridge: true, ..link("br0") }, false), None);
        assert_eq!(kind(&Link { bridge: true, ..link("br0") }, true), Some(InterfaceKind::Inside));
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        assert!(matches_pattern("cali*", "cali1"));
        assert!(matches_pattern("*", ""));
        assert!(matches_pattern("e?h0", "eth0"));
        assert!(!matches_pattern("eth", "eth0"));
        assert!(!matches_pattern("cali*x", "cali1"));
    }
}
