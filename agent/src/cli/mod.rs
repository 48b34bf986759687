//! What the user typed, and one file per command.

/// Writes to standard error. Where that cannot be written to (a full disk), there is nobody to tell: the work goes on.
macro_rules! tell {
    (bare $($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stderr(), $($text)*);
    }};
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

mod check;
mod config;
mod cost;
mod diagnose;
mod explain;
mod record;
mod serve;
mod threshold;
mod watch;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::capture::file::shown;
use crate::capture::interfaces::Selection;
use crate::capture::netns::NetnsRef;
use crate::capture::{AttachMethod, CaptureMethod, LiveConfig};
use crate::correlate::Limits;
use crate::correlate::resolv_conf::{ResolvConf, SearchSource};
use crate::engine::{EngineConfig, InsightConfig};
use crate::findings::{Severity, Thresholds};
use crate::identity::facts::Source;
use crate::identity::{Identity, IdentityConfig, Sources};
use crate::maps::Set;
use crate::tally::TallyLimits;

/// When a command could not do what was asked.
const TROUBLE: u8 = 2;

/// Watches the DNS traffic of this node.
///
/// Without a command: watch.
#[derive(Parser)]
#[command(
    name = "nslookout",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    watch: WatchArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Print one line per DNS transaction, live or from a file
    Watch(WatchArgs),
    /// Capture for a while, or read a file, and tell what is wrong, for whom, and what to change
    ///
    /// Exit status: 0 where nothing as bad as --fail-on was found, 1 where it was, 2 when it could not run. What was still open at
    /// the end, or could not be looked for, is told in the report and does not change it.
    Diagnose(DiagnoseArgs),
    /// Run as an agent: /metrics, /healthz and /readyz over HTTP
    Serve(ServeArgs),
    /// Can I capture here? Kernel, permissions, interfaces, and why each is watched
    Check(LiveArgs),
    /// The queries that one lookup of a name costs, by stub resolver; nothing is asked
    Cost(cost::CostArgs),
    /// Print the page of a finding, or a table of all findings
    Explain(ExplainArgs),
}

/// Where to capture.
#[derive(Args, Clone)]
pub(crate) struct LiveArgs {
    /// Interface or shell pattern; may be given several times [default: any = pods, uplinks and lo]
    #[arg(short, long = "interface", value_name = "NAME")]
    interfaces: Vec<String>,
    /// Network namespace to enter and watch too, by a process in it or by its path (/run/netns/NAME); may be given several times
    #[arg(long, value_name = "PID|PATH")]
    netns: Vec<NetnsRef>,
    /// Port of DNS servers; may be given several times
    #[arg(long = "port", value_name = "PORT", default_value = "53", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,
    /// Live source
    #[arg(long, value_enum, default_value_t = CaptureArg::Auto)]
    capture: CaptureArg,
    /// How eBPF programs are attached
    #[arg(long, value_enum, default_value_t = AttachArg::Auto)]
    attach: AttachArg,
    /// Address of a VPC resolver beside the well-known ones; may be given several times [default: on EC2 what resolv.conf
    /// names and the VPC has as its second address]
    #[arg(long = "vpc-resolver", value_name = "ADDRESS")]
    vpc_resolvers: Vec<IpAddr>,
    /// Who may be asked which workload stands behind an address: `auto` asks all that are here, `none` nobody
    #[arg(long, value_name = "SOURCE[,SOURCE]", default_value = "auto", value_parser = parse_identity)]
    identity: Sources,
    /// Name of this node in Kubernetes [default: the host name]
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    node_name: Option<String>,
    /// How to reach the API server of Kubernetes [default: as a pod of it, else $KUBECONFIG or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Room between kernel and agent, in MiB: a power of two
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = parse_ring)]
    ring: u32,
}

/// How to match queries with responses.
#[derive(Args, Clone)]
pub(crate) struct MatchArgs {
    /// A query is unanswered this long after its last send (at most 30 s after the first)
    #[arg(long, value_name = "TIME", default_value = "6s", value_parser = parse_duration)]
    timeout: Duration,
    /// Waiting queries that are kept in memory
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    max_inflight: u32,
}

