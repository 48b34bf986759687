//! Names of a Kubernetes cluster, as CoreDNS serves them and the kubelet writes them into search lists: services are
//! `NAME.NAMESPACE.svc.DOMAIN` (the DNS specification of Kubernetes, section 2.3).

use crate::dns::Name;

/// The label between a service's namespace and the cluster's domain.
const SVC: &[u8] = b"svc";
/// The cluster's domain unless somebody chose another: labels from the left.
const DEFAULT_DOMAIN: [&[u8]; 2] = [b"cluster", b"local"];

/// Is it the domain of the cluster's services, or a part of it, by its labels or by the others of the search list?
pub(super) fn is_cluster_domain(domain: &Name, search: &[Name]) -> bool {
    is_default(domain)
        || svc_at(domain, 2).is_some()
        || search.iter().any(|other| svc_at(other, 2).is_some_and(|labels| other.parent(labels) == *domain))
}

/// Is it a name of the cluster?
pub(super) fn is_cluster_name(name: &Name, search: &[Name]) -> bool {
    let labels = name.label_count();
    let ends_in_default = labels >= 2 && is_default(&name.parent(labels - 2));
    ends_in_default
        || search.iter().any(|domain| {
            svc_at(domain, 2).is_some_and(|svc| {
                let cluster = domain.parent(svc);
                cluster.label_count() > 0 && name.is_below(&cluster)
            })
        })
}

/// `NAME.NAMESPACE` of a service, where it is the name of one.
pub(super) fn service(name: &Name) -> Option<Name> {
    let mut labels = name.labels();
    let is_service = labels.nth(2).is_some_and(is_svc) && labels.next().is_some();
    is_service.then(|| name.first_labels(2))
}

/// How many labels a domain has up to and with `svc`, which stands among the first `most`.
fn svc_at(domain: &Name, most: usize) -> Option<usize> {
    domain.labels().take(most).position(is_svc).map(|index| index + 1)
}

fn is_svc(label: &[u8]) -> bool {
    label.eq_ignore_ascii_case(SVC)
}

fn is_default(domain: &Name) -> bool {
    let mut labels = domain.labels();
    let same = DEFAULT_DOMAIN
        .iter()
        .all(|wanted| labels.next().is_some_and(|label| label.eq_ignore_ascii_case(wanted)));
    same && labels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn domains_of_the_cluster() {
        let search = ["ns.svc.k8s.corp", "svc.k8s.corp", "k8s.corp", "corp.example"].map(name);
        for domain in &search[..3] {
            assert!(is_cluster_domain(domain, &search), "{domain}");
        }
        assert!(!is_cluster_domain(&search[3], &search));
        assert!(is_cluster_domain(&name("Cluster.local"), &[]));
        assert!(!is_cluster_domain(&name("x.cluster.local"), &[]));
    }

    #[test]
    fn names_of_the_cluster() {
        let search = ["svc.k8s.corp"].map(name);
        assert!(is_cluster_name(&name("a.b.svc.cluster.local"), &[]));
        assert!(is_cluster_name(&name("a.b.k8s.corp"), &search));
        assert!(!is_cluster_name(&name("a.b.corp"), &search));
        assert!(!is_cluster_name(&name("local"), &search));
    }

    #[test]
    fn services_are_known_by_their_names() {
        assert_eq!(service(&name("db.shop.svc.cluster.local")), Some(name("db.shop")));
        for other in ["db.shop.svc", "db.shop", "api.stripe.com", "svc.svc"] {
            assert_eq!(service(&name(other)), None, "{other}");
        }
    }
}
