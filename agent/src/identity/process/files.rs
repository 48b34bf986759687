//! What the files of a container say: its resolv.conf, its C library, its name.

use std::time::Duration;

use serde::Deserialize;

use super::budget::thread_cpu;
use super::clean::{label, lines};
use super::libc;
use super::proc::{Proc, ProcessDirectory};
use super::root::{Root, Signature};
use crate::identity::facts::{Libc, LibcKind, Resolver, ResolverSource};

/// Of a longer resolv.conf the beginning is read.
const RESOLV_CONF_BYTES: usize = 64 * 1024;
/// More of it is not kept, comments first: hundreds of containers are kept.
const KEPT_BYTES: usize = 8 * 1024;
/// A longer line is cut: musl heeds 254 octets, glibc at most these.
const LINE_CHARACTERS: usize = 4096;
/// Longest file in which a runtime describes a container, or all of them.
const RUNTIME_BYTES: usize = 4 << 20;

/// What is wanted of a process.
#[derive(Debug)]
pub struct Job {
    /// The processes to ask, the oldest first: the first that has a C library mapped speaks for all.
    pub processes: Vec<ProcessDirectory>,
    /// The resolv.conf as it was read last, if it was.
    pub known: Option<Signature>,
    /// Its C library is wanted too.
    pub wants_libc: bool,
    /// They live in a container: where their root is still the node's, the runtime has not brought them there yet.
    pub is_container: bool,
    /// The name of this container is wanted too: runtime and id.
    pub wants_name: Option<(String, String)>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Its resolv.conf, if it is another one than was known.
    pub resolver: Option<(Resolver, Signature)>,
    /// It has none that can be read.
    pub no_resolver: bool,
    /// Its C library.
    pub libc: Option<Libc>,
    /// Its container's name.
    pub name: Option<String>,
    /// We may not look into its root.
    pub denied: bool,
    /// The container is not there yet.
    pub too_early: bool,
    /// CPU time that it took.
    pub cpu: Duration,
}

/// Does a job. May wait for ever: a container chooses the filesystems that it mounts.
pub fn read(proc: &Proc, job: &Job) -> Found {
    let before = thread_cpu();
    let mut found = Found::default();
    let node = proc.process(1).and_then(|first| Root::of(&first).ok());
    if let (Some(node), Some((runtime, id))) = (&node, &job.wants_name) {
        found.name = container_name(node, runtime, id);
    }
    for (at, process) in job.processes.iter().enumerate() {
        let root = match Root::of(process) {
            Ok(root) => root,
            Err(error) => {
                found.denied |= process.denies(&error);
                continue;
            }
        };
        if job.is_container && node.as_ref().is_some_and(|node| node.is_same(&root)) {
            found.too_early = true;
            break;
        }
        if at == 0 {
            read_resolver(&root, job.known, &mut found);
        }
        if !job.wants_libc {
            break;
        }
        match libc::of(process, &root) {
            Ok(libc) if libc.kind == LibcKind::Static => drop(found.libc.get_or_insert(libc)),
            Ok(libc) => {
                found.libc = Some(libc);
                break;
            }
            Err(error) => found.denied |= process.denies(&error),
        }
    }
    found.cpu = thread_cpu().saturating_sub(before);
    found
}

fn read_resolver(root: &Root, known: Option<Signature>, found: &mut Found) {
    let file = root.find("etc/resolv.conf");
    if let Ok(file) = &file
        && known == Some(file.signature)
    {
        return;
    }
    let text = file.and_then(|file| Ok((file.read(RESOLV_CONF_BYTES)?, file.signature)));
    match text {
        Ok((text, signature)) => {
            let resolver = Resolver { resolv_conf: kept(&text), source: ResolverSource::ResolvConf };
            found.resolver = Some((resolver, signature));
        }
        Err(_) => found.no_resolver = true,
    }
}

