//! TC and nothing behind it, and all that looks like it.

use super::super::play::{Play, check};
use super::*;
use crate::identity::facts::{Container, Instance, Libc, LibcKind};
use crate::identity::who::tests::pod;

/// A lookup at `at` seconds whose A is truncated and whose AAAA is not there, with the IDs of musl 1.2.3.
fn lookup(at: u64, answers: u64, more: &str) -> Vec<String> {
    let (ms, port, id) = (at * 1000, 40_000 + at, 0x1010 + 0x0201 * at);
    let name = "big.example";
    vec![
        format!("{ms} ? {port} {id} A {name} {more}"),
        format!("{ms}.01 ? {port} {} AAAA {name} {more}", id + 35 + at % 5),
        format!("{ms}.5 ! {port} {id} A {name} tc answers={answers}"),
        format!("{ms}.6 ! {port} {} AAAA {name} soa", id + 35 + at % 5),
    ]
}

fn lookups(times: std::ops::Range<u64>, answers: u64, more: &str) -> Vec<String> {
    times.step_by(3).flat_map(|at| lookup(at, answers, more)).collect()
}

#[track_caller]
fn check_lines(steps: &[String], more: &[&str], expected: &[&str]) {
    let mut steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    steps.extend(more);
    check(FindingId::TruncatedNoTcp, &steps, expected);
}

#[test]
fn once_is_a_note_twice_an_incident_and_a_fingerprint_makes_it_certain() {
    check_lines(
        &lookups(1..14, 0, ""),
        &["30000 tick"],
        &[
            "opened 10.0.0.2 10.0.0.53 low/low x1",
            "changed 10.0.0.2 10.0.0.53 high/medium x2",
            "changed 10.0.0.2 10.0.0.53 high/high x4",
        ],
    );
}

#[test]
fn some_addresses_are_worse_than_they_look_and_less_certain() {
    check_lines(
        &lookups(1..5, 29, ""),
        &["30000 tick"],
        &["opened 10.0.0.2 10.0.0.53 low/low x1", "changed 10.0.0.2 10.0.0.53 warning/low x2"],
    );
}

#[test]
fn the_details_say_what_a_person_needs() {
    let steps = lookups(1..5, 0, "");
    let mut play = Play::new(FindingId::TruncatedNoTcp);
    play.steps(&steps.iter().map(String::as_str).collect::<Vec<_>>()).steps(&["30000 tick"]);
    let Details { summary, because, example, remedies, .. } = play.details();
    assert_eq!(
        summary,
        "10.0.0.2 gets no A record of big.example.: the answer of 10.0.0.53 does not fit into UDP, and the client never asks \
         over TCP"
    );
    assert!(because[1].contains("no EDNS"), "{because:?}");
    let texts: Vec<&str> = example.iter().map(|packet| packet.text.as_str()).collect();
    let id = 0x1010 + 0x0201 * 4;
    assert_eq!(
        texts,
        [
            format!("A? big.example. id {id}, no EDNS").as_str(),
            &format!("TRUNCATED 29 B, 0 A, 0 CNAME, id {id}"),
            "[no TCP within 2 s]",
        ]
    );
    assert_eq!(remedies[0].lines, ["FROM alpine:3.20"]);
}

#[test]
fn tcp_in_any_form_is_silence() {
    for tcp in [
        // A new connection, by its SYN alone, and one that was there before.
        &["1000.9 syn 50001", "1001 synack 50001", "1001.1 ? 50001 7 A big.example tcp"][..],
        &["1000.9 syn 50001", "1001 synack 50001"],
        &["1500 ? 50001 7 A other.example tcp"],
    ] {
        check_lines(&lookup(1, 0, ""), &[tcp, &["30000 tick"]].concat(), &[]);
    }
}

#[test]
fn who_comes_back_now_and_then_is_not_believed_to_be_unable() {
    let mut steps = lookup(1, 0, "");
    let tcp = [
        "syn 50001",
        "synack 50001",
        "? 50001 4625 A big.example tcp",
        "! 50001 4625 A big.example tcp answers=60",
    ];
    steps.extend(tcp.iter().zip([1001, 1002, 1003, 1004]).map(|(step, at)| format!("{at} {step}")));
    steps.extend(lookup(4, 0, ""));
    steps.extend(lookup(7, 0, ""));
    check_lines(&steps, &["30000 tick"], &["opened 10.0.0.2 10.0.0.53 low/low x1"]);
}

#[test]
fn another_servers_whole_answer_is_silence_before_and_behind() {
    for whole in ["0.4", "0.9"] {
        let both = [
            "1000 ? 40001 7 A big.example",
            "1000.01 ? 40001 7 A big.example to=54",
            "1000.5 ! 40001 7 A big.example tc",
        ];
        let whole = format!("100{whole} ! 40001 7 A big.example from=54 answers=60");
        let mut steps: Vec<&str> = both.to_vec();
        let place = if whole.starts_with("1000.4") { 2 } else { 3 };
        steps.insert(place, &whole);
        check(FindingId::TruncatedNoTcp, &[&steps[..], &["30000 tick"]].concat(), &[]);
    }
}

#[test]
fn tools_and_clients_that_take_more_are_silence() {
    for more in ["ad", "edns=1232", "edns=4096 ad"] {
        check_lines(&lookups(1..11, 0, more), &["30000 tick"], &[]);
    }
    // EDNS of 512 bytes is no more than none.
    check_lines(&lookup(1, 0, "edns=512"), &["30000 tick"], &["opened 10.0.0.2 10.0.0.53 low/low x1"]);
}

