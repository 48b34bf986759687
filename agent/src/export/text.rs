//! One line per transaction, in columns for people.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::json;
use super::names::Names;
use crate::capture::frame::{Direction, Timestamp};
use crate::correlate::{Event, Observation, Outcome, Parties, Transaction};
use crate::dns::{self, Edns, EdnsOption, Header, Message, Question, Response};
use crate::engine::Report;
use crate::packet::Transport;

/// The ordinary port, which is not printed.
const DNS_PORT: u16 = 53;
/// Width of all columns but the name's.
const OTHER_COLUMNS: usize = 76;
/// The name's column is at least this wide.
const NAME_WIDTH: usize = 34;

/// Width of the columns of client and server.
pub(super) const PARTY_WIDTH: usize = 15;

/// How lines are written.
#[derive(Clone, Debug)]
pub struct Style {
    /// Print flags, sizes and EDNS too.
    pub verbose: bool,
    /// Colour for a terminal.
    pub colour: bool,
    /// Width of the name's column.
    pub name_width: usize,
    /// The zone of the times.
    pub zone: TimeZone,
}

impl Style {
    /// For a terminal of `columns`, or for a file or pipe.
    pub fn new(columns: Option<usize>, verbose: bool, colour: bool) -> Self {
        // What goes into a file is searched, not looked at: there a name is whole.
        let name_width = columns.map_or(40, |columns| columns.saturating_sub(OTHER_COLUMNS).max(NAME_WIDTH));
        Self { verbose, colour, name_width, zone: TimeZone::system() }
    }
}

/// Writes lines.
pub struct Lines {
    style: Style,
    shorten: bool,
}

impl Lines {
    /// `shorten`: cut names to their column.
    pub fn new(style: Style, shorten: bool) -> Self {
        Self { style, shorten }
    }

    /// The words above the columns.
    pub fn heading(&self) -> String {
        let name = self.style.name_width;
        format!(
            "{:<12}  {:<15} {:<5} {:<name$} {:<15} {:<9} {:>6}  {}",
            "time", "client", "type", "name", "server", "result", "ms", "answer"
        )
        .trim_end()
        .to_owned()
    }

    /// The line of a report; `None` for what is only counted.
    pub fn line(&self, report: &Report<'_>, names: &Names) -> Option<String> {
        match report {
            Report::Event(Event::Closed(transaction)) if !transaction.echo => {
                Some(self.transaction(transaction, names))
            }
            Report::Event(Event::Late { stray, latency }) if !stray.echo => {
                let row = Row {
                    time: stray.time,
                    parties: &stray.parties,
                    question: stray.response.question.as_ref(),
                    result: "LATE".into(),
                    duration: *latency,
                    rest: format!("{} after the time-out", result_of(&stray.response)),
                };
                Some(self.row(row, names))
            }
            Report::Message(observation) => Some(self.message(observation, names)),
            Report::Malformed { time, flow, error } if self.style.verbose => {
                let flow =
                    flow.map_or(String::new(), |flow| format!("{} > {} ", flow.source, flow.destination));
                Some(format!("{}  {flow}MALFORMED {error}", self.time(*time)))
            }
            _ => None,
        }
    }

    fn transaction(&self, transaction: &Transaction, names: &Names) -> String {
        let Transaction { parties, query, sends, outcome, .. } = transaction;
        let (result, duration, mut rest) = match outcome {
            Outcome::Answered { response, latency } => (result_of(response), *latency, answers_of(response)),
            Outcome::Unanswered { waited } => ("NO ANSWER".into(), *waited, String::new()),
            Outcome::Unseen { waited } => {
                ("NOT SEEN".into(), *waited, "a part of the TCP stream was not captured".into())
            }
            Outcome::Waiting { waited } => ("NO ANSWER".into(), *waited, "yet: the capture ended".into()),
        };
        let mut add = |text: &str| {
            if !rest.is_empty() {
                rest.push_str("  ");
            }
            rest.push_str(text);
        };
        if *sends > 1 {
            add(&format!("sent {sends} times"));
        }
        if parties.transport == Transport::Tcp {
            add("tcp");
        }
        if self.style.verbose {
            add(&verbose(transaction, names));
        }
        let question = query.question.as_ref();
        self.row(Row { time: transaction.ended(), parties, question, result, duration, rest }, names)
    }

