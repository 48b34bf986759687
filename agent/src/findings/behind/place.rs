//! The lines of a remedy as they stand in the specification of the one workload that it is for.

use crate::findings::remedies::pasted;
use crate::findings::{DnsChange, Remedy, RemedyPlace};
use crate::identity::facts::{Instance, LibcKind, PodDns};

/// The remedy for this instance; `None`: there it cannot be had.
pub(super) fn place(remedy: Remedy, instance: &Instance) -> Option<Remedy> {
    let Some(change) = remedy.dns.clone() else { return Some(remedy) };
    let workload = &instance.workload;
    let (place, lines) = match (workload.kind.as_str(), &instance.dns) {
        ("task", _) => task(&change, &workload.name)?,
        ("container", _) if matches!(workload.namespace.as_str(), "docker" | "podman") => {
            (RemedyPlace::Container, vec![container(&change, &workload.namespace)?])
        }
        ("unit", _) if !has_musl(instance) => (RemedyPlace::Unit, unit(&change, &workload.name)?),
        ("container" | "unit" | "process", _) => (RemedyPlace::ResolvConf, vec![resolv_conf(&change)?]),
        (_, Some(dns)) => (RemedyPlace::PodSpec, pod(&change, instance, dns)?),
        // A pod that only its processes told of: nobody knows its specification.
        (_, None) => return Some(remedy),
    };
    Some(Remedy { place, lines, ..remedy })
}

fn has_musl(instance: &Instance) -> bool {
    let mut libcs = instance.containers.iter().filter_map(|container| container.libc.as_ref());
    libcs.any(|libc| libc.kind == LibcKind::Musl)
}

/// Where in which object, the command that shows it, and its whole dnsConfig with what it has already.
fn pod(change: &DnsChange, instance: &Instance, dns: &PodDns) -> Option<Vec<String>> {
    let mut lines = heading(instance);
    let mut dns = dns.clone();
    match change {
        DnsChange::Policy { host_network, .. } if *host_network != dns.host_network => return None,
        DnsChange::Policy { policy, .. } => {
            lines.push(format!("dnsPolicy: {policy}"));
            return Some(lines);
        }
        DnsChange::Option { name, value } => set(&mut dns.options, name, value.as_deref()),
        DnsChange::Search { nameservers, searches, ndots } => {
            lines.push("dnsPolicy: None".to_owned());
            if dns.policy != "None" || dns.nameservers.is_empty() {
                dns.nameservers.clone_from(nameservers);
            }
            dns.searches.clone_from(searches);
            if let Some(ndots) = ndots {
                set(&mut dns.options, "ndots", Some(ndots));
            }
        }
    }
    lines.push("dnsConfig:".to_owned());
    for (key, list) in [("nameservers", &dns.nameservers), ("searches", &dns.searches)] {
        if !list.is_empty() {
            lines.push(format!("  {key}:"));
            lines.extend(list.iter().map(|entry| format!("  - {}", scalar(entry))));
        }
    }
    if !dns.options.is_empty() {
        lines.push("  options:".to_owned());
    }
    for option in &dns.options {
        let (name, value) = option.split_once(':').map_or((option.as_str(), None), |(a, b)| (a, Some(b)));
        lines.push(format!("  - name: {}", scalar(name)));
        lines.extend(value.map(|value| format!("    value: {}", quoted(value))));
    }
    Some(lines)
}

/// Puts an option in place of what it was, or behind the others.
fn set(options: &mut Vec<String>, name: &str, value: Option<&str>) {
    let text = value.map_or_else(|| name.to_owned(), |value| format!("{name}:{value}"));
    let is_it = |option: &&mut String| option.split(':').next() == Some(name);
    match options.iter_mut().find(is_it) {
        Some(option) => *option = text,
        None => options.push(text),
    }
}

