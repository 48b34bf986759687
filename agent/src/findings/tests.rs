//! The list of rules, the ledger, losses and occurrences.

use super::*;

#[test]
fn every_rule_is_in_the_list_once_and_in_the_order_of_a_report() {
    let ids: Vec<FindingId> = detectors().iter().map(|detector| detector.id()).collect();
    assert_eq!(ids, FindingId::ALL);
}
