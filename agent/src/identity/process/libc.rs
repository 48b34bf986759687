//! The C library of a process: which one it has mapped, its version, and the release of the distribution around it.
//!
//! The version is read from the library itself, which is in memory anyway, and from the package database where it does not
//! say: nothing is run.

use std::io::{self, BufRead as _, BufReader};
use std::os::fd::OwnedFd;

use super::clean::label;
use super::proc::ProcessDirectory;
use super::root::Root;
use crate::identity::facts::{Libc, LibcKind};
use memchr::memmem;

/// Of a longer list of mappings the beginning is read: some fifty thousand, more than a process has.
const MAPS_BYTES: u64 = 8 << 20;
/// Of a longer package database the beginning is read: five times that of a desktop.
const DATABASE_BYTES: u64 = 8 << 20;
/// Longest line that is kept of either.
const LINE_BYTES: u64 = 8 * 1024;
/// Longest library: glibc's has some 2 MB, with all symbols 20.
const LIBRARY_BYTES: usize = 32 << 20;
/// Longest os-release.
const RELEASE_BYTES: usize = 16 * 1024;
/// What stands before the version in glibc, since 1995.
const GLIBC_MARK: &[u8] = b" release version ";

/// A library that is mapped: which, and where inside of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapped {
    kind: LibcKind,
    path: String,
}

/// The C library of a process.
pub fn of(process: &ProcessDirectory, root: &Root) -> io::Result<Libc> {
    let maps = rustix::fs::openat(
        process,
        "maps",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let release = release(root);
    let Some(mapped) = mapped_in(lines(maps, MAPS_BYTES)) else {
        return Ok(Libc { kind: LibcKind::Static, version: None, release });
    };
    let version = from_library(process, root, &mapped).or_else(|| from_packages(root, mapped.kind));
    Ok(Libc { kind: mapped.kind, version, release })
}

/// Lines without their end, each cut at [`LINE_BYTES`], of the first `most` octets; ends at an error.
fn lines(file: OwnedFd, most: u64) -> impl Iterator<Item = Vec<u8>> {
    use std::io::Read as _;
    let mut reader = BufReader::with_capacity(64 * 1024, std::fs::File::from(file).take(most));
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line).ok()?;
        if read == 0 {
            return None;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else {
            // The rest of a line that is too long.
            reader.skip_until(b'\n').ok()?;
        }
        Some(line)
    })
}

/// The first C library in a `/proc/PID/maps` (proc_pid_maps(5)): the sixth field is the path.
fn mapped_in(lines: impl Iterator<Item = Vec<u8>>) -> Option<Mapped> {
    let mut found: Option<Mapped> = None;
    for line in lines {
        let Some(at) = line.iter().position(|octet| *octet == b'/') else { continue };
        let Ok(path) = std::str::from_utf8(line.get(at..).unwrap_or_default()) else { continue };
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let name = path.rsplit('/').next().unwrap_or(path);
        if is_musl(name) {
            // A program for glibc on top of musl (gcompat) asks with musl.
            return Some(Mapped { kind: LibcKind::Musl, path: path.to_owned() });
        }
        if found.is_none() && is_glibc(name) {
            found = Some(Mapped { kind: LibcKind::Glibc, path: path.to_owned() });
        }
    }
    found
}

/// musl's loader and library are one file, `ld-musl-x86_64.so.1`; Debian's and Void's real name is `libc.so`, which in glibc
/// is a text for the linker.
fn is_musl(name: &str) -> bool {
    name.starts_with("ld-musl-") || name.starts_with("libc.musl-") || name == "libc.so"
}

/// `libc.so.6`, and before glibc 2.34 behind that link `libc-2.31.so`.
fn is_glibc(name: &str) -> bool {
    name == "libc.so.6" || (name.starts_with("libc-2.") && name.ends_with(".so"))
}

fn from_library(process: &ProcessDirectory, root: &Root, mapped: &Mapped) -> Option<String> {
    // After a plain chroot(2) the list has paths from further above than the root, as does the link to it.
    let above = rustix::fs::readlinkat(process, "root", Vec::new()).ok();
    let above = above.as_ref().and_then(|link| link.to_str().ok()).unwrap_or_default();
    let path = mapped.path.strip_prefix(above).filter(|path| path.starts_with('/')).unwrap_or(&mapped.path);
    let library = root.read(path, LIBRARY_BYTES).ok()?;
    match mapped.kind {
        LibcKind::Musl => musl_version(&library),
        LibcKind::Glibc => glibc_version(&library),
        LibcKind::Static => None,
    }
}

/// `… stable release version 2.36.`
fn glibc_version(library: &[u8]) -> Option<String> {
    let at = memmem::find(library, GLIBC_MARK)?;
    upstream(library.get(at + GLIBC_MARK.len()..)?)
}

