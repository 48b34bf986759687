//! What the agent's `/metrics` says, by name and labels.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::node::NODE_IP;
use crate::child;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The family, without the prefix `nslookout_`.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// All samples of one moment.
pub struct Metrics(Vec<Sample>);

/// A page of the agent on the node.
pub fn page(path: &str) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "2"]);
    curl.arg(format!("http://{NODE_IP}:9953{path}"));
    child::output_within(&mut curl, Duration::from_secs(5))
}

impl Metrics {
    /// As they are now.
    pub fn fetch() -> Result<Self> {
        page("/metrics").map(|text| Self(text.lines().filter_map(sample).collect())).context("no metrics")
    }

    /// The samples of a family that have these labels.
    pub fn of<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            let has = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|is| is == value);
            sample.name == name && labels.iter().all(has)
        })
    }

    /// Their sum.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // A sum of nothing would be -0.
        self.of(name, labels).fold(0.0, |sum, sample| sum + sample.value)
    }

    /// How many queries this workload sent.
    pub fn queries(&self, namespace: &str, workload: &str) -> f64 {
        self.sum("queries_total", &[("namespace", namespace), ("workload", workload)])
    }

    /// Every namespace and workload that queries were counted for, in order: what a person looks at first.
    pub fn workloads(&self) -> Vec<String> {
        let label = |sample: &Sample, name: &str| sample.labels.get(name).cloned().unwrap_or_default();
        let names = self.of("queries_total", &[]);
        let mut all: Vec<String> = names
            .map(|sample| format!("{}/{}", label(sample, "namespace"), label(sample, "workload")))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Reads a line of the classic text format; `None` for a comment, or for another's metric.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.strip_prefix("nslookout_")?.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    // No value of ours has a quotation mark or a comma in it.
    let pairs = labels.split(',').filter_map(|pair| {
        let (label, value) = pair.split_once('=')?;
        Some((label.to_owned(), value.trim_matches('"').to_owned()))
    });
    Some(Sample { name: name.to_owned(), labels: pairs.collect(), value: value.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_chosen_by_name_and_labels() {
        let text = "# TYPE nslookout_queries_total counter\n\
                    nslookout_queries_total{namespace=\"shop\",workload=\"cart\",qtype=\"A\"} 3\n\
                    nslookout_queries_total{namespace=\"shop\",workload=\"cart\",qtype=\"AAAA\"} 4\n\
                    nslookout_queries_total{namespace=\"shop\",workload=\"web\",qtype=\"A\"} 9\n\
                    nslookout_series 12\nother_total 5\n";
        let metrics = Metrics(text.lines().filter_map(sample).collect());
        assert_eq!(metrics.queries("shop", "cart"), 7.0);
        assert_eq!(metrics.sum("series", &[]), 12.0);
        assert_eq!(metrics.workloads(), ["shop/cart", "shop/web"]);
    }
}
