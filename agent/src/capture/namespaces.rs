//! Which links of the node lead into which network namespace.
//!
//! The kernel gives each network namespace that a link leads into a number, which holds as long as both live: the link tells
//! it (`IFLA_LINK_NETNSID`, Linux 4.0), and so does a process that lives inside (`RTM_GETNSID` by `NETNSA_PID`). Neither
//! needs a capability.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::frame::Ifindex;
use super::netlink::Netlink;

/// The number of a network namespace as seen from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub i32);

/// A link of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLink {
    /// Its number.
    pub ifindex: Ifindex,
    /// Its name.
    pub name: String,
    /// Where the other end of a veth or netkit is, if elsewhere.
    pub leads_into: Option<NamespaceId>,
}

/// The links of this network namespace, and news of them.
pub struct NodeLinks {
    requests: Netlink,
    notices: Netlink,
}

impl AsFd for NodeLinks {
    /// Readable when a link came, changed or went.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

impl NodeLinks {
    /// Begins to hear of links.
    pub fn open() -> io::Result<Self> {
        Ok(Self { notices: Netlink::links_only()?, requests: Netlink::new()? })
    }

    /// All links there are.
    pub fn list(&mut self) -> io::Result<Vec<NodeLink>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let links = self.requests.dump(request)?.into_iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(node_link(&link)),
            _ => None,
        });
        Ok(links.collect())
    }

    /// Did a link come, change or go since the last call? Never waits.
    pub fn changed(&mut self) -> io::Result<bool> {
        match self.notices.notices() {
            Ok(heard) => Ok(heard.iter().any(is_of_link)),
            // Notices were lost: something did.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The number of the network namespace that a process lives in; `None` where none of our links leads there.
    pub fn namespace_of(&mut self, pid: u32) -> io::Result<Option<NamespaceId>> {
        let mut request = NsidMessage::default();
        request.attributes.push(NsidAttribute::Pid(pid));
        let answers = self.requests.get(RouteNetlinkMessage::GetNsId(request))?;
        let number = answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewNsId(message) => id_of(message),
            _ => None,
        });
        Ok(number)
    }
}

/// Bridges tell of their ports in messages of a family of their own.
fn is_of_link(message: &RouteNetlinkMessage) -> bool {
    match message {
        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => {
            link.header.interface_family != AddressFamily::Bridge
        }
        _ => false,
    }
}

/// -1 stands for none (`NETNSA_NSID_NOT_ASSIGNED`).
fn id_of(message: &NsidMessage) -> Option<NamespaceId> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NsidAttribute::Id(id) if *id >= 0 => Some(NamespaceId(*id)),
        _ => None,
    })
}

fn node_link(message: &LinkMessage) -> NodeLink {
    let mut name = String::new();
    let mut elsewhere = None;
    let mut pair = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(its) => name.clone_from(its),
            LinkAttribute::LinkNetNsId(id) => elsewhere = Some(NamespaceId(*id)),
            LinkAttribute::LinkInfo(infos) => {
                pair |= infos.iter().any(|info| match info {
                    LinkInfo::Kind(kind) => matches!(kind, InfoKind::Veth) || kind.to_string() == "netkit",
                    _ => false,
                });
            }
            _ => {}
        }
    }
    // A tunnel that was made elsewhere names a namespace too, but nobody sits at its other end.
    NodeLink { ifindex: Ifindex(message.header.index), name, leads_into: elsewhere.filter(|_| pair) }
}