/// What to judge by.
#[derive(Args, Clone)]
pub(crate) struct JudgeArgs {
    /// A finding closes after this time without evidence
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    close_after: Duration,
    /// resolv.conf of all clients, or of one (10.1.0.5=FILE); may be given several times [default: inferred from packets]
    #[arg(long = "resolv-conf", value_name = "[ADDRESS=]FILE", value_parser = parse_resolv_conf)]
    resolv_confs: Vec<(Option<IpAddr>, PathBuf)>,
    /// A number that the rules compare with (`explain thresholds` lists all); may be given several times
    #[arg(long = "threshold", value_name = "NAME=VALUE", value_parser = threshold::parse)]
    thresholds: Vec<threshold::Set>,
}

impl JudgeArgs {
    /// Reads the files that are named.
    fn config(&self, live: &LiveArgs) -> Result<InsightConfig> {
        let mut resolv_confs = Vec::new();
        for (client, path) in &self.resolv_confs {
            resolv_confs.push((*client, read_resolv_conf(path)?, SearchSource::ResolvConf));
        }
        let mut thresholds = Thresholds { close_after: self.close_after, ..Thresholds::default() };
        self.thresholds.iter().for_each(|set| set.apply(&mut thresholds));
        Ok(InsightConfig { thresholds, resolv_confs, vpc_resolvers: live.vpc_resolvers.clone() })
    }
}

#[derive(Args)]
struct WatchArgs {
    #[command(flatten)]
    live: LiveArgs,
    #[command(flatten)]
    matching: MatchArgs,
    #[command(flatten)]
    judge: JudgeArgs,
    /// Read packets from a file (pcap or pcapng, also gzip or zstd; - is standard input) instead of the node's interfaces
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["interfaces", "netns", "capture", "attach", "ring", "longest"])]
    read: Option<PathBuf>,
    #[command(flatten)]
    record: record::RecordArgs,
    /// Stop after this many lines; with -w and without --print, packets
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print addresses, not names of workloads (names are never asked of DNS)
    #[arg(short = 'n', long)]
    numeric: bool,
    /// Form of the lines on standard output
    #[arg(short, long, value_enum, default_value_t = OutputArg::Text)]
    output: OutputArg,
    #[command(flatten)]
    what: WhatArgs,
    /// The summary at the end stands alone with `only`: no lines
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_value_t = SummaryArg::Also, default_missing_value = "also")]
    summary: SummaryArg,
    /// Print flags, sizes, EDNS and place of each transaction, and malformed packets
    #[arg(short, long)]
    verbose: bool,
    /// Stop after this time, e.g. 30s
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    longest: Option<Duration>,
    /// Colour
    #[arg(long, value_enum, default_value_t = ColourArg::Auto)]
    color: ColourArg,
}

/// What a line is about.
#[derive(Args, Clone, Copy)]
#[group(multiple = false)]
struct WhatArgs {
    /// Print a line per message as it was read, in place of one per transaction
    #[arg(long)]
    messages: bool,
    /// Print a line per lookup: A and AAAA over all candidates of the search list (-v prints these too)
    #[arg(long)]
    lookups: bool,
    /// Print a line whenever a finding opens, changes or closes (-v prints evidence and remedy too)
    #[arg(long)]
    findings: bool,
    /// Match and count only: no lookups, no findings
    #[arg(long)]
    no_findings: bool,
}

#[derive(Args)]
struct DiagnoseArgs {
    #[command(flatten)]
    live: LiveArgs,
    #[command(flatten)]
    matching: MatchArgs,
    #[command(flatten)]
    judge: JudgeArgs,
    /// Read packets from a file (pcap or pcapng, also gzip or zstd; - is standard input) instead of the node's interfaces
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["interfaces", "netns", "capture", "attach", "ring", "longest"])]
    read: Option<PathBuf>,
    /// Capture for this time; Ctrl-C ends it early
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    longest: Duration,
    /// Form of the report
    #[arg(short, long, value_enum, default_value_t = OutputArg::Text)]
    output: OutputArg,
    /// Exit with status 1 when a finding is at least this severe
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = SeverityArg::Warning)]
    fail_on: SeverityArg,
    /// Print addresses, not names of workloads (names are never asked of DNS)
    #[arg(short = 'n', long)]
    numeric: bool,
    /// Colour
    #[arg(long, value_enum, default_value_t = ColourArg::Auto)]
    color: ColourArg,
}

#[derive(Args)]
struct ExplainArgs {
    /// The finding, as it is named in lines and reports; or `thresholds`, for the numbers that the rules compare with
    #[arg(value_name = "FINDING")]
    id: Option<String>,
}

