//! Responses of more bytes than the client takes.

use super::super::play::check;
use super::*;

const ID: FindingId = FindingId::OversizeUdp;

#[test]
fn more_than_512_bytes_without_edns() {
    let steps = [
        "1000 ? 40001 7 A big.example",
        "1000.5 ! 40001 7 A big.example answers=60",
        "2000 ? 40002 8 A big.example",
        "2000.5 ! 40002 8 A big.example answers=60",
    ];
    check(ID, &steps, &["opened 10.0.0.2 10.0.0.53 low/low x1", "changed 10.0.0.2 10.0.0.53 low/medium x2"]);
}

#[test]
fn musl_before_1_2_4_suffers_from_it() {
    let mut steps = Vec::new();
    for at in 1..5 {
        let (ms, port, id) = (1000 * at, 40_000 + at, 0x1010 + 0x0201 * at);
        steps.push(format!("{ms} ? {port} {id} A big.example"));
        steps.push(format!("{ms}.01 ? {port} {} AAAA big.example", id + 35 + at % 5));
        steps.push(format!("{ms}.5 ! {port} {id} A big.example answers=60"));
        steps.push(format!("{ms}.6 ! {port} {} AAAA big.example soa", id + 35 + at % 5));
    }
    let lines: Vec<&str> = steps.iter().map(String::as_str).collect();
    check(
        ID,
        &lines,
        &[
            "opened 10.0.0.2 10.0.0.53 low/low x1",
            "changed 10.0.0.2 10.0.0.53 low/medium x2",
            "changed 10.0.0.2 10.0.0.53 warning/medium x3",
        ],
    );
}

#[test]
fn what_fits_is_silence() {
    for (more, answers) in [("", 30), ("edns=1232", 60), ("edns=100", 29), ("tc", 30)] {
        let query = format!("1000 ? 40001 7 A big.example {more}");
        let response = format!("1000.5 ! 40001 7 A big.example {more} answers={answers}");
        check(ID, &[&query, &response], &[]);
    }
    // 65 records of 16 bytes behind 29: 1,069 bytes, and TCP takes them all.
    let tcp = [
        "1000 syn 50001",
        "1000.1 synack 50001",
        "1000.2 ? 50001 7 A big.example tcp",
        "1000.3 ! 50001 7 A big.example tcp answers=65",
    ];
    check(ID, &tcp, &[]);
}

#[test]
fn beyond_the_size_that_edns_offers() {
    let steps =
        ["1000 ? 40001 7 A big.example edns=600", "1000.5 ! 40001 7 A big.example answers=60 edns=1232"];
    check(ID, &steps, &["opened 10.0.0.2 10.0.0.53 low/low x1"]);
}
