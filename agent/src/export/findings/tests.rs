//! Who a finding is about, how words are broken into lines, and how the packets of an example are drawn.

use jiff::tz::TimeZone;

use super::text::wrap;
use super::*;
use crate::capture::frame::Timestamp;
use crate::correlate::ClientId;
use crate::findings::Packet;
use crate::packet::Transport;

#[test]
fn subjects_are_told_by_address_and_name() {
    let names: Names = [(Ifindex(2), "cali2".to_owned()), (Ifindex(5), "eth0".to_owned())].into();
    let client = ClientId { interface: Some(Ifindex(2)), address: "10.1.0.5".parse().unwrap() };
    let server = "10.96.0.10".parse().unwrap();
    let check = |subject: Subject, words: &str, interface: Option<&str>| {
        assert_eq!(subject_now(&subject, &names), words);
        assert_eq!(interface_of(&subject, &names).as_deref(), interface, "{words}");
    };
    check(Subject::client(client), "10.1.0.5", Some("cali2"));
    check(Subject::client_of(client, server), "10.1.0.5 at 10.96.0.10", Some("cali2"));
    check(Subject::server(server), "server 10.96.0.10", None);
    check(Subject::interface(Ifindex(5)), "eth0", Some("eth0"));
    check(Subject::interface(Ifindex(9)), "interface 9", None);
    check(
        Subject { server: Some(server), ..Subject::interface(Ifindex(5)) },
        "eth0 at 10.96.0.10",
        Some("eth0"),
    );
}

#[test]
fn words_are_wrapped_and_never_broken() {
    let check = |words: &str, expected: &str| {
        let mut text = String::new();
        wrap(&mut text, words, 1, 3);
        assert_eq!(text, expected);
    };
    check("short", " short\n");
    let word = "x".repeat(40);
    check(&format!("{word} {}", &word[2..]), &format!(" {word} {}\n", &word[2..]));
    check(&format!("{word} {word}"), &format!(" {word}\n   {word}\n"));
    let long = "y".repeat(100);
    check(&format!("a {long} b"), &format!(" a\n   {long}\n   b\n"));
}

/// Packets as `FROM TO TEXT`, drawn.
fn drawn(packets: &[(&str, &str, &str)]) -> String {
    let packet = |(source, destination, text): &(&str, &str, &str)| Packet {
        time: Timestamp::from_nanos(1_000_000),
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        transport: Transport::Udp,
        text: (*text).to_owned(),
    };
    let packets: Vec<Packet> = packets.iter().map(packet).collect();
    let mut text = String::new();
    example::write(&mut text, &packets, &TimeZone::UTC, 0);
    text
}

#[test]
fn an_example_names_the_parties_once() {
    let (client, server) = ("10.0.0.1:4000", "10.0.0.53:53");
    let text = drawn(&[(client, server, "A?"), (server, client, "ok"), (server, client, "[nothing]")]);
    let expected = "\
10.0.0.1:4000 and 10.0.0.53:53 over udp
  00:00:00.001 > A?
  00:00:00.001 < ok
  00:00:00.001   [nothing]
";
    assert_eq!(text, expected);
}

#[test]
fn several_ports_and_a_server_that_was_not_asked() {
    let text = drawn(&[
        ("10.0.0.1:4000", "10.0.0.53:53", "A?"),
        ("10.0.0.1:50001", "10.0.0.53:53", "AAAA?"),
        ("10.0.0.53:53", "10.0.0.1:4000", "ok"),
        ("10.0.0.54:53", "10.0.0.1:50001", "ok"),
    ]);
    let expected = "\
10.0.0.1 and 10.0.0.53:53 over udp
  00:00:00.001 :4000  > A?
  00:00:00.001 :50001 > AAAA?
  00:00:00.001 :4000  < ok
10.0.0.1 and 10.0.0.54:53 over udp
  00:00:00.001 :50001 < ok
";
    assert_eq!(text, expected);
}
