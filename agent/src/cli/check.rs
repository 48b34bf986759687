//! `nslookout check`: can I capture here, and what would be watched?

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;

use super::{LiveArgs, TROUBLE, print};
use crate::capture::check::{Hooks, examine};
use crate::identity;

/// Adds a line; writing to a String cannot fail.
macro_rules! say {
    ($out:expr $(, $($text:tt)*)?) => {{
        let _ = writeln!($out $(, $($text)*)?);
    }};
}

/// The VPC resolver's addresses in every VPC (facts.md section 4).
const WELL_KNOWN: &str = "169.254.169.253, fd00:ec2::253";

pub(super) fn run(args: &LiveArgs) -> Result<ExitCode> {
    let mut out = String::new();
    let config = args.config();
    let findings = examine(&config)?;
    let yes = |condition: bool| if condition { "yes" } else { "no" };
    say!(out, "kernel         {}", findings.kernel);
    say!(out, "BTF            {}", yes(findings.btf));
    say!(out, "tcx            {}", yes(findings.tcx));
    for (number, (capability, have)) in findings.capabilities.iter().enumerate() {
        let heading = if number == 0 { "capabilities" } else { "" };
        say!(out, "{heading:<13}  {:<20} {:<3}  {}", capability.name, yes(*have), capability.what_for);
        if !*have {
            say!(out, "{:<40}without: {}", "", capability.without);
        }
    }
    let verdict = |result: &Result<(), crate::capture::CaptureError>| match result {
        Ok(()) => "yes: loaded and let go again".to_owned(),
        Err(error) => format!("no: {error}"),
    };
    say!(out, "eBPF           {}", verdict(&findings.ebpf));
    say!(out, "packet socket  {}", verdict(&findings.packet_socket).replace("loaded", "opened"));
    let others = findings.vpc_resolvers.iter().map(|address| format!(", {address}"));
    say!(out, "VPC resolvers  {WELL_KNOWN}{}", others.collect::<String>());
    let mut heading = "identity";
    for (source, line) in identity::outlook(&args.identity_config()) {
        say!(out, "{heading:<13}  {:<10}  {line}", source.as_str());
        heading = "";
    }
    say!(out);
    let labels: String = config.netns.iter().map(|netns| format!(" --netns {}", netns.label())).collect();
    say!(
        out,
        "{} interfaces would be watched by -i {}{labels}:",
        findings.interfaces.len(),
        config.selection
    );
    let width = findings.interfaces.iter().map(|hooks| hooks.name.len()).max().unwrap_or(0);
    for hooks in &findings.interfaces {
        add_interface(&mut out, hooks, width);
    }
    let can = findings.ebpf.is_ok() || findings.packet_socket.is_ok();
    say!(out);
    match (&findings.ebpf, &findings.packet_socket) {
        (Ok(()), _) => say!(out, "ready: nslookout watch"),
        (Err(_), Ok(())) => say!(out, "ready with a packet socket only: nslookout watch --capture packet"),
        (Err(_), Err(_)) => say!(out, "not ready: neither eBPF nor a packet socket is allowed here"),
    }
    print(&out)?;
    Ok(if can { ExitCode::SUCCESS } else { ExitCode::from(TROUBLE) })
}

fn add_interface(out: &mut String, hooks: &Hooks, width: usize) {
    let link = &hooks.watched.link;
    let state = if link.up { "" } else { " (down)" };
    say!(out, "  {:<width$}  {}{state}", hooks.name, hooks.watched.reason);
    for program in &hooks.programs {
        say!(out, "  {:<width$}    already on the hook: {program}", "");
    }
}