#[derive(Args)]
struct ServeArgs {
    #[command(flatten)]
    live: LiveArgs,
    #[command(flatten)]
    matching: MatchArgs,
    #[command(flatten)]
    judge: JudgeArgs,
    /// Address and port of the HTTP server
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:9953", value_parser = parse_listen)]
    listen: SocketAddr,
    /// Series of one metric; later workloads are counted as ~other
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_series: u32,
    /// Series of a workload leave this long after its last instance, those of an address after its last packet; but not
    /// before a scrape has read them
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    series_grace: Duration,
    /// Address of the cluster's DNS service; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    cluster_dns: Vec<IpAddr>,
    /// File (TOML) with these flags by their long names; flags and the environment (NSLOOKOUT_…) beat it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print what flags, environment and file amount to, as such a file, and end
    #[arg(long)]
    print_config: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum CaptureArg {
    /// eBPF, or a packet socket where that is not allowed
    Auto,
    /// eBPF or nothing
    Ebpf,
    /// A packet socket
    Packet,
}

#[derive(Clone, Copy, ValueEnum)]
enum AttachArg {
    /// tcx where the kernel has it (6.6), else clsact
    Auto,
    /// tcx or nothing
    Tcx,
    /// A clsact filter
    Clsact,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputArg {
    /// Lines for people
    Text,
    /// JSON: an object per line, or one document
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum SeverityArg {
    /// Any finding
    Info,
    /// A defect that harms nobody yet
    Low,
    /// It will harm, or harms a little
    Warning,
    /// Lookups fail, or wait for seconds
    High,
}

impl SeverityArg {
    fn severity(self) -> Severity {
        match self {
            Self::Info => Severity::Info,
            Self::Low => Severity::Low,
            Self::Warning => Severity::Warning,
            Self::High => Severity::High,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SummaryArg {
    /// Below the lines
    Also,
    /// In place of the lines
    Only,
}

#[derive(Clone, Copy, ValueEnum)]
enum ColourArg {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ColourArg {
    fn wanted(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                std::io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        }
    }
}

impl LiveArgs {
    /// Whom to ask who is who; nobody where a file is read, which holds what it holds.
    fn identity(&self, read: Option<&Path>) -> Identity {
        if read.is_some() {
            return Identity::none();
        }
        Identity::start(&self.identity_config())
    }

    fn identity_config(&self) -> IdentityConfig {
        IdentityConfig {
            sources: self.identity.clone(),
            node_name: self.node_name.clone(),
            kubeconfig: self.kubeconfig.clone(),
        }
    }

    fn config(&self) -> LiveConfig {
        LiveConfig {
            selection: Selection::new(&self.interfaces),
            netns: self.netns.clone(),
            capture: match self.capture {
                CaptureArg::Auto => CaptureMethod::Auto,
                CaptureArg::Ebpf => CaptureMethod::Ebpf,
                CaptureArg::Packet => CaptureMethod::Packet,
            },
            attach: match self.attach {
                AttachArg::Auto => AttachMethod::Auto,
                AttachArg::Tcx => AttachMethod::Tcx,
                AttachArg::Clsact => AttachMethod::Clsact,
            },
            ports: self.port_set(),
            vpc_resolvers: self.vpc_resolvers.clone(),
            ring_bytes: self.ring << 20,
        }
    }

    fn port_set(&self) -> Set<u16> {
        self.ports.iter().copied().collect()
    }

    /// `port 53`, for the line that says what is listened to.
    fn ports_text(&self) -> String {
        let mut ports: Vec<u16> = self.port_set().into_iter().collect();
        ports.sort_unstable();
        let list: Vec<String> = ports.iter().map(u16::to_string).collect();
        format!("udp+tcp port{} {}", if list.len() == 1 { "" } else { "s" }, list.join(", "))
    }
}

impl MatchArgs {
    fn engine(&self, live: &LiveArgs, tally: TallyLimits) -> EngineConfig {
        let longest = Limits::default().longest.max(self.timeout);
        let limits = Limits { timeout: self.timeout, longest, max_inflight: self.max_inflight as usize };
        EngineConfig { ports: live.port_set(), limits, tally, messages: false, insight: None }
    }
}

/// Reads the command line and does what it says. `revision` is the commit that this was built from.
pub fn main(revision: &str) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let result = config::parse(&arguments)
        .and_then(|cli| cli.map_or(Ok(ExitCode::SUCCESS), |cli| run(&cli, revision)));
    match result {
        Ok(code) => code,
        Err(error) => {
            tell!("nslookout: {error:#}");
            ExitCode::from(TROUBLE)
        }
    }
}

fn run(cli: &Cli, revision: &str) -> Result<ExitCode> {
    match &cli.command {
        None => watch::run(&cli.watch),
        Some(Command::Watch(args)) => watch::run(args),
        Some(Command::Serve(args)) => serve::run(args, revision),
        Some(Command::Check(args)) => check::run(args),
        Some(Command::Cost(args)) => cost::run(args),
        Some(Command::Diagnose(args)) => diagnose::run(args),
        Some(Command::Explain(args)) => explain::run(args),
    }
}

/// Prints on standard output. Whoever closed it has seen enough (`| head`); a full disk is an error.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to standard output")
        }
        _ => Ok(()),
    }
}

/// Octets of a resolv.conf that are read at most: glibc's limit of the search list is gone since 2.26, but 64 KiB hold
/// more than any kubelet writes (2048 characters, facts.md section 4).
const MAX_RESOLV_CONF: u64 = 64 * 1024;

/// Reads a resolv.conf.
///
/// # Errors
///
/// Where it cannot be read, is longer than [`MAX_RESOLV_CONF`], or is no text.
fn read_resolv_conf(path: &Path) -> Result<ResolvConf> {
    let mut text = Vec::new();
    // One octet more tells that it is too long. A device without an end is not read to it.
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_RESOLV_CONF + 1).read_to_end(&mut text))
        .with_context(|| format!("failed to read {}", shown(path)))?;
    if text.contains(&0) || std::str::from_utf8(&text).is_err() && text.len() as u64 <= MAX_RESOLV_CONF {
        bail!("{} is no resolv.conf, but no text at all", shown(path));
    }
    if text.len() as u64 > MAX_RESOLV_CONF {
        bail!("{} is no resolv.conf: it has more than {} KiB", shown(path), MAX_RESOLV_CONF / 1024);
    }
    Ok(ResolvConf::parse(&text))
}

