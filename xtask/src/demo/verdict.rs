//! Holds the agent's JSON against the queries that were made: each exactly once, from the client's vantage.

use serde_json::Value;

use super::lookups::{Client, Expected};

/// What came of one client's queries.
#[derive(Debug)]
pub struct Verdict {
    /// Whose.
    pub client: Client,
    /// How many queries it made.
    pub queries: usize,
    /// How many of them the agent reported as they were.
    pub matched: usize,
    /// What is wrong, one line per query.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Was every query seen, once, with the right end?
    pub fn passed(&self) -> bool {
        self.faults.is_empty()
    }

    /// The line on the screen, and below it what is wrong.
    pub fn text(&self) -> String {
        let word = if self.passed() { "PASS" } else { "FAIL" };
        let Client { name, address, server } = self.client;
        let route = format!("{address} to {server}");
        let mut text = format!(
            "{word}  client {name:<32} {route:<30} {:>2} queries, {:>2} matched",
            self.queries, self.matched
        );
        for fault in &self.faults {
            text += &format!("\n        {fault}");
        }
        text
    }
}

/// Reads the agent's output: one JSON object per line; the last line may still be in the making.
pub fn parse(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Is each of these queries in the agent's output?
pub fn all_seen(expected: &[Expected], reported: &[Value]) -> bool {
    expected.iter().all(|query| count(query, reported) > 0)
}

/// How many queries were reported from the vantage of whoever asked.
pub fn client_queries(reported: &[Value]) -> usize {
    // A late answer has a line of its own, after that of its query.
    reported.iter().filter(|object| object["vantage"] == "client" && object["outcome"] != "late").count()
}

/// How many of these `client` sent to `server`, by their addresses.
pub fn client_queries_of(reported: &[Value], client: &str, server: &str) -> usize {
    let is_of = |object: &&Value| object["client"] == client && object["server"] == server;
    let is_query = |object: &&Value| object["vantage"] == "client" && object["outcome"] != "late";
    reported.iter().filter(is_of).filter(is_query).count()
}

/// One verdict per client, in the order in which they first asked.
pub fn judge(expected: &[Expected], reported: &[Value]) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = Vec::new();
    for (place, query) in expected.iter().enumerate() {
        let index = verdicts.iter().position(|verdict| verdict.client == query.client).unwrap_or_else(|| {
            verdicts.push(Verdict { client: query.client, queries: 0, matched: 0, faults: Vec::new() });
            verdicts.len() - 1
        });
        let verdict = &mut verdicts[index];
        verdict.queries += 1;
        // The same query may be made twice; then two must be seen, and the first of the two speaks for both.
        let wanted = expected.iter().filter(|other| is_same(other, query)).count();
        let seen = count(query, reported);
        let earlier = expected[..place].iter().filter(|other| is_same(other, query)).count();
        if earlier < seen {
            verdict.matched += 1;
        } else {
            verdict.faults.push(format!("missing: {}{}", words(query), instead(query, reported)));
        }
        if earlier == 0 && seen > wanted {
            verdict.faults.push(format!("seen {seen} times, made {wanted} times: {}", words(query)));
        }
    }
    verdicts
}

/// The same on the wire, whoever is named as the client.
fn is_same(a: &Expected, b: &Expected) -> bool {
    let on_wire =
        |query: &Expected| (query.client.address, query.client.server, query.transport, query.qtype);
    on_wire(a) == on_wire(b) && a.qname == b.qname && a.rcode == b.rcode
}

fn count(query: &Expected, reported: &[Value]) -> usize {
    reported.iter().filter(|object| is_about(object, query) && is_as_expected(object, query)).count()
}

fn is_about(object: &Value, query: &Expected) -> bool {
    let is =
        |field: &str, value: &str| object[field].as_str().is_some_and(|it| it.eq_ignore_ascii_case(value));
    is("client", query.client.address)
        && is("server", query.client.server)
        && is("transport", query.transport)
        && is("qname", &query.qname)
        && is("qtype", query.qtype)
}

