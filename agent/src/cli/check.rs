//! `nslookout check`: can I capture here, and what would be watched?

use std::process::ExitCode;

use anyhow::Result;

use super::{LiveArgs, TROUBLE};
use crate::capture::check::{Hooks, examine};

/// Writes a line to standard output; whoever closed it has seen enough (`| head`).
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// The VPC resolver's addresses in every VPC (facts.md section 4).
const WELL_KNOWN: &str = "169.254.169.253, fd00:ec2::253";

pub(super) fn run(args: &LiveArgs) -> Result<ExitCode> {
    let config = args.config();
    let findings = examine(&config)?;
    let yes = |condition: bool| if condition { "yes" } else { "no" };
    say!("kernel         {}", findings.kernel);
    say!("BTF            {}", yes(findings.btf));
    say!("tcx            {}", yes(findings.tcx));
    let have: Vec<&str> =
        findings.capabilities.iter().filter(|(_, have)| *have).map(|(name, _)| *name).collect();
    let lack: Vec<&str> =
        findings.capabilities.iter().filter(|(_, have)| !*have).map(|(name, _)| *name).collect();
    say!("capabilities   {}", if have.is_empty() { "none".to_owned() } else { have.join(" ") });
    if !lack.is_empty() {
        say!("               without {}", lack.join(" "));
    }
    let verdict = |result: &Result<(), crate::capture::CaptureError>| match result {
        Ok(()) => "yes: loaded and let go again".to_owned(),
        Err(error) => format!("no: {error}"),
    };
    say!("eBPF           {}", verdict(&findings.ebpf));
    say!("packet socket  {}", verdict(&findings.packet_socket).replace("loaded", "opened"));
    let others = findings.vpc_resolvers.iter().map(|address| format!(", {address}"));
    say!("VPC resolvers  {WELL_KNOWN}{}", others.collect::<String>());
    say!();
    say!("{} interfaces would be watched by -i {}:", findings.interfaces.len(), config.selection);
    let width = findings.interfaces.iter().map(|hooks| hooks.watched.link.name.len()).max().unwrap_or(0);
    for hooks in &findings.interfaces {
        print_interface(hooks, width);
    }
    let can = findings.ebpf.is_ok() || findings.packet_socket.is_ok();
    say!();
    match (&findings.ebpf, &findings.packet_socket) {
        (Ok(()), _) => say!("ready: nslookout watch"),
        (Err(_), Ok(())) => say!("ready with a packet socket only: nslookout watch --capture packet"),
        (Err(_), Err(_)) => say!("not ready: neither eBPF nor a packet socket is allowed here"),
    }
    Ok(if can { ExitCode::SUCCESS } else { ExitCode::from(TROUBLE) })
}

fn print_interface(hooks: &Hooks, width: usize) {
    let link = &hooks.watched.link;
    let state = if link.up { "" } else { " (down)" };
    say!("  {:<width$}  {}{state}", link.name, hooks.watched.reason);
    for program in &hooks.programs {
        say!("  {:<width$}    already on the hook: {program}", "");
    }
}
