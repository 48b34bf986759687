//! `cargo xtask chart`: what is deployed is what it says, checked without a cluster.
//!
//! The Helm chart is the source; the plain manifests are rendered from it, and its alerting rules are a copy of those in
//! `dashboards`. [`write`] makes both anew, [`check`] fails where they differ.

mod chart;
mod ecs;
mod rendered;
mod schemas;
mod systemd;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::kube_tools::HELMS;
use crate::setup::{self, Part};
use crate::shell::workspace;

/// Where the chart is.
pub fn chart_folder() -> PathBuf {
    workspace().join("deploy/helm/nslookout")
}

/// Writes what is made from something else: the plain manifests and the chart's copy of the rules.
///
/// # Errors
///
/// Where helm is not to be had, or refuses the chart.
pub fn write() -> Result<()> {
    for (path, text) in generated()? {
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Checks everything below `deploy`: the chart with two majors of helm and by the schemas of Kubernetes 1.25 to 1.37, the
/// manifests, ECS, systemd.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn check() -> Result<()> {
    setup::ensure(&[Part::Deploy])?;
    for helm in HELMS {
        chart::lint(helm)?;
        chart::refuses_wrong_values(helm)?;
    }
    generated_is_current()?;
    versions_agree()?;
    schemas::check()?;
    rendered::check()?;
    ecs::check()?;
    systemd::check()
}

/// Files that are made from others, with what they should hold.
fn generated() -> Result<Vec<(PathBuf, String)>> {
    let rules = workspace().join("dashboards/prometheus/nslookout.rules.yml");
    let rules = fs::read_to_string(&rules).with_context(|| format!("failed to read {}", rules.display()))?;
    let copy = chart_folder().join("files/nslookout.rules.yml");
    // Rendering reads the copy.
    Ok(vec![(copy, rules), (workspace().join("deploy/kubernetes/nslookout.yaml"), chart::plain_manifests()?)])
}

fn generated_is_current() -> Result<()> {
    for (path, text) in generated()? {
        if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            bail!(
                "{} is not what it is made from; `cargo xtask chart --write` makes it anew",
                path.display()
            );
        }
        println!("ok  {} is what it is made from", path.display());
    }
    Ok(())
}

/// The chart has no version of its own.
fn versions_agree() -> Result<()> {
    let path = chart_folder().join("Chart.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let version = env!("CARGO_PKG_VERSION");
    for key in ["version", "appVersion"] {
        let line = format!("{key}: {version}");
        if !text.lines().any(|other| other == line) {
            bail!("{} lacks the line `{line}`: the workspace's version", path.display());
        }
    }
    println!("ok  chart and agent have version {version}");
    Ok(())
}
