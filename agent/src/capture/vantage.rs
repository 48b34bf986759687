//! Whose side a message is seen from: a function of interface kind, direction and which port is the server's.

use super::frame::{Direction, InterfaceKind, Place};

/// Whose side a message is seen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vantage {
    /// At the client: its pod interface, or the first hook that a process of the node passes.
    Client,
    /// At the interface of the pod that answers.
    Server,
    /// On its way in or out of the node.
    Uplink,
    /// In a file that does not say.
    Unknown,
}

impl Vantage {
    /// Every vantage.
    pub const ALL: [Self; 4] = [Self::Client, Self::Server, Self::Uplink, Self::Unknown];

    /// As it stands in labels and lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Uplink => "uplink",
            Self::Unknown => "unknown",
        }
    }
}

/// What place and direction alone say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The vantage is certain.
    Certain(Vantage),
    /// A packet on an uplink that may belong to a process of this node: its flow, or an earlier sighting, decides.
    NodeOrUplink,
}

/// Judges by the kind of interface and the direction there.
///
/// At a pod's interface a query that comes in, or a response that goes out to it, is seen from the client's side, and the
/// reverse from the server's: a CoreDNS pod is both. What a process of the node sends is seen from its side at the first
/// hook that it passes: on `lo`, or on an uplink where the packet still has its socket (forwarded packets have none, as
/// `bpf_get_socket_cookie` tells). All else on an uplink is on its way. Inside a namespace that was entered a workload's own
/// interface shows it from within: what leaves is its query or its response.
///
/// `to_server`: the destination port is the server's. On `lo` only egress is read, so its direction says nothing.
pub fn judge(place: Option<&Place>, to_server: bool) -> Verdict {
    let Some(place) = place else { return Verdict::Certain(Vantage::Unknown) };
    Verdict::Certain(match (place.kind, place.direction, to_server) {
        (InterfaceKind::Loopback, _, _) => Vantage::Client,
        (InterfaceKind::Pod, Direction::Ingress, true) | (InterfaceKind::Pod, Direction::Egress, false) => {
            Vantage::Client
        }
        (InterfaceKind::Pod, _, _) => Vantage::Server,
        (InterfaceKind::Inside, Direction::Egress, true)
        | (InterfaceKind::Inside, Direction::Ingress, false) => Vantage::Client,
        (InterfaceKind::Inside, _, _) => Vantage::Server,
        (InterfaceKind::Uplink, Direction::Egress, true) => match place.local_socket {
            Some(true) => Vantage::Client,
            Some(false) => Vantage::Uplink,
            None => return Verdict::NodeOrUplink,
        },
        // What comes back carries no sign of the process that waits for it.
        (InterfaceKind::Uplink, Direction::Ingress, false) => return Verdict::NodeOrUplink,
        (InterfaceKind::Uplink, _, _) => Vantage::Uplink,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::frame::Ifindex;

    fn check(
        kind: InterfaceKind,
        direction: Direction,
        local_socket: Option<bool>,
        to_server: bool,
        expected: Verdict,
    ) {
        let place = Place { ifindex: Ifindex(1), kind, direction, local_socket, cgroup: None };
        assert_eq!(
            judge(Some(&place), to_server),
            expected,
            "{kind:?} {direction:?} {local_socket:?} {to_server}"
        );
    }

    #[test]
    fn pod_interfaces_show_both_sides() {
        use Direction::{Egress, Ingress};
        let client = Verdict::Certain(Vantage::Client);
        let server = Verdict::Certain(Vantage::Server);
        check(InterfaceKind::Pod, Ingress, None, true, client);
        check(InterfaceKind::Pod, Egress, None, false, client);
        check(InterfaceKind::Pod, Egress, None, true, server);
        check(InterfaceKind::Pod, Ingress, None, false, server);
    }

    #[test]
    fn uplinks_tell_the_node_from_its_pods_by_the_socket() {
        use Direction::{Egress, Ingress};
        check(InterfaceKind::Uplink, Egress, Some(true), true, Verdict::Certain(Vantage::Client));
        check(InterfaceKind::Uplink, Egress, Some(false), true, Verdict::Certain(Vantage::Uplink));
        check(InterfaceKind::Uplink, Egress, None, true, Verdict::NodeOrUplink);
        check(InterfaceKind::Uplink, Ingress, None, false, Verdict::NodeOrUplink);
        check(InterfaceKind::Uplink, Ingress, None, true, Verdict::Certain(Vantage::Uplink));
    }

    #[test]
    fn inside_a_namespace_the_directions_are_those_of_the_workload() {
        use Direction::{Egress, Ingress};
        let [client, server] = [Vantage::Client, Vantage::Server].map(Verdict::Certain);
        for socket in [None, Some(true)] {
            check(InterfaceKind::Inside, Egress, socket, true, client);
            check(InterfaceKind::Inside, Ingress, socket, false, client);
            check(InterfaceKind::Inside, Ingress, socket, true, server);
            check(InterfaceKind::Inside, Egress, socket, false, server);
        }
    }

    #[test]
    fn loopback_is_the_client_and_a_file_is_unknown() {
        check(
            InterfaceKind::Loopback,
            Direction::Egress,
            Some(true),
            false,
            Verdict::Certain(Vantage::Client),
        );
        assert_eq!(judge(None, true), Verdict::Certain(Vantage::Unknown));
    }
}
