//! What was found: lines for people, and JSON. Deliberately absent: judgement; the words are those of the rules.

mod example;
pub mod json;
pub mod text;

use super::names::Names;
use crate::capture::frame::Ifindex;
use crate::findings::{Finding, FindingId, Subject};
use crate::identity::who::Behind;

/// The name of an interface, or its number where nobody knows the name.
pub fn interface_name(ifindex: Ifindex, names: &Names) -> String {
    names.get(&ifindex).cloned().unwrap_or_else(|| format!("interface {ifindex}"))
}

/// Whom a finding is about: `shop/cart (Deployment), pod cart-7d9f, 10.1.0.5 at 10.96.0.10`. Behind an address that
/// several share all are named who asked from it.
pub fn whom(finding: &Finding, names: &Names) -> String {
    whom_of(&finding.subject, &finding.behind, names)
}

/// The same for whoever has no finding.
pub fn subject_now(subject: &Subject, names: &Names) -> String {
    let behind = subject.client.map(|client| names.behind(&client)).unwrap_or_default();
    whom_of(subject, &behind, names)
}

fn whom_of(subject: &Subject, behind: &Behind, names: &Names) -> String {
    let client = subject.client.map(|client| match who(behind, names) {
        Some(who) => format!("{who}, {}", client.address),
        None => client.address.to_string(),
    });
    let interface = subject.interface.map(|ifindex| interface_name(ifindex, names));
    let server = subject.server.map(|server| {
        let name = names.at(server).map_or_else(|| server.to_string(), |name| format!("{name} ({server})"));
        if client.is_some() || interface.is_some() { format!("at {name}") } else { format!("server {name}") }
    });
    [client, interface, server].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Who stands behind a client, if that is known and wanted: of several none is claimed to be the one.
fn who(behind: &Behind, names: &Names) -> Option<String> {
    if names.is_numeric() || behind.is_nobody() {
        return None;
    }
    if let Some(only) = behind.only() {
        return Some(only.full());
    }
    let mut all: Vec<String> = behind.instances.iter().map(|instance| instance.label()).collect();
    all.extend(behind.others.then(|| "others".to_owned()));
    Some(format!("one of {}", all.join(", ")))
}

/// The file of a finding's page in the repository.
pub fn page_path(id: FindingId) -> String {
    format!("docs/findings/{}.md", id.as_str())
}

/// The interface that a client or the subject itself stands at, by name, where it is known.
fn interface_of(subject: &Subject, names: &Names) -> Option<String> {
    let ifindex = subject.interface.or(subject.client.and_then(|client| client.interface))?;
    names.get(&ifindex).cloned()
}

#[cfg(test)]
mod tests;
