//! What each source says by itself, before the [directory](super::directory) puts it together.

use std::net::IpAddr;

use super::facts::{Eni, InstanceId, Libc, PodDns, Resolver, ServerRole, Source, Workload};
use crate::capture::frame::{CgroupId, Ifindex};

/// One piece of news from a source.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "few are made, and each is taken apart at once")]
pub enum Statement {
    /// After a new list: these are the pods of this node, and no others.
    Pods(Vec<Pod>),
    /// A pod is new or changed.
    Pod(Pod),
    /// The pod with this UID is gone.
    PodGone(String),
    /// After each look: the tasks of this ECS instance, and no others.
    Tasks(Vec<Task>),
    /// A network namespace is new or its inhabitants changed.
    Namespace(Namespace),
    /// The network namespace with this inode has no inhabitant any more.
    NamespaceGone(u64),
    /// The interfaces of the node by name, after each change.
    Links(Vec<(Ifindex, String)>),
    /// These servers, and no others of that role by this source.
    Servers(ServerRole, Vec<IpAddr>),
    /// An ENI.
    Eni(Eni),
    /// The source cannot say anything: why, and the way out, in one line.
    Silent(Source, String),
    /// It can again.
    Speaks(Source),
}

/// A pod as the API server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: String,
    /// Of a static pod: what stands in its cgroups in place of the UID, which is that of its mirror
    /// (`kubernetes.io/config.hash`).
    pub static_hash: Option<String>,
    /// Its topmost owner; the pod itself where it has none.
    pub workload: Workload,
    /// `metadata.name`.
    pub name: String,
    /// Name, image and (once it runs) id of each container, without the runtime's scheme.
    pub containers: Vec<PodContainer>,
    /// `status.podIPs`; empty until the kubelet has told them, and for hostNetwork.
    pub addresses: Vec<IpAddr>,
    /// Names that Calico and the VPC CNI would give the host end of its veth (facts.md section 5).
    pub interface_names: Vec<String>,
    /// What its specification says of DNS.
    pub dns: PodDns,
    /// The resolv.conf that follows from it, where the cluster's domain and servers are known.
    pub resolver: Option<Resolver>,
    /// `Succeeded` or `Failed`: its addresses may belong to another by now.
    pub ended: bool,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainer {
    /// Its name in the specification.
    pub name: String,
    /// Its image in the specification.
    pub image: Option<String>,
    /// `containerStatuses[].containerID` behind `containerd://`.
    pub id: Option<String>,
}

/// A task of ECS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its ARN.
    pub arn: String,
    /// Task definition family, without revision.
    pub family: String,
    /// Its containers; their ids are those of Docker.
    pub containers: Vec<TaskContainer>,
    /// It has network interfaces of its own (`awsvpc`): they are inside its network namespace only.
    pub awsvpc: bool,
}

/// A container of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskContainer {
    /// Its name in the task definition.
    pub name: String,
    /// Its image, where told.
    pub image: Option<String>,
    /// Docker's id of it.
    pub id: String,
    /// Its addresses; none of its own in host mode.
    pub addresses: Vec<IpAddr>,
}

/// A network namespace and who lives in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its inode (`/proc/PID/ns/net`); where that is closed to us, another number that no other namespace has.
    pub inode: u64,
    /// It is the node's: its addresses and interfaces tell nobody apart.
    pub is_node: bool,
    /// Host ends of the veth pairs that lead into it.
    pub interfaces: Vec<Ifindex>,
    /// Its addresses but for loopback and link-local ones.
    pub addresses: Vec<IpAddr>,
    /// Whoever lives in it, one for each cgroup.
    pub inhabitants: Vec<Inhabitant>,
    /// A process to enter it by.
    pub pid: u32,
}

/// The processes of one cgroup in one network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inhabitant {
    /// Who they are by their cgroup.
    pub home: Home,
    /// Its number; `None` where no cgroup filesystem of version 2 can be read.
    pub cgroup: Option<CgroupId>,
    /// `comm` of its first process.
    pub process: String,
    /// The configuration in the root of its first process.
    pub resolver: Option<Resolver>,
    /// The C library that its first process has mapped.
    pub libc: Option<Libc>,
}

/// What the path of a cgroup says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Home {
    /// A container of a pod: `kubepods…/pod<UID>/<id>`.
    Pod {
        /// The pod's UID, with dashes.
        uid: String,
        /// The container's id.
        container: Option<String>,
    },
    /// A container of a task of ECS: `/ecs/<task>/<id>`.
    Task {
        /// The container's id.
        container: String,
    },
    /// A container of something else.
    Container {
        /// Who runs it: `docker`, `podman`, `containerd`, `crio`, `lxc`.
        runtime: String,
        /// Its id.
        id: String,
        /// Its name, where the runtime's own files tell it.
        name: Option<String>,
    },
    /// A unit of systemd, or a session's scope.
    Unit(String),
    /// None of these.
    Process,
}

impl Pod {
    /// Its identity in the directory.
    pub fn id(&self) -> InstanceId {
        InstanceId(self.uid.clone())
    }
}
