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

use anyhow::{Context, Result};

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

/// All link-local addresses derive from the MAC address; Calico gives this one to every host end.
const HOST_MAC: &str = "ee:ee:ee:ee:ee:ee";
const HOST_LINK_LOCAL6: &str = "fe80::ecee:eeff:feee:eeee";

/// One pod of the lab.
#[derive(Debug)]
pub struct Pod {
    /// `namespace/name`, as kubectl would say it.
    pub name: &'static str,
    /// Its network namespace.
    pub netns: &'static str,
    /// The host end of its veth, in the node's namespace: `cali` (Calico) or `eni` (AWS VPC CNI), then the first
    /// 11 hex digits of sha1("namespace.name"), as both CNIs compute it.
    pub interface: &'static str,
    /// Its IPv4 address.
    pub address: &'static str,
    /// Its IPv6 address.
    pub address6: &'static str,
}

/// The pod that runs the cluster's resolver.
pub const COREDNS: &str = "kube-system/coredns-5d78c9869d-x2x7k";

/// All pods. A real node has one CNI; the lab has the wires of two, because the agent must know both.
pub const PODS: &[Pod] = &[
    Pod {
        name: COREDNS,
        netns: "nslookout-coredns",
        interface: "cali3ad697901f8",
        address: "10.1.0.2",
        address6: "fd00:10:1::2",
    },
    Pod {
        name: "shop/cart",
        netns: "nslookout-shop-cart",
        interface: "calie45f23531db",
        address: "10.1.0.5",
        address6: "fd00:10:1::5",
    },
    Pod {
        name: "shop/batch",
        netns: "nslookout-shop-batch",
        interface: "eni7819e2963f3",
        address: "10.1.0.6",
        address6: "fd00:10:1::6",
    },
    Pod {
        name: "tools/debug",
        netns: "nslookout-tools-debug",
        interface: "eni23bc28c4c85",
        address: "10.1.0.7",
        address6: "fd00:10:1::7",
    },
];

impl Pod {
    /// The search list that Kubernetes gives a pod of this namespace.
    pub fn search(&self) -> [String; 3] {
        let namespace = self.name.split('/').next().unwrap_or_default();
        [format!("{namespace}.svc.cluster.local"), "svc.cluster.local".into(), "cluster.local".into()]
    }

    /// The `resolv.conf` that the kubelet would write: the cluster's for all but the resolver's own pod, which has
    /// `dnsPolicy: Default` and so the VPC's.
    pub fn resolv_conf(&self) -> String {
        if self.name == COREDNS {
            return format!("nameserver {VPC_RESOLVER}\n");
        }
        format!("search {}\nnameserver {SERVICE_IP}\noptions ndots:5\n", self.search().join(" "))
    }
}

/// The pod of this name, or an error with the names that there are.
pub fn pod(name: &str) -> Result<&'static Pod> {
    PODS.iter().find(|pod| pod.name == name).with_context(|| {
        let names: Vec<&str> = PODS.iter().map(|pod| pod.name).collect();
        format!("no pod {name} in the lab; there are: {}", names.join(", "))
    })
}

/// Every namespace of the lab: all that is ever created or removed.
pub fn namespaces() -> impl Iterator<Item = &'static str> {
    [NODE, VPC].into_iter().chain(PODS.iter().map(|pod| pod.netns))
}

/// Makes the namespaces and the wires between them.
pub fn build() -> Result<()> {
    for name in namespaces() {
        netns::add(name)?;
    }
    netns::set(NODE, &[("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")])?;
    netns::write_etc(NODE, &format!("nameserver {HOST_RESOLVER}\n"))?;
    wire_uplink()?;
    for pod in PODS {
        wire(pod)?;
        netns::write_etc(pod.netns, &pod.resolv_conf())?;
    }
    netns::nft(NODE, &fill(include_str!("../../lab/service-ip.nft"))?)
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

/// Puts the addresses into a template of `xtask/lab/`.
pub fn fill(template: &str) -> Result<String> {
    let coredns = pod(COREDNS)?;
    Ok([
        ("@ADDRESS@", coredns.address),
        ("@ADDRESS6@", coredns.address6),
        ("@SERVICE_IP@", SERVICE_IP),
        ("@SERVICE_IP6@", SERVICE_IP6),
        ("@VPC_RESOLVER@", VPC_RESOLVER),
        ("@VPC_RESOLVER6@", VPC_RESOLVER6),
        ("@HOST_RESOLVER@", HOST_RESOLVER),
    ]
    .iter()
    .fold(template.to_owned(), |text, (placeholder, value)| text.replace(placeholder, value)))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn interfaces_are_named_as_the_cnis_name_them() {
        for pod in PODS {
            let key = pod.name.replace('/', ".");
            let sum =
                crate::shell::output(Command::new("sh").args(["-c", "printf %s \"$0\" | sha1sum", &key]));
            let hex = sum.unwrap()[..11].to_owned();
            assert_eq!(
                pod.interface.trim_start_matches("cali").trim_start_matches("eni"),
                hex,
                "{}",
                pod.name
            );
        }
    }

    #[test]
    fn every_namespace_is_recognisably_ours() {
        assert!(namespaces().all(|name| name.starts_with("nslookout-")));
    }

    #[test]
    fn templates_have_no_placeholder_left() {
        let filled = fill(include_str!("../../lab/service-ip.nft")).unwrap();
        assert!(!filled.contains('@'), "{filled}");
    }
}
