//! What was found: lines for people, and JSON. Deliberately absent: judgement; the words are those of the rules.

mod example;
pub mod json;
pub mod text;

use super::json::InterfaceNames;
use crate::capture::frame::Ifindex;
use crate::findings::{FindingId, Subject};

/// The name of an interface, or its number where nobody knows the name.
pub fn interface_name(ifindex: Ifindex, names: &InterfaceNames) -> String {
    names.get(&ifindex).cloned().unwrap_or_else(|| format!("interface {ifindex}"))
}

/// Whom a finding is about, by addresses: `10.1.0.5 at 10.96.0.10`.
pub fn whom(subject: &Subject, names: &InterfaceNames) -> String {
    let client = subject.client.map(|client| client.address.to_string());
    let interface = subject.interface.map(|ifindex| interface_name(ifindex, names));
    let server = subject.server.map(|server| match client.is_some() || interface.is_some() {
        true => format!("at {server}"),
        false => format!("server {server}"),
    });
    [client, interface, server].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The file of a finding's page in the repository.
pub fn page_path(id: FindingId) -> String {
    format!("docs/findings/{}.md", id.as_str())
}

/// The interface that a client or the subject itself stands at, by name, where it is known.
fn interface_of(subject: &Subject, names: &InterfaceNames) -> Option<String> {
    let ifindex = subject.interface.or(subject.client.and_then(|client| client.interface))?;
    names.get(&ifindex).cloned()
}

#[cfg(test)]
mod tests;
