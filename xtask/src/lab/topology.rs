//! Who is where in the lab: names, addresses, wires and search lists.
//!
//! ```text
//!   shop/cart ──cali…──┐                             ┌──eni…── shop/batch
//!   coredns   ──cali…──┤   nslookout-node            ├──eni…── tools/debug
//!                      │   10.96.0.10:53 ─DNAT─▶ coredns
//!                      │   127.0.0.53 on lo          │
//!                      └───────────eth0──────────────┘
//!                                   │
//!                              nslookout-vpc   169.254.169.253
//! ```

use anyhow::Result;

use super::pods::{COREDNS, INCIDENT_PODS, PODS, Pod, pod_of};
use crate::netns;

/// The namespace that is the node: host ends of the pods' wires, uplink, lo. The agent runs here.
pub const NODE: &str = "nslookout-node";
/// The namespace that is the VPC around the node.
pub const VPC: &str = "nslookout-vpc";

/// The node's own address on its uplink `eth0`.
pub const NODE_IP: &str = "10.0.0.10";
/// The node's own IPv6 address on its uplink.
pub const NODE_IP6: &str = "fd00:10::10";
/// The cluster's DNS Service (udp and tcp, port 53), DNATed to the resolver pod.
pub const SERVICE_IP: &str = "10.96.0.10";
/// The same Service over IPv6.
pub const SERVICE_IP6: &str = "fd00:10:96::a";
/// The VPC resolver, as at AWS: link-local, reached over the uplink.
pub const VPC_RESOLVER: &str = "169.254.169.253";
/// The VPC resolver over IPv6, as at AWS.
pub const VPC_RESOLVER6: &str = "fd00:ec2::253";
/// The stub resolver on the node's loopback, as systemd-resolved is one.
pub const HOST_RESOLVER: &str = "127.0.0.53";

/// Where the servers that answer wrongly are: each an address of the pod `dns/faulty`, so that what is found of one is
/// never of another.
pub const PAIR_CONFLICT: &str = "10.1.0.21";
/// Fails on one zone.
pub const SERVFAIL: &str = "10.1.0.22";
/// Sends answers of any size that a client announces over UDP, in fragments.
pub const FRAGMENTED: &str = "10.1.0.23";
/// Answers after three seconds.
pub const SLOW: &str = "10.1.0.24";
/// The second address of the pod `dns/two-homed`, which answers from its first.
pub const WRONG_SOURCE: &str = "10.1.0.25";
/// The resolver of the node's pods and processes where there is a node-local cache; the address is NodeLocal DNSCache's.
pub const NODE_CACHE: &str = "169.254.20.10";
/// The instance metadata service of the VPC, as at AWS.
pub const IMDS: &str = "169.254.169.254";

/// All link-local addresses derive from the MAC address; Calico gives this one to every host end.
const HOST_MAC: &str = "ee:ee:ee:ee:ee:ee";
const HOST_LINK_LOCAL6: &str = "fe80::ecee:eeff:feee:eeee";

/// Every namespace of the lab: all that is ever created or removed.
pub fn namespaces() -> impl Iterator<Item = &'static str> {
    [NODE, VPC].into_iter().chain(PODS.iter().chain(INCIDENT_PODS).map(|pod| pod.netns))
}

/// Makes the node, the VPC, the pods that are always there, and the wires between them.
pub fn build() -> Result<()> {
    for name in [NODE, VPC] {
        netns::add(name)?;
    }
    netns::set(NODE, &[("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")])?;
    netns::write_etc(NODE, &format!("nameserver {HOST_RESOLVER}\n"))?;
    wire_uplink()?;
    for pod in PODS {
        add(pod)?;
    }
    netns::nft(NODE, &fill(include_str!("../../lab/service-ip.nft"))?)
}

/// Adds the pods of the incidents, and the further addresses of those that serve.
pub fn build_incidents() -> Result<()> {
    for pod in INCIDENT_PODS {
        add(pod)?;
    }
    let faulty = [PAIR_CONFLICT, SERVFAIL, FRAGMENTED, SLOW];
    for (name, addresses) in [("dns/faulty", &faulty[..]), ("dns/two-homed", &[WRONG_SOURCE])] {
        let pod = pod_of(name)?;
        for address in addresses {
            netns::ip(pod.netns, &format!("addr add {address}/32 dev lo"))?;
            netns::ip(
                NODE,
                &format!("route add {address}/32 via {} dev {} onlink", pod.address, pod.interface),
            )?;
        }
    }
    netns::ip(NODE, &format!("addr add {NODE_CACHE}/32 dev lo"))?;
    netns::ip(VPC, &format!("addr add {IMDS}/32 dev lo"))
}

