//! `cargo xtask e2e`: the agent on real platforms, from its image to its metrics.

mod container;
mod kubernetes;
mod verdict;

use anyhow::Result;
use clap::Subcommand;

use crate::guests;

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
    Container,
}

/// Does what the command line asked for.
pub fn run(platform: &Platform) -> Result<()> {
    match platform {
        Platform::Kubernetes { plan } => kubernetes::run(plan),
        Platform::Kernels { choice } => guests::run_all(choice),
        Platform::Container => container::run(),
    }
}
