//! Gets Debian's cloud kernels: by apt, with package lists of our own, so that the machine's stay as they are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{output, run};
use crate::toolchain::cache_dir;

/// A kernel series that the agent must run on, and the Debian release that has it.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// As people name it.
    pub version: &'static str,
    suite: &'static str,
}

/// Oldest first: before 5.11 BPF memory counts against RLIMIT_MEMLOCK; 6.6 and later have tcx.
pub const SERIES: &[Series] = &[
    Series { version: "5.10", suite: "bullseye" },
    Series { version: "6.1", suite: "bookworm" },
    Series { version: "6.12", suite: "trixie" },
];

/// A kernel that is unpacked and ready to boot.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// As `uname -r` will say.
    pub release: String,
    /// The compressed kernel.
    pub image: PathBuf,
    /// The folder of its modules.
    pub modules: PathBuf,
}

/// The kernel of `series`, downloaded where the cache lacks it.
///
/// # Errors
///
/// Where no mirror is configured, or the mirror no longer has the release: the caller skips the series by name.
pub fn fetch(series: &Series) -> Result<Kernel> {
    let cache = cache_dir().context("no HOME: nowhere to keep kernels")?.join("kernels");
    let folder = cache.join(series.version);
    if !folder.exists() {
        let partial = cache.join(format!("{}.partial", series.version));
        std::fs::remove_dir_all(&partial).ok();
        std::fs::create_dir_all(&partial)
            .with_context(|| format!("failed to create {}", partial.display()))?;
        download(series, &partial)?;
        // Renamed only when whole, so that an interrupted download is never taken for a kernel.
        std::fs::rename(&partial, &folder)
            .with_context(|| format!("failed to rename {}", partial.display()))?;
    }
    unpacked(&folder).with_context(|| format!("no kernel in {}; remove it to fetch again", folder.display()))
}

fn unpacked(folder: &Path) -> Result<Kernel> {
    let image = first_entry(&folder.join("boot"), "vmlinuz-")?;
    let release = image
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_prefix("vmlinuz-"))
        .context("a kernel without a release in its name")?
        .to_owned();
    // Debian moved the modules below /usr in trixie.
    let modules = ["lib/modules", "usr/lib/modules"]
        .iter()
        .map(|path| folder.join(path).join(&release))
        .find(|path| path.is_dir())
        .with_context(|| format!("no modules for {release}"))?;
    Ok(Kernel { release, image, modules })
}

fn first_entry(folder: &Path, prefix: &str) -> Result<PathBuf> {
    std::fs::read_dir(folder)
        .with_context(|| format!("failed to list {}", folder.display()))?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .with_context(|| format!("no {prefix}* in {}", folder.display()))
}

/// Downloads the newest cloud kernel of the series' release and unpacks it into `folder`.
fn download(series: &Series, folder: &Path) -> Result<()> {
    println!("guests: fetching the kernel of {}", series.suite);
    let apt = PrivateApt::new(series.suite, &folder.join("apt"))?;
    apt.run("apt-get", &["-qq", "update"])
        .with_context(|| format!("the mirror has no release {}", series.suite))?;
    let depends = output(apt.command("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| name.starts_with(&format!("linux-image-{}.", series.version)))
        .with_context(|| {
            format!("{} has no linux-image-{}.*-cloud-amd64: {depends:?}", series.suite, series.version)
        })?;
    apt.run("apt-get", &["-qq", "download", package])?;
    let archive = first_entry(&apt.folder, package)?;
    run(Command::new("dpkg").arg("-x").arg(&archive).arg(folder))?;
    std::fs::remove_dir_all(&apt.folder).ok();
    Ok(())
}

/// apt with sources and lists in a folder of its own.
struct PrivateApt {
    folder: PathBuf,
}

impl PrivateApt {
    /// Points it at `suite` and its security updates on the mirrors that this machine uses already.
    fn new(suite: &str, folder: &Path) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(part);
            std::fs::create_dir_all(&path).with_context(|| format!("failed to create {}", path.display()))?;
        }
        let (archive, security) = mirrors()?;
        let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let signed = if Path::new(key).exists() { format!("[signed-by={key}] ") } else { String::new() };
        let mut sources = format!("deb {signed}{archive} {suite} main\n");
        if let Some(security) = security {
            sources += &format!("deb {signed}{security} {suite}-security main\n");
        }
        std::fs::write(folder.join("sources.list"), sources).context("failed to write a list of sources")?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn command(&self, program: &str) -> Command {
        let folder = self.folder.display();
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        for option in [
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".into(),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
            // The user _apt cannot write below a home directory.
            "APT::Sandbox::User=root".into(),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=2".into(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        run(self.command(program).args(arguments))
    }
}

/// The archive that this machine's apt uses, and the archive of security updates where there is one.
fn mirrors() -> Result<(String, Option<String>)> {
    let text = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE)",
        "Created-By: Packages",
    ]))?;
    let lines: BTreeSet<(&str, &str)> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    let uri = |security: bool| {
        lines
            .iter()
            .filter(|(uri, _)| uri.contains("debian"))
            .find(|(_, release)| release.ends_with("-security") == security)
            .map(|(uri, _)| (*uri).to_owned())
    };
    match uri(false) {
        Some(archive) => Ok((archive, uri(true))),
        None => bail!("apt knows no mirror of Debian, so Debian's kernels cannot be fetched"),
    }
}
