//! The cluster of one node: etcd, the control plane, containerd, the kubelet and kube-proxy, all real.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::certificates::Certificates;
use super::daemon::Daemon;
use super::enclosure::STATE;
use super::kubectl::Kubectl;
use super::tools::Tools;
use crate::child;
use crate::netns;

/// What the node is called.
pub const NODE: &str = "node1";
/// The node's address, on its uplink.
pub const NODE_IP: &str = "10.99.0.2";
/// The namespace at the other end of the uplink: what is outside of the cluster.
pub const OUTSIDE: &str = "outside";
/// The resolver out there, which the node's own processes ask.
pub const OUTSIDE_IP: &str = "10.99.0.1";
/// The cluster's resolver, as pods know it: the Service kube-dns.
pub const KUBE_DNS: &str = "10.96.0.10";

/// How long a part may take to be there, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// The kubelet names a node's resolv.conf and gives its search domain to every pod.
const RESOLV_CONF: &str = "nameserver 10.99.0.1\nsearch corp.example\n";

const BRIDGE: &str = r#"{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam":
    {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
"#;

/// The cluster while it runs; dropping it kills every part.
pub struct Node {
    /// Speaks to it as an administrator.
    pub kubectl: Kubectl,
    programs: PathBuf,
    certificates: Certificates,
    api_server: Option<Daemon>,
    /// What runs from the begin to the end.
    _others: Vec<Daemon>,
}

impl Node {
    /// Starts all of it and waits until the node is ready; `images` are archives for containerd.
    pub fn start(tools: &Tools, images: &[PathBuf]) -> Result<Self> {
        let start = Instant::now();
        wire()?;
        let addresses = ["127.0.0.1", "10.96.0.1", NODE_IP];
        let certificates = Certificates::make(Path::new(STATE).join("certificates"), &addresses)?;
        let kubeconfig = state("kubeconfig");
        write(&kubeconfig, &certificates.kubeconfig(NODE_IP))?;
        let kubectl = Kubectl::new(tools.kubectl.clone(), tools.helm.clone(), kubeconfig);
        let programs = tools.kubernetes.clone();
        let etcd = Daemon::start("etcd", Command::new("etcd").arg("--data-dir").arg(state("etcd")))?;
        let mut node = Self { kubectl, programs, certificates, api_server: None, _others: vec![etcd] };
        let containerd = start_containerd()?;
        node._others.push(containerd);
        node.start_api_server()?;
        println!("API server ready after {:.1} s", start.elapsed().as_secs_f64());
        node.start_controllers()?;
        import(images)?;
        node.start_kubelet()?;
        node.kubectl.wait_for("node ready", &["node", NODE], PATIENCE, is_ready)?;
        println!("node ready after {:.1} s", start.elapsed().as_secs_f64());
        Ok(node)
    }

    /// Starts the API server, and waits until it says that it is ready.
    pub fn start_api_server(&mut self) -> Result<()> {
        let files = &self.certificates;
        let mut command = Command::new(self.programs.join("kube-apiserver"));
        command
            .args(["--etcd-servers=http://127.0.0.1:2379", "--secure-port=6443", "--bind-address=0.0.0.0"])
            .arg(format!("--advertise-address={NODE_IP}"))
            .arg(format!("--tls-cert-file={}", files.flag("api.crt")))
            .arg(format!("--tls-private-key-file={}", files.flag("api.key")))
            .arg(format!("--client-ca-file={}", files.flag("ca.crt")))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--service-account-key-file={}", files.flag("accounts.key")))
            .arg(format!("--service-account-signing-key-file={}", files.flag("accounts.key")))
            .arg(format!("--token-auth-file={}", files.flag("tokens.csv")))
            .args(["--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC"])
            .args(["--allow-privileged", "--kubelet-preferred-address-types=InternalIP"]);
        let mut daemon = Daemon::start("kube-apiserver", &mut command)?;
        let ready = || Ok(self.kubectl.run(&["get", "--raw", "/readyz"]).is_ok_and(|said| said == "ok"));
        daemon.wait_until(PATIENCE, ready)?;
        self.api_server = Some(daemon);
        Ok(())
    }

    /// Ends the API server by this signal.
    pub fn stop_api_server(&mut self, signal: &str) -> Result<()> {
        let Some(daemon) = self.api_server.take() else { bail!("the API server does not run") };
        daemon.stop(signal)
    }

    fn start_controllers(&mut self) -> Result<()> {
        let files = &self.certificates;
        let mut manager = self.program("kube-controller-manager");
        manager
            .arg(format!("--service-account-private-key-file={}", files.flag("accounts.key")))
            .arg(format!("--root-ca-file={}", files.flag("ca.crt")))
            .args(["--leader-elect=false", "--allocate-node-cidrs", "--cluster-cidr=10.244.0.0/16"])
            .arg("--configure-cloud-routes=false");
        let mut scheduler = self.program("kube-scheduler");
        scheduler.arg("--leader-elect=false");
        self._others.push(Daemon::start("kube-controller-manager", &mut manager)?);
        self._others.push(Daemon::start("kube-scheduler", &mut scheduler)?);
        Ok(())
    }

    fn start_kubelet(&mut self) -> Result<()> {
        write(&state("resolv.conf"), RESOLV_CONF)?;
        let config = state("kubelet.yaml");
        write(&config, &include_str!("../../../e2e/kubelet.yaml").replace("@STATE@", STATE))?;
        let mut kubelet = self.program("kubelet");
        kubelet
            .arg("--config")
            .arg(&config)
            .args(["--container-runtime=remote"])
            .arg("--container-runtime-endpoint=unix:///run/containerd/containerd.sock")
            .args([format!("--node-ip={NODE_IP}"), format!("--hostname-override={NODE}")])
            .args([
                format!("--root-dir={STATE}/kubelet"),
                format!("--cert-dir={STATE}/kubelet-certificates"),
            ]);
        let mut proxy = self.program("kube-proxy");
        proxy
            .args(["--proxy-mode=iptables", "--cluster-cidr=10.244.0.0/16", "--oom-score-adj=0"])
            .arg(format!("--hostname-override={NODE}"))
            // Settings of connection tracking belong to the machine.
            .args(["--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s"])
            .arg("--conntrack-tcp-timeout-close-wait=0s");
        self._others.push(Daemon::start("kubelet", &mut kubelet)?);
        self._others.push(Daemon::start("kube-proxy", &mut proxy)?);
        Ok(())
    }

    /// A program of Kubernetes that is a client of the API server.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.arg("--kubeconfig").arg(state("kubeconfig"));
        command
    }
}

