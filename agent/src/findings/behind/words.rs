//! The evidence that files and specifications give, one sentence each.

use super::{MUSL_124, libcs, musl_version};
use crate::correlate::fingerprint::{Fingerprint, Stub};
use crate::correlate::resolv_conf::ResolvConf;
use crate::identity::facts::{Container, Instance, Libc, LibcKind, PodDns};
use crate::identity::who::Behind;

/// Several share the address.
pub(super) fn several(behind: &Behind) -> String {
    let mut names: Vec<String> = behind.instances.iter().map(|instance| instance.label()).collect();
    names.extend(behind.others.then(|| "others".to_owned()));
    format!("from this address asked {}: which of them it was is not told", names.join(", "))
}

/// Image and C library, and whether the wire shows the same.
pub(super) fn image(instance: &Instance, fingerprint: &Fingerprint) -> Option<String> {
    match instance.containers.as_slice() {
        [] => None,
        [container] => {
            let Container { image, libc, .. } = container;
            let what = image.as_ref().map_or_else(|| "it".to_owned(), |image| format!("its image {image}"));
            let Some(libc) = libc else {
                return image.as_ref().map(|image| format!("its image is {image}"));
            };
            Some(format!("{what} has {}{}", words(libc), wire(libc, fingerprint)))
        }
        several => {
            let one = |container: &Container| {
                let known = [container.image.clone(), container.libc.as_ref().map(short)];
                let known: Vec<String> = known.into_iter().flatten().collect();
                let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
                format!("{}{known}", container.name)
            };
            let list: Vec<String> = several.iter().map(one).collect();
            let mut text = format!("its containers share the address: {}", list.join(", "));
            let mut all = libcs(instance);
            if all
                .next()
                .is_some_and(|first| agrees(first, fingerprint.stub) && all.all(|libc| libc == first))
            {
                text += "; the wire shows the same";
            }
            Some(text)
        }
    }
}

/// `musl 1.2.3 (Alpine 3.17.3, from its files)`.
fn words(libc: &Libc) -> String {
    let release = libc.release.as_ref().map_or(String::new(), |release| format!("{release}, "));
    format!("{} ({release}from its files)", name(libc))
}

/// `musl 1.2.3 of Alpine 3.17.3`.
fn short(libc: &Libc) -> String {
    let release = libc.release.as_ref().map_or(String::new(), |release| format!(" of {release}"));
    format!("{}{release}", name(libc))
}

fn name(libc: &Libc) -> String {
    match (libc.kind, &libc.version) {
        (LibcKind::Static, _) => "no C library of its own".to_owned(),
        (kind, Some(version)) => format!("{} {version}", kind.as_str()),
        (kind, None) => kind.as_str().to_owned(),
    }
}

fn wire(libc: &Libc, fingerprint: &Fingerprint) -> String {
    let stub = fingerprint.stub;
    if agrees(libc, stub) {
        "; the wire shows the same".to_owned()
    } else if stub != Stub::Unknown {
        format!("; the wire shows {}: another resolver is in use than that of its libc", stub.as_str())
    } else if fingerprint.not_musl && libc.kind == LibcKind::Musl {
        "; the wire shows that it is no musl: another resolver is in use than that of its libc".to_owned()
    } else {
        String::new()
    }
}

/// Would this C library ask as the wire shows it?
fn agrees(libc: &Libc, stub: Stub) -> bool {
    let is_old = musl_version(libc).map(|version| version < MUSL_124);
    match (libc.kind, stub) {
        (LibcKind::Musl, Stub::MuslBefore124) => is_old != Some(false),
        (LibcKind::Musl, Stub::Musl124OrNewer) => is_old != Some(true),
        (LibcKind::Musl, Stub::Musl) | (LibcKind::Glibc, Stub::Glibc) | (LibcKind::Static, Stub::Go) => true,
        _ => false,
    }
}

/// `ndots:5 and four search domains from dnsPolicy ClusterFirst in the pod spec`.
pub(super) fn origin(instance: &Instance) -> Option<String> {
    let resolver = instance.resolver.as_ref()?;
    let read = ResolvConf::parse(resolver.resolv_conf.as_bytes());
    let domains = match read.search.len() {
        0 => "no search domain".to_owned(),
        1 => "one search domain".to_owned(),
        count => format!("{} search domains", number(count)),
    };
    let from = instance.dns.as_ref().map_or_else(|| "/etc/resolv.conf".to_owned(), from);
    Some(format!("ndots:{} and {domains} from {from}", read.ndots()))
}

/// What decides the resolv.conf of a pod (Kubernetes, "Pod's DNS Policy").
fn from(dns: &PodDns) -> String {
    let has_ndots = dns.options.iter().any(|option| option.starts_with("ndots"));
    match dns.policy.as_str() {
        "None" => "dnsConfig in the pod spec (dnsPolicy None)".to_owned(),
        policy if has_ndots => format!("dnsPolicy {policy} and dnsConfig in the pod spec"),
        "ClusterFirst" if dns.host_network => {
            "the node's resolv.conf (dnsPolicy ClusterFirst with hostNetwork is as Default)".to_owned()
        }
        "Default" => "the node's resolv.conf (dnsPolicy Default in the pod spec)".to_owned(),
        policy => format!("dnsPolicy {policy} in the pod spec"),
    }
}

fn number(count: usize) -> String {
    const WORDS: [&str; 10] = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    WORDS.get(count).map_or_else(|| count.to_string(), |word| (*word).to_owned())
}
