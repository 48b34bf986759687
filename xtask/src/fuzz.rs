//! `cargo xtask fuzz`: every target for a bounded time, from seeds taken out of the captures of the tests.
//!
//! The targets are those of cargo-fuzz and stand where it expects them, with corpus and artifacts. cargo-fuzz itself is
//! not needed: what it does is one `cargo build` with flags for the compiler's coverage counters. Here they are given to
//! what reads the wire alone, not to the hundred other crates behind the agent, and without AddressSanitizer, which a
//! distribution's compiler lacks: so the build takes a third of the time, and any stable compiler will do. cargo has no
//! stable way to give flags to single crates, so this program stands between cargo and the compiler: [`wrap_compiler`].

mod log;
mod seeds;

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::bench::table::Table;
use crate::cargo::cargo;
use crate::child::{self, Running};
use crate::setup::{self, Part};
use crate::shell::{output, run, workspace};
use log::Figures;

/// What cargo-fuzz gives the compiler: counters at every edge, and the values that are compared.
const COVERAGE_FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg",
    "fuzzing",
];

/// The crates that get counters: the others only cost time.
const COUNTED: [&str; 7] = ["nslookout", "nslookout_fuzz", "pnet_packet", "packet", "dns", "tcp", "pcap"];

/// Set for cargo alone: this process stands in for the compiler.
const WRAPPER: &str = "NSLOOKOUT_FUZZ_COMPILER";

/// What a target may take, in MiB; the largest inputs take a few dozen.
const MEMORY_MIB: u32 = 1024;

/// One input may take this many seconds; the slowest known takes a hundredth of one.
const INPUT_SECONDS: u32 = 10;

/// Longer than a target needs beyond its time: reading its corpus, and one last input.
const GRACE: Duration = Duration::from_secs(120);

/// What to fuzz, and how long.
#[derive(Args, Debug)]
pub struct Plan {
    /// Only this target; may be given more than once [default: all]
    #[arg(long = "target", value_enum, value_name = "T")]
    targets: Vec<Target>,
    /// Time for each target
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Targets that run at the same time [default: one for each CPU]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Watch memory with AddressSanitizer: half the speed, and twice the time to build
    #[arg(long)]
    asan: bool,
    /// Run one target on this file alone, as a crash left it
    #[arg(long, value_name = "FILE", requires = "targets")]
    input: Option<PathBuf>,
}

/// One file of `fuzz/fuzz_targets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Frames down to their payload
    Packet,
    /// DNS messages
    Dns,
    /// TCP segments through the engine
    Tcp,
    /// Capture files through the whole program
    Pcap,
}

impl Target {
    const ALL: [Self; 4] = [Self::Packet, Self::Dns, Self::Tcp, Self::Pcap];

    fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Pcap => "pcap",
        }
    }

    fn corpus(self) -> PathBuf {
        folder().join("corpus").join(self.name())
    }

    fn artifacts(self) -> PathBuf {
        folder().join("artifacts").join(self.name())
    }
}

fn folder() -> PathBuf {
    workspace().join("fuzz")
}

/// As a stage of `cargo xtask test --all`: every target for a short time.
pub fn smoke() -> Result<()> {
    run_all(&Plan { targets: Vec::new(), seconds: 20, jobs: None, asan: false, input: None })
}

/// Builds, seeds, fuzzes, prints a table; an error where a target found something.
pub fn run_all(plan: &Plan) -> Result<()> {
    setup::ensure(&[Part::Build, Part::Fuzz])?;
    child::unwind_on_signals()?;
    let binaries = build(plan.asan)?;
    if let Some(input) = &plan.input {
        return reproduce(plan, &binaries, input);
    }
    let targets = if plan.targets.is_empty() { &Target::ALL[..] } else { &plan.targets };
    for &target in targets {
        let count = seeds::write(target.name(), &target.corpus())?;
        println!("fuzz: {} seeds for {}", count, target.name());
        fs::create_dir_all(target.artifacts())?;
    }
    let jobs = plan.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let mut found = Vec::new();
    for group in targets.chunks(jobs.max(1)) {
        let names: Vec<&str> = group.iter().map(|target| target.name()).collect();
        println!("fuzz: {} for {} s", names.join(" and "), plan.seconds);
        found.extend(fuzz(group, plan, &binaries)?);
    }
    report(plan, &found)
}

/// Runs the targets side by side and gives what each said.
fn fuzz(targets: &[Target], plan: &Plan, binaries: &Path) -> Result<Vec<(Target, bool, PathBuf)>> {
    let mut running = Vec::new();
    for &target in targets {
        let path = target.artifacts().join("log");
        let log = File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
        let mut command = command(target, binaries);
        command.arg(format!("-max_total_time={}", plan.seconds)).arg("-print_final_stats=1");
        command.arg(target.corpus()).stdout(log.try_clone()?).stderr(log);
        running.push((target, path, Running::spawn(&mut command)?));
    }
    let limit = Duration::from_secs(plan.seconds.into()) + GRACE;
    running
        .into_iter()
        .map(|(target, path, mut child)| Ok((target, child.exit_within(limit)?.success(), path)))
        .collect()
}

