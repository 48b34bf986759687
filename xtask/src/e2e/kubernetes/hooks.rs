//! Which programs hang on the node's interfaces.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::programs::{SchedClassifier, TcAttachType};

use crate::child::output_within;

/// Every program on a hook of an interface of this network namespace, in words, by tcx and by clsact.
pub fn all() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for interface in interfaces()? {
        for (hook, kind) in [("ingress", TcAttachType::Ingress), ("egress", TcAttachType::Egress)] {
            // An interface may have gone since it was listed, with all that hung on it.
            if let Ok((_, programs)) = SchedClassifier::query_tcx(&interface, kind) {
                let name = |program: &aya::programs::ProgramInfo| {
                    program.name_as_str().unwrap_or("without a name").to_owned()
                };
                found.extend(
                    programs.iter().map(|program| format!("{interface} {hook} tcx {}", name(program))),
                );
            }
            let mut tc = Command::new("tc");
            tc.args(["filter", "show", "dev", &interface, hook]);
            let filters = output_within(&mut tc, Duration::from_secs(5)).unwrap_or_default();
            let ours = filters.lines().filter(|line| line.contains(" bpf ") && line.contains("handle"));
            found.extend(ours.map(|line| format!("{interface} {hook} {line}")));
        }
    }
    Ok(found)
}

/// The names of all interfaces.
fn interfaces() -> Result<Vec<String>> {
    let mut ip = Command::new("ip");
    let text = output_within(ip.args(["-o", "link", "show"]), Duration::from_secs(5))
        .context("failed to list the interfaces")?;
    let name = |line: &str| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned());
    Ok(text.lines().filter_map(name).collect())
}

/// Every clsact qdisc of this network namespace: only the agent makes one here.
pub fn qdiscs() -> Result<Vec<String>> {
    let mut tc = Command::new("tc");
    let text =
        output_within(tc.args(["qdisc", "show"]), Duration::from_secs(5)).context("failed to list qdiscs")?;
    Ok(text.lines().filter(|line| line.contains("clsact")).map(str::to_owned).collect())
}
