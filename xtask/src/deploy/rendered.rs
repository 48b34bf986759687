//! What the rendered objects say: no permission that the values do not ask for, and a configuration that the agent takes.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::chart::{PLAIN_SINCE, Values};
use super::schemas;
use crate::cargo::build_agent;
use crate::shell::{output, workspace};

/// What one set of values may ask of a node and of the API server.
struct Expected {
    values: Values,
    capabilities: &'static [&'static str],
    host_pid: bool,
    token: bool,
    kinds: &'static [&'static str],
}

const EXPECTED: [Expected; 3] = [
    Expected {
        values: Values::Default,
        capabilities: &["BPF", "NET_ADMIN", "PERFMON", "NET_RAW", "SYS_PTRACE"],
        host_pid: true,
        token: true,
        kinds: &[
            "ServiceAccount",
            "ConfigMap",
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
            "DaemonSet",
        ],
    },
    Expected {
        values: Values::AllOn,
        capabilities: &[
            "BPF",
            "NET_ADMIN",
            "PERFMON",
            "NET_RAW",
            "SYS_RESOURCE",
            "SYS_PTRACE",
            "SYS_ADMIN",
            "DAC_READ_SEARCH",
        ],
        host_pid: true,
        token: true,
        kinds: &[
            "ServiceAccount",
            "ConfigMap",
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
            "Service",
            "DaemonSet",
            "PodMonitor",
            "PrometheusRule",
        ],
    },
    Expected {
        values: Values::AllOff,
        capabilities: &["NET_RAW"],
        host_pid: false,
        token: false,
        kinds: &["ConfigMap", "DaemonSet"],
    },
];

/// Checks each set of values.
///
/// # Errors
///
/// What differs from what is expected.
pub fn check() -> Result<()> {
    for expected in &EXPECTED {
        let name = expected.values.name();
        let objects = schemas::rendered(expected.values, PLAIN_SINCE)?;
        asks_for_no_more(&objects, expected).with_context(|| format!("values {name}"))?;
        agent_takes(&objects, name)?;
        println!("ok  values {name}: permissions as listed, and the agent takes its configuration");
    }
    Ok(())
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind).with_context(|| format!("no {kind}"))
}

fn asks_for_no_more(objects: &[Value], expected: &Expected) -> Result<()> {
    let kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    let (mut kinds, mut wanted) = (kinds, expected.kinds.to_vec());
    kinds.sort_unstable();
    wanted.sort_unstable();
    same("kinds", &kinds, &wanted)?;
    for object in
        objects.iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("Role")))
    {
        let rules = match object["kind"].as_str() {
            Some("ClusterRole") => r#"[{"apiGroups":[""],"resources":["pods"],"verbs":["list","watch"]}]"#,
            _ => r#"[{"apiGroups":[""],"resources":["services"],"verbs":["list"]}]"#,
        };
        same("rules", &object["rules"].to_string().as_str(), &rules)?;
    }
    let daemon_set = of_kind(objects, "DaemonSet")?;
    let pod = &daemon_set["spec"]["template"]["spec"];
    same("hostPID", &(pod["hostPID"] == true), &expected.host_pid)?;
    same("token", &(pod["automountServiceAccountToken"] == true), &expected.token)?;
    same("hostIPC", &pod["hostIPC"], &Value::Null)?;
    let containers = pod["containers"].as_array().context("no containers")?;
    same("containers", &containers.len(), &1)?;
    let security = &containers[0]["securityContext"];
    same("drop", &security["capabilities"]["drop"], &serde_json::json!(["ALL"]))?;
    same("add", &security["capabilities"]["add"], &serde_json::json!(expected.capabilities))?;
    for (name, wanted) in
        [("privileged", false), ("allowPrivilegeEscalation", false), ("readOnlyRootFilesystem", true)]
    {
        same(name, &security[name], &Value::Bool(wanted))?;
    }
    // AppArmor is let go only where the agent has to look into other processes.
    same("appArmorProfile", &security["appArmorProfile"].is_object(), &expected.host_pid)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, here: &T, wanted: &T) -> Result<()> {
    if here != wanted {
        bail!("{what} is {here:?}, not {wanted:?}");
    }
    Ok(())
}

/// The file in the ConfigMap is read by the agent itself.
fn agent_takes(objects: &[Value], name: &str) -> Result<()> {
    let text =
        of_kind(objects, "ConfigMap")?["data"]["nslookout.toml"].as_str().context("no nslookout.toml")?;
    let path = workspace().join(format!("target/deploy/{name}.toml"));
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    let listed =
        output(Command::new(build_agent()?).args(["serve", "--print-config"]).arg("--config").arg(&path))
            .with_context(|| format!("the agent does not take {}", path.display()))?;
    // Each key of the file is told to come from there.
    let keys =
        text.lines().take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once(" = "));
    for (key, _) in keys {
        if !listed.lines().any(|line| line.starts_with(&format!("{key} = ")) && line.ends_with("# file")) {
            bail!("{key} of {} did not reach the agent: {listed}", path.display());
        }
    }
    Ok(())
}
