//! Can we capture here? What the kernel offers, what we may do, and who is on the hooks already.

use std::io;
use std::net::IpAddr;

use aya::programs::{SchedClassifier, TcAttachType};

use super::clsact;
use super::ebpf::{EbpfSource, kernel, kernel_at_least};
use super::frame::{Direction, Ifindex};
use super::interfaces::{Interfaces, Watched};
use super::netlink::Netlink;
use super::packet_socket::PacketSocketSource;
use super::{CaptureError, LiveConfig, vpc};

/// The capabilities that matter here, by their number in linux/capability.h.
const CAPABILITIES: [(&str, u32); 6] = [
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];

const CAP_SYS_ADMIN: u32 = 21;

/// What one interface has on its hooks, before us.
#[derive(Clone, Debug)]
pub struct Hooks {
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
    pub capabilities: Vec<(&'static str, bool)>,
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
    let mut netlink = Netlink::new().map_err(CaptureError::Attach)?;
    let mut hooks = Vec::new();
    for watched in interfaces.watched() {
        let programs = programs_of(&mut netlink, &watched.link.name, watched.link.ifindex);
        hooks.push(Hooks { watched: watched.clone(), programs });
    }
    Ok(Findings {
        kernel: kernel(),
        btf: std::path::Path::new("/sys/kernel/btf/vmlinux").exists(),
        capabilities: CAPABILITIES.iter().map(|(name, number)| (*name, has_capability(*number))).collect(),
        tcx: kernel_at_least(6, 6),
        ebpf: EbpfSource::probe(config),
        packet_socket: PacketSocketSource::open(config, interfaces).map(drop),
        vpc_resolvers: vpc::resolvers(&config.vpc_resolvers),
        interfaces: hooks,
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
    let admin = has_capability(CAP_SYS_ADMIN);
    let lacks = |name: &&&str| {
        if admin && matches!(**name, "CAP_BPF" | "CAP_PERFMON") {
            return false;
        }
        CAPABILITIES
            .iter()
            .find(|(known, _)| known == *name)
            .is_some_and(|(_, number)| !has_capability(*number))
    };
    let missing: Vec<&str> = wanted.iter().filter(lacks).copied().collect();
    match missing.as_slice() {
        [] => String::new(),
        [one] => format!("{one} is missing"),
        [others @ .., last] => format!("{} and {last} are missing", others.join(", ")),
    }
}

/// From the effective set in /proc/self/status.
fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set >> number & 1 != 0)
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
