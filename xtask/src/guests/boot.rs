//! Boots one guest and waits, for a bounded time, until it powers itself off.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::child::Running;

/// An emulated guest needs half a minute for boot and script, and was seen to take two on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// `no_timer_check`: on a busy machine an emulated timer may tick too late for the kernel's check, which then panics.
const KERNEL_PARAMETERS: &str = "console=ttyS0 quiet loglevel=1 panic=-1 no_timer_check rdinit=/init";

/// Boots `kernel` with `initramfs`; all that it says on its serial line goes to `console`. Gives the seconds it took.
pub fn boot(kernel: &Path, initramfs: &Path, console: &Path) -> Result<f64> {
    let file = File::create(console).with_context(|| format!("failed to create {}", console.display()))?;
    let errors = file.try_clone().context("failed to share the console's file")?;
    let start = Instant::now();
    let mut guest = Running::spawn(
        Command::new("qemu-system-x86_64")
            // Emulation always: a KVM inside a virtual machine may stop at an instruction that the outer one leaves out,
            // and then the guest stands still without an end.
            .args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "512"])
            .args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-nic", "none"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", KERNEL_PARAMETERS])
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors),
    )?;
    guest.exit_within(LIMIT)?;
    Ok(start.elapsed().as_secs_f64())
}
