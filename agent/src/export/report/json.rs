//! The report as one JSON document. The schema stands in docs/json.md.

use serde_json::{Map, Value, json};

use super::Diagnosis;
use crate::export::findings::json as findings_json;
use crate::export::json::{nanos, time};
use crate::findings::{Finding, FindingId, HeldBack, Open};

impl Diagnosis<'_> {
    /// The document.
    pub fn json(&self) -> Value {
        let findings = self.findings();
        let (from, to) = self.span().unzip();
        let ledger = self.insight.findings().ledger();
        let blind = self.blind();
        let not_found: Vec<&str> =
            self.not_found(&findings, &blind).into_iter().map(FindingId::as_str).collect();
        json!({
            "source": self.source.name,
            "from": from.map(time),
            "to": to.map(time),
            "queries": self.queries(),
            "lost": self.lost(),
            "trouble": self.source.trouble,
            "findings": findings.iter().map(|finding: &Finding| findings_json::finding(finding, self.names)).collect::<Vec<_>>(),
            "not_found": not_found,
            "not_judged": blind
                .iter()
                .map(|blind| json!({ "id": blind.id.as_str(), "reason": blind.reason }))
                .collect::<Vec<_>>(),
            "unfinished": self.unfinished_object(),
            "held_back": ledger.held_back().map(|note| self.held_back(note)).collect::<Vec<_>>(),
            "crowded_out": ledger.crowded_out(),
            "fingerprints": self.fingerprints(),
            "lookups": self.lookups(),
            "what_if": self.what_if(),
        })
    }

    fn unfinished_object(&self) -> Value {
        let unfinished = self.insight.findings().unfinished();
        json!({
            "waiting": self.open_object(&unfinished.waiting),
            "truncated": self.open_object(&unfinished.truncated),
            "enough_ns": self.enough.filter(|_| !unfinished.is_empty()).map(nanos),
        })
    }

    fn open_object(&self, open: &Open) -> Value {
        let worst = open.worst.as_ref().map(|worst| {
            json!({
                "client": worst.client.address.to_string(),
                "client_workload": self.names.object(&worst.client),
                "interface": worst.client.interface.and_then(|ifindex| self.names.get(&ifindex)),
                "server": worst.server.ip().to_string(),
                "qname": worst.question.as_ref().map(|question| question.qname.to_string()),
                "qtype": worst.question.as_ref().map(|question| question.qtype.to_string()),
                "waited_ns": nanos(worst.waited),
            })
        });
        json!({ "count": open.count, "worst": worst })
    }

    fn held_back(&self, note: &HeldBack) -> Value {
        json!({
            "id": note.id.as_str(),
            "subject": findings_json::subject(&note.subject, self.names),
            "evidence": note.evidence,
            "lost": note.lost,
        })
    }

    fn fingerprints(&self) -> Vec<Value> {
        let mut all = self.insight.clients().fingerprints();
        all.sort_by_key(|(client, _)| *client);
        let object = all.into_iter().map(|(client, fingerprint)| {
            json!({
                "client": client.address.to_string(),
                "client_workload": self.names.object(&client),
                "interface": client.interface.and_then(|ifindex| self.names.get(&ifindex)),
                "stub": fingerprint.stub.as_str(),
                "confidence": fingerprint.confidence.as_str(),
                "because": fingerprint.because,
            })
        });
        object.collect()
    }

    fn lookups(&self) -> Value {
        let lookups = self.insight.lookups();
        let outcomes: Map<String, Value> = lookups
            .by_outcome()
            .map(|(outcome, count)| (outcome.as_str().to_owned(), count.into()))
            .collect();
        json!({
            "total": lookups.total(),
            "queries": lookups.queries,
            "wasted": lookups.wasted,
            "by_outcome": outcomes,
        })
    }

    fn what_if(&self) -> Value {
        let what_if = self.insight.what_if();
        let cost = |queries: u64| json!({ "queries": queries, "of": what_if.queries });
        let ndots = |queries: u64, broken: u64| json!({ "queries": queries, "of": what_if.queries, "broken": broken });
        let cache = self.insight.cache().savings();
        json!({
            "ndots_2": ndots(what_if.ndots_2, what_if.broken_by_2),
            "ndots_1": ndots(what_if.ndots_1, what_if.broken_by_1),
            "trailing_dot": cost(what_if.trailing_dot),
            "supposed": what_if.supposed,
            "cache": {
                "queries": cache.queries,
                "hits": cache.hits,
                "linklocal_peak": cache.linklocal_peak,
                "linklocal_peak_left": cache.linklocal_peak_left,
            },
        })
    }
}
