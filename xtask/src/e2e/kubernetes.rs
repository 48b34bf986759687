//! `cargo xtask e2e kubernetes`: a real node, the chart, real workloads, and a verdict on what the agent says of them.
//!
//! Everything is made from Debian's packages and source packages. The node lives in namespaces of its own
//! ([`enclosure`]); the machine keeps nothing of it but the logs in `target/e2e/kubernetes`.

mod build;
mod certificates;
mod checks;
mod daemon;
mod enclosure;
mod hooks;
mod images;
mod kubectl;
mod metrics;
mod node;
mod scene;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use self::node::NODE;
use self::scene::{AgentImage, Scene};
use super::verdict::Verdicts;
use crate::setup::{self, Part};
use crate::{child, image};

/// How long `--keep` keeps.
const KEPT: Duration = Duration::from_secs(3600);

/// What to check.
#[derive(Args, Debug, Default)]
pub struct Plan {
    /// Only these checks, and what every check needs
    #[arg(value_name = "CHECK")]
    checks: Vec<String>,
    /// Leave the cluster up after the checks, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// An archive of the agent's image that is there already, instead of building one
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The half that runs in the node's namespaces, started by the other
    #[arg(long, hide = true)]
    inside: bool,
}

/// Makes or fetches the programs that no Debian package brings, where the cache lacks them.
pub fn prepare() -> Result<()> {
    tools::ensure().map(drop)
}

/// Runs the checks; an error where one failed.
pub fn run(plan: &Plan) -> Result<()> {
    checks::must_exist(&plan.checks)?;
    if plan.inside {
        return inside(plan);
    }
    if !rustix::process::geteuid().is_root() {
        println!(
            "SKIP Kubernetes: a node needs root (sudo -E env \"PATH=$PATH\" cargo xtask e2e kubernetes)"
        );
        return Ok(());
    }
    setup::ensure(&[Part::Build, Part::Lab, Part::Cluster])?;
    tools::ensure()?;
    let folder = daemon::folder();
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            fs::remove_file(entry.path()).ok();
        }
    }
    child::unwind_on_signals()?;
    println!("e2e: building the images");
    let image = match &plan.image {
        Some(archive) => archive.clone(),
        None => image::build()?.archive,
    };
    images::build()?;
    let image = image.to_string_lossy();
    let mut arguments = vec!["e2e", "kubernetes", "--inside", "--image", &image];
    arguments.extend(plan.keep.then_some("--keep"));
    arguments.extend(plan.checks.iter().map(String::as_str));
    enclosure::enter(&arguments)
}

/// The half that runs inside: starts the node, and checks.
fn inside(plan: &Plan) -> Result<()> {
    child::unwind_on_signals()?;
    enclosure::furnish(NODE)?;
    let start = Instant::now();
    let tools = tools::ensure()?;
    let archive = plan.image.as_deref().context("--inside needs --image")?;
    let mut scene = Scene::set(&tools, &AgentImage::in_archive(archive)?)?;
    println!("cluster up, workloads running, after {:.1} s\n", start.elapsed().as_secs_f64());
    let mut verdicts = Verdicts::default();
    let result = checks::run(&mut scene, &plan.checks, &mut verdicts);
    println!("{:.0} s after the start of the node", start.elapsed().as_secs_f64());
    if plan.keep {
        println!("the cluster is up until Ctrl-C; to look into it as root:\n{}", way_in(&tools.kubectl));
        child::wait_until(KEPT, || Ok(false)).ok();
    }
    result.and_then(|()| verdicts.finish("kubernetes"))
}

/// The command by which a person outside runs kubectl in here.
fn way_in(kubectl: &Path) -> String {
    format!(
        "nsenter --mount --net --uts --ipc --pid --target \"$(pgrep -nf 'e2e kubernetes --inside')\" \\\n  \
         env KUBECONFIG={}/kubeconfig {} get pods -A",
        enclosure::STATE,
        kubectl.display()
    )
}

/// The chart that is put to the test.
fn chart() -> PathBuf {
    crate::shell::workspace().join("deploy/helm/nslookout")
}

/// An error unless `condition` holds.
fn must(condition: bool, words: impl FnOnce() -> String) -> Result<()> {
    if condition { Ok(()) } else { bail!(words()) }
}
