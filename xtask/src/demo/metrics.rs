//! The lines of `/metrics` that a person would look at first.

/// The families of interest, in the order of the screen.
const FAMILIES: &[&str] = &[
    "nslookout_queries_total",
    "nslookout_truncated_responses_total",
    "nslookout_unanswered_queries_total",
    "nslookout_query_duration_seconds",
    "nslookout_server_queries_total",
    "nslookout_interface_linklocal_packets_total",
    "nslookout_attached_interfaces",
    "nslookout_capture_packets_total",
    "nslookout_capture_drops_total",
];

/// Prints the samples of these families: of histograms the sum and the count, of counters those that counted.
///
/// A zero is shown where it is the news: nothing was lost.
pub fn show(exposition: &str) {
    for family in FAMILIES {
        for (series, value) in samples(exposition) {
            let is_shown = name(series) == *family
                || [format!("{family}_sum"), format!("{family}_count")]
                    .iter()
                    .any(|part| name(series) == part);
            if is_shown && (value != 0.0 || family.contains("drops")) {
                println!("{series} {value}");
            }
        }
    }
}

/// The sum over all series of a family.
pub fn sum(exposition: &str, family: &str) -> f64 {
    samples(exposition).filter(|(series, _)| name(series) == family).map(|(_, value)| value).sum()
}

/// Every series with its value.
fn samples(exposition: &str) -> impl Iterator<Item = (&str, f64)> {
    exposition
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(series, value)| Some((series, value.parse().ok()?)))
}

/// The series without its labels.
fn name(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_of_one_family_alone() {
        let text = "# TYPE a counter\na_total{x=\"1 2\"} 3\na_total{x=\"b\"} 4\na_total_more 5\nb_total 6\n";
        assert_eq!(sum(text, "a_total"), 7.0);
    }
}
