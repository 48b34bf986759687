//! What is added to findings of known workloads, and the lines for each kind of them.

use std::sync::Arc;

use super::*;
use crate::correlate::fingerprint::{Confidence, Fingerprint, Stub};
use crate::findings::remedies::{dns_option, dns_policy, dns_search};
use crate::findings::{Remedy, RemedyPlace};
use crate::identity::facts::{Container, InstanceId, PodDns, Resolver, ResolverSource, Workload};

fn libc(kind: LibcKind, version: &str) -> Libc {
    Libc { kind, version: Some(version.to_owned()), release: Some("Alpine 3.17.3".to_owned()) }
}

fn instance(namespace: &str, kind: &str, name: &str, dns: Option<PodDns>) -> Instance {
    Instance {
        id: InstanceId("uid".into()),
        workload: Workload { namespace: namespace.into(), kind: kind.into(), name: name.into() },
        name: format!("{name}-7d9f"),
        containers: vec![Container {
            name: "app".into(),
            image: Some("registry/cart:1.2".into()),
            id: None,
            libc: Some(libc(LibcKind::Musl, "1.2.3")),
        }],
        resolver: Some(Resolver {
            resolv_conf:
                "nameserver 10.96.0.10\nsearch a.example b.example c.example d.example\noptions ndots:5\n"
                    .into(),
            source: ResolverSource::PodSpec,
        }),
        dns,
    }
}

fn cluster_first() -> PodDns {
    PodDns { policy: "ClusterFirst".into(), ..PodDns::default() }
}

fn ndots() -> Remedy {
    dns_option("Ask names with two dots as they are first", "ndots", Some("2"))
}

#[track_caller]
fn check(remedy: Remedy, instance: &Instance, place: RemedyPlace, lines: &[&str]) {
    let placed = place::place(remedy, instance).unwrap();
    assert_eq!((placed.place, placed.lines.join("\n")), (place, lines.join("\n")));
}

#[test]
fn the_lines_are_those_of_the_pod_spec() {
    check(
        ndots(),
        &instance("shop", "Deployment", "cart", Some(cluster_first())),
        RemedyPlace::PodSpec,
        &[
            "# Deployment shop/cart: spec.template.spec",
            "# kubectl -n shop edit deployment cart",
            "dnsConfig:",
            "  options:",
            "  - name: ndots",
            "    value: \"2\"",
        ],
    );
    check(
        ndots(),
        &instance("shop", "CronJob", "nightly", Some(cluster_first())),
        RemedyPlace::PodSpec,
        &[
            "# CronJob shop/nightly: spec.jobTemplate.spec.template.spec",
            "# kubectl -n shop edit cronjob nightly",
            "dnsConfig:",
            "  options:",
            "  - name: ndots",
            "    value: \"2\"",
        ],
    );
}

#[test]
fn what_it_has_already_is_kept() {
    let dns = PodDns {
        policy: "None".into(),
        nameservers: vec!["10.96.0.10".into(), "fd00::a".into()],
        searches: vec!["shop.svc.cluster.local".into(), "no".into()],
        options: vec!["edns0".into(), "ndots:5".into(), "timeout:1".into()],
        host_network: false,
    };
    let instance = instance("shop", "StatefulSet", "db", Some(dns));
    check(
        ndots(),
        &instance,
        RemedyPlace::PodSpec,
        &[
            "# StatefulSet shop/db: spec.template.spec",
            "# kubectl -n shop edit statefulset db",
            "dnsConfig:",
            "  nameservers:",
            "  - 10.96.0.10",
            "  - \"fd00::a\"",
            "  searches:",
            "  - shop.svc.cluster.local",
            "  - \"no\"",
            "  options:",
            "  - name: edns0",
            "  - name: ndots",
            "    value: \"2\"",
            "  - name: timeout",
            "    value: \"1\"",
        ],
    );
    let searches = vec!["svc.cluster.local".to_owned()];
    let search = dns_search("Take it out", &[], vec!["192.0.2.1".into()], searches, None);
    let placed = place::place(search, &instance).unwrap().lines;
    assert_eq!(
        placed[2..8],
        [
            "dnsPolicy: None",
            "dnsConfig:",
            "  nameservers:",
            "  - 10.96.0.10",
            "  - \"fd00::a\"",
            "  searches:"
        ]
    );
    assert_eq!(placed[8..10], ["  - svc.cluster.local", "  options:"]);
}

