//! Messages as a stream of bytes (RFC 1035 section 4.2.2, RFC 7766): cut anywhere, lost, repeated, out of order.

use super::capture::{Capture, Side, Stream, both};
use super::message::{Message, pattern, types};
use super::{Case, Truth, large, small};
use crate::generate::packet::{ACK, FIN, PSH, RST};

pub(super) const CASES: [Case; 18] = [
    small("tcp-two-in-one-segment", two_in_one_segment),
    small("tcp-one-in-three-segments", one_in_three_segments),
    small("tcp-prefix-cut", prefix_cut),
    small("tcp-prefix-alone", prefix_alone),
    small("tcp-mid-stream", mid_stream),
    small("tcp-mid-message", mid_message),
    small("tcp-retransmitted", retransmitted),
    small("tcp-overlapping", overlapping),
    small("tcp-reordered", reordered),
    small("tcp-fast-open", fast_open),
    small("tcp-fin-amid", fin_amid),
    small("tcp-rst-amid", rst_amid),
    small("tcp-hole", hole),
    small("tcp-sequence-wrap", sequence_wrap),
    small("tcp-pipelined", pipelined),
    small("tcp-53-to-53", port_53_to_53),
    small("tcp-port-again", port_again),
    large("tcp-answer-60000", answer_60000),
];

/// Sequence number of the first byte of the client's data.
const FIRST: u32 = 0x1000_0001;

fn query(id: u16) -> Message {
    Message::query(id, "www.example.com", types::A)
}

fn response(id: u16) -> Message {
    Message::response(id, "www.example.com", types::A).address(types::A)
}

/// An answer of 300 bytes, whose address stands at the end.
fn long_response(id: u16) -> Message {
    Message::response(id, "www.example.com", types::A).filled(284).address(types::A)
}

/// What `talk` says, in one connection of each family, with handshake and end.
fn connections(capture: &mut Capture, talk: impl Fn(&mut Capture, &mut Stream)) {
    for (client, server) in both(40_000) {
        let mut stream = Stream::open(capture, client, server, FIRST);
        talk(capture, &mut stream);
        stream.close(capture);
        capture.wait_ms(100);
    }
}

fn two_in_one_segment(capture: &mut Capture) -> Truth {
    connections(capture, |capture, stream| {
        stream.send(capture, Side::Client, &[query(1).prefixed(), query(2).prefixed()].concat());
        stream.send(capture, Side::Server, &[response(1).prefixed(), response(2).prefixed()].concat());
        // One and a half, then the other half and one more.
        let three = [query(3).prefixed(), query(4).prefixed(), query(5).prefixed()].concat();
        stream.send_cut(capture, Side::Client, &three, &[50]);
        let three = [response(3).prefixed(), response(4).prefixed(), response(5).prefixed()].concat();
        stream.send_cut(capture, Side::Server, &three, &[70]);
    });
    Truth::all_answered(10)
}

fn one_in_three_segments(capture: &mut Capture) -> Truth {
    connections(capture, |capture, stream| {
        stream.send_cut(capture, Side::Client, &query(1).prefixed(), &[10, 20]);
        stream.send_cut(capture, Side::Server, &long_response(1).prefixed(), &[100, 200]);
    });
    Truth::all_answered(2)
}

/// One byte of the length in each segment.
fn prefix_cut(capture: &mut Capture) -> Truth {
    connections(capture, |capture, stream| {
        stream.send_cut(capture, Side::Client, &query(1).prefixed(), &[1]);
        stream.send_cut(capture, Side::Server, &response(1).prefixed(), &[1]);
        // The second message's length is cut behind a whole first message.
        let two = [query(2).prefixed(), query(3).prefixed()].concat();
        let first = query(2).prefixed().len();
        stream.send_cut(capture, Side::Client, &two, &[first + 1]);
        stream.send(capture, Side::Server, &[response(2).prefixed(), response(3).prefixed()].concat());
    });
    Truth::all_answered(6)
}

/// Two writes of the application, as Python or Java code often does.
fn prefix_alone(capture: &mut Capture) -> Truth {
    connections(capture, |capture, stream| {
        stream.send_cut(capture, Side::Client, &query(1).prefixed(), &[2]);
        stream.send_cut(capture, Side::Server, &response(1).prefixed(), &[2]);
    });
    Truth::all_answered(2)
}

