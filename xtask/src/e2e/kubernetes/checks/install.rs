//! The chart: what the server says to all that it renders, and that the agent runs by it.

use std::fs;

use anyhow::{Context, Result};

use crate::e2e::kubernetes::scene::{RELEASE, Scene};
use crate::e2e::kubernetes::{chart, daemon};
use crate::shell::workspace;

/// Everything that the chart renders for this cluster, and the plain manifests, are what the server would take.
pub fn dry_run(scene: &mut Scene) -> Result<String> {
    let kubectl = &scene.node.kubectl;
    let chart = chart();
    let rendered = kubectl.helm(&["template", RELEASE, &chart.to_string_lossy(), "--namespace", RELEASE])?;
    let path = daemon::folder().join("rendered.yaml");
    fs::write(&path, rendered).with_context(|| format!("failed to write {}", path.display()))?;
    // What is in a namespace can be tried only where that is there.
    kubectl.run(&["create", "namespace", RELEASE])?;
    let plain = workspace().join("deploy/kubernetes/nslookout.yaml");
    let mut seen = Vec::new();
    for manifest in [&path, &plain] {
        let words = ["apply", "--dry-run=server", "--validate=false", "-f", &manifest.to_string_lossy()];
        let said = kubectl.run(&words);
        let said = said.with_context(|| format!("the server refuses {}", manifest.display()))?;
        seen.push(said.lines().count());
    }
    kubectl.run(&["delete", "namespace", RELEASE, "--wait=true"])?;
    Ok(format!(
        "the server takes all {} objects of the chart and {} of the plain manifests",
        seen[0], seen[1]
    ))
}

/// The chart installs, and the agent is ready.
pub fn install(scene: &mut Scene) -> Result<String> {
    let took = scene.install(&[])?;
    let pod = scene.agent_pod()?;
    let image = pod["status"]["containerStatuses"][0]["image"].as_str().unwrap_or_default();
    Ok(format!("ready {:.1} s after helm began, image {image}", took.as_secs_f64()))
}
