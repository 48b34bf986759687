//! Who asked: pods by their owners, from their first query on, on the node's network, and however short they live.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::child::{self, Running};
use crate::e2e::kubernetes::daemon;
use crate::e2e::kubernetes::metrics::Metrics;
use crate::e2e::kubernetes::must;
use crate::e2e::kubernetes::node::{KUBE_DNS, NODE_IP, OUTSIDE_IP};
use crate::e2e::kubernetes::scene::{PATIENCE, Scene, agent_processes};

/// Every workload of the scene that is not on the node's network.
const WORKLOADS: [&str; 6] = ["cart", "web", "ledger", "report", "custom", "frugal"];

/// How long it may take until what was asked stands in the metrics.
const SOON: Duration = Duration::from_secs(30);

/// How long a workload that is gone may keep its series, by the value that the check installs.
const GRACE: &str = "10s";

/// Who is gone keeps the name of its packets for a minute; then comes [`GRACE`], and what is over is looked for each 10 s.
const LEAVE: Duration = Duration::from_secs(100);

/// Pods that ask at once, one after the other.
const PODS_AT_ONCE: usize = 5;

/// Pods that come and go.
const MANY: usize = 100;

/// Queries are counted for the topmost owner of each pod, and the cluster's resolver is known as such.
pub fn workloads(scene: &mut Scene) -> Result<String> {
    let all_named = |metrics: &Metrics| WORKLOADS.iter().all(|name| metrics.queries("shop", name) > 0.0);
    let (_, took) = scene.wait_for_metrics("every workload named", SOON, all_named)?;
    let to_cluster = |metrics: &Metrics| {
        let labels = [("namespace", "shop"), ("workload", "cart"), ("resolver", "cluster")];
        metrics.sum("queries_total", &labels) > 0.0
    };
    scene.wait_for_metrics("cart's resolver known as the cluster's", SOON, to_cluster)?;
    // CoreDNS' stand-in answers them, and is a workload too.
    let served = |metrics: &Metrics| {
        metrics.sum("server_queries_total", &[("namespace", "kube-system"), ("workload", "coredns")]) > 0.0
    };
    scene.wait_for_metrics("kube-system/coredns named as the server", SOON, served)?;
    Ok(format!("shop/{{{}}} named, {:.1} s after the first look", WORKLOADS.join(","), took.as_secs_f64()))
}

/// Pods that ask at once when they start are named in their first query already: in the line and in the metrics.
pub fn first_query(scene: &mut Scene) -> Result<String> {
    const NAMESPACE: &str = "first";
    let kubectl = &scene.node.kubectl;
    let lines = daemon::folder().join("first-query.json");
    let mut watch = kubectl.exec_agent(&["watch", "-o", "json"]);
    let mut watch = Running::spawn(into_file(&mut watch, &lines)?)?;
    let listening =
        child::wait_until(SOON, || Ok(read(&lines).contains("cart") || watch.exited()?.is_some()))?;
    must(listening && watch.exited()?.is_none(), || format!("watch prints nothing: {}", read(&lines)))?;
    kubectl.run(&["create", "namespace", NAMESPACE])?;
    let mut slowest = 0.0_f64;
    for round in 1..=PODS_AT_ONCE {
        let name = format!("early-{round}");
        kubectl.apply("first-query", &pod(NAMESPACE, &name, &format!("[{name}.crawl.example.]")))?;
        // The cluster's resolver asks for the same name, elsewhere.
        let words = [format!("\"qname\":\"{name}.crawl.example.\""), format!("\"server\":\"{KUBE_DNS}\"")];
        let is_its = |line: &&str| words.iter().all(|word| line.contains(word));
        let first = |text: &str| text.lines().find(is_its).map(str::to_owned);
        let seen = child::wait_until(PATIENCE, || Ok(first(&read(&lines)).is_some()))?;
        let now = jiff::Timestamp::now();
        must(seen, || format!("the query of {name} was not seen"))?;
        let line = first(&read(&lines)).unwrap_or_default();
        must(line.contains(&format!("\"{name}\"")), || {
            format!("the first line of {name} does not name it: {line}")
        })?;
        let sent: Value = serde_json::from_str(&line).context("a line of watch is no JSON")?;
        let sent: jiff::Timestamp = sent["query_time"].as_str().context("no query_time")?.parse()?;
        slowest = slowest.max(now.duration_since(sent).as_secs_f64());
        let all = |metrics: &Metrics| metrics.queries(NAMESPACE, &name) >= 2.0;
        let (metrics, _) = scene.wait_for_metrics("both queries counted", SOON, all)?;
        let counted = metrics.queries(NAMESPACE, &name);
        must(counted == 2.0, || format!("{counted} queries are counted for {name}, which sent 2"))?;
    }
    drop(watch);
    // The end of kubectl is not that of what it started in the container.
    for pid in agent_processes("watch")? {
        child::send_signal("TERM", pid).ok();
    }
    kubectl.run(&["delete", "namespace", NAMESPACE, "--wait=false"])?;
    Ok(format!(
        "{PODS_AT_ONCE} of {PODS_AT_ONCE} pods named in their first query, told at most {slowest:.2} s after it was sent"
    ))
}

