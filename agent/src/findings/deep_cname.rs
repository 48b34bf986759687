//! `deep-cname` (facts.md section 3.8, P11): an answer behind many CNAMEs, or behind a loop of them.
//!
//! Long chains do not fit into 512 bytes, and resolvers give up on them: BIND after 16, Unbound after 11 (musl commit
//! a4ecaf89).

use super::incidents::Incidents;
use super::remedies::pasted;
use super::{
    Confidence, Desk, Details, Detector, FindingId, Measure, Quantity, Remedy, RemedyPlace, Severity,
    Sighting, Strength, Subject, example,
};
use crate::correlate::{Event, Outcome, Transaction};
use crate::dns::{Name, RecordType, Response};

/// The rule.
#[derive(Default)]
pub(super) struct DeepCname {
    incidents: Incidents,
}

/// The aliases of one answer.
struct Chain {
    cnames: usize,
    /// An owner that stands there twice.
    loops_at: Option<Name>,
}

impl Detector for DeepCname {
    fn id(&self) -> FindingId {
        FindingId::DeepCname
    }

    fn event(&mut self, event: &Event, desk: &mut Desk<'_>) {
        let Event::Closed(transaction) = event else { return };
        let (Outcome::Answered { response, .. }, Some(question)) =
            (&transaction.outcome, &transaction.query.question)
        else {
            return;
        };
        if transaction.echo || !transaction.parties.at_client() {
            return;
        }
        // Nearly all that comes here is long for its addresses: their names need not be read.
        if usize::from(response.aliases) < desk.context.thresholds.deep_cname.cnames.min(LOOP) {
            return;
        }
        let chain = chain(response);
        if chain.cnames < desk.context.thresholds.deep_cname.cnames && chain.loops_at.is_none() {
            return;
        }
        let (client, repetition) = (transaction.parties.client_id(), desk.context.thresholds.repetition);
        let unit = repetition.unit(transaction.query.edns.is_some());
        let subject = Subject::client(client);
        let times = self.incidents.add(transaction.ended(), subject, &question.qname, unit, &repetition);
        let repeated = times.strength == Strength::Repeated;
        let sighting = Sighting {
            id: FindingId::DeepCname,
            subject: Subject::server(transaction.parties.server.ip()),
            severity: if repeated && chain.loops_at.is_some() { Severity::Warning } else { Severity::Low },
            confidence: if repeated { Confidence::High } else { Confidence::Low },
            seen: (transaction.first_sent, transaction.ended()),
            count: u64::from(times.new),
        };
        desk.raise(sighting, || details(transaction, response, &question.qname, &chain));
    }
}

/// Aliases that may run in a circle, at least.
const LOOP: usize = 2;

/// Counts the aliases of the answer section.
fn chain(response: &Response) -> Chain {
    let mut owners: Vec<Name> = Vec::new();
    let mut loops_at = None;
    for answer in response.answers().filter(|answer| answer.record_type == RecordType::CNAME) {
        if owners.contains(&answer.name) {
            loops_at = loops_at.or(Some(answer.name.clone()));
        }
        owners.push(answer.name);
    }
    Chain { cnames: owners.len(), loops_at }
}

fn details(transaction: &Transaction, response: &Response, name: &Name, chain: &Chain) -> Details {
    let server = transaction.parties.server.ip();
    let summary = match &chain.loops_at {
        Some(owner) => format!("The aliases of {name} run in a circle at {owner}, as {server} answers it."),
        None => format!(
            "{name} is an alias {} times over, as {server} answers it: such answers are the first that do not fit.",
            chain.cnames
        ),
    };
    let count = |name, number: usize| Measure { name, value: Quantity::Count(number as u64) };
    let last = response.answers().last().map_or(String::new(), |answer| answer.name.to_string());
    let remedy = match &chain.loops_at {
        Some(owner) => Remedy {
            what: format!("Remove one of the aliases of {owner}"),
            place: RemedyPlace::Server,
            lines: Vec::new(),
            dns: None,
        },
        None => Remedy {
            what: "Point the first name straight at the last one, if both are stable".into(),
            place: RemedyPlace::Server,
            lines: vec![format!("{}  IN  CNAME  {}", pasted(name), pasted(&last))],
            dns: None,
        },
    };
    Details {
        summary,
        because: vec![format!("The answer holds {} CNAME records.", chain.cnames)],
        numbers: vec![count("cnames", chain.cnames), count("response_bytes", response.length)],
        example: example::of_transaction(transaction),
        remedies: vec![remedy],
    }
}

#[cfg(test)]
mod tests;
