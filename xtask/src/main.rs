//! Whatever cargo alone cannot say: `cargo xtask <task>`.

mod bench;
mod cargo;
mod child;
mod compare;
mod corpus;
mod demo;
mod deploy;
mod e2e;
mod fuzz;
mod generate;
mod guests;
mod hard_cases;
mod image;
mod kube_tools;
mod lab;
mod netns;
mod rootfs;
mod setup;
mod shell;
mod test;
mod toolchain;
mod torture;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use setup::Part;

/// The tasks of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", about)]
enum Task {
    /// Install what is missing to build both halves, run the tests and raise the lab
    Setup,
    /// Write a capture file of a busy cluster's DNS, the same for the same seed, and count what it holds
    Generate {
        /// The capture to write (pcap); its truth goes to FILE.json
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        plan: generate::Plan,
    },
    /// Write one capture for each hard case, and the truth about it; always the same bytes
    HardCases {
        /// Where the captures (NAME.pcap) and their truth (NAME.json) go
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// And those too large for the repository
        #[arg(long)]
        all: bool,
    },
    /// Compare what the agent reads from captures with what tshark reads: every message, every transaction
    Compare {
        /// Captures; without any, the recorded ones and every hard case
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// The labelled corpus of captures: write its labels, record it
    #[command(subcommand)]
    Corpus(corpus::Action),
    /// Measure what the agent costs, beside tcpdump, tshark and dnsscope in the same run
    Bench {
        #[command(flatten)]
        scope: bench::Scope,
    },
    /// Run the agent on older kernels in QEMU: attach, capture real lookups, leave nothing behind
    Guests {
        #[command(flatten)]
        choice: guests::Choice,
    },
    /// Put the agent to the test on real platforms: Kubernetes, older kernels, a container engine
    #[command(subcommand)]
    E2e(e2e::Platform),
    /// Raise, inspect or take down the lab: a node, pods, resolvers and a VPC made of network namespaces
    #[command(subcommand)]
    Lab(lab::Action),
    /// Check what is deployed: Helm chart, manifests, ECS, systemd, without a cluster
    Chart {
        /// Make the plain manifests and the chart's copy of the rules anew, in place of checking
        #[arg(long)]
        write: bool,
    },
    /// Build the container image: one static binary and nothing else, the same bytes from the same sources
    Image {
        #[command(flatten)]
        plan: image::Plan,
    },
    /// Run every check: format, lints, unit, replay, property and kernel tests, dashboards
    Test {
        /// And the end-to-end stages: what is deployed, a container, Kubernetes, the demo, fuzzing, torture, older kernels
        #[arg(long)]
        all: bool,
    },
    /// Feed the decoders what nobody foresaw, guided by coverage; fails with the input that broke one
    Fuzz {
        #[command(flatten)]
        plan: fuzz::Plan,
    },
    /// Garbage, mutated captures, a flood that nobody answers, a million names: nothing breaks, memory stays flat
    Torture,
    /// Watch real lookups and incidents in the lab; fails unless every query was seen and every incident was named
    Demo {
        /// An incident alone (`truncated`, see README.md), then flags for the agent, such as `--attach clsact`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "INCIDENT|FLAG")]
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    if let Some(status) = fuzz::wrap_compiler() {
        return status;
    }
    match run(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // The whole chain in one line; where in our code it arose helps nobody who runs a task.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup => {
            setup::ensure(&[Part::Build, Part::Lab, Part::Clients, Part::Promtool, Part::Readers])?;
            setup::report()
        }
        Task::Generate { file, plan } => generate::run(&file, &plan),
        Task::HardCases { folder, all } => hard_cases::run(&folder, all),
        Task::Compare { files } => compare::run(&files),
        Task::Corpus(action) => corpus::run(&action),
        Task::Bench { scope } => bench::run_all(&scope),
        Task::Guests { choice } => guests::run_all(&choice),
        Task::Chart { write: true } => deploy::write(),
        Task::Chart { write: false } => deploy::check(),
        Task::Image { plan } => image::run_task(&plan),
        Task::E2e(platform) => e2e::run(&platform),
        Task::Lab(action) => lab::run(&action),
        Task::Fuzz { plan } => fuzz::run_all(&plan),
        Task::Torture => torture::run_all(),
        Task::Test { all } => test::run_all(all),
        Task::Demo { words } => demo::run_with(&words),
    }
}
