//! The resolv.conf that a pod gets: what its specification says, put together as the kubelet does it
//! (k8s:pkg/kubelet/network/dns/dns.go). Text in, text out.

use std::net::IpAddr;

use crate::identity::facts::PodDns;

/// Longer lists of name servers are cut (facts.md section 4).
const MAX_NAMESERVERS: usize = 3;
/// Longer search lists are cut: that of Kubernetes since 1.26, 6 before (facts.md section 4).
const MAX_SEARCHES: usize = 32;
/// Longer search lines are cut: that of Kubernetes since 1.26, 256 before (facts.md section 4).
const MAX_SEARCH_LINE: usize = 2048;
/// Longer search domains are left out (RFC 1123 section 2.1, as the kubelet checks it).
const MAX_DOMAIN: usize = 253;
/// What the kubelet sets where the cluster's servers are asked.
const CLUSTER_OPTIONS: &str = "ndots:5";

/// The DNS of the cluster, as the kubelets are told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDns {
    /// What the pods ask; empty where that is not known.
    pub addresses: Vec<IpAddr>,
    /// Its domain, `cluster.local`.
    pub domain: String,
}

/// What a resolv.conf holds, as the kubelet reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) nameservers: Vec<String>,
    pub(super) searches: Vec<String>,
    pub(super) options: Vec<String>,
}

/// Whose settings a pod's own are added to.
enum Base {
    Cluster,
    Node,
    Nothing,
}

/// The resolv.conf of a pod in `namespace`; `node_resolv_conf` is the text that the kubelet of its node reads.
///
/// Returns `None` where what it builds on is not known: the cluster's servers, or those of the node.
pub fn implied(
    dns: &PodDns,
    namespace: &str,
    cluster: &ClusterDns,
    node_resolv_conf: &str,
) -> Option<String> {
    let node = Settings::parse(node_resolv_conf);
    let mut settings = match base(dns) {
        Base::Cluster if cluster.addresses.is_empty() => return None,
        Base::Cluster => of_cluster(namespace, cluster, node.searches),
        Base::Node if node.nameservers.is_empty() => return None,
        Base::Node => node,
        Base::Nothing => Settings::default(),
    };
    settings.add(dns);
    settings.cut();
    Some(settings.text())
}

fn base(dns: &PodDns) -> Base {
    match dns.policy.as_str() {
        "None" => Base::Nothing,
        "Default" => Base::Node,
        // A pod with the node's addresses has the node's resolver too, unless it says otherwise.
        "ClusterFirst" if dns.host_network => Base::Node,
        // The kubelet too takes a policy that it does not know for this one.
        _ => Base::Cluster,
    }
}

fn of_cluster(namespace: &str, cluster: &ClusterDns, node_searches: Vec<String>) -> Settings {
    let domain = &cluster.domain;
    let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    add_new(&mut searches, node_searches);
    Settings {
        nameservers: cluster.addresses.iter().map(IpAddr::to_string).collect(),
        searches,
        options: vec![CLUSTER_OPTIONS.to_owned()],
    }
}

impl Settings {
    /// Name servers accumulate, of the other lines the last counts, and `domain` is not read.
    pub(super) fn parse(text: &str) -> Self {
        let mut settings = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => settings.nameservers.extend(words.next().map(str::to_owned)),
                Some("search") => {
                    let domains = words.map(|domain| domain.strip_suffix('.').unwrap_or(domain));
                    // A lone dot is no domain.
                    settings.searches = domains.filter(|d| !d.is_empty()).map(str::to_owned).collect();
                }
                Some("options") => settings.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        settings
    }

    /// As the container runtimes write it.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |word: &str, values: &[String]| {
            if !values.is_empty() {
                text.push_str(&format!("{word} {}\n", values.join(" ")));
            }
        };
        line("search", &self.searches);
        for server in &self.nameservers {
            line("nameserver", std::slice::from_ref(server));
        }
        line("options", &self.options);
        text
    }

    fn add(&mut self, dns: &PodDns) {
        add_new(&mut self.nameservers, dns.nameservers.clone());
        add_new(&mut self.searches, dns.searches.clone());
        for option in &dns.options {
            let name = option_name(option);
            match self.options.iter_mut().find(|known| option_name(known) == name) {
                Some(known) => known.clone_from(option),
                None => self.options.push(option.clone()),
            }
        }
    }

    fn cut(&mut self) {
        self.nameservers.truncate(MAX_NAMESERVERS);
        self.searches.truncate(MAX_SEARCHES);
        self.searches.retain(|domain| domain.len() <= MAX_DOMAIN);
        while self.searches.join(" ").len() > MAX_SEARCH_LINE {
            self.searches.pop();
        }
    }
}

/// `ndots` of `ndots:5`.
fn option_name(option: &str) -> &str {
    option.split(':').next().unwrap_or(option)
}

fn add_new(known: &mut Vec<String>, more: Vec<String>) {
    for one in more {
        if !known.contains(&one) {
            known.push(one);
        }
    }
}

#[cfg(test)]
mod tests;