    /// As `tcpdump -v` would, in our columns: who sent it to whom, what it asks or says.
    fn message(&self, observation: &Observation, names: &Names) -> String {
        let Observation { time, place, flow, message, .. } = observation;
        let end = |end: SocketAddr, is_source| {
            names.end(end, json::at(end.ip(), place.as_ref(), is_source).interface)
        };
        let question = message.question();
        let name = question.map_or("-".into(), |question| question.qname.to_string());
        let qtype = question.map_or("-".into(), |question| question.qtype.to_string());
        let (kind, rest) = match message {
            Message::Query(_) => ("query".to_owned(), String::new()),
            Message::Response(response) => (result_of(response), answers_of(response)),
        };
        let header = message.header();
        let [questions, answers, authorities, additionals] = header.counts;
        let mut line = format!(
            "{}  {} > {} {} id {} {kind} {qtype} {name}{} {} {questions}/{answers}/{authorities}/{additionals} {}B{}",
            self.time(*time),
            end(flow.source, true),
            end(flow.destination, false),
            flow.transport.as_str(),
            header.id,
            class(question),
            flags(header),
            message.length(),
            edns(message.edns(), &message.options()),
        );
        if message.fragmented() {
            line.push_str(" fragmented");
        }
        if !rest.is_empty() {
            line.push_str("  ");
            line.push_str(&rest);
        }
        line
    }

    fn row(&self, row: Row<'_>, names: &Names) -> String {
        let name = row.question.map_or("-".into(), |question| {
            let name = question.qname.to_string();
            let trimmed = if name.len() > 1 { name.trim_end_matches('.') } else { &name };
            if self.shorten { shorten(trimmed, self.style.name_width) } else { trimmed.to_owned() }
        });
        let qtype = row.question.map_or("-".into(), |question| question.qtype.to_string());
        let width = self.style.name_width;
        let result = self.paint(&format!("{:<9}", row.result));
        let line = format!(
            "{}  {:<15} {qtype:<5} {name:<width$} {:<15} {result} {:>6}  {}",
            self.time(row.time),
            self.party(names.client_of(row.parties)),
            self.party(names.server_of(row.parties)),
            milliseconds(row.duration),
            row.rest
        );
        line.trim_end().to_owned()
    }

    /// A client or server, cut to its column where names are; an address is whole.
    fn party(&self, name: String) -> String {
        let is_name = name.contains('/');
        if self.shorten && is_name { shorten(&name, PARTY_WIDTH) } else { name }
    }

    fn time(&self, time: Timestamp) -> String {
        clock(time, &self.style.zone, "%H:%M:%S.%3f")
    }

    /// Errors red, what needs a second look yellow.
    fn paint(&self, result: &str) -> String {
        if !self.style.colour {
            return result.to_owned();
        }
        let code = match result.trim_end() {
            "ok" => return result.to_owned(),
            "NXDOMAIN" | "NODATA" => 2,
            "TRUNCATED" | "LATE" | "NOT SEEN" => 33,
            _ => 31,
        };
        format!("\x1b[{code}m{result}\x1b[0m")
    }
}

struct Row<'a> {
    time: Timestamp,
    parties: &'a Parties,
    question: Option<&'a Question>,
    result: String,
    duration: Duration,
    rest: String,
}

/// One word for a response.
fn result_of(response: &Response) -> String {
    if response.header.truncated() {
        "TRUNCATED".into()
    } else if response.is_nodata() {
        "NODATA".into()
    } else if response.rcode.0 == 0 {
        "ok".into()
    } else {
        response.rcode.to_string()
    }
}

/// The first record of the type asked and how many more; the size of a truncated one.
fn answers_of(response: &Response) -> String {
    if response.header.truncated() {
        return format!("{} B", response.length);
    }
    let asked = response.question.as_ref().map(|question| question.qtype);
    let wanted: Vec<_> = response.answers().filter(|answer| Some(answer.record_type) == asked).collect();
    let list = if wanted.is_empty() { response.answers().collect() } else { wanted };
    match list.as_slice() {
        [] => String::new(),
        [only] => shorten(&only.data(), 48),
        [first, others @ ..] => {
            // Of a message whose end was not seen, the header knows more than what could be read.
            let more = if response.partial {
                response.header.counts[1].saturating_sub(1).into()
            } else {
                others.len()
            };
            format!("{} +{more}", shorten(&first.data(), 48))
        }
    }
}

