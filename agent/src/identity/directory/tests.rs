//! What comes of the statements of several sources, and that each fact is told once.

use super::*;
use crate::capture::frame::CgroupId;
use crate::identity::facts::{Libc, LibcKind, Resolver, ResolverSource};
use crate::identity::statement::{PodContainer, TaskContainer};

const UID: &str = "0d9c1b2e-5a1f-4c39-9a6e-0123456789ab";
const CART: &str = "c0ffee0000000000000000000000000000000000000000000000000000000000";
const SANDBOX: &str = "5a5a5a0000000000000000000000000000000000000000000000000000000000";

fn pod() -> Pod {
    Pod {
        uid: UID.into(),
        static_hash: None,
        workload: Workload { namespace: "shop".into(), kind: "Deployment".into(), name: "cart".into() },
        name: "cart-7d9f".into(),
        containers: vec![PodContainer {
            name: "cart".into(),
            image: Some("registry.example/cart:4".into()),
            id: Some(CART.into()),
        }],
        addresses: vec![address("10.1.0.5")],
        interface_names: vec!["cali0123456789a".into()],
        dns: PodDns { policy: "ClusterFirst".into(), ..PodDns::default() },
        resolver: Some(resolver("options ndots:5\n", ResolverSource::PodSpec)),
        ended: false,
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn resolver(text: &str, source: ResolverSource) -> Resolver {
    Resolver { resolv_conf: text.into(), source }
}

fn in_pod(container: &str, process: &str) -> Inhabitant {
    inhabitant(Home::Pod { uid: UID.into(), container: Some(container.into()) }, process)
}

fn inhabitant(home: Home, process: &str) -> Inhabitant {
    Inhabitant { home, cgroup: None, process: process.into(), resolver: None, libc: None }
}

fn namespace(inode: u64, inhabitants: Vec<Inhabitant>) -> Namespace {
    let (interfaces, addresses) = (Vec::new(), Vec::new());
    Namespace { inode, is_node: false, interfaces, addresses, inhabitants, pid: 700 }
}

fn task(awsvpc: bool) -> Task {
    let container = TaskContainer { name: "app".into(), image: None, id: CART.into(), addresses: Vec::new() };
    let arn = "arn:aws:ecs:eu-west-1:123456789012:task/prod/9f2c".into();
    Task { arn, family: "checkout".into(), containers: vec![container], awsvpc }
}

/// Every instance that is here after all statements, by name.
fn instances(directory: &Directory) -> BTreeMap<String, (Whose, Arc<Instance>)> {
    directory.told.values().map(|told| (told.1.name.clone(), told.clone())).collect()
}

#[test]
fn a_pod_is_the_same_whoever_speaks_first() {
    let musl =
        Libc { kind: LibcKind::Musl, version: Some("1.2.3".into()), release: Some("Alpine 3.17.3".into()) };
    let mut inside = in_pod(CART, "cart");
    inside.libc = Some(musl.clone());
    inside.resolver = Some(resolver("options ndots:2\n", ResolverSource::ResolvConf));
    let mut place = namespace(4026532001, vec![in_pod(SANDBOX, "pause"), inside]);
    place.interfaces = vec![Ifindex(7)];
    let statements = [
        Statement::Pods(vec![pod()]),
        Statement::Namespace(place),
        Statement::Links(vec![(Ifindex(7), "cali0123456789a".into())]),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut directory = Directory::default();
        for index in order {
            directory.take([statements[index].clone()]);
        }
        let (whose, instance) = instances(&directory).remove("cart-7d9f").expect("the pod is here");
        assert_eq!(whose.interfaces, [Ifindex(7)], "{order:?}");
        assert_eq!(whose.addresses, [address("10.1.0.5")], "{order:?}");
        // The sandbox is none of its containers; the files belong to the one whose they are.
        let [container] = instance.containers.as_slice() else { panic!("{:?}", instance.containers) };
        assert_eq!(container.image.as_deref(), Some("registry.example/cart:4"), "{order:?}");
        assert_eq!(container.libc, Some(musl.clone()), "{order:?}");
        // What was read beats what follows from the specification.
        assert_eq!(instance.resolver.as_ref().map(|own| own.resolv_conf.as_str()), Some("options ndots:2\n"));
        assert_eq!(instances(&directory).len(), 1, "{order:?}");
    }
}

#[test]
fn a_pod_may_not_claim_the_address_of_another() {
    // A container with NET_ADMIN gives itself what address it likes.
    let mut hostile = namespace(4026532001, vec![in_pod(CART, "cart")]);
    hostile.addresses = vec![address("10.1.0.5"), address("10.1.0.99"), address("10.96.0.10")];
    let mut directory = Directory::default();
    directory.take([Statement::Pods(vec![pod()]), Statement::Namespace(hostile)]);
    assert_eq!(instances(&directory)["cart-7d9f"].0.addresses, [address("10.1.0.5")]);
}

#[test]
fn without_the_api_server_the_namespace_tells() {
    let mut place = namespace(4026532001, vec![in_pod(CART, "cart")]);
    place.interfaces = vec![Ifindex(7)];
    place.addresses = vec![address("10.1.0.5")];
    let mut directory = Directory::default();
    directory.take([Statement::Namespace(place)]);
    let (whose, instance) = &instances(&directory)[UID];
    assert_eq!(whose.interfaces, [Ifindex(7)]);
    assert_eq!(whose.addresses, [address("10.1.0.5")]);
    assert_eq!(instance.full(), format!("kubernetes/{UID} (Pod)"));
}

#[test]
fn on_the_node_the_cgroup_tells_and_nothing_else() {
    let mut host_network = pod();
    host_network.dns.host_network = true;
    let mut inside = in_pod(CART, "cart");
    inside.cgroup = Some(CgroupId(41));
    let mut unit = inhabitant(Home::Unit("sshd.service".into()), "sshd");
    unit.cgroup = Some(CgroupId(42));
    let mut node = namespace(4026531840, vec![inside, unit]);
    node.is_node = true;
    node.interfaces = vec![Ifindex(2)];
    node.addresses = vec![address("192.0.2.1")];
    let mut directory = Directory::default();
    directory.take([Statement::Pods(vec![host_network]), Statement::Namespace(node)]);
    for (name, cgroup) in [("cart-7d9f", 41), ("sshd.service", 42)] {
        let (whose, _) = &instances(&directory)[name];
        assert_eq!(whose.cgroups, [CgroupId(cgroup)], "{name}");
        assert!(whose.interfaces.is_empty() && whose.addresses.is_empty(), "{name}: {whose:?}");
    }
}

#[test]
fn a_fact_is_told_once_until_it_changes() {
    let mut directory = Directory::default();
    let [Fact::Here { .. }] = directory.take([Statement::Pod(pod())])[..] else { panic!() };
    assert_eq!(directory.take([Statement::Pod(pod())]), []);
    assert_eq!(directory.take([Statement::Pods(vec![pod()])]), []);
    let mut moved = pod();
    moved.addresses = vec![address("10.1.0.6")];
    let [Fact::Here { ref whose, .. }] = directory.take([Statement::Pod(moved)])[..] else { panic!() };
    assert_eq!(whose.addresses, [address("10.1.0.6")]);
    // A new list without it, as after an outage of the API server.
    assert_eq!(directory.take([Statement::Pods(Vec::new())]), [Fact::Gone(InstanceId(UID.into()))]);
    assert_eq!(directory.take([Statement::PodGone(UID.into())]), []);
}

#[test]
fn a_pod_that_ended_keeps_its_name_while_it_has_processes() {
    let mut ended = pod();
    ended.ended = true;
    let place = Statement::Namespace(namespace(4026532001, vec![in_pod(CART, "cart")]));
    let mut directory = Directory::default();
    assert_eq!(directory.take([Statement::Pod(ended)]), [], "its address may be another's");
    directory.take([place]);
    assert!(instances(&directory).contains_key("cart-7d9f"));
    let gone = directory.take([Statement::NamespaceGone(4026532001)]);
    assert_eq!(gone, [Fact::Gone(InstanceId(UID.into()))]);
}

#[test]
fn the_same_program_in_two_namespaces_is_two() {
    let place = |inode| Statement::Namespace(namespace(inode, vec![inhabitant(Home::Process, "curl")]));
    let mut directory = Directory::default();
    assert_eq!(directory.take([place(4026532001), place(4026532002)]).len(), 2);
}

#[test]
fn a_task_with_interfaces_of_its_own_is_to_be_entered() {
    let home = Home::Task { container: CART.into() };
    let place = Statement::Namespace(namespace(4026532001, vec![inhabitant(home, "app")]));
    for awsvpc in [true, false] {
        let mut directory = Directory::default();
        directory.take([Statement::Tasks(vec![task(awsvpc)]), place.clone()]);
        let entered: Vec<u32> = directory.to_enter().map(|(_, namespace)| namespace.pid).collect();
        assert_eq!(entered, if awsvpc { vec![700] } else { vec![] });
        assert_eq!(instances(&directory)["9f2c"].1.full(), "ecs/checkout (task)");
    }
    // One in the namespace of the node is seen from the node.
    let mut node = namespace(4026531840, vec![inhabitant(Home::Task { container: CART.into() }, "app")]);
    node.is_node = true;
    let mut directory = Directory::default();
    directory.take([Statement::Tasks(vec![task(true)]), Statement::Namespace(node)]);
    assert_eq!(directory.to_enter().count(), 0);
}

#[test]
fn silence_is_told_once_and_the_end_of_it_too() {
    let silent = |why: &str| Statement::Silent(Source::Kubernetes, why.into());
    let mut directory = Directory::default();
    assert_eq!(directory.take([Statement::Speaks(Source::Kubernetes)]), []);
    let told = [
        directory.take([silent("refused"), silent("refused")]),
        directory.take([silent("forbidden")]),
        directory.take([Statement::Speaks(Source::Kubernetes), Statement::Speaks(Source::Kubernetes)]),
    ];
    assert_eq!(told.map(|facts| facts.len()), [1, 1, 1]);
}

#[test]
fn a_server_changes_its_role_when_another_is_told() {
    let dns = address("10.96.0.10");
    let mut directory = Directory::default();
    let of = |role| Statement::Servers(role, vec![dns]);
    let told = directory.take([of(ServerRole::Cluster), of(ServerRole::Cluster)]);
    assert_eq!(told, [Fact::Server { address: dns, role: ServerRole::Cluster }]);
    let told = directory.take([of(ServerRole::NodeLocal)]);
    assert_eq!(told, [Fact::Server { address: dns, role: ServerRole::NodeLocal }]);
    // What another kind of server is no more says nothing of this one.
    assert_eq!(directory.take([Statement::Servers(ServerRole::Cluster, Vec::new())]), []);
}

#[test]
fn a_pod_is_no_task_whoever_says_so() {
    // Any program of the node may answer on the port of the ECS agent before that does.
    let mut directory = Directory::default();
    directory.take([
        Statement::Pods(vec![pod()]),
        Statement::Tasks(vec![task(false)]),
        Statement::Namespace(Namespace {
            interfaces: vec![Ifindex(7)],
            ..namespace(4026532001, vec![in_pod(CART, "cart")])
        }),
    ]);
    let instances = instances(&directory);
    assert_eq!(instances["cart-7d9f"].0.interfaces, [Ifindex(7)]);
    assert_eq!(instances["9f2c"].0, Whose::default());
}

#[test]
fn a_static_pod_is_known_by_the_hash_in_its_cgroups() {
    const HASH: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    let mut mirror = pod();
    (mirror.dns.host_network, mirror.static_hash) = (true, Some(HASH.into()));
    let home = Home::Pod { uid: HASH.into(), container: Some(CART.into()) };
    let mut node =
        namespace(4026531840, vec![Inhabitant { cgroup: Some(CgroupId(41)), ..inhabitant(home, "cart") }]);
    node.is_node = true;
    let mut directory = Directory::default();
    directory.take([Statement::Pods(vec![mirror]), Statement::Namespace(node)]);
    let instances = instances(&directory);
    assert_eq!(instances["cart-7d9f"].0.cgroups, [CgroupId(41)]);
    assert_eq!(instances.len(), 1);
}
