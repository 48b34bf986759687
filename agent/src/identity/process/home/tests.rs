//! Paths as runtimes make them.

use super::*;

const UID: &str = "1a2b3c4d-0001-4002-8003-0123456789ab";
const UID_: &str = "1a2b3c4d_0001_4002_8003_0123456789ab";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const TASK: &str = "89abcdef0123456789abcdef01234567";

/// A path in which `U`, `u`, `I`, `O` and `T` stand for a UID, one by systemd, an id, another, and a task.
fn path(pattern: &str) -> String {
    let named = [("<UID>", UID), ("<uid>", UID_), ("<id>", ID), ("<other>", OTHER), ("<task>", TASK)];
    named.iter().fold(pattern.to_owned(), |path, (name, value)| path.replace(name, value))
}

fn pod(container: Option<&str>) -> Home {
    Home::Pod { uid: UID.into(), container: container.map(str::to_owned) }
}

fn named(runtime: &str, id: &str, name: Option<&str>) -> Home {
    Home::Container { runtime: runtime.into(), id: id.into(), name: name.map(str::to_owned) }
}

fn unit_of(name: &str) -> Home {
    Home::Unit(name.into())
}

#[test]
fn every_runtime_is_known_by_its_paths() {
    let cases = [
        // The kubelet with the driver cgroupfs, by quality of service.
        ("/kubepods/pod<UID>/<id>", pod(Some(ID))),
        ("/kubepods/burstable/pod<UID>/<id>", pod(Some(ID))),
        ("/kubepods/besteffort/pod<UID>/<id>", pod(Some(ID))),
        ("/kubepods/burstable/pod<UID>", pod(None)),
        // The same with the driver systemd, by containerd, CRI-O and Docker.
        ("/kubepods.slice/kubepods-pod<uid>.slice/cri-containerd-<id>.scope", pod(Some(ID))),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope",
            pod(Some(ID)),
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<uid>.slice/crio-<id>.scope",
            pod(Some(ID)),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/docker-<id>.scope",
            pod(Some(ID)),
        ),
        // CRI-O moves a container with its own systemd one down.
        ("/kubepods.slice/kubepods-pod<uid>.slice/crio-<id>.scope/container", pod(Some(ID))),
        // The kubelet and containerd that disagree on the driver.
        (
            "/system.slice/containerd.service/kubepods-burstable-pod<uid>.slice:cri-containerd:<id>",
            pod(Some(ID)),
        ),
        // From a cgroup namespace of our own the upper part is not seen.
        ("/../../pod<UID>/<id>", pod(Some(ID))),
        ("/../../kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope", pod(Some(ID))),
        // Docker inside of a pod, and systemd inside of a container.
        ("/kubepods/burstable/pod<UID>/<id>/docker/<other>", pod(Some(ID))),
        ("/kubepods/burstable/pod<UID>/<id>/system.slice/cron.service", pod(Some(ID))),
        ("/docker/<id>/system.slice/cron.service", named("docker", ID, None)),
        // kind: a node that is a container of Docker is one as seen from the machine.
        ("/docker/<id>/kubelet/kubepods/besteffort/pod<UID>/<other>", named("docker", ID, None)),
        // And from inside of the node.
        (
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/\
             kubelet-kubepods-besteffort-pod<uid>.slice/cri-containerd-<id>.scope",
            pod(Some(ID)),
        ),
        // Docker.
        ("/docker/<id>", named("docker", ID, None)),
        ("/system.slice/docker-<id>.scope", named("docker", ID, None)),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-<id>.scope",
            named("docker", ID, None),
        ),
        // podman, by root and by a user; conmon is no container.
        ("/machine.slice/libpod-<id>.scope", named("podman", ID, None)),
        ("/machine.slice/libpod-<id>.scope/container", named("podman", ID, None)),
        ("/libpod_parent/libpod-<id>", named("podman", ID, None)),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<id>.scope/container",
            named("podman", ID, None),
        ),
        ("/machine.slice/libpod-conmon-<id>.scope", unit_of(&format!("libpod-conmon-{ID}.scope"))),
        // containerd without Kubernetes.
        ("/default/<id>", named("containerd", ID, None)),
        ("/system.slice/nerdctl-<id>.scope", named("containerd", ID, None)),
        ("/system.slice/containerd.service", unit_of("containerd.service")),
        // ECS.
        ("/ecs/<task>/<id>", Home::Task { container: ID.into() }),
        ("/ecs/my-cluster/<task>/<id>", Home::Task { container: ID.into() }),
        ("/ecs/<task>/<task>-1234567890", Home::Task { container: format!("{TASK}-1234567890") }),
        ("/ecstasks.slice/ecstasks-<task>.slice/docker-<id>.scope", Home::Task { container: ID.into() }),
        // LXC and LXD.
        ("/lxc/web", named("lxc", "web", Some("web"))),
        ("/lxc.payload.web/init.scope", named("lxc", "web", Some("web"))),
        ("/lxc.payload/web/system.slice/cron.service", named("lxc", "web", Some("web"))),
        ("/lxc.monitor.web", Home::Process),
        // systemd.
        ("/system.slice/nginx.service", unit_of("nginx.service")),
        ("/system.slice/system-getty.slice/getty@tty1.service", unit_of("getty@tty1.service")),
        ("/system.slice/systemd-udevd.service/udev", unit_of("systemd-udevd.service")),
        ("/init.scope", unit_of("init.scope")),
        ("/user.slice/user-1000.slice/session-5.scope", unit_of("session-5.scope")),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/dbus.service", unit_of("dbus.service")),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", unit_of("init.scope")),
        ("/machine.slice/systemd-nspawn@box.service/payload", unit_of("systemd-nspawn@box.service")),
        // Nothing that tells.
        ("/", Home::Process),
        ("/podium/burstable", Home::Process),
        ("/pod-1/abc", Home::Process),
    ];
    for (pattern, expected) in cases {
        assert_eq!(of_path(&path(pattern)), expected, "{pattern}");
    }
}

