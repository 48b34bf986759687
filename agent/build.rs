//! Builds the kernel half into the agent: `OUT_DIR/nslookout.bpf.o`.

#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use toolchain::{BpfToolchain, Compiler};

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=../agent-ebpf");
    println!("cargo:rerun-if-changed=../xtask/src/toolchain.rs");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    // The kernel's register layout is not used here; the flag only completes the target's description.
    let target_arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let source = Path::new("../agent-ebpf");
    // OUT_DIR is target/<profile>/build/<package>/out: one build of the kernel half serves every profile.
    let target_dir = out_dir.ancestors().nth(4).unwrap_or(&out_dir).join("bpf");

    let toolchain = BpfToolchain::find().map_err(|missing| missing.to_string())?;
    let mut command = cargo_build(&toolchain, &target_arch);
    command.arg("--manifest-path").arg(source.join("Cargo.toml")).args([
        "--bin",
        "nslookout-ebpf",
        "--features",
        "kernel",
    ]);
    command.arg("--target-dir").arg(&target_dir);
    let status = command.status().map_err(|error| format!("failed to start {command:?}: {error}"))?;
    if !status.success() {
        return Err(format!("the kernel half did not build: {command:?} ended with {status}"));
    }
    let object = target_dir.join("bpfel-unknown-none/release/nslookout-ebpf");
    fs::copy(&object, out_dir.join("nslookout.bpf.o"))
        .map(|_| ())
        .map_err(|error| format!("failed to copy {}: {error}", object.display()))
}

/// Keeps the folders of this machine out of the object, whose BTF names source files: the same sources make the same object.
fn remaps() -> Vec<String> {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let workspace =
        env::var_os("CARGO_MANIFEST_DIR").and_then(|agent| Path::new(&agent).parent().map(Path::to_owned));
    [(workspace, "/nslookout"), (cargo_home, "/cargo")]
        .into_iter()
        .filter_map(|(from, to)| Some(format!("--remap-path-prefix={}={to}", from?.display())))
        .collect()
}

/// The `cargo build` of the kernel half, with target and linker set.
fn cargo_build(toolchain: &BpfToolchain, target_arch: &str) -> Command {
    let mut command = match toolchain.compiler {
        Compiler::Rustup => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "cargo"]);
            command
        }
        Compiler::Distribution => Command::new("/usr/bin/cargo"),
    };
    // The outer cargo describes its own compiler and flags in these; they do not hold for the other half.
    for name in
        ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "CARGO"]
    {
        command.env_remove(name);
    }
    // Nor does a cache that cargo is configured to ask: it may hold what was built with another folder's flags.
    command.env("RUSTC_WRAPPER", "");
    if matches!(toolchain.compiler, Compiler::Distribution) {
        command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
    }
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{target_arch}\""),
        "-Cdebuginfo=2".into(),
        format!("-Clinker={}", toolchain.linker.display()),
        "-Clink-arg=--btf".into(),
    ];
    flags.extend(remaps());
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    command.args([
        "build",
        "--release",
        "--locked",
        "-Z",
        "build-std=core",
        "--target",
        "bpfel-unknown-none",
    ]);
    command
}