/// What is kept of a resolv.conf: all of it, or of a long one the lines that say something.
fn kept(text: &[u8]) -> String {
    let clean = lines(text, LINE_CHARACTERS);
    if clean.len() <= KEPT_BYTES {
        return clean;
    }
    const KEYWORDS: [&str; 5] = ["nameserver", "search", "domain", "options", "sortlist"];
    let says = |line: &&str| KEYWORDS.iter().any(|keyword| line.starts_with(keyword));
    let mut short = String::new();
    for line in clean.split_inclusive('\n').filter(says) {
        if short.len() + line.len() > KEPT_BYTES {
            break;
        }
        short.push_str(line);
    }
    short
}

/// The name of a container in the files of its runtime, below the root of the node.
fn container_name(node: &Root, runtime: &str, id: &str) -> Option<String> {
    let name = match runtime {
        "docker" => {
            let path = format!("var/lib/docker/containers/{id}/config.v2.json");
            docker_name(&node.read(&path, RUNTIME_BYTES).ok()?)
        }
        "podman" | "crio" => {
            let path = "var/lib/containers/storage/overlay-containers/containers.json";
            storage_name(&node.read(path, RUNTIME_BYTES).ok()?, id)
        }
        _ => None,
    }?;
    Some(label(name.as_bytes(), 128))
}

/// `"Name": "/web"` of Docker's config.v2.json.
fn docker_name(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "Name")]
        name: String,
    }
    let config: Config = serde_json::from_slice(text).ok()?;
    let name = config.name.trim_start_matches('/');
    (!name.is_empty()).then(|| name.to_owned())
}

/// The name in the list that containers/storage keeps for podman and CRI-O.
fn storage_name(text: &[u8], id: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Stored {
        id: String,
        #[serde(default)]
        names: Vec<String>,
    }
    let all: Vec<Stored> = serde_json::from_slice(text).ok()?;
    all.into_iter().find(|stored| stored.id == id)?.names.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_name_their_containers() {
        let config = br#"{"StreamConfig":{},"ID":"0123","Name":"/web","RestartCount":0}"#;
        assert_eq!(docker_name(config).as_deref(), Some("web"));
        let stored =
            br#"[{"id":"aa","names":["db"],"layer":"x"},{"id":"bb","names":["web","two"]},{"id":"cc"}]"#;
        assert_eq!(storage_name(stored, "bb").as_deref(), Some("web"));
        for (text, id) in [(&b"{"[..], "aa"), (b"[]", "aa"), (stored, "cc"), (stored, "zz")] {
            assert_eq!(storage_name(text, id), None);
            assert_eq!(docker_name(text), None);
        }
    }

    #[test]
    fn a_long_resolv_conf_keeps_what_it_says() {
        let short = "# made by hand\nnameserver 10.0.0.1\n";
        assert_eq!(kept(short.as_bytes()), short);
        let long = format!("{}nameserver 10.0.0.1\nsearch a.example\n", "# a comment\n".repeat(5000));
        assert_eq!(kept(long.as_bytes()), "nameserver 10.0.0.1\nsearch a.example\n");
        let line = format!("search {}", "x".repeat(1 << 20));
        assert_eq!(kept(line.as_bytes()).len(), LINE_CHARACTERS);
        assert!(kept("nameserver 10.0.0.1\n".repeat(100_000).as_bytes()).len() <= KEPT_BYTES);
    }

    #[test]
    fn of_ourselves_it_finds_both() {
        let proc = Proc::open("/proc".as_ref()).unwrap();
        let job = |known| Job {
            processes: vec![proc.process(std::process::id()).unwrap()],
            known,
            wants_libc: true,
            is_container: false,
            wants_name: None,
        };
        let found = read(&proc, &job(None));
        assert!(found.libc.as_ref().is_some_and(|libc| libc.kind != LibcKind::Static), "{found:?}");
        let Some((resolver, signature)) = found.resolver else { return };
        assert_eq!(resolver.source, ResolverSource::ResolvConf);
        // It did not change.
        assert!(read(&proc, &job(Some(signature))).resolver.is_none());
    }
}
