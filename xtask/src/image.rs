//! `cargo xtask image`: the agent as one static binary in an image that holds nothing else.
//!
//! The same sources give the same image, wherever they lie and whoever builds: no path, time or user name of the machine
//! goes in. That holds for one compiler; another one is another program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::setup::{self, Part};
use crate::shell::{output, run, workspace};

/// What the image is called where it is built; whoever pushes it gives it the name of a registry.
pub const NAME: &str = "localhost/nslookout";
/// The only target that the image is built for. arm64 would need a compiler for it, and was never tried.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Of the whole archive: what a node has to fetch.
const MOST_BYTES: u64 = 20_000_000;

/// What to build.
#[derive(Args)]
pub struct Plan {
    /// Build a second time from a copy in another folder and fail unless both images are the same, byte for byte
    #[arg(long)]
    twice: bool,
}

/// An image, written as an archive that `docker load`, `podman load` and `ctr images import` read.
#[derive(Debug)]
pub struct Image {
    /// Where the archive is.
    pub archive: PathBuf,
    /// Name and tag inside it.
    pub reference: String,
    /// Of the archive.
    pub bytes: u64,
    /// `sha256:…` of the image's configuration, which names its layers: the image id that runtimes show.
    pub id: String,
    /// `sha256:…` of its manifest: what a registry names it by once it is pushed uncompressed.
    pub digest: String,
}

/// Builds the image into `target/image/nslookout.tar` and says what came out.
///
/// # Errors
///
/// Where a build fails, the image is larger than 20 MB, or (`--twice`) two builds differ.
pub fn run_task(plan: &Plan) -> Result<()> {
    let image = build()?;
    println!("image    {}", image.reference);
    println!("archive  {} ({:.1} MB)", image.archive.display(), image.bytes as f64 / 1e6);
    println!("id       {}", image.id);
    println!("digest   {}", image.digest);
    if image.bytes > MOST_BYTES {
        bail!("the image has {} bytes, more than {MOST_BYTES}", image.bytes);
    }
    if plan.twice {
        let second = build_elsewhere()?;
        if fs::read(&image.archive)? != fs::read(&second.archive)? || image.digest != second.digest {
            bail!(
                "built elsewhere it is another image: {} and {}",
                image.archive.display(),
                second.archive.display()
            );
        }
        println!("twice    the same, byte for byte, from {}", workspace().join(ELSEWHERE).display());
    }
    Ok(())
}

/// Builds the image of this workspace: `target/image/nslookout.tar`.
///
/// # Errors
///
/// Where a tool is missing or a build fails.
pub fn build() -> Result<Image> {
    setup::ensure(&[Part::Build, Part::Image])?;
    build_in(&workspace(), &Origin::of_workspace()?)
}

/// Another folder, with a path of another length.
const ELSEWHERE: &str = "target/image/another-folder/nslookout-copy";

/// Builds it again from a copy of the sources, with nothing of the first build.
fn build_elsewhere() -> Result<Image> {
    let copy = workspace().join(ELSEWHERE);
    if copy.exists() {
        fs::remove_dir_all(&copy).with_context(|| format!("failed to remove {}", copy.display()))?;
    }
    // What git knows, and what it would if it were told; not `target`.
    let files = output(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(workspace()),
    )?;
    for file in files.split('\0').filter(|file| !file.is_empty() && workspace().join(file).is_file()) {
        let to = copy.join(file);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        }
        fs::copy(workspace().join(file), &to).with_context(|| format!("failed to copy {file}"))?;
    }
    build_in(&copy, &Origin::of_workspace()?)
}

/// Which state of the sources this is.
struct Origin {
    /// Seconds since 1970: the time that everything in the image has.
    time: String,
    /// The commit, with `-modified` where files differ from it.
    revision: String,
    /// Of the workspace.
    version: String,
}

impl Origin {
    fn of_workspace() -> Result<Self> {
        let git = |arguments: &[&str]| -> Result<String> {
            Ok(output(Command::new("git").args(arguments).current_dir(workspace()))?.trim().to_owned())
        };
        let time = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(time) if time.parse::<u64>().is_ok() => time,
            Ok(time) => bail!("SOURCE_DATE_EPOCH is `{time}`; it must be seconds since 1970"),
            Err(_) => git(&["log", "-1", "--format=%ct"])?,
        };
        let mut revision = git(&["rev-parse", "--short=12", "HEAD"])?;
        if !git(&["status", "--porcelain"])?.is_empty() {
            revision += "-modified";
        }
        Ok(Self { time, revision, version: env!("CARGO_PKG_VERSION").to_owned() })
    }
}

fn build_in(sources: &Path, origin: &Origin) -> Result<Image> {
    let binary = build_binary(sources, origin)?;
    let folder = sources.join("target/image");
    pack(&binary, &folder, origin)
}