fn is_as_expected(object: &Value, query: &Expected) -> bool {
    let ended = match query.rcode {
        Some(rcode) => {
            object["outcome"] == "answered"
                && object["rcode"] == rcode
                && object["latency_ns"].as_u64() > Some(0)
        }
        None => object["outcome"] == "unanswered",
    };
    ended && object["vantage"] == "client"
}

fn words(query: &Expected) -> String {
    let end = query.rcode.unwrap_or("no answer");
    let Client { address, server, .. } = query.client;
    format!("{} {} over {} from {address} to {server}, {end}", query.qname, query.qtype, query.transport)
}

/// What the agent said of the same question in place of what was expected: where to look first.
fn instead(query: &Expected, reported: &[Value]) -> String {
    let near: Vec<String> = reported
        .iter()
        .filter(|object| object["qname"] == query.qname.as_str() && object["qtype"] == query.qtype)
        .filter(|object| object["client"] == query.client.address)
        .map(|object| {
            let fields = ["vantage", "interface", "server", "transport", "outcome", "rcode"];
            fields.map(|field| object[field].as_str().unwrap_or("-").to_owned()).join(" ")
        })
        .collect();
    if near.is_empty() {
        "; nothing like it was seen".into()
    } else {
        format!("; seen: {}", near.join(" | "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CLIENT: Client = Client { name: "test", address: "10.1.0.5", server: "10.96.0.10" };

    fn query(qtype: &'static str) -> Expected {
        Expected {
            client: CLIENT,
            transport: "udp",
            qname: "a.example.".into(),
            qtype,
            rcode: Some("NOERROR"),
        }
    }

    fn seen(vantage: &str, qtype: &str, outcome: &str) -> Value {
        json!({
            "vantage": vantage, "client": "10.1.0.5", "server": "10.96.0.10", "transport": "udp",
            "qname": "a.example.", "qtype": qtype, "outcome": outcome, "rcode": "NOERROR", "latency_ns": 1000,
        })
    }

    /// The number matched and the number of faults.
    fn check(expected: &[Expected], reported: &[Value], wanted: (usize, usize)) {
        let verdicts = judge(expected, reported);
        assert_eq!(verdicts.len(), 1);
        assert_eq!((verdicts[0].matched, verdicts[0].faults.len()), wanted, "{verdicts:?}");
    }

    #[test]
    fn every_query_once_is_a_pass() {
        let reported = [seen("client", "A", "answered"), seen("client", "AAAA", "answered")];
        check(&[query("A"), query("AAAA")], &reported, (2, 0));
    }

    #[test]
    fn what_was_seen_elsewhere_or_unanswered_does_not_count() {
        check(&[query("A")], &[seen("server", "A", "answered")], (0, 1));
        check(&[query("A")], &[seen("client", "A", "unanswered")], (0, 1));
        check(&[query("A")], &[seen("client", "AAAA", "answered")], (0, 1));
        check(&[query("A")], &[], (0, 1));
    }

    #[test]
    fn a_query_counted_twice_is_a_fault() {
        check(&[query("A")], &[seen("client", "A", "answered"), seen("client", "A", "answered")], (1, 1));
    }

    #[test]
    fn the_same_query_made_twice_must_be_seen_twice() {
        check(&[query("A"), query("A")], &[seen("client", "A", "answered")], (1, 1));
        check(
            &[query("A"), query("A")],
            &[seen("client", "A", "answered"), seen("client", "A", "answered")],
            (2, 0),
        );
    }

    #[test]
    fn an_unanswered_query_must_be_seen_as_one() {
        let silent = Expected { rcode: None, ..query("A") };
        check(std::slice::from_ref(&silent), &[seen("client", "A", "unanswered")], (1, 0));
        check(&[silent], &[seen("client", "A", "answered")], (0, 1));
    }

    #[test]
    fn half_a_line_is_left_for_the_next_look() {
        assert_eq!(parse("{\"a\":1}\n{\"b\":").len(), 1);
    }
}
