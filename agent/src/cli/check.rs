//! `nslookout check`: can I capture here, and what would be watched?

use std::process::ExitCode;

use anyhow::Result;

use super::{LiveArgs, TROUBLE};
use crate::capture::check::{Hooks, examine};

pub(super) fn run(args: &LiveArgs) -> Result<ExitCode> {
    let config = args.config();
    let findings = examine(&config)?;
    let yes = |condition: bool| if condition { "yes" } else { "no" };
    println!("kernel         {}", findings.kernel);
    println!("BTF            {}", yes(findings.btf));
    println!("tcx            {}", yes(findings.tcx));
    let have: Vec<&str> =
        findings.capabilities.iter().filter(|(_, have)| *have).map(|(name, _)| *name).collect();
    let lack: Vec<&str> =
        findings.capabilities.iter().filter(|(_, have)| !*have).map(|(name, _)| *name).collect();
    println!("capabilities   {}", if have.is_empty() { "none".to_owned() } else { have.join(" ") });
    if !lack.is_empty() {
        println!("               without {}", lack.join(" "));
    }
    let verdict = |result: &Result<(), crate::capture::CaptureError>| match result {
        Ok(()) => "yes: loaded and let go again".to_owned(),
        Err(error) => format!("no: {error}"),
    };
    println!("eBPF           {}", verdict(&findings.ebpf));
    println!("packet socket  {}", verdict(&findings.packet_socket).replace("loaded", "opened"));
    println!();
    println!("{} interfaces would be watched by -i {}:", findings.interfaces.len(), config.selection);
    let width = findings.interfaces.iter().map(|hooks| hooks.watched.link.name.len()).max().unwrap_or(0);
    for hooks in &findings.interfaces {
        print_interface(hooks, width);
    }
    let can = findings.ebpf.is_ok() || findings.packet_socket.is_ok();
    println!();
    match (&findings.ebpf, &findings.packet_socket) {
        (Ok(()), _) => println!("ready: nslookout watch"),
        (Err(_), Ok(())) => println!("ready with a packet socket only: nslookout watch --capture packet"),
        (Err(_), Err(_)) => println!("not ready: neither eBPF nor a packet socket is allowed here"),
    }
    Ok(if can { ExitCode::SUCCESS } else { ExitCode::from(TROUBLE) })
}

fn print_interface(hooks: &Hooks, width: usize) {
    let link = &hooks.watched.link;
    let state = if link.up { "" } else { " (down)" };
    println!("  {:<width$}  {}{state}", link.name, hooks.watched.reason);
    for program in &hooks.programs {
        println!("  {:<width$}    already on the hook: {program}", "");
    }
}
