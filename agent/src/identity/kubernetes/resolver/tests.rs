use super::*;

/// What the kubelet of an EC2 instance reads.
const NODE: &str =
    "# of the node\nsearch eu-west-1.compute.internal\nnameserver 10.0.0.2\noptions timeout:2 attempts:5\n";

fn cluster() -> ClusterDns {
    ClusterDns { addresses: vec!["172.20.0.10".parse().unwrap()], domain: "cluster.local".into() }
}

fn policy(policy: &str) -> PodDns {
    PodDns { policy: policy.into(), ..PodDns::default() }
}

fn check(dns: &PodDns, expected: &str) {
    assert_eq!(implied(dns, "shop", &cluster(), NODE).as_deref(), Some(expected), "{dns:?}");
}

const OF_CLUSTER: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local eu-west-1.compute.internal\n\
                          nameserver 172.20.0.10\noptions ndots:5\n";
const OF_NODE: &str =
    "search eu-west-1.compute.internal\nnameserver 10.0.0.2\noptions timeout:2 attempts:5\n";

#[test]
fn cluster_first_asks_the_cluster_and_drops_the_options_of_the_node() {
    check(&policy("ClusterFirst"), OF_CLUSTER);
}

#[test]
fn cluster_first_with_the_network_of_the_node_is_the_node_s() {
    check(&PodDns { host_network: true, ..policy("ClusterFirst") }, OF_NODE);
    check(&PodDns { host_network: true, ..policy("ClusterFirstWithHostNet") }, OF_CLUSTER);
}

#[test]
fn default_is_the_node_s_own() {
    check(&policy("Default"), OF_NODE);
}

#[test]
fn none_is_what_the_pod_says_and_nothing_else() {
    let dns = PodDns {
        nameservers: vec!["192.0.2.53".into()],
        searches: vec!["corp.example".into()],
        options: vec!["ndots:2".into(), "edns0".into()],
        ..policy("None")
    };
    check(&dns, "search corp.example\nnameserver 192.0.2.53\noptions ndots:2 edns0\n");
}

#[test]
fn a_policy_of_the_future_is_taken_for_cluster_first() {
    check(&policy("SomethingNew"), OF_CLUSTER);
}

#[test]
fn what_the_pod_says_is_added_and_options_replace_by_name() {
    let dns = PodDns {
        nameservers: vec!["172.20.0.10".into(), "192.0.2.53".into()],
        searches: vec!["svc.cluster.local".into(), "corp.example".into()],
        options: vec!["ndots:2".into(), "single-request-reopen".into()],
        ..policy("ClusterFirst")
    };
    check(
        &dns,
        "search shop.svc.cluster.local svc.cluster.local cluster.local eu-west-1.compute.internal corp.example\n\
         nameserver 172.20.0.10\nnameserver 192.0.2.53\noptions ndots:2 single-request-reopen\n",
    );
}

#[test]
fn lists_are_cut_at_the_limits_of_the_kubelet() {
    let dns = PodDns {
        nameservers: (1..=5).map(|n| format!("192.0.2.{n}")).collect(),
        searches: (0..40).map(|n| format!("s{n}.example")).collect(),
        ..policy("ClusterFirst")
    };
    let settings = Settings::parse(&implied(&dns, "shop", &cluster(), NODE).unwrap());
    assert_eq!(settings.nameservers, ["172.20.0.10", "192.0.2.1", "192.0.2.2"]);
    assert_eq!(settings.searches.len(), 32);
    assert_eq!(settings.searches.last().unwrap(), "s27.example");

    let long = |letter: &str| format!("{}.example", letter.repeat(240));
    let dns = PodDns {
        searches: "abcdefghij".chars().map(|letter| long(&letter.to_string())).collect(),
        ..policy("None")
    };
    let settings = Settings::parse(&implied(&dns, "shop", &cluster(), NODE).unwrap());
    assert_eq!(settings.searches.len(), 8, "8 x 248 + 7 characters fit into 2048, 9 do not");

    let dns = PodDns { searches: vec!["x".repeat(254), "ok.example".into()], ..policy("None") };
    check(&dns, "search ok.example\n");
}

#[test]
fn what_is_not_known_is_not_made_up() {
    let unknown = ClusterDns { addresses: Vec::new(), domain: "cluster.local".into() };
    assert_eq!(implied(&policy("ClusterFirst"), "shop", &unknown, NODE), None);
    assert_eq!(implied(&policy("Default"), "shop", &cluster(), "search a.example\n"), None);
    // The pod needs neither.
    let dns = PodDns { nameservers: vec!["192.0.2.53".into()], ..policy("None") };
    assert_eq!(implied(&dns, "shop", &unknown, "").as_deref(), Some("nameserver 192.0.2.53\n"));
}

#[test]
fn a_resolv_conf_is_read_as_the_kubelet_reads_it() {
    let settings =
        Settings::parse("search a.example\nsearch b.example. .\ndomain d\nnameserver\n nameserver ::1 x\n");
    assert_eq!(settings.searches, ["b.example"]);
    assert_eq!(settings.nameservers, ["::1"]);
    assert!(settings.options.is_empty());
}
