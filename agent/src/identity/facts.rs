//! Who is who, as plain values: what the other rooms may know of a workload, and what a recording keeps.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::capture::frame::{CgroupId, Ifindex};

/// Something that the machine said of itself, and that holds from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// An instance of a workload, and how to know its packets; it takes the place of what was said of the same
    /// [`InstanceId`] before.
    Here {
        /// How to know its packets.
        whose: Whose,
        /// Who it is.
        instance: Arc<Instance>,
    },
    /// The instance is gone; what it did before stays its own.
    Gone(InstanceId),
    /// A server of a kind that its address does not tell.
    Server {
        /// Its address, as clients ask it.
        address: IpAddr,
        /// Its kind.
        role: ServerRole,
    },
    /// An elastic network interface of AWS.
    Eni(Eni),
    /// Something that could have said more does not: which, and why, in one line.
    Silent {
        /// Which.
        source: Source,
        /// Why, and the way out.
        why: String,
    },
    /// The source speaks again.
    Speaks(Source),
}

/// How the packets of an instance are known, the surest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whose {
    /// Host ends of its own network namespace: whatever comes out of them is its own.
    pub interfaces: Vec<Ifindex>,
    /// cgroups of its processes, for those that share the node's addresses.
    pub cgroups: Vec<CgroupId>,
    /// Addresses that are its own alone.
    pub addresses: Vec<IpAddr>,
}

/// What tells one instance from all others as long as the machine runs: a pod's UID, a task's ARN, a container's id, the
/// name of a unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceId(pub String);

/// One instance of a workload: a pod, a task, a container, a unit, a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its own.
    pub id: InstanceId,
    /// What it is an instance of.
    pub workload: Workload,
    /// Its own name: that of the pod, the task's id, the container's name.
    pub name: String,
    /// Its containers that run, in the order of the specification.
    pub containers: Vec<Container>,
    /// How its resolver is configured, where that could be read or follows from its specification.
    pub resolver: Option<Resolver>,
    /// What its specification says of DNS; pods only.
    pub dns: Option<PodDns>,
}

impl Instance {
    /// As it stands in lines: `shop/cart-7d9f` of a pod, `ecs/FAMILY`, `docker/NAME`, `host/UNIT` of the others, whose own
    /// names are numbers.
    pub fn label(&self) -> String {
        let Workload { namespace, kind, name } = &self.workload;
        let own = if matches!(kind.as_str(), "task" | "container" | "unit" | "process") {
            name
        } else {
            &self.name
        };
        format!("{namespace}/{own}")
    }

    /// As it stands in findings: `shop/cart (Deployment), pod cart-7d9f`, `ecs/FAMILY (task)`.
    pub fn full(&self) -> String {
        let Workload { namespace, kind, name } = &self.workload;
        let workload = format!("{namespace}/{name} ({kind})");
        match kind.as_str() {
            "task" | "container" | "unit" | "process" => workload,
            _ if *name == self.name => workload,
            _ => format!("{workload}, pod {}", self.name),
        }
    }
}

/// What scales and is configured as one: what a person changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// The namespace of Kubernetes; elsewhere the platform: `ecs`, `docker`, `podman`, `containerd`, `host`.
    pub namespace: String,
    /// What it is: `Deployment`, `StatefulSet`, `Job`, `Pod`; `task`, `container`, `unit`, `process`.
    pub kind: String,
    /// The name of the topmost owner, the task's family, the container, the unit or the process.
    pub name: String,
}

/// A container of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name in the specification.
    pub name: String,
    /// Its image as the specification names it.
    pub image: Option<String>,
    /// The runtime's id.
    pub id: Option<String>,
    /// The C library of its programs.
    pub libc: Option<Libc>,
}

/// A C library, and with it a stub resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Libc {
    /// Which.
    pub kind: LibcKind,
    /// Its version as its maker writes it, without the packager's part: `1.2.3`, `2.36`.
    pub version: Option<String>,
    /// The release of the distribution: `Alpine 3.17.3`, `Debian 12`.
    pub release: Option<String>,
}

/// Whose C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LibcKind {
    /// musl.
    Musl,
    /// The GNU C library.
    Glibc,
    /// None is mapped: a static program, such as most of Go.
    Static,
}

impl LibcKind {
    /// As it stands in lines and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Musl => "musl",
            Self::Glibc => "glibc",
            Self::Static => "static",
        }
    }
}

/// How a resolver is configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// The text of its resolv.conf(5), as it is or as it follows from the specification.
    pub resolv_conf: String,
    /// Where that is known from.
    pub source: ResolverSource,
}

/// Where the configuration of a resolver is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolverSource {
    /// The file was read.
    ResolvConf,
    /// It follows from the pod's specification.
    PodSpec,
}

/// What the specification of a pod says of DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodDns {
    /// `dnsPolicy`: `ClusterFirst`, `ClusterFirstWithHostNet`, `Default`, `None`.
    pub policy: String,
    /// `dnsConfig.nameservers`.
    pub nameservers: Vec<String>,
    /// `dnsConfig.searches`.
    pub searches: Vec<String>,
    /// `dnsConfig.options`, as `name:value` or `name`.
    pub options: Vec<String>,
    /// `hostNetwork`: such a pod has the node's addresses.
    pub host_network: bool,
}

/// What kind of resolver a server is, where its address alone does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerRole {
    /// NodeLocal DNSCache.
    NodeLocal,
    /// The cluster's DNS service, or a pod behind it.
    Cluster,
    /// The resolver of the VPC.
    Vpc,
}

/// An elastic network interface (ENI) of AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eni {
    /// Its interface here.
    pub interface: Ifindex,
    /// `eni-0123456789abcdef0`.
    pub id: String,
    /// Its hardware address, in lower case with colons.
    pub mac: String,
    /// Its private addresses.
    pub addresses: Vec<IpAddr>,
    /// The IPv4 and IPv6 blocks of its VPC.
    pub vpc_blocks: Vec<String>,
}

/// Who says facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The API server of Kubernetes.
    Kubernetes,
    /// The agent of ECS.
    Ecs,
    /// `/proc`: network namespaces, cgroups, files of containers.
    Processes,
    /// The instance metadata service of EC2.
    Imds,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 4] = [Self::Kubernetes, Self::Ecs, Self::Processes, Self::Imds];

    /// As it stands in lines and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Ecs => "ecs",
            Self::Processes => "processes",
            Self::Imds => "imds",
        }
    }
}
