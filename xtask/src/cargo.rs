//! cargo, and what it builds for the stages that run the agent.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell::{run, workspace};

/// The cargo that runs this program, in the folder of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Builds the agent as it is released, once for whatever runs it, and gives where it is.
pub fn build_agent() -> Result<PathBuf> {
    let target = workspace().join("target");
    run(cargo()
        .args(["build", "--quiet", "--release", "--locked", "--package", "nslookout"])
        .env("CARGO_TARGET_DIR", &target))
    .context("failed to build the agent")?;
    Ok(target.join("release/nslookout"))
}
