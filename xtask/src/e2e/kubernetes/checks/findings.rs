//! What is wrong, for whom, and the lines to change: in the agent's log and in `diagnose`.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::child;
use crate::e2e::kubernetes::must;
use crate::e2e::kubernetes::scene::Scene;

/// The longest that a finding may take after the agent has started: search-amplification wants 50 lookups.
const LIMIT: Duration = Duration::from_secs(60);

/// Incident 1: NODATA stops musl; the log names the workload, its image's C library and the lines to change.
pub fn search_stopped(scene: &mut Scene) -> Result<String> {
    let line = told(
        scene,
        "search-stopped",
        &[" high ", "shop/cart (Deployment)", "payments.shop.svc.cluster.local"],
    )?;
    let others = about(&scene.agent_says(), "search-stopped", &["shop/web"]);
    must(others.is_none(), || format!("glibc goes on, but it says: {}", others.unwrap_or_default()))?;
    Ok(line)
}

/// Incident 3: eight and more queries for one name.
pub fn search_amplification(scene: &mut Scene) -> Result<String> {
    told(scene, "search-amplification", &["shop/cart (Deployment)"])
}

/// Waits for the line of a finding that holds all these words.
fn told(scene: &Scene, id: &str, words: &[&str]) -> Result<String> {
    let mut log = String::new();
    child::wait_until(LIMIT, || {
        log = scene.agent_says();
        Ok(about(&log, id, words).is_some())
    })?;
    let instead = || {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(id)).take(4).collect();
        format!(
            "no line of {id} with {} within {} s; there are: {}",
            words.join(", "),
            LIMIT.as_secs(),
            lines.join(" | ")
        )
    };
    about(&log, id, words).with_context(instead)
}

fn about(log: &str, id: &str, words: &[&str]) -> Option<String> {
    let is_it = |line: &&str| line.contains(id) && words.iter().all(|word| line.contains(word));
    log.lines().find(is_it).map(str::to_owned)
}

/// `nslookout diagnose` in the agent's own container names owner, libc of the image and the lines of the pod's
/// specification, for both incidents.
pub fn diagnose(scene: &mut Scene) -> Result<String> {
    let mut command = scene.node.kubectl.exec_agent(&["diagnose", "--for", "20s", "-o", "json"]);
    let finished = child::finish_within(&mut command, Duration::from_secs(90))?;
    // Status 1 says that something was found.
    let report: Value = serde_json::from_str(&finished.stdout)
        .with_context(|| format!("diagnose wrote no JSON document: {}", finished.stderr.trim()))?;
    let mut faults = Vec::new();
    for (id, client) in
        [("search-stopped", "cart"), ("search-amplification", "cart"), ("search-amplification", "web")]
    {
        if let Err(error) = names_everything(&report, id, client) {
            faults.push(format!("{error:#}"));
        }
    }
    must(faults.is_empty(), || faults.join("; "))?;
    Ok("both incidents with Deployment, image's libc and lines for the pod specification".into())
}

/// Does a finding of this id name the Deployment, its C library with its release, and lines of the pod specification?
fn names_everything(report: &Value, id: &str, workload: &str) -> Result<()> {
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let is_about = |finding: &&Value| {
        let text = finding.to_string();
        finding["id"] == id && text.contains("\"shop\"") && text.contains(&format!("\"{workload}\""))
    };
    let Some(finding) = findings.iter().find(is_about) else {
        let ids: Vec<String> =
            findings.iter().map(|finding| format!("{} {}", finding["id"], finding["subject"])).collect();
        anyhow::bail!("no {id} about shop/{workload}; there are: {}", ids.join(", "));
    };
    let text = finding.to_string();
    let libc: &[&str] =
        if workload == "cart" { &["musl", "1.2.3", "Alpine", "3.16"] } else { &["glibc", "Debian"] };
    let missing: Vec<&str> =
        ["Deployment"].iter().chain(libc).copied().filter(|word| !text.contains(word)).collect();
    must(missing.is_empty(), || {
        format!("{id} about shop/{workload} does not name {}: {text}", missing.join(", "))
    })?;
    let remedies = finding["remedies"].as_array().cloned().unwrap_or_default();
    let has_lines = remedies
        .iter()
        .any(|remedy| remedy["place"] == "pod spec" && remedy["lines"].to_string().contains("dnsConfig"));
    must(has_lines, || {
        format!("{id} about shop/{workload} has no lines for the pod specification: {remedies:?}")
    })
}
