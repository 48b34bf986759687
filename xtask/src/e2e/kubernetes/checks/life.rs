//! What the agent lives through: the API server's absence, its own renewal and death; and what it leaves behind.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::child;
use crate::e2e::kubernetes::hooks;
use crate::e2e::kubernetes::metrics::{self, Metrics};
use crate::e2e::kubernetes::must;
use crate::e2e::kubernetes::scene::{PATIENCE, RELEASE, Scene, agent_processes};

/// How long the node may be unwatched while one agent takes the place of another.
const GAP: Duration = Duration::from_secs(30);

/// How long it may take until what was asked stands in the metrics.
const SOON: Duration = Duration::from_secs(30);

/// The API server is killed: those who are known keep their names; when it is back, who came since gets one.
pub fn api_server_down(scene: &mut Scene) -> Result<String> {
    let restarts = restarts(scene)?;
    scene.node.stop_api_server("KILL")?;
    let before = Metrics::fetch()?.queries("shop", "cart");
    let went_on = |metrics: &Metrics| metrics.queries("shop", "cart") > before + 100.0;
    let result = scene.wait_for_metrics("cart counted on without an API server", SOON, went_on);
    // Long enough for a watch to time out and to be tried again.
    let silent_for = Instant::now();
    child::wait_until(Duration::from_secs(12), || Ok(false))?;
    let ready = metrics::page("/readyz");
    scene.node.start_api_server()?;
    let gone_for = silent_for.elapsed();
    result?;
    ready.context("not ready without an API server")?;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: newcomer, namespace: shop}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n    \
         - {name: c, image: \"docker.io/nslookout-e2e/glibc:1\", imagePullPolicy: Never, args: [\"-n\", \"100000\", \"-i\", \"500\", kubernetes.default]}\n";
    scene.node.kubectl.apply("newcomer", pod)?;
    let named = |metrics: &Metrics| metrics.queries("shop", "newcomer") > 0.0;
    let (_, took) = scene.wait_for_metrics("shop/newcomer named", PATIENCE, named)?;
    must(self::restarts(scene)? == restarts, || "the agent was started anew meanwhile".into())?;
    scene.node.kubectl.run(&["delete", "pod", "newcomer", "--namespace", "shop", "--wait=false"])?;
    Ok(format!(
        "killed for {:.0} s: cart counted on; a pod made afterwards named {:.1} s after its creation",
        gone_for.as_secs_f64(),
        took.as_secs_f64()
    ))
}

fn restarts(scene: &Scene) -> Result<u64> {
    let pod = scene.agent_pod()?;
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().context("no count of restarts")
}

/// `helm upgrade` replaces the agent: counters begin anew, each hook is there once, and the gap is short.
pub fn rolling_update(scene: &mut Scene) -> Result<String> {
    let old = scene.agent_pod()?["metadata"]["uid"].clone();
    let before = Metrics::fetch()?.sum("queries_total", &[]);
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    // Looks from before the update until after it, each 50 ms.
    let observer = std::thread::spawn(move || {
        let mut gap = Gap::default();
        while receiver.recv_timeout(Duration::from_millis(50))
            == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            gap.note(metrics::page("/readyz").is_ok());
        }
        gap.longest
    });
    let result = scene.install(&["podAnnotations.e2e=renewed"]);
    drop(sender);
    let gap = observer.join().ok().context("the observer ended badly")?;
    result?;
    must(scene.agent_pod()?["metadata"]["uid"] != old, || "the agent was not replaced".into())?;
    let after = Metrics::fetch()?.sum("queries_total", &[]);
    must(after < before, || format!("queries went from {before} to {after} in place of beginning anew"))?;
    must(gap > Duration::ZERO && gap <= GAP, || format!("not ready for {:.1} s", gap.as_secs_f64()))?;
    let twice = hooks_there_twice()?;
    must(twice.is_empty(), || format!("on one hook twice: {}", twice.join(", ")))?;
    Ok(format!(
        "replaced, unwatched for {:.1} s, {} hooks, none twice",
        gap.as_secs_f64(),
        hooks::all()?.len()
    ))
}

/// The longest time without a yes.
#[derive(Default)]
struct Gap {
    since: Option<Instant>,
    longest: Duration,
}

