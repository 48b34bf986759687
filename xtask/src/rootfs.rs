//! The root file system of a guest or an image, put together from this machine's programs and their libraries.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell::{find_program, output};

/// Makes `root` anew, empty but for these folders.
pub fn make(root: &Path, folders: &[&str]) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("failed to remove {}", root.display()))?;
    }
    for folder in folders {
        let path = root.join(folder);
        fs::create_dir_all(&path).with_context(|| format!("failed to create {}", path.display()))?;
    }
    Ok(())
}

/// Writes a file and makes the folders above it.
pub fn write(path: &Path, text: &str) -> Result<()> {
    make_parent(path)?;
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

/// Writes a script.
pub fn write_executable(path: &Path, text: &str) -> Result<()> {
    write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("failed to make {} executable", path.display()))
}

/// Copies a file and makes the folders above it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    make_parent(to)?;
    fs::copy(from, to).with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Copies a program of this machine to /usr/bin, and its libraries.
pub fn copy_program(program: &str, root: &Path) -> Result<()> {
    let path = find_program(program).with_context(|| format!("no {program} on this machine"))?;
    copy(&path, &root.join("usr/bin").join(program))?;
    copy_libraries(&path, root)
}

/// Copies the shared libraries of `program` that ldd(1) names to where it names them.
pub fn copy_libraries(program: &Path, root: &Path) -> Result<()> {
    let libraries = output(Command::new("ldd").arg(program))?;
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let target = root.join(library.trim_start_matches('/'));
        if !target.exists() {
            copy(Path::new(library), &target)?;
        }
    }
    Ok(())
}

fn make_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).with_context(|| format!("failed to create {}", parent.display()))
}
