//! Helm and the chart: lint, render, refuse.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::chart_folder;
use crate::kube_tools::{HELMS, Helm};
use crate::shell::{output, run};

/// The values that a chart is rendered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// The chart's own.
    Default,
    /// With everything that can be switched on.
    AllOn,
    /// With everything that can be switched off.
    AllOff,
}

impl Values {
    /// Every set.
    pub const ALL: [Self; 3] = [Self::Default, Self::AllOn, Self::AllOff];

    /// In names of files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::AllOn => "all-on",
            Self::AllOff => "all-off",
        }
    }

    fn arguments(self) -> Vec<String> {
        match self {
            Self::Default => Vec::new(),
            _ => vec![format!("--values={}", file(self).display())],
        }
    }
}

fn file(values: Values) -> PathBuf {
    chart_folder().join(format!("ci/{}-values.yaml", values.name()))
}

/// The chart's objects for a release of Kubernetes (`1.33`), as YAML.
///
/// # Errors
///
/// Where helm is not to be had or refuses the chart.
pub fn render(helm: Helm, values: Values, kubernetes: &str) -> Result<String> {
    output(
        Command::new(helm.program()?)
            .args(["template", "nslookout"])
            .arg(chart_folder())
            .args(["--namespace", "nslookout", "--kube-version", kubernetes])
            .args(values.arguments()),
    )
}

/// `helm lint --strict` with each set of values.
///
/// # Errors
///
/// Where it finds something.
pub fn lint(helm: Helm) -> Result<()> {
    for values in Values::ALL {
        let mut command = Command::new(helm.program()?);
        run(command.args(["lint", "--strict", "--quiet"]).arg(chart_folder()).args(values.arguments()))?;
        println!("ok  helm {} lint, values {}", helm.major, values.name());
    }
    Ok(())
}

/// A wrong value, and what must be said about it.
const WRONG: &[(&str, &str)] = &[
    ("image.repositry=x", "repositry"),
    ("image.repository=nslookout:1", "image"),
    ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("image.digest=sha256:abc", "digest"),
    ("listen.port=0", "port"),
    ("listen.port=http", "port"),
    ("listen.address=localhost", "address"),
    ("config.rnig=8", "rnig"),
    ("config.ring=7", "ring"),
    ("config.timeout=6", "timeout"),
    ("config.capture=bpf", "capture"),
    ("config.listen=:1", "listen"),
    ("config.max-series=0", "max-series"),
    ("identity.process=maybe", "process"),
    ("identity.pods=true", "pods"),
    ("capabilities.extra={CAP_BPF}", "extra"),
    ("capabilities.extra={ALL}", "extra"),
    ("seccompProfile.type=None", "type"),
    ("updateStrategy.type=Recreate", "type"),
    ("podMonitor.interval=30", "interval"),
    ("podMonitor.honorLabels=false", "honorLabels"),
    ("hostNetwork=false", "hostNetwork"),
];

/// The schema of the values refuses what is wrong, and names it.
///
/// # Errors
///
/// Where a wrong value is taken, or refused without its name.
pub fn refuses_wrong_values(helm: Helm) -> Result<()> {
    for (value, name) in WRONG {
        let mut command = Command::new(helm.program()?);
        command.args(["template", "nslookout"]).arg(chart_folder()).args(["--set", value]);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            bail!("helm {} took the wrong value {value}", helm.major);
        }
        if !said.contains(name) {
            bail!("helm {} refused {value} without naming it: {said}", helm.major);
        }
    }
    println!("ok  helm {} refuses {} wrong values by name", helm.major, WRONG.len());
    Ok(())
}

/// The release of Kubernetes that the plain manifests are for, and all later ones: the first with AppArmor as a field.
pub const PLAIN_SINCE: &str = "1.30";

/// What `kubectl apply` takes: the chart's objects with its default values, and their namespace.
///
/// # Errors
///
/// Where helm is not to be had or refuses the chart.
pub fn plain_manifests() -> Result<String> {
    let [helm, ..] = HELMS;
    let objects = render(helm, Values::Default, PLAIN_SINCE)?;
    // Whoever applies this has no helm.
    let is_kept = |line: &&str| !line.contains("helm.sh/chart:") && !line.starts_with("# Source:");
    let objects: Vec<&str> = objects.lines().filter(is_kept).map(str::trim_end).collect();
    let objects = objects.join("\n").replace("managed-by: Helm", "managed-by: kubectl");
    Ok(format!("{PLAIN_HEAD}{objects}\n"))
}

const PLAIN_HEAD: &str = "\
# The Helm chart with its default values, made by `cargo xtask chart --write`; for Kubernetes 1.30 and later.
# For an older one: helm template nslookout deploy/helm/nslookout --namespace nslookout --kube-version 1.25
# Before `kubectl apply -f`: push the image to a registry of yours and write its name in place of localhost/nslookout.
apiVersion: v1
kind: Namespace
metadata:
  name: nslookout
  labels:
    # The node's network and processes, and capabilities: no lower level allows them.
    pod-security.kubernetes.io/enforce: privileged
";