#[test]
fn nslookup_of_busybox_with_random_ids_is_silence() {
    let steps: Vec<String> = (1..8)
        .flat_map(|at| {
            let (ms, port, id) = (at * 1000, 40_000 + at, 7001 * at);
            vec![
                format!("{ms} ? {port} {id} A big.example"),
                format!("{ms}.01 ? {port} {} AAAA big.example", (id + 33_333) % 65_536),
                format!("{ms}.5 ! {port} {id} A big.example tc"),
                format!("{ms}.6 ! {port} {} AAAA big.example soa", (id + 33_333) % 65_536),
            ]
        })
        .collect();
    check_lines(&steps, &["30000 tick"], &[]);
}

#[test]
fn a_capture_that_begins_or_ends_in_between_is_silence() {
    check_lines(&lookup(1, 0, "")[2..], &["30000 tick"], &[]);
    check_lines(&lookup(1, 0, ""), &["2900 tick"], &[]);
}

#[test]
fn a_truncated_response_over_tcp_is_silence() {
    let steps = [
        "1000 syn 40001",
        "1000.1 synack 40001",
        "1000.2 ? 40001 7 A big.example tcp",
        "1000.3 ! 40001 7 A big.example tcp tc",
        "30000 tick",
    ];
    check(FindingId::TruncatedNoTcp, &steps, &[]);
}

#[test]
fn what_was_lost_may_have_been_the_tcp() {
    let steps = lookup(1, 0, "");
    check_lines(&[vec!["900 lost 0".to_owned()], steps].concat(), &["3200 lost 1", "30000 tick"], &[]);
    // Three against one are an incident.
    let steps = lookups(1..8, 0, "");
    check_lines(
        &[vec!["900 lost 0".to_owned()], steps].concat(),
        &["8900 lost 1", "30000 tick"],
        &["opened 10.0.0.2 10.0.0.53 low/low x1", "changed 10.0.0.2 10.0.0.53 high/medium x2"],
    );
}

#[test]
fn asked_again_with_more_room_and_answered_is_silence() {
    let steps: Vec<String> = (1..5)
        .flat_map(|at| {
            let (ms, port) = (at * 1000, 40_000 + at);
            vec![
                format!("{ms} ? {port} {at} A big.example"),
                format!("{ms}.5 ! {port} {at} A big.example tc"),
                format!("{ms}.7 ? {port} 7{at} A big.example edns=4096"),
                format!("{ms}.9 ! {port} 7{at} A big.example answers=40"),
            ]
        })
        .collect();
    check_lines(&steps, &["20000 tick"], &[]);
}

/// The files of the client's image: musl of this version.
fn image(version: &str) -> Instance {
    let mut instance = Instance::clone(&pod("cart-7d9f", "cart"));
    let libc =
        Libc { kind: LibcKind::Musl, version: Some(version.into()), release: Some("Alpine 3.18".into()) };
    let container =
        Container { name: "app".into(), image: Some("cart:1".into()), id: None, libc: Some(libc) };
    instance.containers = vec![container];
    instance
}

#[test]
fn the_files_make_it_certain_before_the_fingerprint_does() {
    let mut play = Play::new(FindingId::TruncatedNoTcp);
    let steps = lookups(1..5, 0, "");
    play.learn(0, image("1.2.3"));
    play.steps(&steps.iter().map(String::as_str).collect::<Vec<_>>()).steps(&["30000 tick"]);
    assert_eq!(play.said().last().map(String::as_str), Some("changed 10.0.0.2 10.0.0.53 high/high x2"));
    let because = play.details().because.join("\n");
    assert!(because.contains("its image cart:1 has musl 1.2.3 (Alpine 3.18, from its files)"), "{because}");
}

/// A lookup at `at` seconds that is truncated and asked over TCP, where the answer has so many addresses.
fn over_tcp(at: u64, answers: u64) -> Vec<String> {
    let (ms, port) = (at * 1000, 40_000 + at);
    vec![
        format!("{ms} ? {port} 7 A big.example"),
        format!("{ms}.5 ! {port} 7 A big.example tc"),
        format!("{ms}.6 syn {}", port + 1000),
        format!("{ms}.7 synack {}", port + 1000),
        format!("{ms}.8 ? {} 7 A big.example tcp", port + 1000),
        format!("{ms}.9 ! {} 7 A big.example tcp answers={answers}", port + 1000),
    ]
}

#[test]
fn musl_124_reads_768_bytes_of_the_answer() {
    let check = |version: &str, answers, expected: &[&str]| {
        let mut play = Play::new(FindingId::TruncatedNoTcp);
        let steps: Vec<String> = [1, 4, 7].into_iter().flat_map(|at| over_tcp(at, answers)).collect();
        play.learn(0, image(version));
        play.steps(&steps.iter().map(String::as_str).collect::<Vec<_>>()).finish();
        assert_eq!(play.said(), expected, "{version} {answers}");
    };
    let found = ["opened 10.0.0.2 10.0.0.53 low/low x1", "changed 10.0.0.2 10.0.0.53 warning/medium x2"];
    check("1.2.4", 59, &found);
    // What fits is read, and others have more room.
    check("1.2.4", 30, &[]);
    check("1.2.4_git20230717", 59, &[]);
    check("1.2.5", 59, &[]);
}