impl Gap {
    fn note(&mut self, ready: bool) {
        match (ready, self.since) {
            (true, Some(since)) => {
                self.longest = self.longest.max(since.elapsed());
                self.since = None;
            }
            (false, None) => self.since = Some(Instant::now()),
            _ => {}
        }
    }
}

/// Interface and hook of each program that is there more than once.
fn hooks_there_twice() -> Result<Vec<String>> {
    let place = |line: &String| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let mut places: Vec<String> = hooks::all()?.iter().map(place).collect();
    places.sort_unstable();
    let twice = places.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone());
    Ok(twice.collect())
}

/// The agent is killed: the kubelet starts it again, and nothing of the first hangs on the hooks.
pub fn crash(scene: &mut Scene) -> Result<String> {
    let before = restarts(scene)?;
    let pids = agent_processes("serve")?;
    must(pids.len() == 1, || format!("{} processes of the agent in place of one: {pids:?}", pids.len()))?;
    let start = Instant::now();
    child::send_signal("KILL", pids[0])?;
    let again = child::wait_until(PATIENCE, || Ok(restarts(scene).is_ok_and(|count| count > before)))?;
    must(again, || "the kubelet did not start the agent again".into())?;
    scene.wait_until_served()?;
    let took = start.elapsed();
    let twice = hooks_there_twice()?;
    must(twice.is_empty(), || format!("on one hook twice: {}", twice.join(", ")))?;
    Ok(format!("killed; ready again after {:.1} s, no hook twice", took.as_secs_f64()))
}

/// Without identity the agent still counts, by addresses, and asks nobody.
pub fn identity_off(scene: &mut Scene) -> Result<String> {
    scene.install(&["identity.kubernetes=false", "identity.process=false"])?;
    let by_address = |metrics: &Metrics| {
        metrics.of("queries_total", &[]).any(|sample| {
            sample.labels.get("workload").is_some_and(|workload| workload.starts_with("10.244."))
        })
    };
    let (metrics, _) = scene.wait_for_metrics("queries by address", SOON, by_address)?;
    let named = metrics.queries("shop", "cart");
    must(named == 0.0, || format!("{named} queries are counted for shop/cart though identity is off"))?;
    let spec = scene.agent_pod()?["spec"].clone();
    must(spec["hostPID"] != true, || "the pod sees the node's processes all the same".into())?;
    let added = &spec["containers"][0]["securityContext"]["capabilities"]["add"];
    for capability in ["SYS_ADMIN", "SYS_PTRACE"] {
        must(!added.to_string().contains(capability), || {
            format!("it has {capability} all the same: {added}")
        })?;
    }
    Ok(format!("addresses in place of names, capabilities {added}"))
}

/// `helm uninstall` leaves no program on a hook, no qdisc, no process and no object.
pub fn uninstall(scene: &mut Scene) -> Result<String> {
    let had = hooks::all()?.len();
    must(had > 0, || "there was no hook before".into())?;
    scene.node.kubectl.helm(&["uninstall", RELEASE, "--namespace", RELEASE, "--wait"])?;
    let mut left = Vec::new();
    let gone = child::wait_until(SOON, || {
        left = hooks::all()?;
        left.extend(hooks::qdiscs()?);
        left.extend(agent_processes("")?.iter().map(|pid| format!("process {pid}")));
        Ok(left.is_empty())
    })?;
    must(gone, || format!("left behind: {}", left.join(", ")))?;
    let kinds = "daemonsets,pods,configmaps,services,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings";
    let gone = child::wait_until(SOON, || {
        let objects = scene.node.kubectl.run(&["get", kinds, "-A", "-o", "name"])?;
        left = objects.lines().filter(|name| name.contains("nslookout")).map(str::to_owned).collect();
        Ok(left.is_empty())
    })?;
    must(gone, || format!("left behind: {}", left.join(", ")))?;
    Ok(format!("{had} hooks, and none now; no clsact, no process, no object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_from_the_first_no_to_the_next_yes() {
        let mut gap = Gap::default();
        gap.note(true);
        assert_eq!(gap.longest, Duration::ZERO);
        gap.note(false);
        gap.note(false);
        assert_eq!(gap.longest, Duration::ZERO, "it has not ended yet");
        gap.note(true);
        assert!(gap.longest > Duration::ZERO);
    }
}
