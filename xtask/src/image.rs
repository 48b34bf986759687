//! `cargo xtask image`: the agent as one static binary in an image that holds nothing else.
//!
//! The same sources give the same image, wherever they lie and whoever builds: no path, time or user name of the machine
//! goes in. That holds for one compiler; another one is another program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cargo::{Origin, build_agent_of, git};
use crate::setup::{self, Part};
use crate::shell::{output, run, workspace};

/// What the image is called where it is built; whoever pushes it gives it the name of a registry.
pub const NAME: &str = "localhost/nslookout";
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

/// Name and tag of the image in an archive, as its manifest has them: `localhost/nslookout:0.1.0`.
///
/// # Errors
///
/// Where it is no archive of an image, or of one without a name.
pub fn reference_in(archive: &Path) -> Result<String> {
    let manifest = output(Command::new("tar").arg("-xOf").arg(archive).arg("manifest.json"))
        .with_context(|| format!("{} is no archive of an image", archive.display()))?;
    let manifest: serde_json::Value =
        serde_json::from_str(&manifest).context("its manifest.json is no JSON")?;
    let name = manifest[0]["RepoTags"][0].as_str();
    name.map(str::to_owned).with_context(|| format!("the image in {} has no name", archive.display()))
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
    let files = output(git().args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    for file in files.split('\0').filter(|file| !file.is_empty() && workspace().join(file).is_file()) {
        let to = copy.join(file);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        }
        fs::copy(workspace().join(file), &to).with_context(|| format!("failed to copy {file}"))?;
    }
    build_in(&copy, &Origin::of_workspace()?)
}

fn build_in(sources: &Path, origin: &Origin) -> Result<Image> {
    let binary = build_agent_of(sources, origin)?;
    pack(&binary, &sources.join("target/image"), origin)
}

/// Packs the binary into an image, by buildah with a storage of its own that goes away again.
fn pack(binary: &Path, folder: &Path, origin: &Origin) -> Result<Image> {
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let storage = Storage::new(folder.join("storage"))?;
    let archive = folder.join("nslookout.tar");
    let stripped = folder.join("nslookout");
    // Line numbers serve nobody in an image.
    run(Command::new("strip").arg("--strip-all").arg("-o").arg(&stripped).arg(binary))?;
    let reference = format!("{NAME}:{}", origin.version);
    let container = storage.output(&["from", "scratch"])?;
    let copy = ["copy", "--quiet", "--chmod", "0755", "--chown", "0:0", &container];
    storage.output(&[&copy[..], &[path(&stripped)?, "/nslookout"]].concat())?;
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
