//! What the path of a cgroup says of its processes.
//!
//! Runtimes name cgroups by their own customs; the table in `home/tests.rs` holds paths as they are found. The outermost
//! container or pod counts: whatever stands below it was made by those inside, and tells of nobody else.

use crate::identity::statement::Home;

/// Where a process belongs by the text of its `/proc/PID/cgroup`, and its path in the hierarchy of version 2.
///
/// In the hybrid layout the runtime may use the hierarchies of version 1 alone: the surest path counts.
pub fn read(text: &str) -> (Home, Option<&str>) {
    let mut best = Home::Process;
    let mut unified = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(hierarchy), Some(_), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        if hierarchy == "0" {
            unified = Some(path);
        }
        let home = of_path(path);
        if sureness(&home) > sureness(&best) {
            best = home;
        }
    }
    (best, unified)
}

/// Where the processes of a cgroup belong.
pub fn of_path(path: &str) -> Home {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != "..").collect();
    let outermost = (0..parts.len()).find_map(|at| container_at(&parts, at));
    outermost.or_else(|| unit(&parts)).unwrap_or(Home::Process)
}

/// How sure it is whom a home names.
fn sureness(home: &Home) -> u8 {
    match home {
        Home::Pod { .. } => 4,
        Home::Task { .. } => 3,
        Home::Container { .. } => 2,
        Home::Unit(_) => 1,
        Home::Process => 0,
    }
}

/// The pod or container that begins with this part of a path.
fn container_at(parts: &[&str], at: usize) -> Option<Home> {
    let part = *parts.get(at)?;
    let rest = parts.get(at + 1..).unwrap_or_default();
    if let Some(uid) = pod_uid(part) {
        // containerd with the other driver: `…-pod<uid>.slice:cri-containerd:<id>`.
        let container = part.rsplit_once(':').map(|(_, id)| id).or_else(|| rest.first().copied());
        let container = container.map(|part| scope(part).map_or(part, |(_, id)| id)).filter(|id| is_id(id));
        return Some(Home::Pod { uid, container: container.map(str::to_owned) });
    }
    let before = at.checked_sub(1).and_then(|before| parts.get(before)).copied();
    // `/ecs/<task>/<id>`, with the cluster in between since agent 1.60; by systemd `ecstasks-<task>.slice/docker-<id>.scope`.
    let of_task = part == "ecs" || (part.starts_with("ecstasks-") && part.ends_with(".slice"));
    if of_task {
        let mut ids = rest.iter().take(3).map(|part| scope(part).map_or(*part, |(_, id)| id));
        let id = ids.rfind(|id| is_id(id) || is_fargate_id(id))?;
        return Some(Home::Task { container: id.to_owned() });
    }
    if let Some((runtime, id)) = scope(part) {
        return Some(container(runtime, id));
    }
    if let Some(name) = lxc(part, before) {
        return Some(Home::Container {
            runtime: "lxc".into(),
            id: name.to_owned(),
            name: Some(name.to_owned()),
        });
    }
    if is_hash(part) {
        return Some(container(runtime_of_parent(before.unwrap_or_default()), part));
    }
    None
}

fn container(runtime: &str, id: &str) -> Home {
    Home::Container { runtime: runtime.to_owned(), id: id.to_owned(), name: None }
}

/// The UID in `pod<UID>` (driver cgroupfs) or `kubepods-burstable-pod<UID>.slice` (systemd, `_` for `-`).
fn pod_uid(part: &str) -> Option<String> {
    let by_systemd = || {
        let (slice, _) = part.split_once(".slice")?;
        // kind puts `kubelet-` before it.
        slice.contains("kubepods").then(|| slice.rsplit_once("-pod"))?.map(|(_, uid)| uid)
    };
    let uid = by_systemd().or_else(|| part.strip_prefix("pod"))?.replace('_', "-");
    // A UUID, or for a static pod the kubelet's hash of its manifest.
    let uuid = uid.len() == 36 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let hash = uid.len() == 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit());
    (uuid || hash).then_some(uid)
}

/// Runtime and id in `docker-<id>.scope` and its like; not those of a runtime's own monitor.
fn scope(part: &str) -> Option<(&'static str, &str)> {
    const PREFIXES: [(&str, &str); 7] = [
        ("docker-", "docker"),
        ("libpod-", "podman"),
        ("cri-containerd-", "containerd"),
        ("containerd-", "containerd"),
        ("nerdctl-", "containerd"),
        ("crio-", "crio"),
        ("buildkit-", "buildkit"),
    ];
    let name = part.strip_suffix(".scope").unwrap_or(part);
    PREFIXES.iter().find_map(|(prefix, runtime)| {
        let id = name.strip_prefix(prefix)?;
        is_id(id).then_some((*runtime, id))
    })
}

/// The name of an LXC container: `lxc/<name>`, since version 4 `lxc.payload.<name>`.
fn lxc<'a>(part: &'a str, before: Option<&str>) -> Option<&'a str> {
    let name = part.strip_prefix("lxc.payload.");
    name.or_else(|| matches!(before, Some("lxc" | "lxc.payload")).then_some(part))
}

fn runtime_of_parent(parent: &str) -> &'static str {
    match parent {
        "docker" => "docker",
        "libpod_parent" | "libpod" => "podman",
        "crio" => "crio",
        "buildkit" => "buildkit",
        // containerd's own namespaces: `/default/<id>`, `/k8s.io/<id>`, `/moby/<id>`.
        "moby" => "docker",
        _ => "containerd",
    }
}

/// Ids of containers: 64 hexadecimal digits, and at least the twelve that people write.
fn is_id(text: &str) -> bool {
    (12..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && is_id(text)
}

/// Fargate: the task's id, a dash, digits.
fn is_fargate_id(text: &str) -> bool {
    let Some((task, number)) = text.rsplit_once('-') else { return false };
    is_id(task) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The unit of systemd that a cgroup belongs to: the first on the path, but of a user's own manager the one that it runs.
fn unit(parts: &[&str]) -> Option<Home> {
    let is_unit = |part: &&&str| part.ends_with(".service") || part.ends_with(".scope");
    let mut units = parts.iter().filter(is_unit);
    let first = units.next()?;
    let unit = if first.starts_with("user@") { units.next().unwrap_or(first) } else { first };
    Some(Home::Unit((*unit).to_owned()))
}

#[cfg(test)]
mod tests;
