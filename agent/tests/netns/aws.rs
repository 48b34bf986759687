//! What the platforms of AWS say of a node: ENIs by its instance metadata service, tasks by its ECS agent. Both are small
//! servers that answer as documented; the requests go over a real uplink.

use std::fs;
use std::path::PathBuf;

use nslookout::identity::facts::{Fact, ServerRole, Source};
use nslookout::identity::{Identity, IdentityConfig, Sources};
use serde_json::{Value, json};

use crate::agent::{Agent, By};
use crate::fixture::{Namespace, Node, Process, plug, until};
use crate::needs_root;

/// The instance metadata service.
const IMDS: &str = "169.254.169.254";
/// The resolver that follows from the VPC's block, 10.99.0.0/16.
const RESOLVER: &str = "10.99.0.2";
/// What is asked for the first interface: a token, the list, and six documents.
const FIRST: usize = 8;

/// A node with an uplink to a VPC that serves metadata.
struct Instance {
    node: Node,
    vpc: Namespace,
    files: Files,
    service: Option<Process>,
}

/// Files of one test, gone with their guard.
struct Files(PathBuf);

impl Files {
    fn new(namespace: &Namespace) -> Self {
        let folder = std::env::temp_dir().join(format!("{}-files", namespace.name));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Takes the place of what was there at once, as a reader sees it.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Instance {
    fn new() -> Self {
        let node = Node::new();
        let vpc = Namespace::new("vpc");
        vpc.run(&format!("ip addr add {IMDS}/32 dev lo"));
        let files = Files::new(&vpc);
        let mut instance = Self { node, vpc, files, service: None };
        instance.plug("up0", 9);
        instance
    }

    /// Starts the service with these options, in place of the one that ran.
    fn serve(&mut self, options: &str) {
        self.service = None;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/lab/aws/imds.py");
        let (interfaces, log) = (self.files.path("interfaces"), self.files.path("log"));
        let line = format!("python3 {script} --interfaces {interfaces} --log {log} {options}");
        self.service = Some(self.vpc.spawn(&line));
        self.vpc.wait_for_server(80, &["tcp"]);
    }

    /// Adds an uplink, which the service knows.
    fn plug(&mut self, name: &str, number: u8) {
        let mut interfaces = self.interfaces();
        let eni = json!({
            "interface-id": format!("eni-0123456789abcde{number:02}"),
            "local-ipv4s": [format!("10.99.{number}.1")],
            "vpc-ipv4-cidr-blocks": ["10.99.0.0/16"],
            "subnet-ipv4-cidr-block": format!("10.99.{number}.0/24"),
            "vpc-ipv6-cidr-blocks": ["fd00:99::/56"],
        });
        let mac = format!("02:29:96:8f:6a:{number:02x}");
        interfaces[&mac] = eni;
        self.files.write("interfaces", &interfaces.to_string());
        let node = &self.node.node;
        node.run(&format!(
            "ip link add {name} address {mac} type veth peer name peer{number} netns {}",
            self.vpc.name
        ));
        for (namespace, link, host) in [(node, name.to_owned(), 1), (&self.vpc, format!("peer{number}"), 2)] {
            namespace.run(&format!("ip link set {link} up"));
            namespace.run(&format!("ip addr add 10.99.{number}.{host}/24 dev {link}"));
        }
        self.vpc.run(&format!("ip route replace 10.99.1.0/24 via 10.99.{number}.1"));
        node.run(&format!("ip route append default via 10.99.{number}.2 metric {number}"));
    }

    fn interfaces(&self) -> Value {
        let text = fs::read_to_string(self.files.path("interfaces")).unwrap_or("{}".into());
        serde_json::from_str(&text).unwrap()
    }

    /// The requests so far.
    fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.files.path("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

/// What is learnt, as it comes.
struct Listener {
    identity: Identity,
    facts: Vec<Fact>,
}

impl Listener {
    /// Asks one source, inside `namespace`.
    fn start(namespace: &Namespace, source: Source) -> Self {
        let config =
            IdentityConfig { sources: Sources::These(vec![source]), node_name: None, kubeconfig: None };
        Self { identity: namespace.enter(|| Identity::start(&config)).unwrap(), facts: Vec::new() }
    }

    /// Waits for a fact.
    fn wait<T>(&mut self, what: &str, find: impl Fn(&Fact) -> Option<T>) -> T {
        until(what, || {
            self.facts.extend(self.identity.take());
            let place = self.facts.iter().position(|fact| find(fact).is_some())?;
            find(&self.facts.remove(place))
        })
    }

    fn silent(&mut self) -> String {
        self.wait("a source says why it says nothing", |fact| match fact {
            Fact::Silent { why, .. } => Some(why.clone()),
            _ => None,
        })
    }
}

#[test]
fn an_eni_is_named_by_few_requests() {
    needs_root!();
    let mut instance = Instance::new();
    instance.serve("");
    let mut listener = Listener::start(&instance.node.node, Source::Imds);
    let eni = |listener: &mut Listener, id: &str| {
        listener.wait(&format!("the ENI {id}"), |fact| match fact {
            Fact::Eni(eni) if eni.id == id => Some(eni.clone()),
            _ => None,
        })
    };
    let first = eni(&mut listener, "eni-0123456789abcde09");
    let ifindex = instance.node.node.run("cat /sys/class/net/up0/ifindex");
    assert_eq!(first.interface.0.to_string(), ifindex.trim());
    assert_eq!(first.mac, "02:29:96:8f:6a:09");
    assert_eq!(first.addresses, ["10.99.9.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(first.vpc_blocks, ["10.99.0.0/16", "fd00:99::/56"]);
    listener.wait("the VPC's resolver", |fact| match fact {
        Fact::Server { address, role: ServerRole::Vpc } => (address.to_string() == RESOLVER).then_some(()),
        _ => None,
    });
    let macs = "/latest/meta-data/network/interfaces/macs/";
    let mac = &first.mac;
    assert_eq!(
        instance.requests(),
        [
            "PUT /latest/api/token 200".to_owned(),
            format!("GET {macs} 200"),
            format!("GET {macs}{mac}/interface-id 200"),
            format!("GET {macs}{mac}/local-ipv4s 200"),
            format!("GET {macs}{mac}/ipv6s 404"),
            format!("GET {macs}{mac}/vpc-ipv4-cidr-blocks 200"),
            format!("GET {macs}{mac}/vpc-ipv6-cidr-blocks 200"),
            format!("GET {macs}{mac}/subnet-ipv4-cidr-block 200"),
        ]
    );
    // A pod comes, the default route goes and comes: nobody is asked. A second uplink is: with the same token.
    let pod = Namespace::new("pod");
    plug(&instance.node.node, "cali7", &pod, 7);
    instance.node.node.run("ip route del default metric 9");
    instance.node.node.run("ip route append default via 10.99.9.2 metric 9");
    instance.plug("up1", 10);
    eni(&mut listener, "eni-0123456789abcde10");
    let requests = instance.requests();
    assert_eq!(requests.len(), FIRST + 7, "{requests:#?}");
    assert_eq!(requests.iter().filter(|line| line.starts_with("PUT")).count(), 1, "{requests:#?}");
    assert_eq!(requests.iter().filter(|line| line.contains(mac.as_str())).count(), 6, "{requests:#?}");
}

#[test]
fn a_token_that_ended_is_replaced() {
    needs_root!();
    let mut instance = Instance::new();
    instance.serve("--uses 4");
    let mut listener = Listener::start(&instance.node.node, Source::Imds);
    listener.wait("the ENI", |fact| matches!(fact, Fact::Eni(_)).then_some(()));
    let requests = instance.requests();
    assert_eq!(requests.iter().filter(|line| line.starts_with("PUT")).count(), 2, "{requests:#?}");
    assert_eq!(requests.iter().filter(|line| line.ends_with(" 401")).count(), 1, "{requests:#?}");
}

#[test]
fn a_service_that_says_nothing_is_told_and_spared() {
    needs_root!();
    let mut instance = Instance::new();
    for (options, expected) in
        [("--tokens off", "turned off or closed to us"), ("--tokens v1", "has no version 2")]
    {
        instance.serve(options);
        let why = Listener::start(&instance.node.node, Source::Imds).silent();
        assert!(why.contains(expected) && why.contains("--identity"), "{why}");
    }
    // A list that makes no sense holds nothing of ours: no more is asked.
    instance.serve("--tokens garbage");
    let _listener = Listener::start(&instance.node.node, Source::Imds);
    until("the list was asked for", || instance.requests().last()?.ends_with("macs/ 200").then_some(()));
    // Each asks three times at most, with pauses.
    assert!(instance.requests().len() <= 3 + 3 + 4, "{:#?}", instance.requests());
    instance.service = None;
    let why = Listener::start(&instance.node.node, Source::Imds).silent();
    assert!(why.contains("failed to reach http://169.254.169.254:80/latest/api/token"), "{why}");
}

#[test]
fn a_hop_limit_of_one_is_told_as_such() {
    needs_root!();
    let mut instance = Instance::new();
    instance.serve("--hop-limit 1");
    // The node is one hop away, its pod two: the answer ends on the node.
    let why = Listener::start(&instance.node.client, Source::Imds).silent();
    assert!(why.contains("did not answer within 1 s"), "{why}");
    assert!(why.contains("hop limit of 1") && why.contains("hostNetwork"), "{why}");
    let mut listener = Listener::start(&instance.node.node, Source::Imds);
    listener.wait("the ENI", |fact| matches!(fact, Fact::Eni(_)).then_some(()));
}

/// The value of the first series that begins with `name{` and holds all of `labels`.
fn metric(node: &Namespace, port: u16, name: &str, labels: &[&str]) -> Option<u64> {
    let output = node.try_run(&format!("curl -s -m 5 http://127.0.0.1:{port}/metrics"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    let line = lines.find(|line| labels.iter().all(|label| line.contains(label)))?;
    line.rsplit(' ').next()?.parse::<f64>().ok().map(|value| value as u64)
}

fn check_own_requests(by: By) {
    let mut instance = Instance::new();
    instance.vpc.run(&format!("ip addr add {RESOLVER}/32 dev lo"));
    let _resolver = instance.vpc.dnsmasq(53, "");
    for rule in [
        "add table inet counted".to_owned(),
        "add chain inet counted in { type filter hook prerouting priority 0 ; }".to_owned(),
        format!("add rule inet counted in ip daddr {IMDS} counter"),
    ] {
        instance.vpc.run(&format!("nft {rule}"));
    }
    instance.serve("");
    let node = &instance.node.node;
    let options = by.options();
    let agent = Agent::start(node, &format!("serve --listen 127.0.0.1:9953 --identity imds {options}"));
    let packets = |service: &str| {
        let labels = ["interface=\"up0\"", &format!("linklocal_service=\"{service}\"")];
        metric(node, 9953, "nslookout_interface_linklocal_packets_total", &labels)
    };
    until("all requests", || (instance.requests().len() == FIRST).then_some(()));
    // Every packet of ours is counted where it leaves, as its receiver counts it.
    let sent = until("the gauge and its receiver agree", || {
        let text = instance.vpc.run("nft list table inet counted");
        let mut words = text.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        let received: u64 = words.next()?.parse().ok()?;
        (received > 0 && packets("imds") == Some(received)).then_some(received)
    });
    // As docs/identity.md says.
    assert!(sent <= 40, "{sent} packets for {FIRST} requests");
    assert!(packets("dns").unwrap_or(0) == 0, "{:?}", packets("dns"));
    // The resolver became known while the programs ran, and its packets count from then on.
    let before = packets("dns").unwrap_or(0);
    until("a query to the VPC's resolver", || {
        instance.node.dig(&format!("@{RESOLVER} a.test"));
        (packets("dns").unwrap_or(0) > before).then_some(())
    });
    let eni = ["interface=\"up0\"", "eni=\"eni-0123456789abcde09\""];
    assert!(metric(node, 9953, "nslookout_interface_linklocal_packets_total", &eni).is_some());
    agent.stop().expect_nothing_lost();
}

#[test]
fn the_agent_counts_its_own_requests() {
    needs_root!();
    check_own_requests(By::Tcx);
}

#[test]
fn nobody_is_asked_unless_wanted() {
    needs_root!();
    let mut instance = Instance::new();
    instance.serve("");
    let node = &instance.node;
    let _server = node.server.dnsmasq(53, "");
    // Longer than the wait before the first request.
    for identity in ["none", "ecs"] {
        let options = format!("--identity {identity} --for 3s");
        let ended = Agent::watch(&node.node, &options).wait();
        ended.expect_nothing_lost();
    }
    assert_eq!(instance.requests(), [] as [String; 0]);
}

#[test]
fn tasks_of_ecs_come_and_go() {
    needs_root!();
    let node = Namespace::new("node");
    let files = Files::new(&node);
    let why = Listener::start(&node, Source::Ecs).silent();
    assert!(why.contains("failed to reach http://127.0.0.1:51678/v1/tasks"), "{why}");
    let task = |name: &str, address: &str| {
        json!({
            "Arn": format!("arn:aws:ecs:us-west-2:012345678910:task/default/{name}"),
            "KnownStatus": "RUNNING", "Family": name, "Version": "8",
            "Containers": [{
                "DockerId": "9581a69a761a557fbfce1d0f6745e4af5b9dbfb86b6b2c5c4df156f1a5932ff1",
                "DockerName": format!("ecs-{name}-8-mysql"), "Name": "mysql",
                "Networks": [{"NetworkMode": "bridge", "IPv4Addresses": [address]}],
            }],
        })
    };
    files.write("tasks", &json!({"Tasks": [task("hello", "172.17.0.2"), 7]}).to_string());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/lab/aws/ecs.py");
    let _agent = node.spawn(&format!("python3 {script} --tasks {}", files.path("tasks")));
    node.wait_for_server(51678, &["tcp"]);
    let mut listener = Listener::start(&node, Source::Ecs);
    let (whose, instance) = listener.wait("the task", |fact| match fact {
        Fact::Here { whose, instance } => Some((whose.clone(), instance.clone())),
        _ => None,
    });
    let workload = &instance.workload;
    assert_eq!(
        (workload.namespace.as_str(), workload.kind.as_str(), workload.name.as_str(), instance.name.as_str()),
        ("ecs", "task", "hello", "hello")
    );
    assert_eq!(whose.addresses, ["172.17.0.2".parse::<std::net::IpAddr>().unwrap()]);
    let why = listener.silent();
    assert!(why.contains("task 2 of the list: invalid type: integer `7`"), "{why}");
    files.write("tasks", &json!({"Tasks": [task("next", "172.17.0.3")]}).to_string());
    listener.wait("the task is gone", |fact| matches!(fact, Fact::Gone(_)).then_some(()));
    listener.wait("ECS is understood again", |fact| matches!(fact, Fact::Speaks(Source::Ecs)).then_some(()));
}

/// Somebody else on the port of the ECS agent is not taken for it.
#[test]
fn another_program_on_the_port_is_not_ecs() {
    needs_root!();
    let node = Namespace::new("node");
    let _other = node.spawn("python3 -m http.server 51678 --bind 127.0.0.1 --directory /proc/self/net");
    node.wait_for_server(51678, &["tcp"]);
    let why = Listener::start(&node, Source::Ecs).silent();
    assert!(why.contains("http://127.0.0.1:51678/v1/tasks answered with status 404"), "{why}");
}