/// The capture begins in a connection, at a message's beginning.
fn mid_stream(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let mut stream = Stream::new(client, server, FIRST);
        stream.skip(Side::Client, 5_000);
        stream.skip(Side::Server, 70_000);
        for id in [1, 2] {
            stream.send(capture, Side::Client, &query(id).prefixed());
            stream.send_cut(capture, Side::Server, &long_response(id).prefixed(), &[120]);
        }
        stream.close(capture);
    }
    Truth::all_answered(4)
}

/// The capture begins in the middle of an answer; the next lookup is whole.
fn mid_message(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let mut stream = Stream::new(client, server, FIRST);
        stream.send(capture, Side::Server, &long_response(1).prefixed()[150..]);
        stream.send(capture, Side::Client, &query(2).prefixed());
        stream.send(capture, Side::Server, &response(2).prefixed());
        stream.close(capture);
    }
    Truth::all_answered(2)
}

/// Every segment comes twice, at once or after the whole: one message each.
fn retransmitted(capture: &mut Capture) -> Truth {
    connections(capture, |capture, stream| {
        let (asked, told) = (query(1).prefixed(), long_response(1).prefixed());
        stream.segment(capture, Side::Client, 0, PSH | ACK, &asked);
        stream.segment(capture, Side::Client, 0, PSH | ACK, &asked);
        stream.skip(Side::Client, asked.len());
        for from in [0, 100, 0, 200, 100] {
            let end = (from + 100).min(told.len());
            stream.segment(capture, Side::Server, from as u32, ACK, &told[from..end]);
        }
        stream.segment(capture, Side::Server, 300, PSH | ACK, &told[300..]);
        stream.segment(capture, Side::Server, 0, PSH | ACK, &told);
        stream.skip(Side::Server, told.len());
    });
    Truth::all_answered(2)
}

/// Segments that repeat a part of what came and bring something new.
fn overlapping(capture: &mut Capture) -> Truth {
    connections(capture, |capture, stream| {
        stream.send(capture, Side::Client, &query(1).prefixed());
        let told = [long_response(1).prefixed(), response(2).prefixed()].concat();
        for (from, to) in [(0, 120), (60, 200), (150, told.len())] {
            stream.segment(capture, Side::Server, from as u32, ACK, &told[from..to]);
        }
        stream.skip(Side::Server, told.len());
        stream.send(capture, Side::Client, &query(3).prefixed());
        stream.send(capture, Side::Server, &response(3).prefixed());
    });
    // The answer with ID 2 has no query.
    Truth { messages: 10, answered: 4, ..Truth::default() }
}

/// The second half comes first.
fn reordered(capture: &mut Capture) -> Truth {
    connections(capture, |capture, stream| {
        let asked = [query(1).prefixed(), query(2).prefixed()].concat();
        stream.segment(capture, Side::Client, 40, PSH | ACK, &asked[40..]);
        stream.segment(capture, Side::Client, 0, ACK, &asked[..40]);
        stream.skip(Side::Client, asked.len());
        let told = [long_response(1).prefixed(), response(2).prefixed()].concat();
        for (from, to) in [(200, 320), (320, told.len()), (100, 200), (0, 100)] {
            stream.segment(capture, Side::Server, from as u32, ACK, &told[from..to]);
        }
        stream.skip(Side::Server, told.len());
    });
    Truth::all_answered(4)
}

/// The query travels with SYN (RFC 7413).
fn fast_open(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let mut stream = Stream::new(client, server, FIRST);
        let asked = query(1).prefixed();
        stream.syn(capture, &asked);
        stream.skip(Side::Client, asked.len());
        stream.syn_ack(capture, asked.len() as u32);
        stream.segment(capture, Side::Client, asked.len() as u32, ACK, b"");
        stream.send(capture, Side::Server, &response(1).prefixed());
        stream.close(capture);
        capture.wait_ms(100);
    }
    Truth::all_answered(2)
}

/// The server ends in the middle of its answer: what came of it is known, and that it is not all.
fn fin_amid(capture: &mut Capture) -> Truth {
    end_amid(capture, FIN)
}

fn rst_amid(capture: &mut Capture) -> Truth {
    end_amid(capture, RST)
}