/// Builds the static binary, in a target folder of its own: the flags would throw away what other builds made.
fn build_binary(sources: &Path, origin: &Origin) -> Result<PathBuf> {
    let target = sources.join("target/static");
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    // The longest path last: rustc takes the last that fits.
    let mut remaps = vec![(sources.to_owned(), "/nslookout")];
    remaps.push((target.clone(), "/nslookout/target"));
    if let Some(home) = &cargo_home {
        remaps.push((home.clone(), "/cargo"));
    }
    let rust_flags = remaps.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let c_flags: Vec<String> =
        remaps.iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display())).collect();
    let flags: Vec<String> =
        ["-Ctarget-feature=+crt-static".to_owned()].into_iter().chain(rust_flags).collect();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .args([
            "build",
            "--locked",
            "--release",
            "--package",
            "nslookout",
            "--bin",
            "nslookout",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(sources)
        .env_remove("RUSTFLAGS")
        // A cache of compiled crates could hand out what was built with another folder's flags.
        .env("RUSTC_WRAPPER", "")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env(format!("CFLAGS_{}", TARGET.replace('-', "_")), c_flags.join(" "))
        // Line numbers serve nobody in a stripped binary.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("NSLOOKOUT_REVISION", &origin.revision)
        .env("SOURCE_DATE_EPOCH", &origin.time))?;
    let binary = target.join(TARGET).join("release/nslookout");
    must_be_static(&binary)?;
    Ok(binary)
}

/// A scratch image has no loader: a binary that asks for one would not start, and say no more than "no such file".
fn must_be_static(binary: &Path) -> Result<()> {
    let headers = output(Command::new("readelf").args(["--program-headers", "--wide"]).arg(binary))?;
    if headers.contains("INTERP") {
        bail!("{} is not static: it asks for a loader", binary.display());
    }
    Ok(())
}

/// Packs the binary into an image, by buildah with a storage of its own that goes away again.
fn pack(binary: &Path, folder: &Path, origin: &Origin) -> Result<Image> {
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let storage = Storage::new(folder.join("storage"))?;
    let archive = folder.join("nslookout.tar");
    let reference = format!("{NAME}:{}", origin.version);
    let container = storage.output(&["from", "scratch"])?;
    let copy = ["copy", "--quiet", "--chmod", "0755", "--chown", "0:0", &container];
    storage.output(&[&copy[..], &[path(binary)?, "/nslookout"]].concat())?;
    let labels = [
        ("title", "nslookout"),
        ("description", "Watches the DNS traffic of a Linux node and says what is wrong with it"),
        ("licenses", "MIT OR Apache-2.0"),
        ("version", &origin.version),
        ("revision", &origin.revision),
    ]
    .map(|(name, value)| format!("--label=org.opencontainers.image.{name}={value}"));
    let mut config = vec![
        "config",
        "--user=0",
        "--entrypoint=[\"/nslookout\"]",
        "--cmd=",
        "--created-by=cargo xtask image",
    ];
    config.extend(labels.iter().map(String::as_str));
    config.push(&container);
    storage.output(&config)?;
    let commit = [
        "commit",
        "--quiet",
        "--format=oci",
        "--omit-history",
        "--identity-label=false",
        "--timestamp",
        &origin.time,
    ];
    let id = storage.output(&[&commit[..], &[&container, &reference]].concat())?;
    fs::remove_file(&archive).or_else(ignore_missing)?;
    let digest_file = folder.join("digest");
    storage.output(&[
        "push",
        "--quiet",
        "--digestfile",
        path(&digest_file)?,
        &id,
        &format!("docker-archive:{}:{reference}", path(&archive)?),
    ])?;
    let digest = fs::read_to_string(&digest_file).context("buildah wrote no digest")?.trim().to_owned();
    fs::remove_file(&digest_file)?;
    let bytes = fs::metadata(&archive).with_context(|| format!("no {}", archive.display()))?.len();
    Ok(Image { archive, reference, bytes, id: format!("sha256:{id}"), digest })
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

/// buildah's images and containers, in a folder that is removed at the end: the machine's own stay as they are.
struct Storage {
    folder: PathBuf,
}

impl Storage {
    fn new(folder: PathBuf) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// What buildah says on standard output, without the end of its line.
    fn output(&self, arguments: &[&str]) -> Result<String> {
        let mut buildah = Command::new("buildah");
        buildah.arg("--root").arg(self.folder.join("root")).arg("--runroot").arg(self.folder.join("run"));
        // vfs needs nothing of the kernel, and nothing is ever run in the image.
        buildah.args(["--storage-driver", "vfs"]).args(arguments).env("BUILDAH_ISOLATION", "chroot");
        Ok(output(&mut buildah)?.trim().to_owned())
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} stays behind: {error}", self.folder.display());
        }
    }
}