/// The node's interfaces, and the world outside with its resolver's address.
fn wire() -> Result<()> {
    netns::add(OUTSIDE)?;
    let lines = format!(
        "link set lo up
         link add eth0 type veth peer name node netns {OUTSIDE}
         addr add {NODE_IP}/24 dev eth0
         link set eth0 up
         route add default via {OUTSIDE_IP}"
    );
    let mut ip = Command::new("ip");
    let script = state("ip");
    write(&script, &lines)?;
    child::output_within(ip.arg("-batch").arg(&script), Duration::from_secs(10))?;
    netns::ip(OUTSIDE, &format!("addr add {OUTSIDE_IP}/24 dev node\nlink set node up"))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("failed to let the node forward packets")
}

fn start_containerd() -> Result<Daemon> {
    let config = state("containerd.toml");
    write(&config, &include_str!("../../../e2e/containerd.toml").replace("@STATE@", STATE))?;
    write(&state("cni/pods.conflist"), BRIDGE)?;
    let mut daemon = Daemon::start("containerd", Command::new("containerd").arg("--config").arg(&config))?;
    daemon.wait_until(PATIENCE, || {
        Ok(child::finish_within(Command::new("ctr").arg("version"), PATIENCE)?.status.success())
    })?;
    Ok(daemon)
}

/// Loads images into containerd, where the kubelet looks for them.
pub fn import(images: &[PathBuf]) -> Result<()> {
    for image in images {
        let mut ctr = Command::new("ctr");
        ctr.args(["--namespace", "k8s.io", "images", "import"]).arg(image);
        child::output_within(&mut ctr, PATIENCE)?;
    }
    Ok(())
}

fn is_ready(node: &serde_json::Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// A file or folder of the node.
fn state(name: &str) -> PathBuf {
    Path::new(STATE).join(name)
}

fn write(path: &Path, text: &str) -> Result<()> {
    crate::rootfs::write(path, text)
}
