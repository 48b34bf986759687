//! The pods of the lab: those that are always there, and those of the incidents.

use anyhow::{Context, Result};

use super::topology::{FRAGMENTED, PAIR_CONFLICT, SERVFAIL, SERVICE_IP, SLOW, VPC_RESOLVER, WRONG_SOURCE};

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
    /// What its `resolv.conf` says.
    dns: Dns,
}

/// What a pod's `resolv.conf` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dns {
    /// `dnsPolicy: ClusterFirst`: the Service, three search domains, `ndots:5`.
    Cluster,
    /// The same, and the node's own domain as the fourth, as the kubelet adds it.
    NodeDomain(&'static str),
    /// The same as `Cluster` with `ndots:1`, by `dnsConfig`.
    Ndots1,
    /// `dnsPolicy: None`: this server, no search list.
    Server(&'static str),
    /// `dnsPolicy: Default`: the VPC's resolver, no search list.
    Vpc,
}

const fn pod(
    name: &'static str,
    netns: &'static str,
    interface: &'static str,
    address: &'static str,
    address6: &'static str,
    dns: Dns,
) -> Pod {
    Pod { name, netns, interface, address, address6, dns }
}

/// The pod that runs the cluster's resolver.
pub const COREDNS: &str = "kube-system/coredns-5d78c9869d-x2x7k";

/// The pods that are always there. A real node has one CNI; the lab has the wires of two, because the agent must know
/// both.
pub const PODS: &[Pod] = &[
    pod(COREDNS, "nslookout-coredns", "cali3ad697901f8", "10.1.0.2", "fd00:10:1::2", Dns::Vpc),
    pod("shop/cart", "nslookout-shop-cart", "calie45f23531db", "10.1.0.5", "fd00:10:1::5", Dns::Cluster),
    pod("shop/batch", "nslookout-shop-batch", "eni7819e2963f3", "10.1.0.6", "fd00:10:1::6", Dns::Cluster),
    pod("tools/debug", "nslookout-tools-debug", "eni23bc28c4c85", "10.1.0.7", "fd00:10:1::7", Dns::Cluster),
];

/// The pods of the incidents: first the two that serve, then one for each client that is hit or is a control, so that a
/// finding's address tells whose it is. `fleet` has every kind of client.
// A table: one pod, one line.
#[rustfmt::skip]
pub const INCIDENT_PODS: &[Pod] = &[
    pod("dns/faulty", "nslookout-dns-faulty", "cali3979f97fd85", "10.1.0.3", "fd00:10:1::3", Dns::Vpc),
    pod("dns/two-homed", "nslookout-dns-two-homed", "calidfb1c869a4c", "10.1.0.4", "fd00:10:1::4", Dns::Vpc),
    pod("sso/portal", "nslookout-sso-portal", "caliac4bc042513", "10.1.0.50", "fd00:10:1::32", Dns::Cluster),
    pod("sso/portal-glibc", "nslookout-sso-portal-glibc", "calid54253c445d", "10.1.0.51", "fd00:10:1::33", Dns::Cluster),
    pod("sso/portal-musl-1-2-5", "nslookout-sso-portal-musl-1-2-5", "calic2835b393cc", "10.1.0.52", "fd00:10:1::34", Dns::Cluster),
    pod("dnscheck/client", "nslookout-dnscheck-client", "cali4b3e09c2ed4", "10.1.0.53", "fd00:10:1::35", Dns::NodeDomain("corp.example")),
    pod("dnscheck/client-glibc", "nslookout-dnscheck-client-glibc", "calib45c783a8ae", "10.1.0.54", "fd00:10:1::36", Dns::NodeDomain("corp.example")),
    pod("dnscheck/client-other-domain", "nslookout-dnscheck-client-other-domain", "calic8d7710fd25", "10.1.0.55", "fd00:10:1::37", Dns::NodeDomain("prod.example")),
    pod("home/automation", "nslookout-home-automation", "cali3fbffd0d78d", "10.1.0.56", "fd00:10:1::38", Dns::Server(PAIR_CONFLICT)),
    pod("home/automation-glibc", "nslookout-home-automation-glibc", "cali59ab7050864", "10.1.0.57", "fd00:10:1::39", Dns::Server(PAIR_CONFLICT)),
    pod("crawl/musl", "nslookout-crawl-musl", "enic3bd7f6e609", "10.1.0.58", "fd00:10:1::3a", Dns::Cluster),
    pod("crawl/glibc", "nslookout-crawl-glibc", "eni96718f84dd2", "10.1.0.59", "fd00:10:1::3b", Dns::Cluster),
    pod("crawl/musl-ndots-1", "nslookout-crawl-musl-ndots-1", "enid4fa1917cca", "10.1.0.60", "fd00:10:1::3c", Dns::Ndots1),
    pod("crawl/glibc-ndots-1", "nslookout-crawl-glibc-ndots-1", "enie1a0021fe4c", "10.1.0.61", "fd00:10:1::3d", Dns::Ndots1),
    pod("load/generator", "nslookout-load-generator", "eni1c96e3ce241", "10.1.0.62", "fd00:10:1::3e", Dns::Cluster),
    pod("race/musl", "nslookout-race-musl", "cali4f1f68d5cf8", "10.1.0.63", "fd00:10:1::3f", Dns::Cluster),
    pod("race/glibc", "nslookout-race-glibc", "cali270ac1721fc", "10.1.0.64", "fd00:10:1::40", Dns::Cluster),
    pod("race/untouched", "nslookout-race-untouched", "calid75f1b05509", "10.1.0.65", "fd00:10:1::41", Dns::Cluster),
    pod("tcp/dropped", "nslookout-tcp-dropped", "cali54e20839aa8", "10.1.0.66", "fd00:10:1::42", Dns::Cluster),
    pod("tcp/rejected", "nslookout-tcp-rejected", "calic611c093ced", "10.1.0.67", "fd00:10:1::43", Dns::Cluster),
    pod("tcp/open", "nslookout-tcp-open", "calie770909f84d", "10.1.0.68", "fd00:10:1::44", Dns::Cluster),
    pod("broken/client", "nslookout-broken-client", "califc03ece9fba", "10.1.0.69", "fd00:10:1::45", Dns::Server(SERVFAIL)),
    pod("broken/other-zone", "nslookout-broken-other-zone", "calid9f28619828", "10.1.0.70", "fd00:10:1::46", Dns::Cluster),
    pod("slow/musl", "nslookout-slow-musl", "calie0361e5635a", "10.1.0.71", "fd00:10:1::47", Dns::Server(SLOW)),
    pod("slow/dig", "nslookout-slow-dig", "calibb4073490fa", "10.1.0.72", "fd00:10:1::48", Dns::Server(SLOW)),
    pod("slow/fast", "nslookout-slow-fast", "cali5c657eb9a22", "10.1.0.73", "fd00:10:1::49", Dns::Server(SLOW)),
    pod("mirror/client", "nslookout-mirror-client", "cali337d64a7241", "10.1.0.74", "fd00:10:1::4a", Dns::Server(WRONG_SOURCE)),
    pod("mirror/right-address", "nslookout-mirror-right-address", "cali509f0762f75", "10.1.0.75", "fd00:10:1::4b", Dns::Server("10.1.0.4")),
    pod("zones/edns-4096", "nslookout-zones-edns-4096", "cali1e686f875d1", "10.1.0.76", "fd00:10:1::4c", Dns::Server(FRAGMENTED)),
    pod("zones/edns-1232", "nslookout-zones-edns-1232", "cali1a7d69278c7", "10.1.0.77", "fd00:10:1::4d", Dns::Server(FRAGMENTED)),
    pod("fleet/musl-1-2-3", "nslookout-fleet-musl-1-2-3", "cali9091e7b5dc5", "10.1.0.78", "fd00:10:1::4e", Dns::Cluster),
    pod("fleet/musl-1-2-4", "nslookout-fleet-musl-1-2-4", "calibae60f54c6b", "10.1.0.79", "fd00:10:1::4f", Dns::Cluster),
    pod("fleet/musl-1-2-5", "nslookout-fleet-musl-1-2-5", "cali7bf79233ee6", "10.1.0.80", "fd00:10:1::50", Dns::Cluster),
    pod("fleet/glibc", "nslookout-fleet-glibc", "cali7a4d491ded8", "10.1.0.81", "fd00:10:1::51", Dns::Cluster),
    pod("fleet/go", "nslookout-fleet-go", "calibcc0c4d8c9a", "10.1.0.82", "fd00:10:1::52", Dns::Cluster),
    pod("fleet/c-ares-1-18", "nslookout-fleet-c-ares-1-18", "calibae8b121718", "10.1.0.83", "fd00:10:1::53", Dns::Cluster),
    pod("fleet/c-ares-1-34", "nslookout-fleet-c-ares-1-34", "calif9fde86068c", "10.1.0.84", "fd00:10:1::54", Dns::Cluster),
    pod("fleet/node-resolve", "nslookout-fleet-node-resolve", "cali197608b691b", "10.1.0.85", "fd00:10:1::55", Dns::Cluster),
    pod("fleet/node-lookup", "nslookout-fleet-node-lookup", "calic22f07e92d6", "10.1.0.86", "fd00:10:1::56", Dns::Cluster),
    pod("fleet/busybox", "nslookout-fleet-busybox", "calicf37f4a2f38", "10.1.0.87", "fd00:10:1::57", Dns::Cluster),
    pod("fleet/dig", "nslookout-fleet-dig", "calic3255e3ff56", "10.1.0.88", "fd00:10:1::58", Dns::Cluster),
    pod("fleet/kdig", "nslookout-fleet-kdig", "cali0c9479630cf", "10.1.0.89", "fd00:10:1::59", Dns::Cluster),
];

impl Pod {
    /// The search list that Kubernetes gives a pod of this namespace.
    pub fn search(&self) -> [String; 3] {
        let namespace = self.name.split('/').next().unwrap_or_default();
        [format!("{namespace}.svc.cluster.local"), "svc.cluster.local".into(), "cluster.local".into()]
    }

    /// The `resolv.conf` that the kubelet would write.
    pub fn resolv_conf(&self) -> String {
        let search = self.search().join(" ");
        match self.dns {
            Dns::Cluster => format!("search {search}\nnameserver {SERVICE_IP}\noptions ndots:5\n"),
            Dns::NodeDomain(domain) => {
                format!("search {search} {domain}\nnameserver {SERVICE_IP}\noptions ndots:5\n")
            }
            Dns::Ndots1 => format!("search {search}\nnameserver {SERVICE_IP}\noptions ndots:1\n"),
            Dns::Server(address) => format!("nameserver {address}\n"),
            Dns::Vpc => format!("nameserver {VPC_RESOLVER}\n"),
        }
    }
}

/// The pod of this name, or an error with the names that there are.
pub fn pod_of(name: &str) -> Result<&'static Pod> {
    PODS.iter().chain(INCIDENT_PODS).find(|pod| pod.name == name).with_context(|| {
        let names: Vec<&str> = PODS.iter().chain(INCIDENT_PODS).map(|pod| pod.name).collect();
        format!("no pod {name} in the lab; there are: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn interfaces_are_named_as_the_cnis_name_them() {
        for pod in PODS.iter().chain(INCIDENT_PODS) {
            let key = pod.name.replace('/', ".");
            let sum =
                crate::shell::output(Command::new("sh").args(["-c", "printf %s \"$0\" | sha1sum", &key]));
            let hex = sum.unwrap()[..11].to_owned();
            let prefixless = pod.interface.trim_start_matches("cali").trim_start_matches("eni");
            assert_eq!(prefixless, hex, "{}", pod.name);
        }
    }

    #[test]
    fn no_two_pods_share_an_address() {
        let mut addresses: Vec<&str> =
            PODS.iter().chain(INCIDENT_PODS).flat_map(|pod| [pod.address, pod.address6]).collect();
        addresses.extend([PAIR_CONFLICT, SERVFAIL, FRAGMENTED, SLOW, WRONG_SOURCE]);
        let all = addresses.len();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), all);
    }
}
