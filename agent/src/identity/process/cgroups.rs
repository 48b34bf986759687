//! The numbers of cgroups, and the view of them that the whole node has.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, open, statat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::capture::frame::CgroupId;

/// The filesystem of cgroups of version 2, as process 1 sees it.
#[derive(Debug)]
pub struct Cgroups {
    mount: Option<OwnedFd>,
}

impl Cgroups {
    /// Finds it below `proc`, and brings the calling thread into the cgroup namespace of process 1.
    ///
    /// A container has a cgroup namespace of its own (with version 2 the runtimes' default), from which the cgroups of others
    /// are `/../../…`: what stands above both is not told. Entering that of process 1 needs `CAP_SYS_ADMIN`; without it
    /// pods are still known by what is told.
    pub fn find(proc: &Path) -> Self {
        let first = proc.join("1");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        if let Ok(namespace) = open(first.join("ns/cgroup"), flags, Mode::empty()) {
            let _ = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ControlGroup));
        }
        let of_first = mount_in(&first.join("mountinfo")).map(|path| below(&first.join("root"), &path));
        let own = || mount_in(&proc.join("self/mountinfo"));
        let open_path = |path: PathBuf| {
            open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
        };
        Self { mount: of_first.and_then(open_path).or_else(|| own().and_then(open_path)) }
    }

    /// The number of a cgroup by its path; `None` where it is gone or lies outside of what we see, and for the root, in which
    /// everything is that nobody put anywhere.
    pub fn id(&self, path: &str) -> Option<CgroupId> {
        let path = path.trim_start_matches('/');
        if path.is_empty() || path.split('/').any(|part| part == "..") {
            return None;
        }
        let stat = statat(self.mount.as_ref()?, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(CgroupId(stat.st_ino))
    }
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Where the whole hierarchy of version 2 is mounted, by a mountinfo (proc_pid_mountinfo(5)).
fn mount_in(mountinfo: &Path) -> Option<PathBuf> {
    mount_of(&std::fs::read_to_string(mountinfo).ok()?)
}

fn mount_of(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // A container sees its own cgroup as a mount whose root is another.
        (kind.starts_with("cgroup2 ") && root == "/").then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_version_2_is_found() {
        let unified = "24 23 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mount_of(unified), Some("/sys/fs/cgroup".into()));
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_of(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let container = "700 600 0:22 /kubepods/pod1/2 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(mount_of(container), None);
        assert_eq!(mount_of("nonsense - cgroup2 \n"), None);
    }

    #[test]
    fn a_path_never_leaves_the_mount() {
        let directory = open("/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let cgroups = Cgroups { mount: Some(directory) };
        assert!(cgroups.id("/proc").is_some());
        for path in ["/", "", "/../proc", "/../../kubepods", "/no/such/cgroup"] {
            assert_eq!(cgroups.id(path), None, "{path}");
        }
        assert_eq!(Cgroups { mount: None }.id("/proc"), None);
    }
}
