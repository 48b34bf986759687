//! A pod as the API server describes it, cut to what is said of it: the rest is dropped at once.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod as ApiPod, PodDNSConfig, PodSpec, PodStatus};

use super::interface_names::interface_names;
use super::owner::workload;
use crate::identity::facts::{PodDns, Resolver};
use crate::identity::statement::{Pod, PodContainer};

/// What the kubelet puts in the cgroups of a static pod, whose mirror at the API server has another UID.
const STATIC_HASH: &str = "kubernetes.io/config.hash";

/// What is kept of a pod; `resolver` tells what follows from what it says of DNS and from its namespace.
///
/// Returns `None` for what is no pod of an API server: one without UID or name.
pub(super) fn pod(of: &ApiPod, resolver: impl Fn(&PodDns, &str) -> Option<Resolver>) -> Option<Pod> {
    let (uid, name) = (of.metadata.uid.clone()?, of.metadata.name.clone()?);
    let spec = of.spec.as_ref();
    let status = of.status.as_ref();
    let namespace = of.metadata.namespace.as_deref().unwrap_or_default();
    let dns = pod_dns(spec);
    let own_network = !dns.host_network;
    Some(Pod {
        uid,
        static_hash: of.metadata.annotations.as_ref().and_then(|all| all.get(STATIC_HASH)).cloned(),
        workload: workload(&of.metadata, spec.and_then(|spec| spec.node_name.as_deref())),
        containers: containers(spec, status),
        addresses: if own_network { addresses(status) } else { Vec::new() },
        interface_names: if own_network { interface_names(namespace, &name) } else { Vec::new() },
        resolver: resolver(&dns, namespace),
        dns,
        ended: status.and_then(|status| status.phase.as_deref()).is_some_and(has_ended),
        name,
    })
}

/// `Succeeded` or `Failed`: none of its containers will run again.
fn has_ended(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// `status.podIPs`, or the one address of a server that knows no other.
pub(super) fn addresses(status: Option<&PodStatus>) -> Vec<IpAddr> {
    let Some(status) = status else { return Vec::new() };
    let all = status.pod_ips.iter().flatten().map(|pod_ip| pod_ip.ip.as_str());
    let mut addresses = Vec::new();
    for address in all.chain(status.pod_ip.as_deref()).filter_map(|ip| ip.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn pod_dns(spec: Option<&PodSpec>) -> PodDns {
    let policy = spec.and_then(|spec| spec.dns_policy.clone());
    let config = spec.and_then(|spec| spec.dns_config.clone()).unwrap_or_default();
    PodDns {
        // What the API server sets where nothing is said.
        policy: policy.unwrap_or_else(|| "ClusterFirst".to_owned()),
        options: options(&config),
        nameservers: config.nameservers.unwrap_or_default(),
        searches: config.searches.unwrap_or_default(),
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or_default(),
    }
}

fn options(config: &PodDNSConfig) -> Vec<String> {
    let options = config.options.iter().flatten().filter_map(|option| {
        let name = option.name.as_deref().filter(|name| !name.is_empty())?;
        let value = option.value.as_deref().filter(|value| !value.is_empty());
        Some(value.map_or_else(|| name.to_owned(), |value| format!("{name}:{value}")))
    });
    options.collect()
}

/// The containers, then those of the other kinds that have not ended: an init container that is done says nothing of
/// what the pod runs now.
fn containers(spec: Option<&PodSpec>, status: Option<&PodStatus>) -> Vec<PodContainer> {
    let Some(spec) = spec else { return Vec::new() };
    let of = |list: fn(&PodStatus) -> &Option<Vec<ContainerStatus>>| {
        status.and_then(|status| list(status).as_deref()).unwrap_or_default()
    };
    let main = spec.containers.iter().map(|one| (&one.name, &one.image));
    let init = spec.init_containers.iter().flatten().map(|one| (&one.name, &one.image));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|one| (&one.name, &one.image));
    let mut all = entered(main, of(|status| &status.container_statuses), true);
    all.extend(entered(init, of(|status| &status.init_container_statuses), false));
    all.extend(entered(ephemeral, of(|status| &status.ephemeral_container_statuses), false));
    all
}

/// Containers of one kind with their ids; those that ended only if `ended_too`.
fn entered<'a>(
    containers: impl Iterator<Item = (&'a String, &'a Option<String>)>,
    statuses: &[ContainerStatus],
    ended_too: bool,
) -> Vec<PodContainer> {
    let entry = |(name, image): (&String, &Option<String>)| {
        let status = statuses.iter().find(|status| status.name == *name);
        let ended = status.and_then(|status| status.state.as_ref()?.terminated.as_ref()).is_some();
        (ended_too || !ended).then(|| PodContainer {
            name: name.clone(),
            image: image.clone(),
            id: status.and_then(|status| container_id(status.container_id.as_deref()?)),
        })
    };
    containers.filter_map(entry).collect()
}

/// The id of `containerd://<id>`.
fn container_id(text: &str) -> Option<String> {
    let id = text.split_once("://").map_or(text, |(_, id)| id);
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests;
