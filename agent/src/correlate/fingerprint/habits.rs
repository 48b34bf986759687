//! What a client does, counted: small numbers, the same few for every client.

use std::net::IpAddr;
use std::time::Duration;

use super::Fingerprint;
use super::signs::{Signs, add};
use super::verdict::verdict;
use crate::capture::frame::Timestamp;
use crate::correlate::lookups::Lookup;
use crate::correlate::{Outcome, Sent, Transaction};
use crate::dns::{Header, Question, Rcode, RecordType};
use crate::packet::Transport;

/// A and AAAA of one call are this close at most: all stub resolvers send them back to back (facts.md section 1.3).
const PAIR: Duration = Duration::from_millis(1);
/// The next candidate of the search list follows the responses of the one before within this time (facts.md section
/// 3.0); measured here from the query.
const WALK: Duration = Duration::from_millis(50);
/// What comes from one port within this time waits for no response: BusyBox nslookup asks for all candidates at once.
const BURST: Duration = Duration::from_millis(2);
/// musl sends a query again this soon after SERVFAIL (musl res_msend.c; facts.md section 1.3).
const AT_ONCE: Duration = Duration::from_millis(5);
/// glibc asks for a pair again, with new IDs, this soon after TC while its buffer grows (facts.md section 8.2).
const REGROW: Duration = Duration::from_millis(5);
/// Steps from the ID of A to that of AAAA that the clock makes on musl (facts.md section 1.3).
const CLOCK_STEPS: std::ops::RangeInclusive<u16> = 1..=2047;
/// Two readings of a clock are so many nanoseconds apart at least: measured are 32 and more (facts.md section 1.3).
const LEAST_STEP: u16 = 8;

/// How a query looks, its question apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dress {
    /// No OPT record, no AD: musl and glibc, Node's c-ares, c-ares before 1.22.
    Plain,
    /// No OPT record, AD: BusyBox nslookup on musl, glibc with `trust-ad`.
    Authentic,
    /// OPT of 1232 bytes: Go since 1.19 and c-ares since 1.27; of 1280 bytes: c-ares before.
    Edns(u16),
    /// OPT of 1200 bytes: glibc with `options edns0`.
    Edns1200,
    /// Anything else: tools, resolvers.
    Other,
}

impl Dress {
    fn of(sent: &Sent) -> Self {
        let authentic = sent.header.authentic_data();
        match sent.edns {
            _ if !is_stub(&sent.header) => Self::Other,
            None if authentic => Self::Authentic,
            None => Self::Plain,
            // Tools set AD, resolvers that forward set DO.
            Some(edns) if authentic || edns.dnssec_ok => Self::Other,
            Some(edns) => match edns.udp_payload_size {
                size @ (1232 | 1280) => Self::Edns(size),
                1200 => Self::Edns1200,
                _ => Self::Other,
            },
        }
    }
}

/// A stub resolver asks for recursion with a plain query and leaves checking to its server.
fn is_stub(header: &Header) -> bool {
    header.opcode() == 0 && header.recursion_desired() && !header.checking_disabled()
}

/// The last name that was asked for over UDP.
#[derive(Clone, Debug)]
struct Asked {
    /// Hash of the name.
    name: u64,
    /// Hash of its first label.
    label: u64,
    at: Timestamp,
    server: IpAddr,
    port: u16,
    dress: Dress,
    /// IDs of A and AAAA, as far as they were asked.
    ids: [Option<u16>; 2],
    /// A response came, for each of them.
    answered: [bool; 2],
    /// It was truncated.
    truncated: Option<Timestamp>,
    /// SERVFAIL came then, for either.
    servfail: Option<Timestamp>,
    /// Sent again at once after that.
    again_at_once: u8,
    /// Already counted: one sign each per name.
    counted: Counted,
}

/// Signs that a name gave already.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    parallel: bool,
    tcp: bool,
}

impl Asked {
    /// Which of its questions this message is, A or AAAA; `None` if none of them.
    fn which(&self, port: u16, id: u16, name: u64, question: &Question) -> Option<usize> {
        let index = index_of(question.qtype)?;
        let same = self.ids.get(index).copied().flatten() == Some(id);
        (same && self.port == port && self.name == name).then_some(index)
    }
}

/// 0 for A, 1 for AAAA.
fn index_of(qtype: RecordType) -> Option<usize> {
    match qtype {
        RecordType::A => Some(0),
        RecordType::AAAA => Some(1),
        _ => None,
    }
}

/// The habits of one client, in less than 200 bytes. Names are known by their hashes, so that none is kept, nor fetched from
/// memory once more when the next one comes.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    asked: Option<Asked>,
    /// The last step of the IDs that may be one of the clock.
    last_step: u16,
    signs: Signs,
}

impl Habits {
    /// A query was sent for the first time; `label` is a hash of the first label of its name, whatever its case.
    pub fn sent(&mut self, sent: &Sent, label: u64) {
        let Some(question) = &sent.question else { return };
        let Some(index) = index_of(question.qtype) else { return };
        if sent.parties.transport == Transport::Tcp {
            return self.sent_over_tcp(sent.name_key);
        }
        let (port, id) = (sent.parties.client.port(), sent.header.id);
        if let Some(asked) = &mut self.asked {
            if asked.which(port, id, sent.name_key, question).is_some() {
                // Sent again after an answer, or to another server.
                let elsewhere = asked.server != sent.parties.server.ip();
                if elsewhere && sent.time.since(asked.at) < PAIR && !asked.counted.parallel {
                    asked.counted.parallel = true;
                    add(&mut self.signs.parallel);
                }
                return;
            }
            let other_type = asked.ids.iter().position(Option::is_some) != Some(index);
            if other_type && asked.ids.contains(&None) && asked.name == sent.name_key {
                return self.second(sent, index);
            }
        }
        self.next_name(sent, label, index);
    }