fn end_amid(capture: &mut Capture, flag: u8) -> Truth {
    for (client, server) in both(40_000) {
        let mut stream = Stream::open(capture, client, server, FIRST);
        stream.send(capture, Side::Client, &query(1).prefixed());
        stream.send(capture, Side::Server, &long_response(1).prefixed()[..100]);
        stream.segment(capture, Side::Server, 100, flag | ACK, b"");
        capture.wait_ms(100);
    }
    Truth::all_answered(2)
}

/// A segment in the middle of an answer was not captured, though the client has it; the next lookup is whole.
fn hole(capture: &mut Capture) -> Truth {
    connections(capture, |capture, stream| {
        stream.send(capture, Side::Client, &query(1).prefixed());
        let told = long_response(1).prefixed();
        stream.send(capture, Side::Server, &told[..100]);
        stream.skip(Side::Server, 100);
        stream.send(capture, Side::Server, &told[200..]);
        capture.wait_ms(50);
        stream.send(capture, Side::Client, &query(2).prefixed());
        stream.send(capture, Side::Server, &response(2).prefixed());
    });
    Truth::all_answered(4)
}

/// Sequence numbers pass 2^32 within a query, and between two.
fn sequence_wrap(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let mut stream = Stream::open(capture, client, server, 0u32.wrapping_sub(20));
        for id in [1, 2] {
            stream.send_cut(capture, Side::Client, &query(id).prefixed(), &[10, 30]);
            stream.send(capture, Side::Server, &response(id).prefixed());
        }
        stream.close(capture);
        capture.wait_ms(100);
    }
    Truth::all_answered(4)
}

/// Five queries before the first answer; the answers come in another order (RFC 7766 section 7).
fn pipelined(capture: &mut Capture) -> Truth {
    connections(capture, |capture, stream| {
        let qname = |id| format!("name{id}.example.com");
        for id in 1..=5 {
            stream.send(capture, Side::Client, &Message::query(id, &qname(id), types::A).prefixed());
        }
        for id in [3, 1, 5, 4, 2] {
            let response = Message::response(id, &qname(id), types::A).address(types::A);
            stream.send(capture, Side::Server, &response.prefixed());
        }
    });
    Truth::all_answered(10)
}

fn port_53_to_53(capture: &mut Capture) -> Truth {
    for (client, server) in both(53) {
        let mut stream = Stream::open(capture, client, server, FIRST);
        for id in [1, 2] {
            stream.send(capture, Side::Client, &query(id).prefixed());
            stream.send_cut(capture, Side::Server, &long_response(id).prefixed(), &[120]);
        }
        stream.close(capture);
        capture.wait_ms(100);
    }
    Truth::all_answered(4)
}

/// A connection ends amid a message, and another one begins between the same ports with other numbers.
fn port_again(capture: &mut Capture) -> Truth {
    for (client, server) in both(40_000) {
        let mut stream = Stream::open(capture, client, server, FIRST);
        stream.send(capture, Side::Client, &query(1).prefixed()[..20]);
        stream.segment(capture, Side::Client, 20, RST, b"");
        capture.wait_ms(5_000);
        let mut stream = Stream::open(capture, client, server, 0x5000_0001);
        stream.send(capture, Side::Client, &query(1).prefixed());
        stream.send(capture, Side::Server, &response(1).prefixed());
        stream.close(capture);
        capture.wait_ms(100);
    }
    Truth::all_answered(2)
}

/// 60,000 bytes in full segments, and once in a single one as the kernel's offload hands them up.
fn answer_60000(capture: &mut Capture) -> Truth {
    connections(capture, |capture, stream| {
        let big = |id| {
            let text = [&[255][..], &pattern(255)].concat().repeat(100);
            Message::response(id, "www.example.com", types::TXT)
                .answer(types::TXT, &text)
                .filled(60_000)
                .prefixed()
        };
        let asked = |id| Message::query(id, "www.example.com", types::TXT).prefixed();
        stream.send(capture, Side::Client, &asked(1));
        let cuts: Vec<usize> = (1_448..60_002).step_by(1_448).collect();
        stream.send_cut(capture, Side::Server, &big(1), &cuts);
        stream.send(capture, Side::Client, &asked(2));
        stream.send(capture, Side::Server, &big(2));
    });
    Truth::all_answered(4)
}
