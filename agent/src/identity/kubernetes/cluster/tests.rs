use serde_json::{Value, json};

use super::*;

fn service(name: &str, spec: Value) -> Option<DnsService> {
    let service: Service =
        serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap();
    DnsService::of(&service)
}

fn kube_dns() -> DnsService {
    let ports =
        json!([{ "name": "dns", "port": 53, "protocol": "UDP" }, { "name": "metrics", "port": 9153 }]);
    let spec = json!({ "clusterIP": "10.96.0.10", "ports": ports, "selector": { "k8s-app": "kube-dns" } });
    service("kube-dns", spec).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cluster(node_local: &[&str], resolv_conf: &str) -> Cluster {
    let node_local = node_local.iter().map(|address| ip(address)).collect();
    Cluster { services: vec![kube_dns()], node_local, own: Own::read(resolv_conf) }
}

const OF_NODE: &str = "search ec2.internal\nnameserver 10.0.0.2\n";

#[test]
fn services_that_serve_no_dns_or_have_no_address_are_left_out() {
    assert_eq!(kube_dns().addresses, [ip("10.96.0.10")]);
    let ports = json!([{ "port": 53 }]);
    assert_eq!(
        service("headless", json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": ports })),
        None
    );
    assert_eq!(service("metrics", json!({ "clusterIP": "10.96.0.11", "ports": [{ "port": 9153 }] })), None);
    let both = json!({ "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00::a"], "ports": ports });
    assert_eq!(service("kube-dns", both).unwrap().addresses, [ip("10.96.0.10"), ip("fd00::a")]);
}

#[test]
fn pods_ask_the_service_whatever_it_is_called() {
    let named = |name: &str, address: &str| DnsService {
        name: name.into(),
        addresses: vec![ip(address)],
        selector: BTreeMap::new(),
    };
    let mut services = vec![
        named("kube-dns-upstream", "10.96.0.77"),
        named("rke2-coredns-rke2-coredns", "10.43.0.10"),
        named("kube-dns", "10.96.0.10"),
    ];
    services.sort_by_key(DnsService::rank);
    let all = Cluster { services, ..Cluster::default() };
    assert_eq!(all.dns().addresses, [ip("10.96.0.10")]);
    assert_eq!(all.servers().len(), 3);
    let other = Cluster { services: all.services[1..].to_vec(), ..Cluster::default() };
    assert_eq!(other.dns().addresses, [ip("10.43.0.10")]);
}

#[test]
fn without_node_local_dns_cache_the_service_is_the_cluster_s() {
    let cluster = cluster(&[], OF_NODE);
    assert_eq!(
        cluster.dns(),
        ClusterDns { addresses: vec![ip("10.96.0.10")], domain: "cluster.local".into() }
    );
    assert_eq!((cluster.servers(), cluster.node_local()), (vec![ip("10.96.0.10")], vec![]));
    assert_eq!(cluster.node_resolv_conf(), OF_NODE);
}

#[test]
fn a_service_bound_to_the_node_s_cache_ends_there() {
    let cluster = cluster(&["169.254.20.10", "10.96.0.10"], OF_NODE);
    assert_eq!(cluster.dns().addresses, [ip("10.96.0.10")]);
    assert!(cluster.servers().is_empty());
    assert_eq!(cluster.node_local(), [ip("169.254.20.10"), ip("10.96.0.10")]);
}

#[test]
fn a_cache_that_is_not_bound_to_the_service_is_asked_by_its_own_address() {
    let cluster = cluster(&["169.254.20.10"], OF_NODE);
    assert_eq!(cluster.dns().addresses, [ip("169.254.20.10")]);
    assert_eq!(cluster.servers(), [ip("10.96.0.10")]);
}

#[test]
fn what_the_kubelet_gave_the_agent_tells_domain_and_servers() {
    let given = "search nslookout.svc.k8s.example svc.k8s.example k8s.example ec2.internal\nnameserver 10.100.0.10\n\
                 options ndots:5\n";
    let cluster = Cluster { services: Vec::new(), node_local: Vec::new(), own: Own::read(given) };
    assert_eq!(
        cluster.dns(),
        ClusterDns { addresses: vec![ip("10.100.0.10")], domain: "k8s.example".into() }
    );
    assert_eq!(cluster.servers(), [ip("10.100.0.10")]);
    // What the node asks is not among it, what it searches is.
    assert_eq!(cluster.node_resolv_conf(), "search ec2.internal\n");
    let local =
        Own::read("search a.svc.cluster.local svc.cluster.local cluster.local\nnameserver 169.254.20.10\n");
    let cluster = Cluster { own: local, ..Cluster::default() };
    assert!(cluster.servers().is_empty(), "NodeLocal DNSCache is not the cluster's");
}

#[test]
fn pods_behind_the_service_are_told_by_its_selector() {
    let cluster = cluster(&[], OF_NODE);
    let pod = |namespace: &str, app: &str| -> ApiPod {
        let labels = json!({ "k8s-app": app, "pod-template-hash": "1" });
        serde_json::from_value(json!({ "metadata": { "namespace": namespace, "labels": labels } })).unwrap()
    };
    assert!(cluster.is_behind(&pod("kube-system", "kube-dns")));
    assert!(!cluster.is_behind(&pod("shop", "kube-dns")));
    assert!(!cluster.is_behind(&pod("kube-system", "other")));
    // A Service whose endpoints a person wrote selects nothing.
    let manual = Cluster {
        services: vec![DnsService { selector: BTreeMap::new(), ..kube_dns() }],
        ..Cluster::default()
    };
    assert!(!manual.is_behind(&pod("kube-system", "kube-dns")));
}
