//! The source `kubernetes` against a real etcd and a real API server of Kubernetes 1.20.2, the oldest that is meant.
//!
//! Needs etcd (Debian's etcd-server), openssl and the cached kube-apiserver; says SKIP and what is missing without them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod server;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nslookout::identity::facts::{Fact, Instance, ResolverSource, ServerRole, Source};
use nslookout::identity::{Identity, IdentityConfig, Sources, outlook};
use serde_json::{Value, json};

use server::{DEADLINE, Server};

const NODE: &str = "node-1";
/// A server that is back sooner was not missed; on a busy machine it may take longer to start.
const RESTART: Duration = Duration::from_secs(10);
/// Longer than an outage of which nobody is told, and the first pauses after it.
const OUTAGE: Duration = Duration::from_secs(60);

/// The server, or a line that says what is missing.
fn server(name: &str) -> Option<Server> {
    match Server::start(name) {
        Ok(server) => Some(server),
        Err(missing) => {
            eprintln!("SKIP {name}: {missing}");
            None
        }
    }
}

/// What an agent learns, and what it has learnt.
struct Agent {
    identity: Identity,
    learnt: Vec<Fact>,
}

impl Agent {
    fn start(kubeconfig: PathBuf, node: &str) -> Self {
        Self { identity: Identity::start(&config(kubeconfig, node)), learnt: Vec::new() }
    }

    /// Waits for a fact that was not waited for before; returns how long it took.
    fn wait(&mut self, what: &str, mut wanted: impl FnMut(&Fact) -> bool) -> Duration {
        let start = Instant::now();
        let mut seen = 0;
        loop {
            self.learnt.extend(self.identity.take());
            if let Some(found) = self.learnt[seen..].iter().position(&mut wanted) {
                self.learnt.remove(seen + found);
                return start.elapsed();
            }
            seen = self.learnt.len();
            assert!(start.elapsed() < DEADLINE, "{what}: not learnt; {:#?}", self.learnt);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until a pod is known as `check` wants it.
    fn wait_for(&mut self, name: &str, mut check: impl FnMut(&Instance, &[IpAddr]) -> bool) -> Duration {
        self.wait(name, |fact| match fact {
            Fact::Here { whose, instance } => instance.name == name && check(instance, &whose.addresses),
            _ => false,
        })
    }

    fn has_learnt(&self, wanted: impl Fn(&Fact) -> bool) -> bool {
        self.learnt.iter().any(wanted)
    }
}

fn config(kubeconfig: PathBuf, node: &str) -> IdentityConfig {
    let sources = Sources::These(vec![Source::Kubernetes]);
    IdentityConfig { sources, node_name: Some(node.to_owned()), kubeconfig: Some(kubeconfig) }
}

/// What `nslookout check` says of this source.
fn outlook_of(config: &IdentityConfig) -> String {
    let (_, line) = outlook(config).into_iter().find(|(source, _)| *source == Source::Kubernetes).unwrap();
    line
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A pod of the Deployment `shop/cart`, bound to a node.
fn cart(name: &str, node: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "labels": { "app": "cart", "pod-template-hash": "6d4cf56db6" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-6d4cf56db6",
                "uid": "00000000-0000-0000-0000-000000000001", "controller": true }],
        },
        "spec": {
            "nodeName": node, "containers": [{ "name": "cart", "image": "shop/cart:1.4" }],
            "dnsConfig": { "options": [{ "name": "ndots", "value": "2" }] },
        },
    })
}

/// What a kubelet tells of a pod that runs.
fn running(address: &str) -> Value {
    json!({
        "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
        "containerStatuses": [{ "name": "cart", "image": "shop/cart:1.4", "imageID": "", "ready": true,
            "restartCount": 0, "containerID": "containerd://f00d", "state": { "running": {} }, "lastState": {} }],
    })
}

/// A namespace, the Service of the cluster's DNS with a pod behind it, and an account that may do what the chart allows.
fn cluster(server: &Server) -> PathBuf {
    server.create("/api/v1/namespaces", &json!({ "metadata": { "name": "shop" } }));
    let labels = json!({ "k8s-app": "kube-dns" });
    server.create(
        "/api/v1/namespaces/kube-system/services",
        &json!({ "metadata": { "name": "kube-dns", "labels": labels }, "spec": { "clusterIP": "10.96.0.10",
            "selector": labels, "ports": [{ "name": "dns", "port": 53, "protocol": "UDP" }] } }),
    );
    let token = server.service_account("agent");
    let subject = json!([{ "kind": "ServiceAccount", "name": "agent", "namespace": "default" }]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let pods = json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"] }]);
    let services = json!([{ "apiGroups": [""], "resources": ["services"], "verbs": ["list"] }]);
    let grant = |path: &str, kind: &str, rules: &Value| {
        let reference = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "agent" });
        let lower = kind.to_lowercase();
        let meta = json!({ "name": "agent" });
        server.create(&format!("{path}/{lower}s"), &json!({ "metadata": meta, "rules": rules }));
        server.create(
            &format!("{path}/{lower}bindings"),
            &json!({ "metadata": meta, "roleRef": reference, "subjects": subject }),
        );
    };
    grant(rbac, "ClusterRole", &pods);
    grant(&format!("{rbac}/namespaces/kube-system"), "Role", &services);
    server.kubeconfig("agent", &token)
}

