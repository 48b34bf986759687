//! What facts may hold: they quote containers, processes and files, and a recording may claim anything.

use std::sync::Arc;

use super::facts::{Eni, Fact, Instance, InstanceId, Libc, Whose, Workload};
use crate::capture::file::is_obeyed;

/// Characters of a name that are kept; Kubernetes allows 253 (RFC 1123 subdomain), an ARN has fewer than 200.
const MOST_OF_NAME: usize = 256;
/// Characters of a line for people.
const MOST_OF_LINE: usize = 1024;
/// Octets of a resolv.conf.
const MOST_OF_RESOLV_CONF: usize = 64 * 1024;
/// Entries of a list.
const MOST: usize = 64;
/// cgroups of one instance: those of all processes of a name.
const MOST_CGROUPS: usize = 1024;

impl Fact {
    /// The same, without what a terminal would obey, and no longer than anybody needs.
    pub fn bounded(self) -> Self {
        match self {
            Self::Here { mut whose, instance } => {
                let Whose { interfaces, cgroups, addresses } = &mut whose;
                interfaces.truncate(MOST);
                cgroups.truncate(MOST_CGROUPS);
                addresses.truncate(MOST);
                let mut instance = Arc::unwrap_or_clone(instance);
                bound(&mut instance);
                Self::Here { whose, instance: Arc::new(instance) }
            }
            Self::Gone(InstanceId(mut id)) => {
                name(&mut id);
                Self::Gone(InstanceId(id))
            }
            Self::Eni(mut eni) => {
                let Eni { id, mac, addresses, vpc_blocks, .. } = &mut eni;
                [id, mac].into_iter().for_each(name);
                addresses.truncate(MOST);
                names(vpc_blocks);
                Self::Eni(eni)
            }
            Self::Silent { source, mut why } => {
                line(&mut why, MOST_OF_LINE);
                Self::Silent { source, why }
            }
            Self::Server { .. } | Self::Speaks(_) => self,
        }
    }
}

fn bound(instance: &mut Instance) {
    let Instance { id: InstanceId(id), workload, name: own, containers, resolver, dns } = instance;
    let Workload { namespace, kind, name: of } = workload;
    [id, namespace, kind, of, own].into_iter().for_each(name);
    containers.truncate(MOST);
    for container in containers {
        name(&mut container.name);
        [&mut container.image, &mut container.id].into_iter().flatten().for_each(name);
        if let Some(Libc { version, release, .. }) = &mut container.libc {
            [version, release].into_iter().flatten().for_each(name);
        }
    }
    if let Some(resolver) = resolver {
        let text = &mut resolver.resolv_conf;
        cut(text, MOST_OF_RESOLV_CONF);
        if text.chars().any(|character| is_obeyed(character) && !is_blank(character)) {
            *text = text.chars().map(|it| if is_blank(it) { it } else { shown(it) }).collect();
        }
    }
    if let Some(dns) = dns {
        name(&mut dns.policy);
        [&mut dns.nameservers, &mut dns.searches, &mut dns.options].into_iter().for_each(names);
    }
}

fn names(all: &mut Vec<String>) {
    all.truncate(MOST);
    all.iter_mut().for_each(name);
}

fn name(text: &mut String) {
    line(text, MOST_OF_NAME);
}

fn line(text: &mut String, most: usize) {
    cut(text, most);
    if text.chars().any(is_obeyed) {
        *text = text.chars().map(shown).collect();
    }
}

fn cut(text: &mut String, most: usize) {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
}

fn shown(character: char) -> char {
    if is_obeyed(character) { '?' } else { character }
}

/// It belongs into a file of lines.
fn is_blank(character: char) -> bool {
    matches!(character, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::facts::{Container, PodDns, Resolver, ResolverSource, Source};

    #[test]
    fn nothing_is_obeyed_and_nothing_is_endless() {
        let evil = || format!("a\x1b[2J\u{202e}\n{}", "ü".repeat(1000));
        let instance = Instance {
            id: InstanceId(evil()),
            workload: Workload { namespace: evil(), kind: evil(), name: evil() },
            name: evil(),
            containers: vec![
                Container { name: evil(), image: Some(evil()), id: Some(evil()), libc: None };
                100
            ],
            resolver: Some(Resolver {
                resolv_conf: format!("search a\x1b\n\toptions\n{}", "#".repeat(100_000)),
                source: ResolverSource::ResolvConf,
            }),
            dns: Some(PodDns { policy: evil(), searches: vec![evil(); 100], ..PodDns::default() }),
        };
        let whose = Whose { addresses: vec!["10.0.0.1".parse().unwrap(); 1000], ..Whose::default() };
        let Fact::Here { whose, instance } = (Fact::Here { whose, instance: Arc::new(instance) }).bounded()
        else {
            unreachable!()
        };
        assert!(whose.addresses.len() == 64 && instance.containers.len() == 64);
        let resolv_conf = &instance.resolver.as_ref().unwrap().resolv_conf;
        assert!(resolv_conf.starts_with("search a?\n\toptions\n") && resolv_conf.len() == 64 * 1024);
        let dns = instance.dns.as_ref().unwrap();
        assert_eq!(dns.searches.len(), 64);
        let container = &instance.containers[0];
        for text in
            [&instance.id.0, &instance.workload.kind, &instance.name, &container.name, &dns.searches[0]]
        {
            assert!(text.starts_with("a?[2J??ü") && text.len() <= 256, "{text}");
        }
        let why = Fact::Silent { source: Source::Ecs, why: evil() }.bounded();
        assert!(!format!("{why:?}").contains('\x1b'));
    }
}
