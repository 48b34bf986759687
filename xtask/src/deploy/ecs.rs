//! The task definitions of ECS, held against the model of its API that the AWS SDK comes with. No ECS has ever run them.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::schemas;
use crate::shell::workspace;

/// Checks each task definition, and that a wrong one is refused.
///
/// # Errors
///
/// What the model has to say about it.
pub fn check() -> Result<()> {
    let folder = workspace().join("deploy/ecs");
    let mut first = None;
    for name in ["daemon.json", "fargate-sidecar.json"] {
        let path = folder.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let definition: Value = serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
        version_is_ours(&definition).with_context(|| format!("{}", path.display()))?;
        schemas::python(&["ecs", &path.display().to_string()])?;
        println!("ok  ecs/{name} by the model of ECS's API");
        first.get_or_insert(definition);
    }
    let mut wrong = first.context("no task definition")?;
    // What Kubernetes and Docker know, ECS does not.
    wrong["containerDefinitions"][0]["linuxParameters"]["capabilities"]["add"] = serde_json::json!(["BPF"]);
    let path = workspace().join("target/deploy/wrong-task.json");
    fs::write(&path, wrong.to_string()).with_context(|| format!("failed to write {}", path.display()))?;
    match schemas::python(&["ecs", &path.display().to_string()]) {
        Err(error) if format!("{error:#}").contains("BPF") => Ok(()),
        Err(error) => bail!("a capability that ECS does not know was refused for another reason: {error:#}"),
        Ok(_) => bail!("a capability that ECS does not know passed its model"),
    }
}

fn version_is_ours(definition: &Value) -> Result<()> {
    let ours = format!("/nslookout:{}", env!("CARGO_PKG_VERSION"));
    let containers = definition["containerDefinitions"].as_array().context("no containers")?;
    let images = containers.iter().filter_map(|container| container["image"].as_str());
    if images.clone().any(|image| image.ends_with(&ours)) {
        return Ok(());
    }
    bail!("no image ends with {ours}: {:?}", images.collect::<Vec<_>>())
}