/// Someone inside may name cgroups of their own below.
#[test]
fn nobody_takes_the_place_of_another() {
    let victim = "aaaaaaaa-0001-4002-8003-0123456789ab";
    let own = path("/kubepods/besteffort/pod<UID>/<id>");
    for below in [
        format!("kubepods/pod{victim}/{OTHER}"),
        format!("kubepods-pod{}.slice/docker-{OTHER}.scope", victim.replace('-', "_")),
        format!("ecs/{TASK}/{OTHER}"),
        "system.slice/sshd.service".to_owned(),
        format!("../pod{victim}/{OTHER}"),
    ] {
        assert_eq!(of_path(&format!("{own}/{below}")), pod(Some(ID)), "{below}");
    }
}

#[test]
fn of_several_hierarchies_the_surest_counts() {
    // Docker on a hybrid machine: version 2 knows nothing.
    let text = path("12:pids:/docker/<id>\n1:name=systemd:/docker/<id>\n0::/system.slice/docker.service\n");
    assert_eq!(read(&text), (named("docker", ID, None), Some("/system.slice/docker.service")));
    // Without name=systemd.
    let text = path("4:memory:/kubepods/burstable/pod<UID>/<id>\n3:cpuset:/\n");
    assert_eq!(read(&text), (pod(Some(ID)), None));
    // Version 2 alone, in a cgroup that was removed under its process.
    assert_eq!(
        read("0::/system.slice/x.service (deleted)\n"),
        (unit_of("x.service"), Some("/system.slice/x.service"))
    );
    // Colons belong to the path.
    let text = path("0::/system.slice/containerd.service/kubepods-pod<uid>.slice:cri-containerd:<id>\n");
    assert_eq!(read(&text).0, pod(Some(ID)));
    for nonsense in ["", "\n\n", "0", "0:", "::", ":::::", "0::", "x::/docker"] {
        assert_eq!(read(nonsense).0, Home::Process, "{nonsense}");
    }
}
