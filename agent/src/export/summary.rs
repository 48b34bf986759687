//! The exit summary: what was seen, how it ended, and exactly what was lost.

use std::fmt::{self, Write};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::findings::whom;
use super::names::Names;
use super::text::{clock, milliseconds};
use crate::capture::counters::CaptureCounters;
use crate::dns::Rcode;
use crate::engine::Insight;
use crate::findings::percentage;
use crate::packet::{fragments, tcp};
use crate::tally::{PacketResult, ServerSummary, Summary, Tally};

/// Servers that are listed.
const MOST_SERVERS: usize = 8;
/// Findings that are named.
const MOST_FINDINGS: usize = 8;

/// What the source says of itself.
pub struct SourceReport<'a> {
    /// The interfaces, or the file.
    pub name: &'a str,
    /// What the kernel matched and lost; `None` for a file that does not say.
    pub counters: Option<&'a CaptureCounters>,
    /// What was wrong with the file, one line each.
    pub trouble: &'a [String],
}

/// What was judged, and the names of interfaces.
pub struct Judged<'a> {
    /// Lookups and findings.
    pub insight: &'a Insight,
    /// Names of interfaces.
    pub names: &'a Names,
}

/// The whole summary, ending with a newline; `judged` is `None` where nothing was to be judged.
pub fn summary(
    tally: &Tally,
    judged: Option<&Judged<'_>>,
    source: &SourceReport<'_>,
    zone: &TimeZone,
) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_summary(&mut text, tally, judged, source, zone);
    text
}

fn write_summary(
    out: &mut String,
    tally: &Tally,
    judged: Option<&Judged<'_>>,
    source: &SourceReport<'_>,
    zone: &TimeZone,
) -> fmt::Result {
    let name = source.name;
    let summary = &tally.summary;
    match summary.span {
        None => writeln!(out, "--- no DNS packet, {name} ---")?,
        Some((first, last)) => {
            let clock = |time| clock(time, zone, "%H:%M:%S");
            let seconds = last.since(first).as_secs_f64();
            writeln!(out, "--- {} to {} ({seconds:.0} s), {name} ---", clock(first), clock(last))?;
            write_outcomes(out, tally)?;
            write_servers(out, summary)?;
            write_worst(out, tally)?;
            if let Some(judged) = judged {
                write_judged(out, judged)?;
            }
        }
    }
    write_losses(out, tally, source)
}

fn write_outcomes(out: &mut String, tally: &Tally) -> fmt::Result {
    let summary = &tally.summary;
    write!(
        out,
        " {} {}  {} answered  {} no answer",
        grouped(summary.queries()),
        if summary.queries() == 1 { "query" } else { "queries" },
        grouped(summary.answered),
        grouped(summary.unanswered)
    )?;
    if summary.unanswered > 0 {
        let share = summary.unanswered as f64 / summary.queries() as f64;
        write!(out, " ({})", percentage(share, 2))?;
    }
    if summary.unseen > 0 {
        write!(out, "  {} with the answer's part of a TCP stream not seen", grouped(summary.unseen))?;
    }
    if summary.waiting > 0 {
        write!(out, "  {} still waiting at the end", grouped(summary.waiting))?;
    }
    if summary.given_up > 0 {
        write!(out, "  {} given up", grouped(summary.given_up))?;
    }
    if summary.orphans > 0 {
        write!(out, "   {} answers without a query", grouped(summary.orphans))?;
        if summary.mid_flight > 0 {
            write!(out, " (capture began mid-flight: {})", grouped(summary.mid_flight))?;
        }
    }
    writeln!(out)?;

    let ok = summary.rcodes.get(&Rcode::NOERROR).copied().unwrap_or(0);
    write!(out, " ok {}", grouped(ok))?;
    let mut errors: Vec<_> = summary.rcodes.iter().filter(|(rcode, _)| **rcode != Rcode::NOERROR).collect();
    errors.sort_by_key(|(rcode, count)| (std::cmp::Reverse(**count), **rcode));
    for (rcode, count) in errors {
        write!(out, "   {rcode} {}", grouped(*count))?;
    }
    let others = [
        ("NODATA", summary.nodata),
        ("truncated", summary.truncated),
        ("late", summary.late),
        ("duplicate", summary.duplicates),
        ("sent again", summary.retransmits),
    ];
    for (what, count) in others.into_iter().filter(|(_, count)| *count > 0) {
        write!(out, "   {what} {}", grouped(count))?;
    }
    writeln!(out)
}