#[test]
fn the_pods_of_this_node_are_followed_through_outages() {
    let Some(mut server) = server("kubernetes-pods") else { return };
    let kubeconfig = cluster(&server);
    server.create_pod("shop", cart("cart-6d4cf56db6-first", NODE));
    server.patch_status("shop", "cart-6d4cf56db6-first", &running("10.244.0.7"));
    let dns = json!({ "metadata": { "name": "coredns-1", "labels": { "k8s-app": "kube-dns" } },
        "spec": { "nodeName": NODE, "containers": [{ "name": "coredns", "image": "coredns:1" }] } });
    server.create_pod("kube-system", dns);
    server.patch_status("kube-system", "coredns-1", &running("10.244.0.53"));
    let mut agent = Agent::start(kubeconfig.clone(), NODE);

    // What was there before is listed, with all that follows from it.
    agent.wait_for("cart-6d4cf56db6-first", |instance, addresses| {
        let workload = &instance.workload;
        assert_eq!((workload.namespace.as_str(), workload.kind.as_str()), ("shop", "Deployment"));
        assert_eq!(workload.name, "cart");
        assert_eq!(addresses, [ip("10.244.0.7")]);
        assert_eq!(instance.containers[0].id.as_deref(), Some("f00d"));
        let resolver = instance.resolver.as_ref().unwrap();
        assert_eq!(resolver.source, ResolverSource::PodSpec);
        let text = &resolver.resolv_conf;
        assert!(text.starts_with("search shop.svc.cluster.local svc.cluster.local cluster.local"), "{text}");
        assert!(text.contains("\nnameserver 10.96.0.10\n") && text.contains("ndots:2"), "{text}");
        true
    });
    for server in ["10.96.0.10", "10.244.0.53"] {
        let expected = Fact::Server { address: ip(server), role: ServerRole::Cluster };
        agent.wait(server, |fact| *fact == expected);
    }

    assert_eq!(outlook_of(&config(kubeconfig, NODE)), "2 pods of this node");

    pods_come_and_go(&server, &mut agent);
    a_server_that_starts_anew_is_not_missed(&mut server, &mut agent);
    an_outage_is_told_and_what_was_known_stays(&mut server, &mut agent);
}

fn pods_come_and_go(server: &Server, agent: &mut Agent) {
    server.create_pod("shop", cart("cart-6d4cf56db6-other", "node-2"));
    server.patch_status("shop", "cart-6d4cf56db6-other", &running("10.244.1.9"));
    let before = Instant::now();
    let uid = server.create_pod("shop", cart("cart-6d4cf56db6-later", NODE));
    let created = before.elapsed();
    let told = agent.wait_for("cart-6d4cf56db6-later", |_, addresses| addresses.is_empty());
    println!("a new pod: created in {created:?}, known {told:?} after the answer");
    server.patch_status("shop", "cart-6d4cf56db6-later", &running("10.244.0.8"));
    let told = agent.wait_for("cart-6d4cf56db6-later", |_, addresses| *addresses == [ip("10.244.0.8")]);
    println!("its address: known {told:?} after the answer");
    // One that ended may have lost its address to another.
    server.patch_status("shop", "cart-6d4cf56db6-later", &json!({ "phase": "Succeeded" }));
    agent.wait("ended", |fact| matches!(fact, Fact::Gone(id) if id.0 == uid));
    server.delete_pod("shop", "cart-6d4cf56db6-later");
    let uid = server.create_pod("shop", cart("cart-6d4cf56db6-short", NODE));
    agent.wait_for("cart-6d4cf56db6-short", |_, _| true);
    server.delete_pod("shop", "cart-6d4cf56db6-short");
    agent.wait("deleted", |fact| matches!(fact, Fact::Gone(id) if id.0 == uid));
    let other =
        |fact: &Fact| matches!(fact, Fact::Here { instance, .. } if instance.name.ends_with("-other"));
    assert!(!agent.has_learnt(other), "a pod of another node");
    assert!(!agent.has_learnt(|fact| matches!(fact, Fact::Silent { .. })), "{:#?}", agent.learnt);
}