/// Both outputs of a command into one file.
fn into_file<'a>(command: &'a mut Command, path: &Path) -> Result<&'a mut Command> {
    let file = File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
    let errors = file.try_clone().context("failed to share a file")?;
    Ok(command.stdin(Stdio::null()).stdout(file).stderr(errors))
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// A pod that runs the glibc client once.
fn pod(namespace: &str, name: &str, arguments: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  restartPolicy: Never\n  terminationGracePeriodSeconds: 1\n  containers:\n    \
         - {{name: c, image: \"docker.io/nslookout-e2e/glibc:1\", imagePullPolicy: Never, args: {arguments}}}\n"
    )
}

/// A pod on the node's network is told from the node's other processes, though they share its address.
pub fn host_network(scene: &mut Scene) -> Result<String> {
    let asked_by_probe = |metrics: &Metrics| metrics.queries("ops", "probe") > 4.0;
    let (before, _) = scene.wait_for_metrics("ops/probe named", SOON, asked_by_probe)?;
    // A process of the node itself, in nobody's pod; it asks the node's resolver, as probe does.
    let mut dig = Command::new("dig");
    dig.args([&format!("@{OUTSIDE_IP}"), "+short", "+tries=1", "node-itself.crawl.example"]);
    child::output_within(&mut dig, Duration::from_secs(10))?;
    let host = |metrics: &Metrics| metrics.sum("queries_total", &[("namespace", "host")]);
    let had = host(&before);
    let (after, _) =
        scene.wait_for_metrics("the node's own query counted", SOON, |metrics| host(metrics) > had)?;
    Ok(format!(
        "ops/probe {} queries, processes of the node {} (all from {NODE_IP})",
        after.queries("ops", "probe"),
        host(&after)
    ))
}

/// A hundred pods that live for a moment: all that they asked is told of their Job, though they are gone.
pub fn short_lived(scene: &mut Scene) -> Result<String> {
    scene.install(&[&format!("config.series-grace={GRACE}")])?;
    let job = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: crowd}}\n---\n\
         apiVersion: batch/v1\nkind: Job\nmetadata: {{name: burst, namespace: crowd}}\n\
         spec:\n  completions: {MANY}\n  parallelism: 15\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n        \
         - {{name: c, image: \"docker.io/nslookout-e2e/glibc:1\", imagePullPolicy: Never, args: [kubernetes.default.svc.cluster.local.]}}\n"
    );
    let kubectl = &scene.node.kubectl;
    kubectl.apply("short-lived", &job)?;
    let start = Instant::now();
    let done = |job: &Value| job["status"]["succeeded"] == MANY;
    kubectl.wait_for("all pods done", &["job", "burst", "--namespace", "crowd"], PATIENCE * 3, done)?;
    let took = start.elapsed();
    kubectl.run(&["delete", "namespace", "crowd", "--wait=false"])?;
    let wanted = 2.0 * MANY as f64;
    let all = |metrics: &Metrics| metrics.queries("crowd", "burst") >= wanted;
    let mut metrics = Metrics::fetch()?;
    child::wait_until(Duration::from_secs(5), || {
        metrics = Metrics::fetch()?;
        Ok(all(&metrics))
    })?;
    let of = |qtype| metrics.sum("queries_total", &[("namespace", "crowd"), ("qtype", qtype)]);
    let counted = metrics.queries("crowd", "burst");
    must(counted == wanted, || {
        let others = metrics.workloads().join(", ");
        format!(
            "{counted} queries are counted for the Job (A {}, AAAA {}), which sent {wanted}; there are {others}",
            of("A"),
            of("AAAA")
        )
    })?;
    scene.crowd_gone = Some(Instant::now());
    Ok(format!("{MANY} pods in {:.0} s, all {wanted} queries told of Job burst", took.as_secs_f64()))
}

/// The series of these pods go away; a check of its own, so that others use the time until then.
pub fn series_leave(scene: &mut Scene) -> Result<String> {
    let since = scene.crowd_gone.context("the check short-lived, which makes these series, did not pass")?;
    let gone = |metrics: &Metrics| metrics.of("queries_total", &[("namespace", "crowd")]).next().is_none();
    scene.wait_for_metrics("the Job's series gone", LEAVE, gone)?;
    let others = Metrics::fetch()?.queries("shop", "cart");
    must(others > 0.0, || "the series of shop/cart are gone too".into())?;
    Ok(format!("gone {:.0} s after the Job's end at the latest", since.elapsed().as_secs_f64()))
}