fn write_servers(out: &mut String, summary: &Summary) -> fmt::Result {
    if summary.servers.is_empty() {
        return Ok(());
    }
    let mut sorted: Vec<_> = summary.servers.iter().collect();
    sorted.sort_by_key(|(address, server)| (std::cmp::Reverse(server.queries), **address));
    writeln!(
        out,
        " {:<24} {:>9} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "server", "queries", "no answer", "p50", "p95", "p99", "max"
    )?;
    for (address, server) in sorted.iter().take(MOST_SERVERS) {
        let address = if address.port() == 53 { address.ip().to_string() } else { address.to_string() };
        write_server(out, &address, server)?;
    }
    if sorted.len() > MOST_SERVERS {
        writeln!(out, " and {} servers with fewer queries", sorted.len() - MOST_SERVERS)?;
    }
    match &summary.other_servers {
        Some(others) => write_server(out, "servers seen later", others),
        None => Ok(()),
    }
}

fn write_server(out: &mut String, name: &str, server: &ServerSummary) -> fmt::Result {
    write!(out, " {name:<24} {:>9} {:>10}", grouped(server.queries), grouped(server.unanswered))?;
    for quantile in [0.5, 0.95, 0.99, 1.0] {
        write!(out, " {:>10}", latency(server, quantile))?;
    }
    writeln!(out)
}

fn latency(server: &ServerSummary, quantile: f64) -> String {
    if server.latencies.is_empty() {
        return "-".into();
    }
    let micros = server.latencies.value_at_quantile(quantile).min(server.latencies.max());
    let duration = Duration::from_micros(micros);
    if micros >= 1_000_000 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} ms", milliseconds(duration))
    }
}

/// Whom and what the missing answers concern most.
fn write_worst(out: &mut String, tally: &Tally) -> fmt::Result {
    let summary = &tally.summary;
    let all = summary.unanswered;
    if summary.crowded {
        return writeln!(out, " too many clients and names without an answer to tell the worst");
    }
    let client = summary
        .unanswered_clients
        .iter()
        .max_by_key(|(address, count)| (**count, std::cmp::Reverse(**address)));
    let Some((client, count)) = client else { return Ok(()) };
    write!(out, " worst: {client} {} of {} no answer", grouped(*count), grouped(all))?;
    let name = summary
        .unanswered_names
        .iter()
        .map(|(name, count)| (*count, std::cmp::Reverse(name.to_string())))
        .max();
    if let Some((count, std::cmp::Reverse(name))) = name {
        write!(out, "; {} {} of {}", name.trim_end_matches('.'), grouped(count), grouped(all))?;
    }
    writeln!(out)
}

/// What applications asked for, and what is wrong.
fn write_judged(out: &mut String, judged: &Judged<'_>) -> fmt::Result {
    let Judged { insight, names } = judged;
    let lookups = insight.lookups();
    if lookups.total() > 0 {
        write!(
            out,
            " {} lookup{} ({} quer{}",
            grouped(lookups.total()),
            if lookups.total() == 1 { "" } else { "s" },
            grouped(lookups.queries),
            if lookups.queries == 1 { "y" } else { "ies" }
        )?;
        if lookups.wasted > 0 {
            write!(out, ", {} of them for candidates that did not win", grouped(lookups.wasted))?;
        }
        writeln!(out, ")")?;
    }
    let findings = insight.findings().ledger().all();
    if findings.is_empty() {
        return Ok(());
    }
    let words = findings.iter().take(MOST_FINDINGS).map(|finding| {
        format!(
            "{} {} ({}, confidence {})",
            finding.id.as_str(),
            whom(finding, names),
            finding.severity.as_str(),
            finding.confidence.as_str()
        )
    });
    write!(out, " findings: {}", words.collect::<Vec<_>>().join(" · "))?;
    if findings.len() > MOST_FINDINGS {
        write!(out, " · and {} more (nslookout diagnose)", findings.len() - MOST_FINDINGS)?;
    }
    writeln!(out, "     nslookout explain ID")
}

