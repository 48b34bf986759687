//! The list of the lab's resolvers.

use super::Resolver;
use crate::lab::topology::{
    FRAGMENTED, HOST_RESOLVER, NODE, NODE_CACHE, PAIR_CONFLICT, SERVICE_IP, SERVICE_IP6, SLOW, VPC,
    VPC_RESOLVER, VPC_RESOLVER6,
};

/// A pod of which the resolvers are probed: what works from there works for every pod.
const ASKER: &str = "nslookout-tools-debug";

/// All resolvers, each after the ones that it forwards to.
pub const RESOLVERS: &[Resolver] = &[
    Resolver {
        name: "vpc",
        program: "dnsmasq",
        netns: VPC,
        template: include_str!("../../../lab/vpc.dnsmasq.conf"),
        probes: &[
            (ASKER, VPC_RESOLVER, &["www.example.test", "A"]),
            (ASKER, VPC_RESOLVER6, &["www.example.test", "AAAA"]),
            (ASKER, VPC_RESOLVER, &["big.example.test", "A", "+tcp"]),
        ],
    },
    Resolver {
        name: "coredns",
        program: "unbound",
        netns: "nslookout-coredns",
        template: include_str!("../../../lab/coredns.unbound.conf"),
        probes: &[
            (ASKER, SERVICE_IP, &["kubernetes.default.svc.cluster.local", "A"]),
            (ASKER, SERVICE_IP6, &["kubernetes.default.svc.cluster.local", "A"]),
            (ASKER, SERVICE_IP, &["www.example.test", "A", "+tcp"]),
            (NODE, SERVICE_IP, &["www.example.test", "A"]),
        ],
    },
    Resolver {
        name: "host",
        program: "dnsmasq",
        netns: NODE,
        template: include_str!("../../../lab/host.dnsmasq.conf"),
        probes: &[(NODE, HOST_RESOLVER, &["www.example.test", "A"])],
    },
];

/// The resolvers of the incidents. What they answer wrongly is not probed, but that they are there.
pub const INCIDENT_RESOLVERS: &[Resolver] = &[
    Resolver {
        name: "faulty",
        program: "unbound",
        netns: "nslookout-dns-faulty",
        template: include_str!("../../../lab/incidents/faulty.unbound.conf"),
        probes: &[
            (ASKER, PAIR_CONFLICT, &["hub.home.example", "A"]),
            (ASKER, FRAGMENTED, &["large.example", "A", "+tcp"]),
        ],
    },
    Resolver {
        name: "slow",
        program: "python3",
        netns: "nslookout-dns-faulty",
        template: include_str!("../../../lab/incidents/slow.conf"),
        probes: &[(ASKER, SLOW, &["www.example.test", "A"])],
    },
    Resolver {
        name: "two-homed",
        program: "unbound",
        netns: "nslookout-dns-two-homed",
        template: include_str!("../../../lab/incidents/two-homed.unbound.conf"),
        probes: &[(ASKER, "10.1.0.4", &["www.example.test", "A"])],
    },
    Resolver {
        name: "node-cache",
        program: "unbound",
        netns: NODE,
        template: include_str!("../../../lab/incidents/node-cache.unbound.conf"),
        probes: &[(ASKER, NODE_CACHE, &["www.example.test", "A"])],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::pods::{COREDNS, PODS, pod_of};

    #[test]
    fn the_cluster_resolver_is_in_its_pod() {
        let netns = pod_of(COREDNS).unwrap().netns;
        assert!(RESOLVERS.iter().any(|resolver| resolver.netns == netns));
        assert!(PODS.iter().any(|pod| pod.netns == ASKER));
    }

    #[test]
    fn every_resolver_has_files_of_its_own() {
        let mut names: Vec<&str> =
            RESOLVERS.iter().chain(INCIDENT_RESOLVERS).map(|resolver| resolver.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RESOLVERS.len() + INCIDENT_RESOLVERS.len());
    }
}
