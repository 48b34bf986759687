//! Findings as JSON. The schema stands in docs/json.md.

use serde_json::{Map, Value, json};

use super::{interface_of, page_path};
use crate::export::json::{nanos, time};
use crate::export::names::{Names, workload};
use crate::findings::{Change, Finding, Measure, Packet, Quantity, Remedy, Subject};

/// The object of a finding that opened, changed or closed.
pub fn change(change: &Change<'_>, names: &Names) -> Value {
    let finding = change.finding();
    let mut object = Map::new();
    object.insert("time".into(), time(finding.changed));
    object.insert("finding".into(), finding.id.as_str().into());
    object.insert("state".into(), change.as_str().into());
    add_finding(&mut object, finding, names);
    Value::Object(object)
}

/// The object of a finding in a report.
pub fn finding(finding: &Finding, names: &Names) -> Value {
    let mut object = Map::new();
    object.insert("id".into(), finding.id.as_str().into());
    add_finding(&mut object, finding, names);
    Value::Object(object)
}

/// Whom it is about; every member is there, and null where it is about no such thing.
pub fn subject(subject: &Subject, names: &Names) -> Value {
    json!({
        "client": subject.client.map(|client| client.address.to_string()),
        "interface": interface_of(subject, names),
        "server": subject.server.map(|server| server.to_string()),
    })
}

fn add_finding(object: &mut Map<String, Value>, finding: &Finding, names: &Names) {
    let details = &finding.details;
    let mut add = |key: &str, value: Value| drop(object.insert(key.into(), value));
    add("severity", finding.severity.as_str().into());
    add("confidence", finding.confidence.as_str().into());
    let mut whom = subject(&finding.subject, names);
    whom["workload"] = finding.behind.only().map(|instance| workload(instance)).into();
    whom["workloads"] = finding.behind.instances.iter().map(|instance| workload(instance)).collect();
    whom["others"] = finding.behind.others.into();
    add("subject", whom);
    add("count", finding.count.into());
    add("first_seen", time(finding.first_seen));
    add("last_seen", time(finding.last_seen));
    add("closed", finding.closed.map(time).into());
    add("summary", details.summary.as_str().into());
    add("because", details.because.clone().into());
    add("numbers", Value::Object(details.numbers.iter().map(number).collect()));
    add("example", details.example.iter().map(packet).collect::<Vec<_>>().into());
    add("remedies", details.remedies.iter().map(remedy).collect::<Vec<_>>().into());
    add("page", page_path(finding.id).into());
}

/// A key and its value; a length of time has its unit in the key.
fn number(measure: &Measure) -> (String, Value) {
    let name = measure.name.to_owned();
    match &measure.value {
        Quantity::Count(count) => (name, (*count).into()),
        Quantity::Ratio(ratio) => (name, (*ratio).into()),
        Quantity::Time(duration) => (format!("{name}_ns"), nanos(*duration)),
        Quantity::Text(text) => (name, text.as_str().into()),
    }
}

fn packet(packet: &Packet) -> Value {
    json!({
        "time": time(packet.time),
        "source": packet.source.to_string(),
        "destination": packet.destination.to_string(),
        "transport": packet.transport.as_str(),
        "text": packet.text,
    })
}

fn remedy(remedy: &Remedy) -> Value {
    json!({ "what": remedy.what, "place": remedy.place.as_str(), "lines": remedy.lines })
}
