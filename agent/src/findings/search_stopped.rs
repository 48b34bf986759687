//! `search-stopped` (facts.md section 3.2, incident 1).
//!
//! A name of the search list exists without addresses, and musl looks no further. Silent: whoever goes on, the last name
//! of the list, a Service without endpoints, tools, resolvers that are known to go on, servers that walk the list
//! themselves, and a client of which packets were lost in the second that it must be silent.

use super::cluster::{is_cluster_domain, service};
use super::example::of_lookup;
use super::incidents::{Incidents, Unit};
use super::remedies::{count, dns_option, dns_search, pasted, remedy, text};
use super::{
    Confidence, Desk, Details, Detector, FindingId, Remedy, RemedyPlace, Severity, Sighting, Strength,
    Subject,
};
use crate::correlate::clients::SEARCH_GOES_ON;
use crate::correlate::fingerprint::Stub;
use crate::correlate::lookups::{Ask, Candidate, Lookup, LookupOutcome};
use crate::correlate::resolv_conf::SearchSource;
use crate::dns::Name;

/// Names that are told of those that were left; the others are counted.
const MAX_TOLD: usize = 4;

/// The rule.
#[derive(Default)]
pub(super) struct SearchStopped {
    incidents: Incidents,
}

impl Detector for SearchStopped {
    fn id(&self) -> FindingId {
        FindingId::SearchStopped
    }

    fn lookup(&mut self, lookup: &Lookup, desk: &mut Desk<'_>) {
        if lookup.outcome != LookupOutcome::Stopped || lookup.autopath {
            return;
        }
        let Some(last) = lookup.candidates.last().filter(|last| is_meant(lookup, last)) else { return };
        let repetition = desk.context.thresholds.repetition;
        let subject = Subject::client(lookup.client);
        let times = self.incidents.add(lookup.started, subject, &lookup.base, Unit::Lookup, &repetition);
        // Each lost packet may have been the query that is missed here.
        let until = lookup.ended + SEARCH_GOES_ON;
        let Some(strength) = times.against_losses(self.id(), subject, until, desk) else { return };
        let lost = desk.lost(&lookup.client, times.first, until);
        let (severity, confidence) = judge(lookup, strength);
        let seen = (lookup.started, lookup.ended);
        let sighting = Sighting { id: self.id(), subject, severity, confidence, seen, count: 1 };
        desk.raise(sighting, || details(lookup, last, lost));
    }
}

/// Is it a stub resolver that may stop here, and a name that is no Service?
fn is_meant(lookup: &Lookup, last: &Candidate) -> bool {
    let goes_on = match lookup.fingerprint.stub {
        Stub::Glibc | Stub::Go | Stub::BusyboxNslookup => lookup.fingerprint.confidence > Confidence::Low,
        _ => false,
    };
    // Only c-ares before 1.18 stops so and sends an OPT record; musl sends none (facts.md section 1.3).
    let sends_edns = lookup.fingerprint.stub != Stub::CAres && last.asks.iter().any(|ask| ask.edns.is_some());
    let is_tool = last.asks.iter().any(|ask| ask.authentic_data);
    let domain = last.name.parent(lookup.base.label_count());
    let search = known_domains(lookup);
    let is_service = is_cluster_domain(&domain, &search) && service(&last.name).is_some();
    !(goes_on || is_tool || sends_edns || is_service)
}

/// The search list, or what was seen of it.
fn known_domains(lookup: &Lookup) -> Vec<Name> {
    match &lookup.search {
        Some(search) => search.to_vec(),
        None => {
            let labels = lookup.base.label_count();
            lookup.candidates.iter().map(|candidate| candidate.name.parent(labels)).collect()
        }
    }
}

fn judge(lookup: &Lookup, strength: Strength) -> (Severity, Confidence) {
    let told = matches!(lookup.source, SearchSource::ResolvConf | SearchSource::PodSpec);
    match strength {
        Strength::Single => (Severity::Low, Confidence::Low),
        Strength::Repeated if told && lookup.fingerprint.stub.is_musl() => (Severity::High, Confidence::High),
        Strength::Repeated => (Severity::High, Confidence::Medium),
    }
}

