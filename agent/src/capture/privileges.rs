//! What each capability is for, and giving up those that are not needed any more.
//!
//! Capabilities belong to a thread (capabilities(7)): each thread of the agent keeps what its own work needs, and what a
//! thread gave up, the threads that it starts later do not have either.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use super::ebpf::kernel_at_least;

/// A capability that some part of the agent needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// As capabilities(7) names it.
    pub name: &'static str,
    /// The same as a set.
    pub set: CapabilitySet,
    /// What for.
    pub what_for: &'static str,
    /// What does not work without it, and what does then.
    pub without: &'static str,
}

/// Every one that matters here; docs and charts list no other.
pub const CAPABILITIES: [Capability; 7] = [
    Capability {
        name: "CAP_BPF",
        set: CapabilitySet::BPF,
        what_for: "load the eBPF programs and make their maps",
        without: "a packet socket, if CAP_NET_RAW is there",
    },
    Capability {
        name: "CAP_NET_ADMIN",
        set: CapabilitySet::NET_ADMIN,
        what_for: "attach the eBPF programs to interfaces",
        without: "a packet socket, if CAP_NET_RAW is there",
    },
    Capability {
        name: "CAP_PERFMON",
        set: CapabilitySet::PERFMON,
        what_for: "eBPF programs that the verifier lets compare and keep packet pointers",
        without: "a packet socket, if CAP_NET_RAW is there",
    },
    Capability {
        name: "CAP_NET_RAW",
        set: CapabilitySet::NET_RAW,
        what_for: "the packet socket",
        without: "eBPF only",
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        set: CapabilitySet::SYS_PTRACE,
        what_for: "look at namespaces and files of other processes: who asked, and with which resolv.conf",
        without: "addresses in place of names; --netns PATH outside /proc only",
    },
    Capability {
        name: "CAP_SYS_ADMIN",
        set: CapabilitySet::SYS_ADMIN,
        what_for: "enter network namespaces (--netns, ECS tasks in awsvpc mode)",
        without: "what only shows inside a namespace is not seen",
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        set: CapabilitySet::DAC_READ_SEARCH,
        what_for: "read files of processes of other users",
        without: "resolv.conf and libc of such processes stay unknown",
    },
];

/// What entering a namespace and capturing there takes.
pub(super) const FOR_ENTERING: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::BPF)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::NET_RAW);

/// What looking at other processes' namespaces and files takes.
pub const FOR_PROCESSES: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);

/// What this thread has in effect.
pub fn effective() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// The names of what is in `set`, for a person; `none` for nothing.
pub fn names(set: CapabilitySet) -> String {
    let names = set.iter_names().map(|(name, _)| format!("CAP_{name}"));
    let names: Vec<String> = names.collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// What reading the counters takes: before 5.19 the kernel counts each call of bpf(2) where unprivileged ones are off
/// (c8644cd0efe7, "bpf: refine kernel.unprivileged_bpf_disabled behaviour").
pub(super) fn for_counters() -> CapabilitySet {
    if kernel_at_least(5, 19) { CapabilitySet::empty() } else { CapabilitySet::BPF }
}

/// What stays of `have` where `kept` is to be kept. CAP_SYS_ADMIN, which BPF, PERFMON and what they do to the network were
/// split from, stays in the place of those that are not there (bpf_capable, bpf_net_capable): ECS can give neither of the
/// former two.
pub(super) fn remains(have: CapabilitySet, kept: CapabilitySet) -> CapabilitySet {
    const SPLIT: CapabilitySet =
        CapabilitySet::BPF.union(CapabilitySet::PERFMON).union(CapabilitySet::NET_ADMIN);
    let stands_for =
        if have.contains(kept & SPLIT) { CapabilitySet::empty() } else { CapabilitySet::SYS_ADMIN };
    have & (kept | stands_for)
}

/// Gives up all of the calling thread's capabilities but what [`remains`] of `kept`, for good: a program that it starts gets
/// no others either. Gives what it has then.
///
/// # Errors
///
/// The kernel's; the thread may have kept more.
pub fn keep(kept: CapabilitySet) -> io::Result<CapabilitySet> {
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    let have = capabilities(None)?;
    let kept = remains(have.effective, kept);
    for (_, capability) in CapabilitySet::all().iter_names() {
        if !kept.contains(capability) && capability_is_in_bounding_set(capability).unwrap_or(false) {
            // Allowed to CAP_SETPCAP only. Without, no_new_privs alone keeps programs from what they were given.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    let permitted = have.permitted & kept;
    let effective = have.effective & kept;
    set_capabilities(None, CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() })?;
    Ok(effective)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own, which takes what it gave up along.
    #[test]
    fn what_is_given_up_does_not_come_back() {
        let given_up = std::thread::spawn(|| {
            let before = capabilities(None).unwrap();
            let kept = keep(CapabilitySet::NET_RAW).unwrap();
            assert_eq!(kept, before.effective & CapabilitySet::NET_RAW);
            let after = capabilities(None).unwrap();
            assert_eq!(after.permitted & !CapabilitySet::NET_RAW, CapabilitySet::empty());
            let sets = CapabilitySets { effective: before.effective, ..after };
            assert_eq!(set_capabilities(None, sets).is_ok(), before.effective == after.effective);
            // Threads that it starts have no more.
            let later = std::thread::spawn(|| capabilities(None).unwrap().effective);
            assert_eq!(later.join().unwrap(), after.effective);
        });
        given_up.join().unwrap();
    }

    #[test]
    fn what_is_not_there_is_stood_for() {
        let [bpf, net, admin] = [CapabilitySet::BPF, CapabilitySet::NET_ADMIN, CapabilitySet::SYS_ADMIN];
        assert_eq!(remains(bpf | net | admin, bpf | net), bpf | net);
        assert_eq!(remains(net | admin, bpf | net), net | admin);
        assert_eq!(remains(net | admin, net), net);
        assert_eq!(remains(net | admin, CapabilitySet::empty()), CapabilitySet::empty());
        assert_eq!(remains(net, bpf | net), net);
    }

    #[test]
    fn sets_are_named() {
        assert_eq!(names(CapabilitySet::empty()), "none");
        assert_eq!(names(CapabilitySet::BPF | CapabilitySet::NET_ADMIN), "CAP_NET_ADMIN, CAP_BPF");
    }
}
