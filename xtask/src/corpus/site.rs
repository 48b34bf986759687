//! The namespaces of one scenario: pods, the node that forwards, and the world of the servers.
//!
//! ```text
//!   nslcorp-…-p1 ── cali… ──┐
//!   nslcorp-…-p2 ── cali… ──┤ nslcorp-…-n ── eth0 ── vpc0 ── nslcorp-…-s
//!                            Service ─DNAT─▶ server; drops what a fault says
//! ```

use std::process;

use anyhow::Result;

use super::scenario::{Scenario, Set, Tap};
use crate::netns;

/// The MAC address of every host end, as Calico gives it.
const HOST_MAC: &str = "ee:ee:ee:ee:ee:ee";

/// The namespaces of a scenario; removed when dropped.
pub struct Site {
    /// The node's.
    pub node: String,
    /// The servers'.
    pub servers: String,
    /// The pods'.
    pub pods: Vec<String>,
    /// The servers' end of the uplink.
    pub gateway: &'static str,
}

impl Site {
    /// Makes the namespaces of `scenario`, which has this number in this run.
    pub fn raise(scenario: &Scenario, number: usize) -> Result<Self> {
        let prefix = format!("nslcorp-{}-{number}", process::id());
        let site = Self {
            node: format!("{prefix}-n"),
            servers: format!("{prefix}-s"),
            gateway: match scenario.set {
                Set::Tuned => "10.0.0.1",
                Set::HeldOut => "10.9.0.1",
            },
            pods: (1..=scenario.pods.len()).map(|pod| format!("{prefix}-p{pod}")).collect(),
        };
        site.names().try_for_each(netns::add)?;
        netns::set(&site.node, &[("net/ipv4/ip_forward", "1")])?;
        site.wire_uplink(scenario)?;
        for (n, pod) in scenario.pods.iter().enumerate() {
            site.wire(n, &pod.address)?;
            netns::write_etc(&site.pods[n], &pod.resolv_conf)?;
        }
        netns::nft(&site.node, &rules_of_node(scenario))?;
        if !scenario.beyond.is_empty() {
            let rules = format!(
                "table ip corpus {{ chain arriving {{ type filter hook input priority 0;\n{}}}\n}}\n",
                scenario.beyond
            );
            netns::nft(&site.servers, &rules)?;
        }
        Ok(site)
    }

    /// The namespace and the interface where the capture is taken.
    pub fn tap(&self, tap: Tap) -> (&str, String) {
        match tap {
            Tap::Pod => (&self.node, host_end(0)),
            Tap::Uplink => (&self.node, "eth0".to_owned()),
            Tap::Any => (&self.node, "any".to_owned()),
            Tap::Loopback => (self.pods.first().unwrap_or(&self.node), "lo".to_owned()),
        }
    }

    /// Every namespace of the site.
    fn names(&self) -> impl Iterator<Item = &str> {
        [&self.node, &self.servers].into_iter().chain(&self.pods).map(String::as_str)
    }

    /// The node's uplink, and the servers' addresses at its other end.
    fn wire_uplink(&self, scenario: &Scenario) -> Result<()> {
        let (net, pods) = match scenario.set {
            Set::Tuned => ("10.0.0", "10.1.0.0/16"),
            Set::HeldOut => ("10.9.0", "10.244.0.0/16"),
        };
        netns::ip(
            &self.node,
            &format!(
                "link add eth0 type veth peer name vpc0 netns {}\naddr add {net}.10/24 dev eth0\nlink set eth0 up",
                self.servers
            ),
        )?;
        let addresses: String = scenario
            .servers
            .iter()
            .enumerate()
            .flat_map(|(n, server)| server.more.iter().cloned().chain([server.own_address(n + 1)]))
            .map(|address| format!("addr add {address}/32 dev lo\n"))
            .collect();
        netns::ip(
            &self.servers,
            &format!(
                "addr add {net}.1/24 dev vpc0\nlink set vpc0 up\nroute add {pods} via {net}.10\n{addresses}"
            ),
        )?;
        netns::ip(&self.node, &format!("route add default via {net}.1"))
    }

    /// A pod's veth as Calico lays it: a /32, and a gateway that exists on the link alone.
    fn wire(&self, n: usize, address: &str) -> Result<()> {
        let (pod, host) = (&self.pods[n], host_end(n));
        netns::ip(
            &self.node,
            &format!(
                "link add {host} address {HOST_MAC} type veth peer name eth0 netns {pod}\nlink set {host} up\n\
                 route add {address}/32 dev {host} scope link"
            ),
        )?;
        netns::ip(
            pod,
            &format!(
                "addr add {address}/32 dev eth0\nlink set eth0 up\n\
                 neigh add 169.254.1.1 lladdr {HOST_MAC} dev eth0 nud permanent\n\
                 route add 169.254.1.1 dev eth0 scope link\nroute add default via 169.254.1.1 dev eth0"
            ),
        )
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for name in self.names() {
            // What is left behind by a failed scenario is told by the names of the namespaces.
            netns::delete(name).ok();
            netns::remove_etc(name).ok();
        }
    }
}

/// The host end of the `n`-th pod's veth.
fn host_end(n: usize) -> String {
    format!("cali{:011x}", 0x7c1_dd98_133b_u64 + n as u64)
}

/// Translates Services, and drops what the faults say.
fn rules_of_node(scenario: &Scenario) -> String {
    let services: String = scenario
        .servers
        .iter()
        .enumerate()
        .filter(|(_, server)| server.service)
        .flat_map(|(n, server)| {
            let (address, own) = (server.address.clone(), server.own_address(n + 1));
            ["udp", "tcp"].map(|transport| format!("ip daddr {address} {transport} dport 53 dnat to {own}\n"))
        })
        .collect();
    let seen: String = ["first_a", "first_aaaa", "first_syn"]
        .map(|set| {
            format!("set {set} {{ type ipv4_addr . inet_service; flags dynamic, timeout; timeout 30s; size 4096; }}\n")
        })
        .concat();
    format!(
        "table ip corpus {{\n{seen}chain translate {{ type nat hook prerouting priority -100;\n{services}}}\n\
         chain pass {{ type filter hook forward priority 0;\n{}}}\n}}\n",
        scenario.faults
    )
}
