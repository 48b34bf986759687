//! The DNS of the cluster: which servers pods ask, where NodeLocal DNSCache stands before them, and what the node itself
//! asks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod as ApiPod, Service, ServiceSpec};
use kube::Client;
use kube::api::{Api, ListParams};

use super::resolver::{ClusterDns, Settings};
use crate::capture::addresses::addresses_of;

/// Where the Services of the cluster's DNS are.
const NAMESPACE: &str = "kube-system";
/// What is written on them, whatever they are called (k8s:cluster/addons/dns).
const LABEL: &str = "k8s-app=kube-dns";
/// Their usual names, the surest first; others, such as `rke2-coredns-rke2-coredns`, come after.
const NAMES: [&str; 2] = ["kube-dns", "coredns"];
/// NodeLocal DNSCache asks the same pods by a Service of its own, which no pod is told.
const UPSTREAM: &str = "kube-dns-upstream";
/// The interface of NodeLocal DNSCache (facts.md section 4).
const NODE_LOCAL: &str = "nodelocaldns";
/// Where nothing tells the cluster's domain.
const DOMAIN: &str = "cluster.local";
const DNS_PORT: i32 = 53;
/// More of a resolv.conf is not read.
const MAX_FILE: u64 = 64 * 1024;
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What kubelets read where systemd-resolved stands before the real servers.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// A Service of the cluster's DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct DnsService {
    name: String,
    /// Its addresses; that of the cluster's first family comes first.
    addresses: Vec<IpAddr>,
    /// Labels of the pods behind it.
    selector: BTreeMap<String, String>,
}

/// What is known of the cluster's DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cluster {
    services: Vec<DnsService>,
    /// Addresses of NodeLocal DNSCache on this node.
    node_local: Vec<IpAddr>,
    own: Own,
}

/// What the agent's own resolv.conf tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Own {
    /// The cluster's domain, where the kubelet gave the agent the cluster's servers.
    domain: Option<String>,
    /// Those servers.
    servers: Vec<IpAddr>,
    /// What is left of the node's own: all of it, or the rest of the search list.
    node: String,
}

impl Cluster {
    /// Looks again; where Services may not be listed or nobody answers, what was known of them stays.
    pub(super) async fn look(&mut self, client: &Client) {
        let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
        if let Ok(services) = services.list(&ListParams::default().labels(LABEL)).await {
            self.services = services.items.iter().filter_map(DnsService::of).collect();
            self.services.sort_by_key(|service| (service.rank(), service.name.clone()));
        }
        self.node_local = addresses_of(NODE_LOCAL).unwrap_or_default();
        self.own = Own::read(&node_resolv_conf());
    }

    /// What the kubelets tell the pods.
    pub(super) fn dns(&self) -> ClusterDns {
        let domain = self.own.domain.clone().unwrap_or_else(|| DOMAIN.to_owned());
        ClusterDns { addresses: self.asked(), domain }
    }

    /// What the node itself asks: the text that pods with `dnsPolicy: Default` get.
    pub(super) fn node_resolv_conf(&self) -> &str {
        &self.own.node
    }

    /// The addresses that the pods ask, as far as is known.
    fn asked(&self) -> Vec<IpAddr> {
        if !self.own.servers.is_empty() {
            return self.own.servers.clone();
        }
        let service = self.services.first().and_then(|service| service.addresses.first().copied());
        let bound = service.is_some_and(|address| self.node_local.contains(&address));
        // Where it is not bound to the Service's address, the pods are told its own.
        match self.node_local.first() {
            Some(own) if !bound => vec![*own],
            _ => service.into_iter().collect(),
        }
    }

    /// What stands for NodeLocal DNSCache on this node: the Service's address too where it is bound there.
    pub(super) fn node_local(&self) -> Vec<IpAddr> {
        self.node_local.clone()
    }

    /// The addresses of the cluster's DNS, but for those that end at the node's own cache.
    pub(super) fn servers(&self) -> Vec<IpAddr> {
        let of_services = self.services.iter().flat_map(|service| service.addresses.iter());
        let mut servers = Vec::new();
        for address in of_services.chain(&self.own.servers) {
            let is_local = self.node_local.contains(address) || is_link_local(*address);
            if !is_local && !servers.contains(address) {
                servers.push(*address);
            }
        }
        servers
    }

    /// Does the pod answer for one of the Services?
    pub(super) fn is_behind(&self, pod: &ApiPod) -> bool {
        let none = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        let selects = |service: &DnsService| {
            let mut wanted = service.selector.iter();
            !service.selector.is_empty() && wanted.all(|(key, value)| labels.get(key) == Some(value))
        };
        pod.metadata.namespace.as_deref() == Some(NAMESPACE) && self.services.iter().any(selects)
    }
}

impl DnsService {
    /// `None` for what has no address of its own or does not serve DNS, such as a Service for metrics alone.
    fn of(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let addresses = cluster_addresses(spec);
        let dns = spec.ports.iter().flatten().any(|port| port.port == DNS_PORT);
        (dns && !addresses.is_empty()).then(|| Self {
            name: service.metadata.name.clone().unwrap_or_default(),
            addresses,
            selector: spec.selector.clone().unwrap_or_default(),
        })
    }

    fn rank(&self) -> usize {
        let usual = NAMES.iter().position(|name| *name == self.name);
        usual.unwrap_or(if self.name == UPSTREAM { NAMES.len() + 1 } else { NAMES.len() })
    }
}

/// Both families where the server knows of both; `None` for a headless Service is no address.
fn cluster_addresses(spec: &ServiceSpec) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let all = spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten());
    for address in all.filter_map(|address| address.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

impl Own {
    /// Tells a resolv.conf of the cluster by `svc.<domain>` in its search list.
    fn read(text: &str) -> Self {
        let settings = Settings::parse(text);
        let domain =
            settings.searches.iter().find_map(|domain| domain.strip_prefix("svc.")).map(str::to_owned);
        let Some(domain) = domain else {
            return Self { node: text.to_owned(), ..Self::default() };
        };
        let service_domain = format!("svc.{domain}");
        let of_cluster = |search: &str| {
            search == domain || search == service_domain || search.ends_with(&format!(".{service_domain}"))
        };
        let searches = settings.searches.iter().filter(|search| !of_cluster(search)).cloned().collect();
        let node = Settings { searches, ..Settings::default() };
        Self {
            servers: settings.nameservers.iter().filter_map(|server| server.parse().ok()).collect(),
            node: node.text(),
            domain: Some(domain),
        }
    }
}

/// What the kubelet reads: our own file, as the kubelet gave it to us or the node has it.
fn node_resolv_conf() -> String {
    let text = read(RESOLV_CONF);
    let servers = Settings::parse(&text).nameservers;
    let is_stub =
        servers.iter().all(|server| server.parse().is_ok_and(|server: IpAddr| server.is_loopback()));
    if is_stub && !servers.is_empty() {
        let behind = read(RESOLVED);
        if !behind.is_empty() {
            return behind;
        }
    }
    text
}

fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    let file = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    if file.is_err() { String::new() } else { String::from_utf8_lossy(&bytes).into_owned() }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(ip) if ip.is_link_local())
}

#[cfg(test)]
mod tests;
