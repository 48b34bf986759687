//! Responses in fragments, whole and not.

use super::super::play::check;
use super::*;

const ID: FindingId = FindingId::Fragmented;

#[test]
fn responses_in_two_fragments() {
    let steps = [
        "1000 ? 40001 7 A a.example edns=4096",
        "1000.5 ! 40001 7 A a.example answers=100 frag",
        "4000 ? 40002 8 A a.example edns=4096",
        "4000.5 ! 40002 8 A a.example answers=100 frag",
    ];
    check(ID, &steps, &["opened 10.0.0.2 10.0.0.53 low/low x1", "changed 10.0.0.2 10.0.0.53 low/high x2"]);
}

#[test]
fn a_fragment_that_never_comes_is_worse() {
    let steps = [
        "1000 ? 40001 7 A a.example edns=4096",
        "1000.5 ! 40001 7 A a.example answers=100 frag=lost",
        "40000 ? 40002 8 A a.example edns=4096",
        "40000.5 ! 40002 8 A a.example answers=100 frag=lost",
        "80000 tick",
    ];
    check(ID, &steps, &["opened 10.0.0.2 10.0.0.53 low/low x1", "changed 10.0.0.2 10.0.0.53 high/medium x2"]);
    // It may have come and been lost here.
    let lost = ["900 lost 0", "35000 lost 1", "80000 lost 2"];
    let steps = [&lost[..1], &steps[..2], &lost[1..2], &steps[2..4], &lost[2..]].concat();
    check(ID, &steps, &[]);
}

#[test]
fn large_ones_in_one_piece_are_silence() {
    let steps = ["1000 ? 40001 7 A a.example edns=4096", "1000.5 ! 40001 7 A a.example answers=100"];
    check(ID, &steps, &[]);
}
