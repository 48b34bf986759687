//! Which response belongs to which query: IDs met twice, queries sent again, answers late, early, twice or from elsewhere.

use super::capture::{Capture, both, other, unreachable};
use super::message::{Message, QUERY, RESPONSE, Section, name, types};
use super::{Case, Truth, small};
use crate::generate::packet;

pub(super) const CASES: [Case; 16] = [
    small("same-id-two-clients", same_id_two_clients),
    small("id-and-port-again", id_and_port_again),
    small("id-again-while-open", id_again_while_open),
    small("sent-again", sent_again),
    small("one-of-two", one_of_two),
    small("two-rcodes-one-socket", two_rcodes_one_socket),
    small("answer-before-query", answer_before_query),
    small("answered-twice", answered_twice),
    small("answered-late", answered_late),
    small("answered-from-elsewhere", answered_from_elsewhere),
    small("mixed-case", mixed_case),
    small("question-count", question_count),
    small("opcodes", opcodes),
    small("port-53-to-53", port_53_to_53),
    small("wrong-direction", wrong_direction),
    small("not-dns", not_dns),
];

/// Two clients, and two ports of one client, use one ID at once; the answers come in the other order.
fn same_id_two_clients(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let clients = [client, other(&client, 2, 40_000), other(&client, 1, 40_001)];
        let names = ["first.example.com", "second.example.com", "third.example.com"];
        for (client, qname) in clients.iter().zip(names) {
            capture.udp(client, &server, &Message::query(0x1234, qname, types::A).bytes());
        }
        for (client, qname) in clients.iter().zip(names).rev() {
            let response = Message::response(0x1234, qname, types::A).address(types::A);
            capture.udp(&server, client, &response.bytes());
        }
    }
    Truth::all_answered(6)
}

/// One socket asks three times with one ID: another name 20 ms later, the first name again a minute later.
fn id_and_port_again(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        for (qname, pause_ms) in
            [("one.example.com", 20), ("two.example.com", 60_000), ("one.example.com", 0)]
        {
            capture.udp(&client, &server, &Message::query(7, qname, types::A).bytes());
            let response = Message::response(7, qname, types::A).address(types::A);
            capture.udp(&server, &client, &response.bytes());
            capture.wait_ms(pause_ms);
        }
    }
    Truth::all_answered(6)
}

/// The first query is never answered; within its window the ID is used for another name, which is.
fn id_again_while_open(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        capture.udp(&client, &server, &Message::query(7, "silent.example.com", types::A).bytes());
        capture.wait_ms(2_000);
        capture.udp(&client, &server, &Message::query(7, "heard.example.com", types::A).bytes());
        let response = Message::response(7, "heard.example.com", types::A).address(types::A);
        capture.udp(&server, &client, &response.bytes());
        capture.wait_ms(10_000);
    }
    Truth { messages: 6, answered: 2, unanswered: 1, waiting: 1, late: 0 }
}

/// glibc after 5 s: the same packet again. Its answer counts from the first send.
fn sent_again(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let query = Message::query(7, "slow.example.com", types::A);
        capture.udp(&client, &server, &query.bytes());
        capture.wait_ms(5_004);
        capture.udp(&client, &server, &query.bytes());
        let response = Message::response(7, "slow.example.com", types::A).address(types::A);
        capture.udp(&server, &client, &response.bytes());
        capture.wait_ms(10);
        // The server heard both.
        capture.udp(&server, &client, &response.bytes());
        capture.wait_ms(100);
        // And once in less than 5 s, three times in all.
        let query = Message::query(8, "slower.example.com", types::A);
        for _ in 0..3 {
            capture.udp(&client, &server, &query.bytes());
            capture.wait_ms(2_500);
        }
        let response = Message::response(8, "slower.example.com", types::A).flags(RESPONSE | 3);
        capture.udp(&server, &client, &response.bytes());
        capture.wait_ms(10_000);
    }
    Truth { messages: 16, answered: 4, ..Truth::default() }
}

/// A is answered, AAAA never.
fn one_of_two(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        capture.udp(&client, &server, &Message::query(1, "half.example.com", types::A).bytes());
        capture.udp(&client, &server, &Message::query(2, "half.example.com", types::AAAA).bytes());
        let response = Message::response(1, "half.example.com", types::A).address(types::A);
        capture.udp(&server, &client, &response.bytes());
        capture.wait_ms(40_000);
    }
    Truth { messages: 6, answered: 2, unanswered: 1, waiting: 1, late: 0 }
}