fn command(target: Target, binaries: &Path) -> Command {
    let mut command = Command::new(binaries.join(target.name()));
    command
        .arg(format!("-artifact_prefix={}/", target.artifacts().display()))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .current_dir(folder());
    command
}

/// Runs each target that was named on one file.
fn reproduce(plan: &Plan, binaries: &Path, input: &Path) -> Result<()> {
    // The targets run in another folder than the person who typed the path.
    let input = fs::canonicalize(input).with_context(|| format!("failed to find {}", input.display()))?;
    for &target in &plan.targets {
        run(command(target, binaries).arg(&input))?;
    }
    println!("{}: nothing wrong", input.display());
    Ok(())
}

/// Builds all targets and gives the folder of the binaries.
fn build(asan: bool) -> Result<PathBuf> {
    let folder = folder();
    fs::copy(workspace().join("Cargo.lock"), folder.join("Cargo.lock"))
        .context("failed to copy Cargo.lock")?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(Command::new(rustc).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc has no host")?;
    let mut command = cargo();
    command.args(["build", "--release", "--quiet", "--target", host]).current_dir(&folder);
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("RUSTFLAGS");
    if asan {
        // Flags for all crates; with --target they do not hold for build scripts. A stable compiler takes -Z only with
        // the other variable; it brings the sanitizer's runtime all the same.
        command.env("RUSTFLAGS", "-Zsanitizer=address").env("RUSTC_BOOTSTRAP", "1");
    }
    let this = std::env::current_exe().context("failed to find this program")?;
    command.env("RUSTC_WRAPPER", this).env(WRAPPER, "1");
    println!("fuzz: building the targets");
    run(&mut command).context("failed to build the fuzz targets")?;
    Ok(folder.join("target").join(host).join("release"))
}

/// Stands in for the compiler where cargo was told so: `Some` of its exit status, `None` in an ordinary run.
///
/// A call is as cargo makes it: the compiler, then its arguments. The crates of [`COUNTED`] are given counters, but only
/// those for `--target`: a build script is linked without libFuzzer.
pub fn wrap_compiler() -> Option<ExitCode> {
    std::env::var_os(WRAPPER)?;
    let mut arguments = std::env::args_os().skip(1);
    let mut command = Command::new(arguments.next()?);
    let arguments: Vec<OsString> = arguments.collect();
    let counted = || {
        let name = arguments.windows(2).find(|pair| pair[0] == "--crate-name").map(|pair| &pair[1]);
        name.is_some_and(|name| COUNTED.iter().any(|counted| name == *counted))
    };
    if arguments.iter().any(|argument| argument == "--target") && counted() {
        command.args(COVERAGE_FLAGS);
    }
    let error = command.args(&arguments).exec();
    eprintln!("failed to run {command:?}: {error}");
    Some(ExitCode::FAILURE)
}

/// Prints the table; an error with path and command where a target ended badly.
fn report(plan: &Plan, found: &[(Target, bool, PathBuf)]) -> Result<()> {
    let title = format!("fuzzing for {} s each", plan.seconds);
    let heading =
        ["target", "executions", "exec/s", "coverage", "features", "corpus", "peak MiB", "slowest s"];
    let mut table = Table::new(title, &heading);
    let mut crashes = Vec::new();
    for (target, well, path) in found {
        let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        let figures = Figures::read(&text);
        table.row([vec![target.name().to_owned()], figures.cells()].concat());
        if *well {
            ensure!(figures.executions > 0, "{} executed nothing: {}", target.name(), path.display());
        } else {
            crashes.push(crash(*target, plan.asan, &text, path));
        }
    }
    println!("\n{table}");
    if !crashes.is_empty() {
        bail!("found by fuzzing:\n{}", crashes.join("\n"));
    }
    Ok(())
}

/// The end of what a target said, and how to see it again.
fn crash(target: Target, asan: bool, text: &str, path: &Path) -> String {
    let name = target.name();
    let Some(input) = log::artifact(text) else {
        return format!("{name} ended badly without an input; its log: {}", path.display());
    };
    let asan = if asan { " --asan" } else { "" };
    format!(
        "{name}: {}\n  input: {input}\n  again: cargo xtask fuzz --target {name}{asan} --input {input}\n     or: cargo +nightly fuzz run {name} {input}\n  log: {}",
        log::cause(text),
        path.display()
    )
}