/// The object to change, and how to get there; what cannot be changed while it runs is said.
fn heading(instance: &Instance) -> Vec<String> {
    let workload = &instance.workload;
    let (namespace, kind, name) = (&workload.namespace, &workload.kind, &workload.name);
    let path = match kind.as_str() {
        "Pod" => "spec; a running pod keeps its own, so create it anew",
        "Job" => "spec.template.spec; a Job keeps its own, so create it anew",
        "CronJob" => "spec.jobTemplate.spec.template.spec",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" => {
            "spec.template.spec"
        }
        "Node" => "its manifest on the node, where the kubelet's staticPodPath says",
        _ => "its template of pods",
    };
    let mut lines = vec![format!("# {kind} {namespace}/{name}: {path}")];
    let verb = if matches!(kind.as_str(), "Pod" | "Job") { ("get", " -o yaml") } else { ("edit", "") };
    if kind != "Node" {
        let [namespace, kind, name] = [namespace, &kind.to_lowercase(), name].map(pasted);
        lines.push(format!("# kubectl -n {namespace} {} {kind} {name}{}", verb.0, verb.1));
    }
    lines
}

/// ECS: container definitions know servers and search domains, but no options.
fn task(change: &DnsChange, family: &str) -> Option<(RemedyPlace, Vec<String>)> {
    match change {
        DnsChange::Option { .. } => Some((
            RemedyPlace::Dockerfile,
            vec![
                format!(
                    "# task definition {family} has no field for it: in the image's entry point, before the program"
                ),
                format!("echo 'options {}' >> /etc/resolv.conf", change.option()?),
            ],
        )),
        DnsChange::Search { searches, .. } => {
            let searches: Vec<String> = searches.iter().map(|search| quoted(search)).collect();
            Some((
                RemedyPlace::TaskDefinition,
                vec![format!("\"dnsSearchDomains\": [{}]", searches.join(", "))],
            ))
        }
        DnsChange::Policy { .. } => None,
    }
}

/// docker-run(1), podman-run(1).
fn container(change: &DnsChange, runtime: &str) -> Option<String> {
    let flags = match change {
        DnsChange::Option { .. } => format!("--dns-option {}", change.option()?),
        DnsChange::Search { searches, .. } if searches.is_empty() => "--dns-search .".to_owned(),
        DnsChange::Search { searches, .. } => {
            let flags: Vec<String> =
                searches.iter().map(|search| format!("--dns-search {}", pasted(search))).collect();
            flags.join(" ")
        }
        DnsChange::Policy { .. } => return None,
    };
    Some(format!("{runtime} run {flags} …"))
}

/// glibc takes both from the environment (resolv.conf(5)), so that the node's other programs keep theirs.
fn unit(change: &DnsChange, unit: &str) -> Option<Vec<String>> {
    let variable = match change {
        DnsChange::Option { .. } => format!("RES_OPTIONS={}", change.option()?),
        DnsChange::Search { searches, .. } if searches.is_empty() => return None,
        DnsChange::Search { searches, .. } => format!("LOCALDOMAIN={}", searches.join(" ")),
        DnsChange::Policy { .. } => return None,
    };
    let edit = format!("# systemctl edit {}; heeded by glibc", pasted(&unit));
    Some(vec![edit, "[Service]".to_owned(), format!("Environment={}", quoted(&variable))])
}

fn resolv_conf(change: &DnsChange) -> Option<String> {
    match change {
        DnsChange::Option { .. } => Some(format!("options {}", change.option()?)),
        DnsChange::Search { searches, .. } if searches.is_empty() => Some("search .".to_owned()),
        DnsChange::Search { searches, .. } => Some(format!("search {}", searches.join(" "))),
        DnsChange::Policy { .. } => None,
    }
}

/// A word of YAML as it is, unless that would be read as something else than a word.
fn scalar(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    let is_word = text.bytes().all(plain) && text.bytes().any(|octet| octet.is_ascii_alphabetic());
    let is_address = text.parse::<std::net::Ipv4Addr>().is_ok();
    let is_other = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null"
    );
    let begins = text.bytes().next().is_some_and(|octet| octet.is_ascii_alphabetic());
    if is_address || is_word && !is_other && begins { text.to_owned() } else { quoted(text) }
}

/// In double quotes, as JSON and so YAML 1.2 has it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