/// A number with a unit: `500ms`, `6s`, `2m`, `1h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let advice = || format!("`{text}` is no time; write a number and a unit: 500ms, 30s, 2m, 1h");
    let split =
        text.find(|character: char| !character.is_ascii_digit() && character != '.').ok_or_else(advice)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| advice())?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(advice()),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && seconds <= 31_536_000.0 => Ok(duration),
        _ => Err(advice()),
    }
}

/// An address and a port; the port alone (`:9953`) is that of all addresses. Names are never asked of DNS.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole
        .parse()
        .map_err(|_| format!("`{text}` is no address and port; write 127.0.0.1:9953, [::]:9953 or :9953"))
}

/// A file, or a client's address, `=` and a file.
fn parse_resolv_conf(text: &str) -> Result<(Option<IpAddr>, PathBuf), String> {
    match text.split_once('=') {
        _ if text.is_empty() || text.ends_with('=') && text.find('=') == Some(text.len() - 1) => {
            Err(format!("`{text}` names no file; write FILE, or ADDRESS=FILE"))
        }
        Some((address, path)) => match address.parse() {
            Ok(address) => Ok((Some(address), path.into())),
            Err(_) => Err(format!("`{address}` is no address; write FILE, or ADDRESS=FILE")),
        },
        None => Ok((None, text.into())),
    }
}

/// `auto`, `none`, or names of sources.
fn parse_identity(text: &str) -> Result<Sources, String> {
    match text {
        "auto" => return Ok(Sources::Auto),
        "none" => return Ok(Sources::These(Vec::new())),
        _ => {}
    }
    let source = |word: &str| {
        Source::ALL.into_iter().find(|source| source.as_str() == word).ok_or_else(|| {
            let all = Source::ALL.map(Source::as_str).join(", ");
            format!("`{word}` is no source of identity; write auto, none, or a list of: {all}")
        })
    };
    text.split(',').map(source).collect::<Result<_, _>>().map(Sources::These)
}

/// The kernel wants a power of two.
fn parse_ring(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(mib) if mib.is_power_of_two() && mib <= 1024 => Ok(mib),
        _ => Err(format!("`{text}` is no size of a ring; write a power of two from 1 to 1024 (MiB)")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "6", "s", "-1s", "6 s", "1e9s", "0s", "99999999h", "..s"] {
            assert!(parse_duration(bad).is_err_and(|error| error.contains(bad)), "{bad}");
        }
    }

    #[test]
    fn a_ring_is_a_power_of_two() {
        assert_eq!(parse_ring("8"), Ok(8));
        for bad in ["0", "3", "2048", "-1", "x"] {
            assert!(parse_ring(bad).is_err(), "{bad}");
        }
    }
}