fn a_server_that_starts_anew_is_not_missed(server: &mut Server, agent: &mut Agent) {
    let down = Instant::now();
    server.stop_api();
    server.start_api();
    server.create_pod("shop", cart("cart-6d4cf56db6-restart", NODE));
    let told = agent.wait_for("cart-6d4cf56db6-restart", |_, _| true);
    let away = down.elapsed();
    println!("a new pod after a restart of the API server: known after {told:?}, away for {away:?}");
    let silent = agent.has_learnt(|fact| matches!(fact, Fact::Silent { .. }));
    assert!(!silent || away > RESTART, "{:#?}", agent.learnt);
    agent.learnt.retain(|fact| !matches!(fact, Fact::Silent { .. } | Fact::Speaks(_)));
    let gone = agent.has_learnt(|fact| matches!(fact, Fact::Gone(_)));
    assert!(!gone, "nothing is forgotten for a restart: {:#?}", agent.learnt);
}

fn an_outage_is_told_and_what_was_known_stays(server: &mut Server, agent: &mut Agent) {
    server.stop_api();
    let told = agent.wait("silent", |fact| match fact {
        Fact::Silent { source: Source::Kubernetes, why } => {
            // One that is still ending accepts and does not answer.
            let reasons = ["Connection refused", "nothing came from it in time", "Connection reset"];
            let told = why.contains("127.0.0.1") && reasons.iter().any(|reason| why.contains(reason));
            assert!(told, "{why}");
            true
        }
        _ => false,
    });
    assert!(told < OUTAGE, "told after {told:?}");
    assert!(!agent.has_learnt(|fact| matches!(fact, Fact::Gone(_))), "{:#?}", agent.learnt);
    server.start_api();
    let uid = server.create_pod("shop", cart("cart-6d4cf56db6-back", NODE));
    let back = agent.wait_for("cart-6d4cf56db6-back", |instance, _| instance.id.0 == uid);
    agent.wait("speaks", |fact| *fact == Fact::Speaks(Source::Kubernetes));
    println!("an outage: told after {told:?}; the first new pod after it: known after {back:?}");
    assert!(!agent.has_learnt(|fact| matches!(fact, Fact::Silent { .. })), "told once: {:#?}", agent.learnt);
}

#[test]
fn what_is_missing_is_named() {
    let Some(server) = server("kubernetes-refusals") else { return };
    let nobody = server.kubeconfig("nobody", &server.service_account("nobody"));
    let told = |kubeconfig: PathBuf, node: &str, parts: &[&str]| {
        Agent::start(kubeconfig, node).wait(parts[0], |fact| match fact {
            Fact::Silent { source: Source::Kubernetes, why } => {
                println!("{why}");
                parts.iter().for_each(|part| assert!(why.contains(part), "{part}: {why}"));
                true
            }
            _ => false,
        });
    };
    told(
        nobody,
        NODE,
        &[
            "does not allow to list pods",
            "serviceaccount:default:nobody",
            "resources: [pods], verbs: [list, watch]",
        ],
    );
    told(
        server.kubeconfig("wrong", "no-such-token"),
        NODE,
        &["does not accept the credentials", "--kubeconfig"],
    );
    let agent = cluster(&server);
    told(agent.clone(), "nobody-s-node", &["knows no pod of a node `nobody-s-node`", "--node-name"]);
    // What would be read as two selectors is one name.
    told(agent, "a,metadata.name=b", &["knows no pod of a node `a,metadata.name=b`"]);
    told(PathBuf::from("/dev/zero"), NODE, &["cannot use the kubeconfig /dev/zero", "no regular file"]);
    told(PathBuf::from("/nonexistent"), NODE, &["cannot use the kubeconfig /nonexistent", "--kubeconfig"]);
    let line = outlook_of(&config(PathBuf::from("/nonexistent"), NODE));
    assert!(line.starts_with("nobody: cannot use the kubeconfig /nonexistent"), "{line}");
}

/// Prints what 250 pods cost: run with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn memory_of_250_pods() {
    let Some(server) = server("kubernetes-memory") else { return };
    let kubeconfig = cluster(&server);
    for number in 0..250 {
        let name = format!("cart-6d4cf56db6-{number:05}");
        server.create_pod("shop", cart(&name, NODE));
        server.patch_status("shop", &name, &running(&format!("10.244.0.{number}")));
    }
    // A process of its own, which has made no pods.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory_child", "--ignored", "--nocapture"])
        .env("NSLOOKOUT_KUBECONFIG", kubeconfig)
        .status()
        .unwrap();
    assert!(child.success());
}

#[test]
#[ignore = "runs in a process of its own, started by memory_of_250_pods"]
fn memory_child() {
    let Some(kubeconfig) = std::env::var_os("NSLOOKOUT_KUBECONFIG") else { return };
    let before = anonymous_kib();
    let mut agent = Agent::start(kubeconfig.into(), NODE);
    let start = Instant::now();
    for number in 0..250 {
        agent.wait_for(&format!("cart-6d4cf56db6-{number:05}"), |_, _| true);
    }
    println!(
        "250 pods: known {:?} after the start, {} KiB of anonymous memory",
        start.elapsed(),
        anonymous_kib() - before
    );
}

fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