/// A and AAAA in flight on one socket: with two IDs, and with one as an old musl may send them.
fn two_rcodes_one_socket(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        for (id_a, id_aaaa) in [(11, 12), (13, 13)] {
            capture.udp(&client, &server, &Message::query(id_a, "www.example.com", types::A).bytes());
            capture.udp(&client, &server, &Message::query(id_aaaa, "www.example.com", types::AAAA).bytes());
            let failed = Message::response(id_aaaa, "www.example.com", types::AAAA).flags(RESPONSE | 2);
            capture.udp(&server, &client, &failed.bytes());
            let well = Message::response(id_a, "www.example.com", types::A).address(types::A);
            capture.udp(&server, &client, &well.bytes());
            capture.wait_ms(100);
        }
    }
    Truth::all_answered(8)
}

/// Two CPUs wrote the records: the answer stands 1 ms before its query.
fn answer_before_query(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let response = Message::response(7, "early.example.com", types::A).address(types::A);
        capture.udp(&server, &client, &response.bytes());
        capture.udp(&client, &server, &Message::query(7, "early.example.com", types::A).bytes());
        capture.wait_ms(100);
        // A second too early is no answer to a query that follows.
        let response = Message::response(8, "foreign.example.com", types::A).address(types::A);
        capture.udp(&server, &client, &response.bytes());
        capture.wait_ms(1_000);
        capture.udp(&client, &server, &Message::query(8, "foreign.example.com", types::A).bytes());
        capture.wait_ms(40_000);
    }
    Truth { messages: 8, answered: 2, unanswered: 1, waiting: 1, late: 0 }
}

/// The same answer twice, at once and after a while; another answer after the first.
fn answered_twice(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        for (id, pause_ms) in [(21, 0), (22, 50), (23, 2_000)] {
            capture.udp(&client, &server, &Message::query(id, "twice.example.com", types::A).bytes());
            let response = Message::response(id, "twice.example.com", types::A).address(types::A);
            capture.udp(&server, &client, &response.bytes());
            capture.wait_ms(pause_ms);
            capture.udp(&server, &client, &response.bytes());
        }
        capture.udp(&client, &server, &Message::query(24, "spoofed.example.com", types::A).bytes());
        let first = Message::response(24, "spoofed.example.com", types::A).flags(RESPONSE | 3);
        capture.udp(&server, &client, &first.bytes());
        let second = Message::response(24, "spoofed.example.com", types::A).address(types::A);
        capture.udp(&server, &client, &second.bytes());
    }
    Truth { messages: 24, answered: 8, ..Truth::default() }
}

/// After 7 s, when a client that waits 5 s has long given up.
fn answered_late(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        capture.udp(&client, &server, &Message::query(7, "late.example.com", types::A).bytes());
        capture.wait_ms(7_000);
        let response = Message::response(7, "late.example.com", types::A).address(types::A);
        capture.udp(&server, &client, &response.bytes());
        capture.wait_ms(1_000);
    }
    Truth { messages: 4, unanswered: 2, late: 2, ..Truth::default() }
}

/// From another address, from another port, to another port, and to a query over TCP: none of them is an answer
/// (RFC 5452 section 9.1). The right one comes last.
fn answered_from_elsewhere(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        capture.udp(&client, &server, &Message::query(7, "www.example.com", types::A).bytes());
        let wrong = Message::response(7, "www.example.com", types::A).flags(RESPONSE | 2).bytes();
        capture.udp(&other(&server, 54, 53), &client, &wrong);
        capture.udp(&other(&server, 53, 5_353), &client, &wrong);
        capture.udp(&server, &other(&client, 1, 40_001), &wrong);
        capture.udp(&server, &other(&client, 2, 40_000), &wrong);
        // Another question and another ID.
        let question = Message::response(7, "ww2.example.com", types::A).flags(RESPONSE | 2).bytes();
        capture.udp(&server, &client, &question);
        let id = Message::response(8, "www.example.com", types::A).flags(RESPONSE | 2).bytes();
        capture.udp(&server, &client, &id);
        let right = Message::response(7, "www.example.com", types::A).address(types::A);
        capture.udp(&server, &client, &right.bytes());
        capture.wait_ms(100);
    }
    // What came from port 5353 is no DNS on port 53.
    Truth { messages: 14, answered: 2, ..Truth::default() }
}