/// What `-v` adds.
fn verbose(transaction: &Transaction, names: &Names) -> String {
    let Transaction { parties, query, outcome, .. } = transaction;
    let options: Vec<_> = query.options().collect();
    let mut text = format!(
        "id {} {}B{} {}",
        query.header.id,
        query.length,
        edns(query.edns, &options),
        flags(&query.header)
    );
    text.push_str(&class(query.question.as_ref()));
    if let Outcome::Answered { response, .. } = outcome {
        let [_, answers, authorities, additionals] = response.header.counts;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            " > {}B{} {} {answers}/{authorities}/{additionals}",
            response.length,
            edns(response.edns, &response.options().collect::<Vec<_>>()),
            flags(&response.header)
        );
        text.push_str(if response.fragmented { " fragmented" } else { "" });
        text.push_str(if response.partial { " partial" } else { "" });
    }
    if let Some(place) = parties.place {
        let unknown = place.ifindex.to_string();
        let name = names.get(&place.ifindex).unwrap_or(&unknown);
        let direction = match place.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        let _ =
            write!(text, " [{name} {direction} {} port {}]", parties.vantage.as_str(), parties.client.port());
    }
    text
}

/// The class, unless it is IN or there is no question.
fn class(question: Option<&Question>) -> String {
    match question.map(|question| question.qclass) {
        None | Some(1) => String::new(),
        Some(class) => format!(" class {}", dns::class_name(class)),
    }
}

fn edns(edns: Option<Edns>, options: &[EdnsOption<'_>]) -> String {
    let Some(edns) = edns else { return String::new() };
    let mut text = format!(" edns {}", edns.udp_payload_size);
    if edns.version != 0 {
        let _ = write!(text, " version {}", edns.version);
    }
    if edns.dnssec_ok {
        text.push_str(" do");
    }
    for option in options {
        let _ = write!(text, " {option}");
    }
    text
}

/// The opcode if it is not QUERY, and the flags that are set, by their names.
fn flags(header: &Header) -> String {
    let flags = [
        ("aa", header.authoritative()),
        ("tc", header.truncated()),
        ("rd", header.recursion_desired()),
        ("ra", header.recursion_available()),
        ("ad", header.authentic_data()),
        ("cd", header.checking_disabled()),
    ];
    let set: Vec<&str> = flags.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    let set = if set.is_empty() { "-".into() } else { set.join(",") };
    match header.opcode() {
        0 => set,
        opcode => format!("{} {set}", dns::opcode_name(opcode)),
    }
}

/// An address, with its port where that is not the ordinary one.
pub(super) fn server(address: SocketAddr) -> String {
    if address.port() == DNS_PORT { address.ip().to_string() } else { address.to_string() }
}

/// A time in a zone, as `strftime` writes it.
pub(super) fn clock(time: Timestamp, zone: &TimeZone, format: &str) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time.as_nanos())).unwrap_or_default();
    time.to_zoned(zone.clone()).strftime(format).to_string()
}

/// Milliseconds in at most four digits that matter.
pub fn milliseconds(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 0.095 {
        format!("{ms:.2}")
    } else if ms < 9.95 {
        format!("{ms:.1}")
    } else {
        format!("{ms:.0}")
    }
}

