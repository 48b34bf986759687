//! What the engine does with fragments: each is counted once, and what they make goes the way of whole packets.

use super::{Counted, Engine, Report, to_server};
use crate::capture::frame::{Frame, LinkType, Timestamp};
use crate::packet::fragments::{Datagram, Earlier, Fate, Taken};
use crate::packet::{Fragment, Payload};
use crate::tally::{MalformedKind, PacketResult};

impl Engine {
    /// Takes one fragment. It has a result at once where its first fragment was seen, so that the ledger closes while
    /// its datagram waits for others; those that came before the first get theirs with it.
    pub(super) fn fragment(
        &mut self,
        frame: &Frame<'_>,
        fragment: &Fragment<'_>,
        emit: &mut dyn FnMut(Report<'_>),
    ) {
        let Self { fragments, ports, .. } = self;
        let mut beginnings = Vec::new();
        let wanted = |payload: &Payload<'_>| to_server(ports, payload);
        let deliver = &mut |beginning| beginnings.push(beginning);
        let Taken { earlier, fate } =
            fragments.take(frame.time, frame.place.as_ref(), fragment, &wanted, deliver);
        self.tally.fragments = self.fragments.counts();
        for beginning in &beginnings {
            self.datagram(beginning, emit);
        }
        let (to_server, result) = match fate {
            Fate::Undecided => return,
            Fate::Foreign => {
                return (0..=earlier.parts + earlier.duplicates).for_each(|_| self.tally.filtered());
            }
            Fate::Held { to_server } | Fate::Dropped { to_server } => (to_server, PacketResult::Fragment),
            Fate::Duplicate { to_server } => (to_server, PacketResult::Duplicate),
            Fate::Unreadable(error) => {
                self.count_earlier(frame, true, earlier);
                return self.undecoded(frame, error, emit);
            }
            Fate::Complete(datagram) => {
                self.count_earlier(frame, datagram.to_server, earlier);
                return self.datagram(&datagram, emit).count(&mut self.tally);
            }
        };
        self.tally.span(frame.time);
        self.count_earlier(frame, to_server, earlier);
        Counted::new(frame.place.as_ref(), to_server, result).count(&mut self.tally);
    }

    /// Ends what has waited too long before `watermark`; gives the time before which every message was seen.
    pub(super) fn tick_fragments(
        &mut self,
        watermark: Timestamp,
        emit: &mut dyn FnMut(Report<'_>),
    ) -> Timestamp {
        let mut beginnings = Vec::new();
        self.fragments.tick(watermark, &mut |beginning| beginnings.push(beginning));
        self.given_up(&beginnings, emit);
        self.fragments.settled(watermark)
    }

    /// Ends what still waits, at the end of the capture.
    pub(super) fn finish_fragments(&mut self, emit: &mut dyn FnMut(Report<'_>)) {
        let mut beginnings = Vec::new();
        self.fragments.finish(&mut |beginning| beginnings.push(beginning));
        self.given_up(&beginnings, emit);
    }

    fn given_up(&mut self, beginnings: &[Datagram], emit: &mut dyn FnMut(Report<'_>)) {
        self.tally.fragments = self.fragments.counts();
        for beginning in beginnings {
            self.datagram(beginning, emit);
        }
    }

    /// Takes what was put together through the rooms; gives how its last fragment is to be counted.
    fn datagram(&mut self, datagram: &Datagram, emit: &mut dyn FnMut(Report<'_>)) -> Counted {
        let Datagram { time, place, to_server, ref bytes, .. } = *datagram;
        let original_length = (bytes.len() + datagram.missing) as u32;
        let frame = Frame { time, place, link_type: LinkType::RawIp, original_length, vlan: None, bytes };
        let counted = match datagram.payload() {
            Ok(payload) => self.payload(&frame, &payload, to_server, emit),
            Err(error) => {
                self.tally.malformed(MalformedKind::Packet);
                emit(Report::Malformed { time, flow: None, error: error.to_string() });
                Counted::new(place.as_ref(), to_server, PacketResult::Malformed)
            }
        };
        match counted.result {
            PacketResult::Message | PacketResult::Snap => {
                Counted { result: PacketResult::Fragment, ..counted }
            }
            _ => counted,
        }
    }

    fn count_earlier(&mut self, frame: &Frame<'_>, to_server: bool, earlier: Earlier) {
        let mut count = |number: u32, result| {
            for _ in 0..number {
                Counted::new(frame.place.as_ref(), to_server, result).count(&mut self.tally);
            }
        };
        count(earlier.parts, PacketResult::Fragment);
        count(earlier.duplicates, PacketResult::Duplicate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::frame::{Direction, Ifindex, InterfaceKind, Place};
    use crate::correlate::{Event, Outcome, Vantage};
    use crate::dns::tests::{dotted, message, question};
    use crate::engine::EngineConfig;

    /// An IPv4 packet between 192.0.2.1 and 192.0.2.53.
    fn ipv4(to_server: bool, identification: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
        let (source, destination) = if to_server { (1, 53) } else { (53, 1) };
        let mut packet = vec![0x45, 0];
        packet.extend_from_slice(&(20 + rest.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0, identification]);
        packet.extend_from_slice(&fragment.to_be_bytes());
        packet.extend_from_slice(&[64, 17, 0, 0, 192, 0, 2, source, 192, 0, 2, destination]);
        [&packet, rest].concat()
    }

    fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
        let length = 8 + payload.len() as u16;
        let words = [source, destination, length, 0];
        [&words.map(u16::to_be_bytes).concat(), payload].concat()
    }

    /// The fragments of `datagram`, of 16 bytes each.
    fn fragments(identification: u8, datagram: &[u8]) -> Vec<Vec<u8>> {
        let parts = datagram.chunks(16).enumerate();
        let more = |at: usize| if (at + 1) * 16 < datagram.len() { 0x2000 } else { 0 };
        parts.map(|(at, part)| ipv4(false, identification, (at as u16 * 2) | more(at), part)).collect()
    }

    /// An engine that has one query open, and gets fragments a millisecond apart.
    struct Rig {
        engine: Engine,
        millis: u64,
        outcomes: Vec<String>,
    }

    impl Rig {
        fn new() -> Self {
            let ports = [53].into_iter().collect();
            let engine = Engine::new(EngineConfig { ports, ..EngineConfig::default() });
            let mut rig = Self { engine, millis: 1_000, outcomes: Vec::new() };
            let query = message(7, 0x0100, [1, 0, 0, 0], &[question(dotted("a.test"), 1)]);
            rig.give(&ipv4(true, 1, 0, &udp(4000, 53, &query)));
            rig
        }

        /// The answer to the query: UDP's header, DNS's header and question, and one address make 48 bytes.
        fn answer() -> Vec<u8> {
            let record = vec![0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, 3];
            udp(53, 4000, &message(7, 0x8180, [1, 1, 0, 0], &[question(dotted("a.test"), 1), record]))
        }

        fn at(millis: u64) -> Timestamp {
            Timestamp::from_nanos(millis * 1_000_000)
        }

        fn give(&mut self, bytes: &[u8]) {
            let place = Some(Place {
                ifindex: Ifindex(2),
                kind: InterfaceKind::Pod,
                // 192.0.2.1 is the pod.
                direction: if bytes[15] == 1 { Direction::Ingress } else { Direction::Egress },
                local_socket: None,
                cgroup: None,
            });
            let time = Self::at(self.millis);
            let original_length = bytes.len() as u32;
            let frame = Frame { time, place, link_type: LinkType::RawIp, original_length, vlan: None, bytes };
            let outcomes = &mut self.outcomes;
            self.engine.frame(&frame, &mut |report| outcomes.extend(outcome(&report)));
            self.millis += 1;
        }

        fn tick(&mut self, millis: u64) {
            let outcomes = &mut self.outcomes;
            self.engine.tick(Self::at(millis), &mut |report| outcomes.extend(outcome(&report)));
        }

        /// Client-side packets by result, those filtered, those that nobody can ascribe; and what happened.
        #[track_caller]
        fn expect(&self, results: &[(PacketResult, u64)], filtered: u64, unascribed: u64, outcomes: &[&str]) {
            let tally = self.engine.tally();
            let mut found: Vec<_> = tally
                .packets
                .iter()
                .map(|((vantage, result), count)| {
                    assert_eq!(*vantage, Vantage::Client);
                    (*result, *count)
                })
                .collect();
            found.sort_unstable();
            assert_eq!(found, results);
            assert_eq!((tally.filtered, tally.fragments.unascribed), (filtered, unascribed));
            assert_eq!(self.outcomes, outcomes);
        }
    }

    fn outcome(report: &Report<'_>) -> Option<String> {
        let Report::Event(Event::Closed(transaction)) = report else { return None };
        Some(match &transaction.outcome {
            Outcome::Answered { response, latency } => {
                assert!(response.fragmented);
                let partial = if response.partial { ", partial" } else { "" };
                format!("answered after {} ms{partial}", latency.as_millis())
            }
            _ => "no answer".to_owned(),
        })
    }

    const QUERY: (PacketResult, u64) = (PacketResult::Message, 1);

    #[test]
    fn every_fragment_has_one_result() {
        let parts = fragments(9, &Rig::answer());
        assert_eq!(parts.len(), 3);
        let check = |order: &[usize], results: &[(PacketResult, u64)], outcome: &str| {
            let mut rig = Rig::new();
            order.iter().for_each(|part| rig.give(&parts[*part]));
            rig.expect(&[&[QUERY], results].concat(), 0, 0, &[outcome]);
        };
        let three = (PacketResult::Fragment, 3);
        check(&[0, 1, 2], &[three], "answered after 3 ms");
        check(&[2, 1, 0], &[three], "answered after 3 ms");
        check(&[1, 1, 0, 0, 2, 2], &[three, (PacketResult::Duplicate, 3)], "answered after 5 ms");
    }

    #[test]
    fn a_lost_fragment_leaves_an_answer_in_part_at_its_own_time() {
        let parts = fragments(9, &Rig::answer());
        let mut rig = Rig::new();
        rig.give(&parts[1]);
        rig.give(&parts[0]);
        rig.expect(&[QUERY, (PacketResult::Fragment, 2)], 0, 0, &[]);
        rig.tick(2_002);
        // Two fragments hold header and question.
        rig.expect(&[QUERY, (PacketResult::Fragment, 2)], 0, 0, &["answered after 2 ms, partial"]);
    }

    /// The first fragment came in time: that the others did not come makes it no missing answer.
    #[test]
    fn a_query_waits_for_what_is_held_of_its_answer() {
        let parts = fragments(9, &Rig::answer());
        let mut rig = Rig::new();
        rig.millis = 6_990;
        rig.give(&parts[0]);
        rig.give(&parts[1]);
        rig.tick(7_900);
        rig.expect(&[QUERY, (PacketResult::Fragment, 2)], 0, 0, &[]);
        rig.tick(8_000);
        rig.expect(&[QUERY, (PacketResult::Fragment, 2)], 0, 0, &["answered after 5990 ms, partial"]);
    }

    #[test]
    fn a_datagram_that_lies_about_its_length_is_malformed() {
        let mut answer = Rig::answer();
        answer[4] = 1;
        let mut rig = Rig::new();
        fragments(9, &answer).iter().for_each(|part| rig.give(part));
        rig.expect(&[QUERY, (PacketResult::Fragment, 2), (PacketResult::Malformed, 1)], 0, 0, &[]);
        assert_eq!(rig.engine.tally().malformed[&MalformedKind::Packet], 1);
    }

    #[test]
    fn foreign_fragments_are_filtered_and_lone_ones_told_apart() {
        let parts = fragments(9, &udp(54, 4000, &[0; 40]));
        let mut rig = Rig::new();
        for part in [2, 1, 0, 1] {
            rig.give(&parts[part]);
        }
        rig.expect(&[QUERY], 4, 0, &[]);
        rig.give(&fragments(10, &Rig::answer())[1]);
        rig.tick(3_000);
        rig.expect(&[QUERY], 4, 1, &[]);
    }
}