fn add(pod: &Pod) -> Result<()> {
    netns::add(pod.netns)?;
    wire(pod)?;
    netns::write_etc(pod.netns, &pod.resolv_conf())
}

/// `eth0` of the node, and the VPC at its other end.
///
/// The VPC resolver's addresses are on the VPC's lo: on `vpc0` they would be the source of neighbour solicitations, and
/// the node's replies would count as packets to a link-local service.
fn wire_uplink() -> Result<()> {
    netns::ip(
        NODE,
        &format!(
            "link add eth0 type veth peer name vpc0 netns {VPC}
             addr add {NODE_IP}/24 dev eth0
             addr add {NODE_IP6}/64 dev eth0 nodad
             link set eth0 up"
        ),
    )?;
    netns::ip(
        VPC,
        &format!(
            "addr add 10.0.0.1/24 dev vpc0
             addr add fd00:10::1/64 dev vpc0 nodad
             addr add {VPC_RESOLVER}/32 dev lo
             addr add {VPC_RESOLVER6}/128 dev lo nodad
             link set vpc0 up
             route add 10.1.0.0/16 via {NODE_IP}
             route add fd00:10:1::/64 via {NODE_IP6}"
        ),
    )?;
    netns::ip(NODE, "route add default via 10.0.0.1\nroute add default via fd00:10::1")
}

/// A pod's veth as Calico lays it: a /32, and a gateway that exists on the link alone.
///
/// The gateway's neighbour entry is fixed (as the VPC CNI does it) in place of Calico's proxy ARP: the same frames,
/// without its delay.
fn wire(pod: &Pod) -> Result<()> {
    let Pod { netns, interface, address, address6, .. } = pod;
    netns::ip(
        NODE,
        &format!(
            "link add {interface} address {HOST_MAC} type veth peer name eth0 netns {netns}
             link set {interface} up
             route add {address}/32 dev {interface} scope link
             route add {address6}/128 dev {interface}"
        ),
    )?;
    netns::ip(
        netns,
        &format!(
            "addr add {address}/32 dev eth0
             addr add {address6}/128 dev eth0 nodad
             link set eth0 up
             neigh add 169.254.1.1 lladdr {HOST_MAC} dev eth0 nud permanent
             neigh add {HOST_LINK_LOCAL6} lladdr {HOST_MAC} dev eth0 nud permanent
             route add 169.254.1.1 dev eth0 scope link
             route add default via 169.254.1.1 dev eth0
             route add default via {HOST_LINK_LOCAL6} dev eth0"
        ),
    )
}

/// Puts the addresses into a template of `xtask/lab/`: those with a name of their own, and `@namespace/name@` of a pod.
pub fn fill(template: &str) -> Result<String> {
    let coredns = pod_of(COREDNS)?;
    let mut text = template.to_owned();
    for pod in PODS.iter().chain(INCIDENT_PODS) {
        text = text.replace(&format!("@{}@", pod.name), pod.address);
    }
    Ok([
        ("@ADDRESS@", coredns.address),
        ("@ADDRESS6@", coredns.address6),
        ("@SERVICE_IP@", SERVICE_IP),
        ("@SERVICE_IP6@", SERVICE_IP6),
        ("@VPC_RESOLVER@", VPC_RESOLVER),
        ("@VPC_RESOLVER6@", VPC_RESOLVER6),
        ("@HOST_RESOLVER@", HOST_RESOLVER),
        ("@PAIR_CONFLICT@", PAIR_CONFLICT),
        ("@SERVFAIL@", SERVFAIL),
        ("@FRAGMENTED@", FRAGMENTED),
        ("@SLOW@", SLOW),
        ("@NODE_CACHE@", NODE_CACHE),
        ("@IMDS@", IMDS),
    ]
    .iter()
    .fold(text, |text, (placeholder, value)| text.replace(placeholder, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_is_recognisably_ours() {
        assert!(namespaces().all(|name| name.starts_with("nslookout-")));
    }

    #[test]
    fn templates_have_no_placeholder_left() {
        for template in [
            include_str!("../../lab/service-ip.nft"),
            include_str!("../../lab/incidents/faults.nft"),
            include_str!("../../lab/incidents/limit.nft"),
            include_str!("../../lab/incidents/slow.conf"),
        ] {
            let filled = fill(template).unwrap();
            assert!(!filled.contains('@'), "{filled}");
        }
    }
}