#[test]
fn elsewhere_it_is_the_place_that_is_there() {
    let check = |namespace, kind, place, lines: &[&str]| {
        check(ndots(), &instance(namespace, kind, "cart", None), place, lines);
    };
    check("docker", "container", RemedyPlace::Container, &["docker run --dns-option ndots:2 …"]);
    check("podman", "container", RemedyPlace::Container, &["podman run --dns-option ndots:2 …"]);
    check("containerd", "container", RemedyPlace::ResolvConf, &["options ndots:2"]);
    check("host", "process", RemedyPlace::ResolvConf, &["options ndots:2"]);
    // musl heeds no RES_OPTIONS.
    check("host", "unit", RemedyPlace::ResolvConf, &["options ndots:2"]);
    check(
        "ecs",
        "task",
        RemedyPlace::Dockerfile,
        &[
            "# task definition cart has no field for it: in the image's entry point, before the program",
            "echo 'options ndots:2' >> /etc/resolv.conf",
        ],
    );
    let mut unit = instance("host", "unit", "cart.service", None);
    unit.containers[0].libc = Some(libc(LibcKind::Glibc, "2.36"));
    let lines = [
        "# systemctl edit cart.service; heeded by glibc",
        "[Service]",
        "Environment=\"RES_OPTIONS=ndots:2\"",
    ];
    super::tests::check(ndots(), &unit, RemedyPlace::Unit, &lines);
}

#[test]
fn a_policy_is_for_pods_and_for_the_right_ones() {
    let own = || dns_policy("Ask the cluster's", "ClusterFirst", false, &[]);
    let shared = || dns_policy("With hostNetwork", "ClusterFirstWithHostNet", true, &[]);
    let pod = instance("shop", "Deployment", "cart", Some(cluster_first()));
    assert!(place::place(own(), &pod).is_some() && place::place(shared(), &pod).is_none());
    let dns = PodDns { host_network: true, ..cluster_first() };
    let host = instance("shop", "DaemonSet", "agent", Some(dns));
    assert!(place::place(own(), &host).is_none());
    assert_eq!(place::place(shared(), &host).unwrap().lines[2..], ["dnsPolicy: ClusterFirstWithHostNet"]);
    assert!(place::place(own(), &instance("docker", "container", "cart", None)).is_none());
}

#[test]
fn nothing_of_a_name_is_obeyed() {
    let evil = instance("shop", "Deployment", "$(reboot)", Some(cluster_first()));
    let placed = place::place(ndots(), &evil).unwrap();
    assert_eq!(placed.lines[1], "# kubectl -n shop edit deployment '$(reboot)'");
}

#[test]
fn files_and_wire_are_set_side_by_side() {
    let pod = instance("shop", "Deployment", "cart", Some(cluster_first()));
    let image = |pod: &Instance, stub, not_musl| {
        let fingerprint = Fingerprint { stub, confidence: Confidence::High, because: "", not_musl };
        words::image(pod, &fingerprint).unwrap()
    };
    let begin = "its image registry/cart:1.2 has musl 1.2.3 (Alpine 3.17.3, from its files)";
    assert_eq!(image(&pod, Stub::MuslBefore124, false), format!("{begin}; the wire shows the same"));
    assert_eq!(image(&pod, Stub::Unknown, false), begin);
    assert_eq!(
        image(&pod, Stub::CAres, true),
        format!("{begin}; the wire shows c-ares: another resolver is in use than that of its libc")
    );
    assert!(image(&pod, Stub::Musl124OrNewer, false).contains("another resolver"));
    let mut two = pod;
    two.containers.push(Container { name: "proxy".into(), image: None, id: None, libc: None });
    assert_eq!(
        image(&two, Stub::Unknown, false),
        "its containers share the address: app (registry/cart:1.2, musl 1.2.3 of Alpine 3.17.3), proxy"
    );
}

#[test]
fn it_is_told_where_ndots_comes_from() {
    let origin = |dns| words::origin(&instance("shop", "Deployment", "cart", dns)).unwrap();
    let begin = "ndots:5 and four search domains from";
    assert_eq!(origin(Some(cluster_first())), format!("{begin} dnsPolicy ClusterFirst in the pod spec"));
    assert_eq!(origin(None), format!("{begin} /etc/resolv.conf"));
    let options = PodDns { options: vec!["ndots:5".into()], ..cluster_first() };
    assert_eq!(
        origin(Some(options)),
        format!("{begin} dnsPolicy ClusterFirst and dnsConfig in the pod spec")
    );
    let host = PodDns { host_network: true, ..cluster_first() };
    assert!(origin(Some(host)).contains("the node's resolv.conf"));
}

#[test]
fn versions_compare() {
    let version = |text| musl_version(&libc(LibcKind::Musl, text));
    for (text, old, is_124_itself) in [
        ("1.1.24", true, false),
        ("1.2.3", true, false),
        ("1.2.4", false, true),
        ("1.2.4_git20230717", false, false),
        ("1.2.5", false, false),
        ("1.10.0", false, false),
    ] {
        assert_eq!(version(text).unwrap() < MUSL_124, old, "{text}");
        assert_eq!(is_124(&libc(LibcKind::Musl, text)), is_124_itself, "{text}");
    }
    assert_eq!(version("unknown"), None);
    assert_eq!(musl_version(&libc(LibcKind::Glibc, "1.2.3")), None);
}

#[test]
fn several_are_named_and_none_is_blamed() {
    let one = Arc::new(instance("host", "unit", "a.service", None));
    let behind = Behind { instances: vec![one], others: true };
    assert_eq!(behind.only(), None);
    assert_eq!(
        words::several(&behind),
        "from this address asked host/a.service, others: which of them it was is not told"
    );
}
