//! What `/proc` says of one process.
//!
//! Every file of a process is opened below a descriptor of its directory: that of a process that ended answers `ESRCH`, and
//! never speaks for another one that was given the same number.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, open, openat, readlinkat, statat};

use super::clean::label;

/// Longest `/proc/PID/stat`: some fifty numbers and a name of 15 octets.
const STAT_BYTES: usize = 2048;
/// Longest `/proc/PID/cgroup`: a path of at most 4 KiB in each of at most a dozen hierarchies.
const CGROUP_BYTES: usize = 64 * 1024;
/// `PF_KTHREAD` of linux/sched.h.
const KERNEL_THREAD: u64 = 0x0020_0000;
/// The directory `/proc`.
#[derive(Debug)]
pub struct Proc {
    directory: OwnedFd,
}

/// A process as the list shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub pid: u32,
    /// The inode of its directory: another one for a process that was given the number anew, and now and then for the
    /// same one.
    pub inode: u64,
}

/// The directory of one process.
#[derive(Debug)]
pub struct ProcessDirectory {
    directory: OwnedFd,
}

/// What `/proc/PID/stat` says (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its name, made fit to print.
    pub comm: String,
    /// When it began, in clock ticks since boot: with the pid it tells a process from all others.
    pub start: u64,
    /// A thread of the kernel's own.
    pub kernel: bool,
}

impl Proc {
    /// Opens it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: open(path, flags, Mode::empty())? })
    }

    /// The processes there are, `most` at most, and whether these are all.
    pub fn list(&self, most: usize) -> io::Result<(Vec<Listed>, bool)> {
        // A descriptor of its own: the position of a directory belongs to the open file.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&self.directory, c".", flags, Mode::empty())?;
        let mut listed = Vec::new();
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let Some(pid) = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if listed.len() >= most {
                return Ok((listed, false));
            }
            listed.push(Listed { pid, inode: entry.ino() });
        }
        Ok((listed, true))
    }

    /// The directory of a process; `None` once it has ended.
    pub fn process(&self, pid: u32) -> Option<ProcessDirectory> {
        self.directory_of(&pid.to_string())
    }

    /// That of the calling thread, whose namespaces may be others than those of its process.
    pub fn own_thread(&self) -> Option<ProcessDirectory> {
        self.directory_of("thread-self")
    }

    fn directory_of(&self, name: &str) -> Option<ProcessDirectory> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&self.directory, name, flags, Mode::empty()).ok()?;
        Some(ProcessDirectory { directory })
    }
}

impl AsFd for ProcessDirectory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl ProcessDirectory {
    /// Its name, start and kind; `None` once it has ended.
    pub fn stat(&self) -> Option<Stat> {
        parse_stat(&self.read("stat", STAT_BYTES).ok()?)
    }

    /// Its cgroups, as text; `None` once it has ended.
    pub fn cgroup(&self) -> Option<String> {
        let bytes = self.read("cgroup", CGROUP_BYTES).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Does this error say that we may not look into it? Links of a process that ended say the same (`proc_pid_get_link`
    /// of fs/proc/base.c).
    pub fn denies(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::PermissionDenied && self.stat().is_some()
    }

    /// The inode of its network namespace.
    ///
    /// # Errors
    ///
    /// Where we [may not look into it](Self::denies) [`Self::namespace_by_files`] can tell it all the same.
    pub fn namespace(&self) -> io::Result<u64> {
        let link = readlinkat(&self.directory, "ns/net", Vec::with_capacity(32))?;
        namespace_number(link.to_bytes()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// A number that tells its network namespace from all others, without any permission: each has files of its own below
    /// `/proc/PID/net`, with inodes from the same set as those of namespaces (`proc_alloc_inum` of fs/proc/generic.c).
    pub fn namespace_by_files(&self) -> io::Result<u64> {
        Ok(statat(&self.directory, "net/dev", AtFlags::empty())?.st_ino)
    }

    /// A file of its own, `most` octets at most.
    pub fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let file = openat(&self.directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        read_some(&file, most)
    }
}

/// Reads to the end, `most` octets at most.
pub fn read_some(file: &OwnedFd, most: usize) -> io::Result<Vec<u8>> {
    let mut text: Vec<u8> = Vec::with_capacity(4096.min(most));
    while text.len() < most {
        if text.capacity() == text.len() {
            text.reserve(text.len().clamp(1, 256 * 1024));
        }
        match rustix::io::read(file, rustix::buffer::spare_capacity(&mut text)) {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    text.truncate(most);
    Ok(text)
}

/// The number in `net:[4026531840]`.
fn namespace_number(link: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(link).ok()?;
    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The name may hold anything, parentheses and spaces too: the last one ends it.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let open = text.iter().position(|octet| *octet == b'(')?;
    let close = text.iter().rposition(|octet| *octet == b')')?;
    let comm = label(text.get(open + 1..close)?, 64);
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    // The third field, the state, is the first one behind the name.
    let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
    Some(Stat { comm, start: field(22)?, kernel: field(9)? & KERNEL_THREAD != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_see_ourselves() {
        let proc = Proc::open(Path::new("/proc")).unwrap();
        let (all, complete) = proc.list(100_000).unwrap();
        let own = std::process::id();
        assert!(complete && all.iter().any(|listed| listed.pid == own), "{all:?}");
        let (few, complete) = proc.list(1).unwrap();
        assert!(few.len() == 1 && !complete);
        let directory = proc.process(own).unwrap();
        let stat = directory.stat().unwrap();
        assert!(!stat.kernel && stat.start > 0 && !stat.comm.is_empty(), "{stat:?}");
        assert!(directory.cgroup().unwrap().contains("::/") || directory.cgroup().unwrap().contains(":/"));
        assert_ne!(directory.namespace().unwrap(), directory.namespace_by_files().unwrap());
    }

    #[test]
    fn who_has_ended_says_nothing_more() {
        let proc = Proc::open(Path::new("/proc")).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let directory = proc.process(child.id()).unwrap();
        assert!(directory.stat().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(directory.stat(), None);
        assert_eq!(directory.cgroup(), None);
        assert!(directory.namespace_by_files().is_err());
        // The kernel says that it is not allowed.
        assert!(!directory.denies(&directory.namespace().unwrap_err()));
        assert!(proc.process(child.id()).is_none());
    }

    #[test]
    fn any_name_is_read() {
        let line =
            |comm: &str| format!("7 ({comm}) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9 9\n");
        for (comm, shown) in [("sleep", "sleep"), (") R 1 (", ") R 1 ("), ("a\nb\u{1b}[0m", "a?b?[0m")] {
            let stat = parse_stat(line(comm).as_bytes()).unwrap();
            assert_eq!((stat.comm.as_str(), stat.start, stat.kernel), (shown, 4711, false));
        }
        let kernel = line("kthreadd").replace("4194560", "2129984");
        assert!(parse_stat(kernel.as_bytes()).unwrap().kernel);
        for cut in 0..line("sleep").len() - 10 {
            // A short one is none, or lacks nothing that is wanted.
            let _ = parse_stat(&line("sleep").as_bytes()[..cut]);
        }
        assert_eq!(parse_stat(b"7 (x"), None);
        assert_eq!(parse_stat(b"7 (x) S"), None);
    }
}