/// tcpdump's three lines first, then the size of the doubt.
fn write_losses(out: &mut String, tally: &Tally, source: &SourceReport<'_>) -> fmt::Result {
    let SourceReport { name, counters, trouble } = *source;
    let captured = tally.captured();
    let dropped = counters.map_or(0, CaptureCounters::total_drops);
    out.push_str(&statistics(tally, counters));
    let unascribed = tally.fragments.unascribed + counters.map_or(0, |counters| counters.later_fragments);
    let result = |wanted: PacketResult| -> u64 {
        tally.packets.iter().filter(|((_, result), _)| *result == wanted).map(|(_, count)| count).sum()
    };
    let notes = [
        (unascribed, "later fragments without the first, which has the ports"),
        (result(PacketResult::Snap), "packets cut off by the capture"),
        (result(PacketResult::NotDns), "packets of these ports that are not DNS"),
        (tally.evictions, "waiting queries given up for want of room (--max-inflight)"),
        (tally.clock_steps, "times the clock went back by more than 5 s: what waited then is told wrong"),
        (tally.streams.joined, "TCP streams read from their middle on"),
        (tally.streams.skipped_bytes, "bytes of TCP streams whose beginning was not seen, not read"),
        (tally.streams.beginnings, "TCP messages of which only the beginning was seen"),
    ];
    let mut unread = 0;
    for (count, what) in notes.into_iter().filter(|(count, _)| *count > 0) {
        unread += count;
        writeln!(out, "{what}: {}", grouped(count))?;
    }
    unread += write_reasons(
        out,
        "datagrams not put together",
        fragments::GiveUp::ALL.map(|reason| (reason.as_str(), tally.fragments.given_up(reason))),
    )?;
    unread += write_reasons(
        out,
        "TCP streams given up",
        tcp::GiveUp::ALL.map(|reason| (reason.as_str(), tally.streams.given_up(reason))),
    )?;
    let mut kinds: Vec<_> = tally.malformed.iter().collect();
    kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(**count), **kind));
    let kinds = kinds.into_iter().map(|(kind, count)| (kind.as_str(), *count));
    unread += write_reasons(out, "malformed packets (-v shows them)", kinds)?;
    for line in trouble {
        unread += 1;
        writeln!(out, "{name}: {line}")?;
    }
    for (interface, reason, count) in counters.iter().flat_map(|counters| &counters.lost_at) {
        writeln!(out, "lost at {interface}: {} ({})", grouped(*count), reason.as_str())?;
    }
    match (dropped, unread) {
        (0, 0) => return writeln!(out, "nothing lost: every number above is exact"),
        (0, _) if !trouble.is_empty() => {
            return writeln!(out, "not all of it was read: what is listed above may have held answers");
        }
        (0, _) => return writeln!(out, "no packet lost: the only doubt is what is listed above"),
        _ => {}
    }
    let share = percentage(dropped as f64 / captured.saturating_add(dropped) as f64, 1);
    writeln!(
        out,
        "lost {} packet{} ({share}): \"no answer\" may be overstated by up to {}",
        grouped(dropped),
        if dropped == 1 { "" } else { "s" },
        grouped(dropped)
    )
}

/// A count with what it is made of, if there is any; gives the count.
fn write_reasons(
    out: &mut String,
    what: &str,
    reasons: impl IntoIterator<Item = (&'static str, u64)>,
) -> Result<u64, fmt::Error> {
    let reasons: Vec<_> = reasons.into_iter().filter(|(_, count)| *count > 0).collect();
    let all = reasons.iter().map(|(_, count)| count).sum();
    if all > 0 {
        let list: Vec<String> =
            reasons.iter().map(|(reason, count)| format!("{reason} {}", grouped(*count))).collect();
        writeln!(out, "{what}: {} ({})", grouped(all), list.join(", "))?;
    }
    Ok(all)
}

/// tcpdump's three lines.
pub fn statistics(tally: &Tally, counters: Option<&CaptureCounters>) -> String {
    let captured = tally.captured();
    let dropped = counters.map_or(0, CaptureCounters::total_drops);
    // What waits in the ring at this moment is matched, but neither captured nor dropped yet.
    let received =
        counters.map_or(captured, |counters| counters.total_matched().max(captured.saturating_add(dropped)));
    format!(
        "{captured} packets captured\n{received} packets received by filter\n{dropped} packets dropped by kernel\n"
    )
}

/// 9,412.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1234567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
