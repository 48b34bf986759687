//! Can we capture here? What the kernel offers, what we may do, and who is on the hooks already.

use std::io;
use std::net::IpAddr;

use aya::programs::{SchedClassifier, TcAttachType};
use rustix::thread::CapabilitySet;

use super::clsact;
use super::ebpf::{EbpfSource, kernel, kernel_at_least};
use super::frame::{Direction, Ifindex};
use super::interfaces::{Interfaces, Watched};
use super::netlink::Netlink;
use super::netns::{Abode, Netns, NetnsError, NetnsRef, Numbers};
use super::packet_socket::PacketSocketSource;
use super::privileges::{CAPABILITIES, Capability, effective};
use super::{CaptureError, LiveConfig, vpc};

/// What one interface has on its hooks, before us.
#[derive(Clone, Debug)]
pub struct Hooks {
    /// Its name: `INTERFACE@LABEL` in a namespace that would be entered.
    pub name: String,
    /// The interface, and why it would be watched.
    pub watched: Watched,
    /// Programs by hook: `ingress tcx NAME`, `egress clsact NAME (priority N)`. They see packets before a program of a
    /// higher priority, and may hide some.
    pub programs: Vec<String>,
}

/// What was found out.
pub struct Findings {
    /// `uname -r`.
    pub kernel: String,
    /// /sys/kernel/btf/vmlinux is there.
    pub btf: bool,
    /// Capability and whether this process has it.
    pub capabilities: Vec<(Capability, bool)>,
    /// tcx is in this kernel.
    pub tcx: bool,
    /// Programs were really loaded and let go again, or why not.
    pub ebpf: Result<(), CaptureError>,
    /// A packet socket was really opened and closed again, or why not.
    pub packet_socket: Result<(), CaptureError>,
    /// VPC resolvers whose packets would count as link-local, beside the well-known ones.
    pub vpc_resolvers: Vec<IpAddr>,
    /// What would be watched.
    pub interfaces: Vec<Hooks>,
}

/// Looks at everything that `config` would use; attaches to nothing.
pub fn examine(config: &LiveConfig) -> Result<Findings, CaptureError> {
    let interfaces = Interfaces::find(config.selection.clone())?;
    let mut hooks = hooks_of(&interfaces, &Abode::default())?;
    for netns in &config.netns {
        hooks.extend(look_into(netns).map_err(CaptureError::Netns)?);
    }
    Ok(Findings {
        kernel: kernel(),
        btf: std::path::Path::new("/sys/kernel/btf/vmlinux").exists(),
        capabilities: CAPABILITIES.iter().map(|one| (*one, effective().contains(one.set))).collect(),
        tcx: kernel_at_least(6, 6),
        ebpf: EbpfSource::probe(config),
        packet_socket: PacketSocketSource::open(config, interfaces).map(drop),
        vpc_resolvers: vpc::resolvers(&config.vpc_resolvers),
        interfaces: hooks,
    })
}

/// What would be watched in the namespace that the calling thread is in.
fn hooks_of(interfaces: &Interfaces, abode: &Abode) -> Result<Vec<Hooks>, CaptureError> {
    let mut netlink = Netlink::new().map_err(CaptureError::Attach)?;
    let hooks = interfaces.watched().map(|watched| Hooks {
        name: abode.name(watched.link.ifindex.0, &watched.link.name),
        programs: programs_of(&mut netlink, &watched.link.name, watched.link.ifindex),
        watched: watched.clone(),
    });
    Ok(hooks.collect())
}

/// What would be watched in a namespace that would be entered.
fn look_into(netns: &NetnsRef) -> Result<Vec<Hooks>, NetnsError> {
    let abode = Abode::entered(&netns.label(), &Numbers::default());
    let failed = |error| NetnsError::Capture { netns: netns.clone(), source: Box::new(error) };
    Netns::open(netns)?.within(netns, || {
        let interfaces = Interfaces::find_inside().map_err(|error| failed(error.into()))?;
        hooks_of(&interfaces, &abode).map_err(failed)
    })
}

fn programs_of(netlink: &mut Netlink, name: &str, ifindex: Ifindex) -> Vec<String> {
    let mut programs = Vec::new();
    let hooks = [
        ("ingress", TcAttachType::Ingress, Direction::Ingress),
        ("egress", TcAttachType::Egress, Direction::Egress),
    ];
    for (hook, tcx, direction) in hooks {
        if kernel_at_least(6, 6)
            && let Ok((_, infos)) = SchedClassifier::query_tcx(name, tcx)
        {
            programs
                .extend(infos.iter().map(|info| format!("{hook} tcx {}", info.name_as_str().unwrap_or("?"))));
        }
        if let Ok(filters) = clsact::filters(netlink, ifindex, direction) {
            let describe = |filter: &clsact::Filter| {
                format!("{hook} clsact {} (priority {})", filter.name, filter.priority)
            };
            programs.extend(filters.iter().filter(|filter| filter.handle != 0).map(describe));
        }
    }
    programs
}

/// The capabilities among `wanted` that this process lacks, for a message; empty if none.
pub(super) fn missing_capabilities(wanted: &[&str]) -> String {
    // CAP_SYS_ADMIN, which they were split from, stands for both of these.
    let have = effective();
    let admin = have.contains(CapabilitySet::SYS_ADMIN);
    let lacks = |name: &&&str| {
        if admin && matches!(**name, "CAP_BPF" | "CAP_PERFMON") {
            return false;
        }
        CAPABILITIES.iter().find(|known| known.name == **name).is_some_and(|known| !have.contains(known.set))
    };
    let missing: Vec<&str> = wanted.iter().filter(lacks).copied().collect();
    match missing.as_slice() {
        [] => String::new(),
        [one] => format!("{one} is missing"),
        [others @ .., last] => format!("{} and {last} are missing", others.join(", ")),
    }
}

/// Did the kernel refuse for want of permission?
pub(super) fn is_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut source = Some(error);
    while let Some(inner) = source {
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            // EACCES would be the verifier's word.
            return inner.raw_os_error() == Some(libc::EPERM);
        }
        source = inner.source();
    }
    false
}