/// 0x20: the case of the letters is random; one server repeats it, another one does not.
fn mixed_case(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        for (id, answered) in [(31, "wWw.ExAmPlE.cOm"), (32, "www.example.com")] {
            capture.udp(&client, &server, &Message::query(id, "wWw.ExAmPlE.cOm", types::A).bytes());
            let response = Message::response(id, answered, types::A).address(types::A);
            capture.udp(&server, &client, &response.bytes());
        }
    }
    Truth::all_answered(4)
}

/// No question in the answer, none in both, two in both.
fn question_count(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        capture.udp(&client, &server, &Message::query(41, "www.example.com", types::A).bytes());
        capture.udp(&server, &client, &Message::bare(41, RESPONSE | 5).bytes());
        capture.udp(&client, &server, &Message::bare(42, QUERY).bytes());
        capture.udp(&server, &client, &Message::bare(42, RESPONSE | 1).bytes());
        let two = |flags| {
            Message::bare(43, flags)
                .question(&name("one.example.com"), types::A)
                .question(&name("two.example.com"), types::AAAA)
        };
        capture.udp(&client, &server, &two(QUERY).bytes());
        capture.udp(&server, &client, &two(RESPONSE | 1).bytes());
    }
    Truth::all_answered(6)
}

/// NOTIFY (RFC 1996), UPDATE (RFC 2136) and STATUS.
fn opcodes(capture: &mut Capture) -> Truth {
    const QR: u16 = 0x8000;
    for (client, server) in both(40_000) {
        for (opcode, rcode) in [(2, 4), (4, 0), (5, 5)] {
            let flags = opcode << 11;
            let query = Message::bare(50 + opcode, flags).question(&name("example.com"), types::SOA);
            let sent = match opcode {
                5 => query.clone().record(
                    Section::Authority,
                    &name("new.example.com"),
                    types::A,
                    &[203, 0, 113, 9],
                ),
                _ => query.clone(),
            };
            capture.udp(&client, &server, &sent.bytes());
            capture.udp(&server, &client, &query.flags(QR | flags | rcode).bytes());
        }
    }
    Truth::all_answered(6)
}

/// An old resolver asks from port 53: QR alone tells which way it goes.
fn port_53_to_53(capture: &mut Capture) -> Truth {
    for (client, server) in both(53) {
        for id in [61, 62] {
            capture.udp(&client, &server, &Message::query(id, "www.example.com", types::A).bytes());
            let response = Message::response(id, "www.example.com", types::A).address(types::A);
            capture.udp(&server, &client, &response.bytes());
        }
        // And the other one asks back.
        capture.udp(&server, &client, &Message::query(61, "back.example.com", types::A).bytes());
        let response = Message::response(61, "back.example.com", types::A).address(types::A);
        capture.udp(&client, &server, &response.bytes());
    }
    Truth::all_answered(6)
}

/// A "response" to a server and a "query" from one take part in nothing.
fn wrong_direction(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let response = Message::response(71, "reflected.example.com", types::A).address(types::A);
        capture.udp(&client, &server, &response.bytes());
        capture.udp(&server, &client, &Message::query(72, "reflected.example.com", types::A).bytes());
    }
    Truth::default()
}

/// mDNS, LLMNR and errors that quote DNS use the same bytes and are none; the lookup between them is one.
fn not_dns(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let query = Message::query(7, "www.example.com", types::A).bytes();
        let response = Message::response(7, "www.example.com", types::A).address(types::A).bytes();
        for port in [5_353, 5_355] {
            let from = other(&client, 1, port);
            capture.udp(&from, &other(&server, 251, port), &query);
            capture.udp(&other(&server, 53, port), &from, &response);
        }
        capture.udp(&client, &server, &query);
        capture.frame(unreachable(&server, &client, &packet::udp(&client, &server, &query)));
        capture.udp(&server, &client, &response);
        capture.frame(unreachable(&client, &server, &packet::udp(&server, &client, &response)));
    }
    Truth::all_answered(2)
}
