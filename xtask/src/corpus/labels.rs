//! The labels as a file: `agent/tests/corpus/labels.json`, one capture per line, which the test reads.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::scenario::{Scenario, least_severity};
use crate::shell::workspace;

/// Where captures and labels are.
pub fn folder() -> PathBuf {
    workspace().join("agent/tests/corpus")
}

/// The capture of a scenario.
pub fn capture(scenario: &Scenario) -> PathBuf {
    folder().join(scenario.set.name()).join(format!("{}.pcap.zst", scenario.name))
}

/// Writes the labels of all scenarios.
pub fn write(scenarios: &[Scenario]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for scenario in scenarios {
        if !seen.insert((scenario.set, &scenario.name)) {
            bail!("two scenarios are called {} {}", scenario.set.name(), scenario.name);
        }
        let label = &scenario.label;
        let contradicts = |id: &str| label.must.contains(&id) || label.may.iter().any(|(may, _)| *may == id);
        if let Some((id, _)) = label.near_miss.iter().find(|(id, _)| contradicts(id)) {
            bail!("{} both may and must not hold {id}", scenario.name);
        }
    }
    let file = folder().join("labels.json");
    fs::create_dir_all(folder()).with_context(|| format!("failed to create {}", folder().display()))?;
    fs::write(&file, text(scenarios)).with_context(|| format!("failed to write {}", file.display()))
}

/// One capture per line, so that a change of a label is a change of one line.
fn text(scenarios: &[Scenario]) -> String {
    let lines: Vec<String> = scenarios.iter().map(|scenario| label(scenario).to_string()).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// A label as the test reads it.
fn label(scenario: &Scenario) -> Value {
    let label = &scenario.label;
    let reasons = |list: &[(&str, &str)]| -> Map<String, Value> {
        list.iter().map(|&(id, why)| (id.to_owned(), json!(why))).collect()
    };
    let least = |id: &&'static str| {
        let own = label.at_least.iter().find(|(other, _)| other == id);
        ((*id).to_owned(), json!(own.map_or(least_severity(id), |(_, severity)| severity)))
    };
    let least: Map<String, Value> = label.must.iter().map(least).collect();
    let pod = scenario.pods.first();
    let concerned = scenario.pods.iter().filter(|pod| !pod.healthy);
    let clients: Vec<&str> = concerned.map(|pod| pod.address.as_str()).collect();
    let mut object = json!({
        "name": scenario.name,
        "set": scenario.set.name(),
        "clients": clients,
        "must": label.must,
        "least_severity": least,
        "may": reasons(&label.may),
        "near_miss": reasons(&label.near_miss),
    });
    if let (Some(stub), Some(pod)) = (label.stub, pod) {
        object["fingerprint"] = json!({ "client": pod.address, "stub": stub });
    }
    if let (true, Some(pod)) = (label.told, pod) {
        object["resolv_conf"] = json!(pod.resolv_conf);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::families;
    use crate::corpus::scenario::Set;

    #[test]
    fn the_file_holds_the_labels_of_the_table() {
        let all: Vec<Scenario> = Set::ALL.iter().flat_map(|&set| families::scenarios(set)).collect();
        let file = fs::read_to_string(folder().join("labels.json")).unwrap();
        assert!(file == text(&all), "cargo xtask corpus labels writes them anew");
    }
}
