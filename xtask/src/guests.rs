//! `cargo xtask guests`: the agent on older kernels, each a Debian kernel in QEMU with a pod, a resolver and real lookups.
//!
//! A guest is an initramfs of BusyBox, iproute2, dnsmasq and the agent; its script prints what it saw between
//! markers on the serial console, and [`verdict`] judges it. The machine is emulated: a boot takes 3 to 8 seconds.

mod boot;
mod image;
mod kernel;
mod verdict;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cargo::build_agent;
use crate::child;
use crate::setup::{self, Part};
use crate::shell::workspace;
use kernel::{Kernel, SERIES};

/// What to boot, and with which agent.
#[derive(Args, Debug, Default)]
pub struct Choice {
    /// Only this kernel series (5.10, 6.1, 6.12); may be given more than once
    #[arg(long = "kernel", value_name = "SERIES")]
    kernels: Vec<String>,
    /// A static agent binary that is there already, instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

/// Boots every chosen kernel; an error where one failed or none could run.
pub fn run_all(choice: &Choice) -> Result<()> {
    for wanted in &choice.kernels {
        if !SERIES.iter().any(|series| series.version == wanted) {
            let known: Vec<&str> = SERIES.iter().map(|series| series.version).collect();
            bail!("no kernel series {wanted}; there are {}", known.join(", "));
        }
    }
    setup::ensure(&[Part::Build, Part::Guests])?;
    child::unwind_on_signals()?;
    let agent = match &choice.agent {
        Some(path) => path.clone(),
        None => build_agent()?,
    };
    let folder = workspace().join("target/guests");
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for series in SERIES {
        if !choice.kernels.is_empty() && !choice.kernels.iter().any(|wanted| wanted == series.version) {
            continue;
        }
        let kernel = match kernel::fetch(series) {
            Ok(kernel) => kernel,
            Err(reason) => {
                println!("SKIP guest {}: {reason:#}", series.version);
                skipped += 1;
                continue;
            }
        };
        match examine(&kernel, &agent, &folder.join(series.version)) {
            Ok(summary) => {
                println!("PASS guest {}: {summary}", kernel.release);
                passed += 1;
            }
            Err(error) => {
                println!("FAIL guest {}: {error:#}", kernel.release);
                failed += 1;
            }
        }
        if child::interrupted() {
            bail!("interrupted");
        }
    }
    println!("guests: {passed} passed, {failed} failed, {skipped} skipped");
    if passed + failed == 0 {
        bail!("no guest could run: not one of the {skipped} kernels was to be had");
    }
    if failed > 0 {
        bail!("{failed} of {} guests failed", passed + failed + skipped);
    }
    Ok(())
}

/// Boots one kernel and gives what was seen in a line; its console stays in `folder` for a look.
fn examine(kernel: &Kernel, agent: &std::path::Path, folder: &std::path::Path) -> Result<String> {
    std::fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let initramfs = image::build(kernel, agent, folder)?;
    let console = folder.join("console.log");
    let seconds = boot::boot(&kernel.image, &initramfs, &console)?;
    let text = std::fs::read(&console).with_context(|| format!("failed to read {}", console.display()))?;
    let summary = verdict::judge(&String::from_utf8_lossy(&text))
        .with_context(|| format!("see {}", console.display()))?;
    Ok(format!("{summary} ({seconds:.0} s)"))
}