    /// The second type of the name that was asked for last.
    fn second(&mut self, sent: &Sent, index: usize) {
        let Some(asked) = &mut self.asked else { return };
        let first = asked.ids.iter().flatten().next().copied();
        if let Some(id) = asked.ids.get_mut(index) {
            *id = Some(sent.header.id);
        }
        let dress = Dress::of(sent);
        if sent.time.since(asked.at) >= PAIR || asked.dress != dress {
            return;
        }
        let signs = &mut self.signs;
        let one_port = asked.port == sent.parties.client.port();
        // A goes first wherever one port serves both.
        let step = first.filter(|_| index == 1).map_or(0, |first| sent.header.id.wrapping_sub(first));
        let close = CLOCK_STEPS.contains(&step);
        match dress {
            Dress::Plain if one_port => {
                add(&mut signs.plain);
                if close {
                    add(&mut signs.close);
                    if step == std::mem::replace(&mut self.last_step, step) {
                        add(&mut signs.same_step);
                        if step < LEAST_STEP {
                            add(&mut signs.counter);
                        }
                    }
                    if first.is_some_and(|first| first >> 8 == sent.header.id >> 8) {
                        add(&mut signs.equal_high);
                    }
                }
            }
            Dress::Authentic if one_port => {
                add(&mut signs.authentic);
                if close {
                    add(&mut signs.authentic_close);
                }
            }
            Dress::Edns(_) if one_port => add(&mut signs.edns_one_port),
            Dress::Edns(1232) => add(&mut signs.edns_two_ports),
            Dress::Edns1200 if one_port => add(&mut signs.edns_1200),
            _ => add(&mut signs.other),
        }
        signs.fade();
    }

    /// Another name, or the same one anew.
    fn next_name(&mut self, sent: &Sent, label: u64, index: usize) {
        let (port, server) = (sent.parties.client.port(), sent.parties.server.ip());
        if let Some(before) = &self.asked {
            let signs = &mut self.signs;
            let gap = sent.time.since(before.at);
            let same_name = before.name == sent.name_key;
            let candidate = !same_name && before.label == label;
            let answered = before.answered == before.ids.map(|id| id.is_some());
            let regrown = before.truncated.is_some_and(|at| sent.time.since(at) < REGROW);
            match before.port == port {
                true if candidate && !answered && gap < BURST => add(&mut signs.burst),
                true if answered => add(&mut signs.same_port),
                false if candidate && answered && gap < WALK => add(&mut signs.new_port),
                false if same_name && regrown => add(&mut signs.regrow),
                _ => {}
            }
        }
        let mut ids = [None; 2];
        if let Some(id) = ids.get_mut(index) {
            *id = Some(sent.header.id);
        }
        self.asked = Some(Asked {
            name: sent.name_key,
            label,
            at: sent.time,
            server,
            port,
            dress: Dress::of(sent),
            ids,
            answered: [false; 2],
            truncated: None,
            servfail: None,
            again_at_once: 0,
            counted: Counted::default(),
        });
    }

    fn sent_over_tcp(&mut self, name: u64) {
        if let Some(asked) = &mut self.asked
            && asked.truncated.is_some()
            && !asked.counted.tcp
            && asked.name == name
        {
            asked.counted.tcp = true;
            add(&mut self.signs.tcp);
        }
    }

    /// A query was sent again.
    pub fn again(&mut self, sent: &Sent) {
        let (Some(asked), Some(question)) = (&mut self.asked, &sent.question) else { return };
        let port = sent.parties.client.port();
        let Some(index) = asked.which(port, sent.header.id, sent.name_key, question) else { return };
        if asked.servfail.is_some_and(|at| sent.time.since(at) < AT_ONCE) {
            asked.again_at_once = asked.again_at_once.saturating_add(1);
            if asked.again_at_once == 3 {
                add(&mut self.signs.servfail_storm);
            }
            return;
        }
        let millis = sent.time.since(asked.at).as_millis();
        let answered = asked.answered.get(index).copied().unwrap_or(false);
        match (millis, answered) {
            (2400..=2600, false) if asked.dress == Dress::Plain => add(&mut self.signs.again_2500),
            (4900..=5100, true) if index == 0 => add(&mut self.signs.again_5000),
            _ => {}
        }
    }

    /// A transaction ended.
    pub fn closed(&mut self, transaction: &Transaction) {
        let Transaction { parties, query, outcome, .. } = transaction;
        let (Some(asked), Some(question)) = (&mut self.asked, &query.question) else { return };
        let Outcome::Answered { response, .. } = outcome else { return };
        if parties.transport == Transport::Tcp {
            return;
        }
        // Go asks from two ports: the ID and the name are enough to know its question by.
        let Some(index) = index_of(question.qtype) else { return };
        if asked.ids.get(index).copied().flatten() != Some(query.header.id)
            || asked.name != transaction.name_key
        {
            return;
        }
        if let Some(answered) = asked.answered.get_mut(index) {
            *answered = true;
        }
        if response.header.truncated() {
            asked.truncated = Some(transaction.ended());
        }
        if response.rcode == Rcode::SERVFAIL {
            asked.servfail = Some(transaction.ended());
        }
    }

    /// A lookup ended.
    pub fn looked_up(&mut self, lookup: &Lookup) {
        if let [first, second, ..] = lookup.candidates.as_slice()
            && first.as_is
            && !second.as_is
        {
            add(&mut self.signs.as_is_first);
        }
    }

    /// What they say. Costs a few comparisons.
    pub fn fingerprint(&self) -> Fingerprint {
        verdict(&self.signs)
    }
}