/// Cuts the middle out: both ends of a name tell.
pub(super) fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let tail = width / 4;
    let head = width - 1 - tail;
    let characters: Vec<char> = text.chars().collect();
    let start: String = characters[..head].iter().collect();
    let end: String = characters[characters.len() - tail..].iter().collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::{Correlator, Limits};
    use crate::dns::tests::{dotted, message, question};
    use crate::packet::Flow;

    #[test]
    fn milliseconds_have_four_digits_at_most() {
        let cases = [
            (0, "0.00"),
            (4, "0.00"),
            (94_999, "0.09"),
            (95_000, "0.1"),
            (99_000, "0.1"),
            (149_000, "0.1"),
            (1_550_000, "1.6"),
            (9_949_000, "9.9"),
            (9_950_000, "10"),
            (99_600_000, "100"),
            (6_000_000_000, "6000"),
            (30_000_000_000, "30000"),
        ];
        for (nanos, expected) in cases {
            assert_eq!(milliseconds(Duration::from_nanos(nanos)), expected, "{nanos}");
        }
    }

    #[test]
    fn the_middle_is_cut_out() {
        let cases = [
            ("short", 5, "short"),
            ("longer", 5, "lon…r"),
            ("api.example.com.shop.svc.cluster.local", 20, "api.example.co…local"),
            ("", 5, ""),
        ];
        for (text, width, expected) in cases {
            let short = shorten(text, width);
            assert_eq!(short, expected);
            assert!(short.chars().count() <= width);
        }
    }

    /// The lines of a query for `name` and its response, `millis` later; `None` is no response within the window.
    fn lines(style: Style, shorten: bool, name: &str, answer: Option<(u16, u64)>) -> Vec<String> {
        let (client, server): (SocketAddr, SocketAddr) =
            ("10.0.0.1:4000".parse().unwrap(), "10.0.0.53:53".parse().unwrap());
        let (mut correlator, lines) = (Correlator::new(Limits::default()), Lines::new(style, shorten));
        let mut told = Vec::new();
        let mut tell = |event: Event| told.extend(lines.line(&Report::Event(&event), &Names::default()));
        let mut send = |nanos: u64, to_server: bool, flags: u16| {
            let wire = message(7, flags, [1, 0, 0, 0], &[question(dotted(name), 1)]);
            let (source, destination) = if to_server { (client, server) } else { (server, client) };
            let observation = Observation {
                time: Timestamp::from_nanos(nanos),
                place: None,
                flow: Flow { source, destination, transport: Transport::Udp },
                hop_limit: 64,
                to_server,
                message: dns::parse(&wire, wire.len()).unwrap(),
            };
            correlator.observe(observation, &mut tell);
        };
        send(50_000_000_000, true, 0x0100);
        if let Some((flags, millis)) = answer {
            send(50_000_000_000 + millis * 1_000_000, false, flags);
        }
        correlator.tick(Timestamp::from_nanos(60_000_000_000), &mut tell);
        told
    }

    fn style(verbose: bool, colour: bool) -> Style {
        Style { verbose, colour, name_width: 20, zone: TimeZone::UTC }
    }

    #[test]
    fn the_columns_stand_below_their_words() {
        let heading = Lines::new(style(false, false), true).heading();
        let line = &lines(style(false, false), true, "www.example.test", Some((0x8183, 2)))[0];
        assert_eq!(
            heading,
            "time          client          type  name                 server          result        ms  answer"
        );
        assert_eq!(
            line,
            "00:00:50.002  10.0.0.1        A     www.example.test     10.0.0.53       NXDOMAIN     2.0"
        );
    }

    #[test]
    fn lines_tell_the_outcome() {
        let check = |answer, expected: &[&str]| {
            let all = lines(style(false, false), true, "a.test", answer);
            let words: Vec<String> = all
                .iter()
                .map(|line| line.split_whitespace().skip(5).collect::<Vec<_>>().join(" "))
                .collect();
            assert_eq!(words, expected);
        };
        check(Some((0x8180, 1)), &["NODATA 1.0"]);
        check(Some((0x8380, 1)), &["TRUNCATED 1.0 24 B"]);
        check(Some((0x8182, 1)), &["SERVFAIL 1.0"]);
        check(Some((0x818c, 1)), &["RCODE12 1.0"]);
        check(None, &["NO ANSWER 6000"]);
        check(Some((0x8180, 7000)), &["NO ANSWER 6000", "LATE 7000 NODATA after the time-out"]);
    }

    #[test]
    fn names_are_shortened_on_a_terminal_only() {
        let name = "api.example.com.shop.svc.cluster.local";
        let line = |shorten| lines(style(false, false), shorten, name, None).remove(0);
        assert!(line(true).contains(" api.example.co…local "));
        assert!(line(false).contains(&format!(" {name} ")));
    }

    #[test]
    fn colour_is_for_what_needs_a_look() {
        let line = |flags| lines(style(false, true), false, "a.test", Some((flags, 1))).remove(0);
        assert!(line(0x8182).contains("\x1b[31mSERVFAIL \x1b[0m"));
        assert!(line(0x8380).contains("\x1b[33mTRUNCATED\x1b[0m"));
        assert!(line(0x8183).contains("\x1b[2mNXDOMAIN \x1b[0m"));
    }

    #[test]
    fn verbose_adds_flags_and_sizes() {
        let line = lines(style(true, false), false, "a.test", Some((0x8583, 1))).remove(0);
        assert!(line.ends_with("1.0  id 7 24B rd > 24B aa,rd,ra 0/0/0"), "{line}");
    }
}
