//! Reading a capture file: the agent beside tcpdump, tshark and dnsscope.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::cost::{Cost, Metered};
use super::table::Table;
use super::{Bench, Found, median};
use crate::generate::{self, Plan, Truth};

/// tshark takes about half a minute for a million packets; a machine may be ten times slower.
const LIMIT: Duration = Duration::from_secs(600);

/// A tool and how it reads the file.
struct Contender {
    name: &'static str,
    command: Vec<String>,
}

/// Lets every tool read the same capture, in turns.
pub(super) fn measure(bench: &Bench) -> Result<Found> {
    let plan = Plan { packets: if bench.quick { 100_000 } else { 1_000_000 }, ..Plan::default() };
    let rounds = if bench.quick { 1 } else { 5 };
    let capture = bench.folder.join("capture.pcap");
    println!("bench: writing a capture of {} packets", plan.packets);
    let truth = generate::write_file(&capture, &plan)?;
    let contenders = contenders(bench, &capture);
    let mut costs = vec![Vec::new(); contenders.len()];
    for round in 1..=rounds {
        println!("bench: reading it, round {round} of {rounds}");
        for (contender, costs) in contenders.iter().zip(&mut costs) {
            costs.push(read_once(contender, &bench.folder)?);
        }
    }
    let exact = compare(&bench.folder.join("nslookout.log"), &truth)?;
    report(&truth, &contenders, &costs, &exact)
}

fn contenders(bench: &Bench, capture: &Path) -> Vec<Contender> {
    let capture = capture.display().to_string();
    let agent = bench.agent.display().to_string();
    let contender = |name, words: &[&str]| Contender {
        name,
        command: words.iter().map(|&word| word.to_owned()).collect(),
    };
    let mut tshark = vec!["tshark", "-n", "-r", &capture, "-T", "fields"];
    let fields = [
        "frame.time_epoch",
        "ip.src",
        "ip.dst",
        "dns.id",
        "dns.qry.name",
        "dns.qry.type",
        "dns.flags.rcode",
        "dns.time",
    ];
    tshark.extend(fields.iter().flat_map(|field| ["-e", field]));
    vec![
        contender("nslookout watch -r", &[&agent, "watch", "-n", "-r", &capture]),
        // Pairs, folds lookups and judges, and prints no lines.
        contender("nslookout watch -r --summary=only", &[&agent, "watch", "--summary=only", "-r", &capture]),
        // As dnsscope: pairs, and no more.
        contender(
            "nslookout watch -r --summary=only --no-findings",
            &[&agent, "watch", "--summary=only", "--no-findings", "-r", &capture],
        ),
        contender("nslookout watch -r -o json", &[&agent, "watch", "-n", "-o", "json", "-r", &capture]),
        // tcpdump would give up root's rights, and with them the right to read the file.
        contender("tcpdump -r -w /dev/null", &["tcpdump", "-Z", "root", "-r", &capture, "-w", "/dev/null"]),
        contender("tcpdump -n -r (printing)", &["tcpdump", "-Z", "root", "-n", "-r", &capture]),
        contender("tshark -n -r (8 fields)", &tshark),
        contender("dnsscope", &["dnsscope", &capture]),
    ]
}

/// One run with its lines to /dev/null; what the agent says on standard error is kept for the comparison.
fn read_once(contender: &Contender, folder: &Path) -> Result<Cost> {
    let (program, arguments) = contender.command.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    // dnsscope leaves lists of addresses in the folder that it runs in.
    command.current_dir(folder);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if contender.name.starts_with("nslookout") {
        let log: PathBuf = folder.join("nslookout.log");
        command.stderr(File::create(&log).with_context(|| format!("failed to create {}", log.display()))?);
    }
    let cost = Metered::spawn(&mut command)?.finish_within(LIMIT)?;
    ensure!(cost.success, "{} failed to read the capture", contender.name);
    Ok(cost)
}

/// Each number of the agent's summary beside what the generator counted: name, found, true.
fn compare(log: &Path, truth: &Truth) -> Result<Vec<(&'static str, Option<u64>, u64)>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("failed to read {}", log.display()))?;
    Ok(vec![
        ("queries", number_before(&text, "queries"), truth.transactions()),
        ("answered", number_before(&text, "answered"), truth.answered()),
        ("unanswered", number_before(&text, "no answer"), truth.transactions() - truth.answered()),
        ("packets", number_before(&text, "packets captured"), truth.packets),
    ])
}

/// The number, perhaps grouped with commas, that stands before `word` where it first stands behind one.
pub fn number_before(text: &str, word: &str) -> Option<u64> {
    text.match_indices(word).find_map(|(at, _)| {
        let before = text[..at].strip_suffix(' ')?;
        let digits: String = before
            .chars()
            .rev()
            .take_while(|character| character.is_ascii_digit() || *character == ',')
            .filter(char::is_ascii_digit)
            .collect();
        digits.chars().rev().collect::<String>().parse().ok()
    })
}

fn report(
    truth: &Truth,
    contenders: &[Contender],
    costs: &[Vec<Cost>],
    exact: &[(&'static str, Option<u64>, u64)],
) -> Result<Found> {
    let rounds = costs.first().map_or(0, Vec::len);
    let title = format!("reading a capture of {} packets, median of {rounds}", truth.packets);
    let mut table = Table::new(title, &["tool", "us CPU/packet", "wall s", "peak MiB"]);
    let mut tools = Vec::new();
    for (contender, costs) in contenders.iter().zip(costs) {
        let middle = |value: fn(&Cost) -> f64| median(costs.iter().map(value).collect());
        let per_packet = middle(|cost| cost.cpu_seconds) * 1e6 / truth.packets as f64;
        let (wall, peak) = (middle(|cost| cost.wall_seconds), middle(|cost| cost.peak_mib));
        table.row(vec![
            contender.name.into(),
            format!("{per_packet:.2}"),
            format!("{wall:.2}"),
            format!("{peak:.0}"),
        ]);
        tools.push(json!({
            "tool": contender.name,
            "cpu_us_per_packet": per_packet,
            "wall_seconds": wall,
            "peak_mib": peak,
        }));
    }
    let summary: Vec<Value> = exact
        .iter()
        .map(|(name, found, truth)| json!({ "number": name, "found": found, "true": truth }))
        .collect();
    for (name, found, truth) in exact {
        let found_text = found.map_or("nothing".into(), |found| found.to_string());
        let verdict = if *found == Some(*truth) { "exact" } else { "DIFFERS" };
        table.note(format!("nslookout's summary, {name}: {found_text} of {truth} ({verdict})"));
    }
    Ok(Found {
        tables: vec![table],
        json: json!({ "packets": truth.packets, "rounds": rounds, "tools": tools, "summary": summary }),
    })
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn numbers_are_read_with_and_without_commas() {
        let text = "--- DNS queries ---\n 9,412 queries  9,381 answered  31 no answer (0.33 %)\n18824 packets captured\n";
        assert_eq!(number_before(text, "queries"), Some(9_412));
        assert_eq!(number_before(text, "no answer"), Some(31));
        assert_eq!(number_before(text, "packets captured"), Some(18_824));
        assert_eq!(number_before(text, "SERVFAIL"), None);
    }
}