fn details(lookup: &Lookup, last: &Candidate, lost: u64) -> Details {
    let base = &lookup.base;
    let domain = last.name.parent(base.label_count());
    let server = last.asks.first().map_or_else(String::new, |ask| format!(" at {}", ask.server.ip()));
    let summary = format!(
        "{} finds no address of {base}: the search stopped at {}, which exists without addresses{server}",
        lookup.client.address, last.name
    );
    let mut because = vec![
        format!("asked in this order: {}", asked(lookup)),
        format!("never asked: {}", left(&lookup.remaining)),
        "no query for any of them within 1 s, while musl goes on in less than 1 ms".to_owned(),
    ];
    let answers = || last.asks.iter().filter_map(Ask::answer);
    if answers().all(|answer| !answer.soa) {
        because.push("the NODATA has no SOA, so no zone stands behind it (RFC 2308 section 2.2)".to_owned());
    }
    if answers().all(|answer| !answer.authoritative) {
        because.push("AA=0: the server that answers is not the one that says so".to_owned());
    }
    let fingerprint = &lookup.fingerprint;
    if !fingerprint.because.is_empty() {
        because.push(format!(
            "the stub resolver looks like {}: {}",
            fingerprint.stub.as_str(),
            fingerprint.because
        ));
    }
    because.push(format!("search list: {}", source(lookup)));
    Details {
        summary,
        because,
        numbers: vec![
            text("name", base),
            text("stopped_at", &last.name),
            text("stopping_domain", &domain),
            count("candidates_asked", lookup.candidates.len()),
            count("candidates_left", lookup.remaining.len()),
            count("queries", lookup.queries),
            text("stub_resolver", lookup.fingerprint.stub.as_str()),
            text("search_list_from", lookup.source.as_str()),
            count("packets_lost", lost),
        ],
        example: of_lookup(lookup),
        remedies: remedies(lookup, last, &domain),
    }
}

fn source(lookup: &Lookup) -> String {
    match (&lookup.search, lookup.source) {
        (Some(search), SearchSource::ResolvConf) => format!("{} (its resolv.conf)", list(search)),
        (Some(search), SearchSource::PodSpec) => format!("{} (its pod's specification)", list(search)),
        (Some(search), _) => format!("{} (seen in its other lookups)", list(search)),
        (None, _) => "as these queries show it".to_owned(),
    }
}

fn list(names: &[Name]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Each candidate with what was said of it.
fn asked(lookup: &Lookup) -> String {
    let said = |candidate: &Candidate| {
        let rcode = candidate.asks.iter().filter_map(Ask::answer).next().map(|answer| answer.rcode);
        rcode.map_or("nothing".to_owned(), |rcode| rcode.to_string())
    };
    let last = lookup.candidates.len().saturating_sub(1);
    let word = |(index, candidate): (usize, &Candidate)| {
        let said = if index == last { "NODATA".to_owned() } else { said(candidate) };
        format!("{} {said}", candidate.name)
    };
    lookup.candidates.iter().enumerate().map(word).collect::<Vec<_>>().join(", ")
}

fn left(remaining: &[Name]) -> String {
    let told = list(remaining.get(..MAX_TOLD).unwrap_or(remaining));
    match remaining.len().saturating_sub(MAX_TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

/// In the order of facts.md.
fn remedies(lookup: &Lookup, last: &Candidate, domain: &Name) -> Vec<Remedy> {
    let plain = |name: &Name| name.to_string().trim_end_matches('.').to_owned();
    let server = last.asks.first().map_or_else(String::new, |ask| ask.server.ip().to_string());
    // What is not told was not seen either: the domains that this lookup would have gone on to are the rest.
    let asked = known_domains(lookup);
    let labels = lookup.base.label_count();
    let left =
        lookup.remaining.iter().filter(|name| name.label_count() > labels).map(|name| name.parent(labels));
    let mut kept: Vec<Name> = Vec::new();
    for name in asked.into_iter().chain(left).filter(|name| name != domain) {
        if name.label_count() > 0 && !kept.contains(&name) {
            kept.push(name);
        }
    }
    let kept: Vec<String> = kept.iter().map(plain).collect();
    let ndots = lookup.ndots.map_or_else(|| "5".to_owned(), |ndots| ndots.to_string());
    vec![
        remedy(
            &format!("Let the zone {domain} answer NXDOMAIN for names that it does not have"),
            RemedyPlace::Server,
            &[],
        ),
        dns_search(
            "Take that domain out of the pod's search list",
            &[
                "dnsPolicy: None",
                "dnsConfig:",
                &format!("  nameservers: [{server}]"),
                &format!("  searches: [{}]", kept.join(", ")),
                &format!("  options: [{{name: ndots, value: \"{ndots}\"}}]"),
            ],
            vec![server.clone()],
            kept.clone(),
            Some(ndots),
        ),
        remedy(
            "Or out of that of all pods of the node",
            RemedyPlace::Node,
            &["resolvConf: /etc/kubernetes/resolv.conf  # kubelet configuration; a file without that domain"],
        ),
        dns_option(
            "Ask names with two dots as they are first (ndots:1 breaks short names of other namespaces on musl)",
            "ndots",
            Some("2"),
        ),
        remedy(
            "Or write the name with a dot at its end, where it is meant in full",
            RemedyPlace::Application,
            &[&pasted(&lookup.base)],
        ),
        remedy(
            "Or build on an image with glibc, which goes on",
            RemedyPlace::Dockerfile,
            &["FROM debian:12-slim"],
        ),
    ]
}

#[cfg(test)]
mod tests;