/// `__libc_version` is a string of its own, `1.2.3`; no other one is a number with two dots that begins so.
fn musl_version(library: &[u8]) -> Option<String> {
    let strings = library.split(|octet| *octet == 0).filter(|string| (5..=16).contains(&string.len()));
    let mut versions = strings.filter(|string| {
        let text = string.strip_prefix(b"1.").or_else(|| string.strip_prefix(b"0.9.")).unwrap_or_default();
        let begins = text.first().is_some_and(u8::is_ascii_digit);
        let dots = string.iter().filter(|octet| **octet == b'.').count();
        // A build from git adds `-git-12-gabc`.
        let plain = |octet: &u8| octet.is_ascii_alphanumeric() || b".-_+".contains(octet);
        begins && dots == 2 && string.iter().all(plain)
    });
    upstream(versions.next()?)
}

/// Without the packager's part: `2.36-9+deb12u4` is 2.36, `1.2.4_git20230717-r4` is 1.2.4.
fn upstream(version: &[u8]) -> Option<String> {
    // An epoch stands before it.
    let colon = version.iter().take(4).position(|octet| *octet == b':');
    let version = version.get(colon.map_or(0, |colon| colon + 1)..)?;
    let plain: Vec<u8> = version
        .iter()
        .copied()
        .take(16)
        .take_while(|octet| octet.is_ascii_digit() || *octet == b'.')
        .collect();
    let text = String::from_utf8(plain).ok()?;
    let text = text.trim_end_matches('.');
    (text.contains('.') && text.starts_with(|first: char| first.is_ascii_digit())).then(|| text.to_owned())
}

/// From the database of apk or dpkg; distroless images have a file for each package.
fn from_packages(root: &Root, kind: LibcKind) -> Option<String> {
    let (package_of_apk, packages_of_dpkg): (_, &[&str]) = match kind {
        LibcKind::Musl => ("musl", &["musl"]),
        LibcKind::Glibc => ("glibc", &["libc6", "libc6-udeb"]),
        LibcKind::Static => return None,
    };
    let database = |path: &str| Some(lines(root.find(path).ok()?.open().ok()?, DATABASE_BYTES));
    // Since Alpine 3.23 below /usr.
    for path in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        let version = database(path).and_then(|lines| version_in(lines, "P:", &[package_of_apk], "V:"));
        if version.is_some() {
            return version;
        }
    }
    let mut paths = vec!["var/lib/dpkg/status".to_owned()];
    paths.extend(packages_of_dpkg.iter().map(|package| format!("var/lib/dpkg/status.d/{package}")));
    paths.iter().find_map(|path| version_in(database(path)?, "Package: ", packages_of_dpkg, "Version: "))
}

/// The version in the record of one of these packages; records end with an empty line.
fn version_in(
    lines: impl Iterator<Item = Vec<u8>>,
    name_key: &str,
    names: &[&str],
    version_key: &str,
) -> Option<String> {
    let mut ours = false;
    for line in lines {
        if line.is_empty() {
            ours = false;
        } else if let Some(name) = line.strip_prefix(name_key.as_bytes()) {
            ours = names.iter().any(|wanted| wanted.as_bytes() == name.trim_ascii());
        } else if ours && let Some(version) = line.strip_prefix(version_key.as_bytes()) {
            return upstream(version.trim_ascii());
        }
    }
    None
}

/// `Alpine 3.17.3`, `Debian 12`; `None` for an image without a distribution.
fn release(root: &Root) -> Option<String> {
    if let Ok(version) = root.read("etc/alpine-release", 64) {
        return Some(format!("Alpine {}", first_line(&version)));
    }
    let files = ["etc/os-release", "usr/lib/os-release"];
    let text = files.iter().find_map(|path| root.read(path, RELEASE_BYTES).ok())?;
    let (name, version) = os_release(&text)?;
    // Debian's testing has no number, and nowhere but here a name.
    let of_debian = || {
        let version = root.read("etc/debian_version", 64).ok()?;
        (name == "Debian").then(|| first_line(&version))
    };
    Some(match version.or_else(of_debian) {
        Some(version) => format!("{name} {version}"),
        None => name,
    })
}

fn first_line(text: &[u8]) -> String {
    label(text.split(|octet| *octet == b'\n').next().unwrap_or_default(), 32)
}

/// Name and `VERSION_ID` by os-release(5).
fn os_release(text: &[u8]) -> Option<(String, Option<String>)> {
    let value = |key: &str| {
        let line = text.split(|octet| *octet == b'\n').find_map(|line| line.strip_prefix(key.as_bytes()))?;
        let value = line.trim_ascii();
        let quoted = |mark: &[u8]| value.strip_prefix(mark)?.strip_suffix(mark);
        Some(label(quoted(b"\"").or_else(|| quoted(b"'")).unwrap_or(value), 48))
    };
    let name = match value("ID=").as_deref() {
        // As people call them.
        Some("alpine") => "Alpine".to_owned(),
        Some("debian") => "Debian".to_owned(),
        Some("rhel") => "RHEL".to_owned(),
        Some("amzn") => "Amazon Linux".to_owned(),
        id => value("NAME=").or_else(|| id.map(str::to_owned))?,
    };
    Some((name, value("VERSION_ID=")))
}

#[cfg(test)]
mod tests;
