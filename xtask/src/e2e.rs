//! `cargo xtask e2e`: the agent on real platforms, from its image to its metrics.

mod container;
mod kubernetes;
mod verdict;

use anyhow::Result;
use clap::Subcommand;

use crate::guests;
use crate::setup::{self, Part};

/// Where the agent is put to the test.
#[derive(Subcommand)]
pub enum Platform {
    /// Start a real node of Kubernetes, install the chart, and check what the agent says of real workloads
    Kubernetes {
        #[command(flatten)]
        plan: kubernetes::Plan,
    },
    /// Run the agent on older kernels in QEMU (the same as `cargo xtask guests`)
    Kernels {
        #[command(flatten)]
        choice: guests::Choice,
    },
    /// Run the image under podman with the capabilities of the chart and no other
    Container {
        #[command(flatten)]
        plan: container::Plan,
    },
}

/// Installs, fetches and builds what a container and a cluster need, so that their stages measure the agent alone.
///
/// # Errors
///
/// Where something cannot be had.
pub fn prepare() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        // Both stages are going to say so.
        return Ok(());
    }
    setup::ensure(&[Part::Lab, Part::Image, Part::Deploy, Part::Container, Part::Cluster])?;
    kubernetes::prepare()
}

/// The stage of `cargo xtask test --all`.
pub fn container() -> Result<()> {
    container::run(&container::Plan::default())
}

/// The stage of `cargo xtask test --all`: every check.
pub fn kubernetes() -> Result<()> {
    kubernetes::run(&kubernetes::Plan::default())
}

/// Does what the command line asked for.
pub fn run(platform: &Platform) -> Result<()> {
    match platform {
        Platform::Kubernetes { plan } => kubernetes::run(plan),
        Platform::Kernels { choice } => guests::run_all(choice),
        Platform::Container { plan } => container::run(plan),
    }
}
