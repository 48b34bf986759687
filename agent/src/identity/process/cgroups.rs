//! The numbers of cgroups, and the view of them that the whole node has.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, open, statat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::capture::frame::CgroupId;

/// Cgroups that are looked at to find our own among them; a large node has some thousands.
const MOST_LOOKED_AT: usize = 50_000;

/// The filesystem of cgroups of version 2, as process 1 sees it.
#[derive(Debug)]
pub struct Cgroups {
    mount: Option<OwnedFd>,
    own: Own,
}

/// Where the cgroup namespace of this thread begins below the mount: paths of others are told from there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Own {
    /// How many levels below the root of the mount; 0: the namespace is that of process 1.
    depth: usize,
    /// Its names from the root on; `None` where it was not found: what lies beside us then has no number.
    path: Option<Vec<String>>,
}

impl Cgroups {
    /// Finds it below `proc`, and brings the calling thread into the cgroup namespace of process 1 where that is allowed.
    ///
    /// A container has a cgroup namespace of its own (with version 2 the runtimes' default), from which the cgroups of others
    /// are `/../../…`. Entering that of process 1 needs `CAP_SYS_ADMIN`; without it our own cgroup is looked for in the mount
    /// of process 1, by its inode, which takes `CAP_SYS_PTRACE`.
    pub fn find(proc: &Path) -> Self {
        let first = proc.join("1");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        if let Ok(namespace) = open(first.join("ns/cgroup"), flags, Mode::empty()) {
            let _ = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ControlGroup));
        }
        let open_path =
            |path: &Path| open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok();
        // Of the thread: another one of this process may be in another cgroup namespace.
        let ours = mounts_in(&proc.join("thread-self/mountinfo")).into_iter().find(|(_, depth)| *depth == 0);
        if let Some((path, depth)) = mounts_in(&first.join("mountinfo")).into_iter().next() {
            let root = below(&first.join("root"), &path);
            if let Some(mount) = open_path(&root) {
                let inode = || std::fs::metadata(&ours.as_ref()?.0).ok().map(|own| own.ino());
                let path = (depth > 0).then(inode).flatten().and_then(|inode| locate(&root, depth, inode));
                return Self { mount: Some(mount), own: Own { depth, path } };
            }
        }
        Self { mount: ours.and_then(|(path, _)| open_path(&path)), own: Own::default() }
    }

    /// The number of a cgroup by its path; `None` where it is gone or lies outside of what we see, and for the root, in which
    /// everything is that nobody put anywhere.
    pub fn id(&self, path: &str) -> Option<CgroupId> {
        let path = self.own.resolve(path)?;
        let stat = statat(self.mount.as_ref()?, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(CgroupId(stat.st_ino))
    }
}

impl Own {
    /// The path from the root of the mount on, of one that is told from our namespace; `None` for the root itself.
    fn resolve(&self, path: &str) -> Option<String> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let up = parts.iter().take_while(|part| **part == "..").count();
        let below = parts.get(up..)?;
        if below.contains(&"..") {
            return None;
        }
        let shared = self.depth.checked_sub(up)?;
        let above = if shared == 0 { &[] } else { self.path.as_ref()?.get(..shared)? };
        let all: Vec<&str> = above.iter().map(String::as_str).chain(below.iter().copied()).collect();
        (!all.is_empty()).then(|| all.join("/"))
    }
}

/// The names from `root` on to the folder with this inode, so many levels below it.
fn locate(root: &Path, depth: usize, inode: u64) -> Option<Vec<String>> {
    let mut level = vec![Vec::new()];
    let mut looked_at = 0;
    for below in 1..=depth {
        let mut next = Vec::new();
        for names in &level {
            let folder = names.iter().fold(root.to_owned(), |path, name: &String| path.join(name));
            // One that is gone by now is not ours.
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for entry in entries.filter_map(Result::ok) {
                looked_at += 1;
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let Some(name) = entry.file_name().to_str().filter(|_| is_folder).map(str::to_owned) else {
                    continue;
                };
                let path = [names.as_slice(), &[name]].concat();
                if below == depth && entry.ino() == inode {
                    return Some(path);
                }
                next.push(path);
            }
            if looked_at > MOST_LOOKED_AT {
                return None;
            }
        }
        level = next;
    }
    None
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Where the hierarchy of version 2 is mounted from our cgroup namespace or from above it, by a mountinfo (proc_pid_mountinfo(5)), and how many levels above the
/// reader's cgroup namespace it begins.
fn mounts_in(mountinfo: &Path) -> Vec<(PathBuf, usize)> {
    std::fs::read_to_string(mountinfo).map_or_else(|_| Vec::new(), |text| mounts_of(&text))
}

fn mounts_of(mountinfo: &str) -> Vec<(PathBuf, usize)> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let above = root.split('/').filter(|part| !part.is_empty());
        // A container sees its own cgroup as a mount whose root is another; from a cgroup namespace the root is `/../..`.
        let is_whole = above.clone().all(|part| part == "..");
        (kind.starts_with("cgroup2 ") && is_whole).then(|| (PathBuf::from(point), above.count()))
    });
    mounts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_version_2_is_found() {
        let unified = "24 23 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mounts_of(unified), [("/sys/fs/cgroup".into(), 0)]);
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mounts_of(hybrid), [("/sys/fs/cgroup/unified".into(), 0)]);
        let container = "700 600 0:22 /kubepods/pod1/2 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(mounts_of(container), []);
        let from_a_namespace = "700 600 0:22 /../../.. /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(mounts_of(from_a_namespace), [("/sys/fs/cgroup".into(), 3)]);
        assert_eq!(mounts_of("nonsense - cgroup2 \n"), []);
    }

    #[test]
    fn a_path_never_leaves_the_mount() {
        let directory = open("/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let cgroups = Cgroups { mount: Some(directory), own: Own::default() };
        assert!(cgroups.id("/proc").is_some());
        for path in ["/", "", "/../proc", "/../../kubepods", "/no/such/cgroup"] {
            assert_eq!(cgroups.id(path), None, "{path}");
        }
        assert_eq!(Cgroups { mount: None, own: Own::default() }.id("/proc"), None);
    }

    #[test]
    fn a_path_told_from_below_is_found_from_the_root() {
        let names = ["kubepods", "pod1", "c"].map(str::to_owned);
        let own = Own { depth: 3, path: Some(names.to_vec()) };
        for (told, path) in [
            ("/../../../system.slice/sshd.service", Some("system.slice/sshd.service")),
            ("/../../pod2/d", Some("kubepods/pod2/d")),
            ("/", Some("kubepods/pod1/c")),
            ("/sub", Some("kubepods/pod1/c/sub")),
            ("/../../..", None),
            ("/../../../..", None),
            ("/../x/../y", None),
        ] {
            assert_eq!(own.resolve(told).as_deref(), path, "{told}");
        }
        let lost = Own { depth: 3, path: None };
        assert_eq!(lost.resolve("/../../../system.slice").as_deref(), Some("system.slice"));
        assert_eq!(lost.resolve("/../../pod2/d"), None);
    }

    #[test]
    fn a_cgroup_is_located_by_its_inode() {
        let root = std::env::temp_dir().join(format!("nslookout-cgroups-{}", std::process::id()));
        for folder in ["a/b", "c/b", "c/d"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let inode = |path: &str| std::fs::metadata(root.join(path)).unwrap().ino();
        assert_eq!(locate(&root, 2, inode("c/b")), Some(vec!["c".to_owned(), "b".to_owned()]));
        assert_eq!(locate(&root, 1, inode("c/b")), None);
        assert_eq!(locate(&root, 2, inode("c")), None);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
