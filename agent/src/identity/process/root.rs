//! Reads files below the root of a process, as it sees them, and nothing else.
//!
//! Whatever stands in a container was put there by someone whom we do not trust: links that lead out of it, pipes and
//! devices where a file should be, files without an end. The kernel resolves every path inside of the root (openat2(2),
//! Linux 5.6); nothing is opened before it is known to be a plain file; no more is read than is asked for.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, open, openat, openat2};

use super::proc::{ProcessDirectory, read_some};

/// Filesystems of the kernel's own, by linux/magic.h: what stands there is no file of an image, some of it never ends, and
/// some is not for those to see who can only name it. proc, sysfs, cgroup, cgroup2, debugfs, tracefs, bpf, configfs,
/// securityfs, efivarfs.
const NO_FILES: [i64; 10] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0xcafe_4a11,
    0x6265_6570,
    0x7363_6673,
    0xde5e_81e4,
];

/// The root directory of a process.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
}

/// What tells that a file is another one than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    device: u64,
    inode: u64,
    size: i64,
    changed: (i64, i64),
}

/// A plain file that was found, not opened for reading yet.
#[derive(Debug)]
pub struct Found {
    path: OwnedFd,
    /// What it is now.
    pub signature: Signature,
}

impl Root {
    /// That of a process. May wait for the filesystem it stands on.
    pub fn of(process: &ProcessDirectory) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: openat(process, "root", flags, Mode::empty())? })
    }

    /// Is it the same directory as another root?
    pub fn is_same(&self, other: &Self) -> bool {
        let identity = |root: &Self| fstat(&root.directory).ok().map(|stat| (stat.st_dev, stat.st_ino));
        identity(self).is_some_and(|own| identity(other) == Some(own))
    }

    /// Finds a plain file; links are followed as those inside would follow them.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is no plain file of a real filesystem.
    pub fn find(&self, path: &str) -> io::Result<Found> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = openat2(&self.directory, path, flags, Mode::empty(), resolve)?;
        let stat = fstat(&path)?;
        let magic = fstatfs(&path)?.f_type;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || NO_FILES.contains(&magic) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let changed = (stat.st_ctime, stat.st_ctime_nsec.cast_signed());
        let signature = Signature { device: stat.st_dev, inode: stat.st_ino, size: stat.st_size, changed };
        Ok(Found { path, signature })
    }

    /// Finds a file and reads its beginning, `most` octets at most.
    pub fn read(&self, path: &str, most: usize) -> io::Result<Vec<u8>> {
        self.find(path)?.read(most)
    }
}

impl Found {
    /// Reads its beginning, `most` octets at most.
    pub fn read(&self, most: usize) -> io::Result<Vec<u8>> {
        read_some(&self.open()?, most)
    }

    /// Opens it for reading: the very file that was found, whatever stands at its path by now.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.path.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(open(path, flags, Mode::empty())?)
    }
}
