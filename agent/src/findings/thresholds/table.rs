//! The thresholds by name: what each is, in which unit, from where, and its field.

use std::time::Duration;

use super::Thresholds;
use crate::findings::Quantity;

/// A threshold, as a person names it.
#[derive(Debug)]
pub struct Threshold {
    /// `GROUP.NUMBER`, in small letters.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// Where its default comes from; sections are those of docs/facts.md.
    pub source: &'static str,
    /// The most that it may be: more is not kept, or makes no sense.
    pub most: f64,
    field: fn(&mut Thresholds) -> Field<'_>,
}

/// Where the value of a threshold stands.
enum Field<'a> {
    Count(&'a mut u64),
    Size(&'a mut usize),
    Small(&'a mut u32),
    Bytes(&'a mut u16),
    Share(&'a mut f64),
    Time(&'a mut Duration),
}

impl Threshold {
    /// The value that it has in `thresholds`.
    pub fn get(&self, thresholds: &Thresholds) -> Quantity {
        match (self.field)(&mut thresholds.clone()) {
            Field::Count(value) => Quantity::Count(*value),
            Field::Size(value) => Quantity::Count(*value as u64),
            Field::Small(value) => Quantity::Count((*value).into()),
            Field::Bytes(value) => Quantity::Count((*value).into()),
            Field::Share(value) => Quantity::Ratio(*value),
            Field::Time(value) => Quantity::Time(*value),
        }
    }

    /// Sets it. `false` where the value is of another kind, zero, or more than [`Threshold::most`]: then nothing changes.
    pub fn set(&self, thresholds: &mut Thresholds, value: &Quantity) -> bool {
        let size = match value {
            Quantity::Count(count) => *count as f64,
            Quantity::Ratio(share) => *share,
            Quantity::Time(time) => time.as_secs_f64(),
            Quantity::Text(_) => return false,
        };
        if !(size > 0.0 && size <= self.most) {
            return false;
        }
        match ((self.field)(thresholds), value) {
            (Field::Count(field), Quantity::Count(count)) => *field = *count,
            (Field::Size(field), Quantity::Count(count)) => *field = *count as usize,
            (Field::Small(field), Quantity::Count(count)) => *field = *count as u32,
            (Field::Bytes(field), Quantity::Count(count)) => *field = *count as u16,
            (Field::Share(field), Quantity::Ratio(share)) => *field = *share,
            (Field::Time(field), Quantity::Time(time)) => *field = *time,
            _ => return false,
        }
        true
    }
}

/// One line of the table.
macro_rules! threshold {
    ($name:literal, $kind:ident, $($field:tt).+, $most:expr, $what:literal, $source:literal) => {
        Threshold {
            name: $name,
            what: $what,
            source: $source,
            most: $most as f64,
            field: |thresholds| Field::$kind(&mut thresholds.$($field).+),
        }
    };
}

/// Every threshold, in the order of the rules. `close_after` has a flag of its own.
#[rustfmt::skip]
pub static TABLE: &[Threshold] = &[
    threshold!("repetition.one-name", Size, repetition.of_one_name, 32, "lookups of one name by one client that make an incident", "3.0"),
    threshold!("repetition.one-client", Size, repetition.of_one_client, 32, "lookups of one client that do, whatever their names", "3.0"),
    threshold!("repetition.within", Time, repetition.within, 60, "within this time", "3.0"),
    threshold!("repetition.same-lookup", Time, repetition.same_lookup, 60, "messages for one name so close together are one lookup's", "resolv.conf(5), timeout:1"),
    threshold!("repetition.anew-from", Time, repetition.anew.0, 60, "what is not answered Go asks anew after this time", "3.0"),
    threshold!("repetition.anew-until", Time, repetition.anew.1, 60, "and until this time", "3.0"),
    threshold!("truncated.udp-limit", Bytes, truncated.udp_limit, 65_535, "bytes: clients that offer more by EDNS are not meant", "3.1"),
    threshold!("truncated.comes-back", Time, truncated.comes_back, 30, "a client that comes back over TCP does so within this time", "3.1"),
    threshold!("pair-conflict.within", Time, pair_conflict.within, 60, "A and AAAA are asked and answered within this time", "3.3"),
    threshold!("pair-conflict.sure", Size, pair_conflict.sure, 32, "conflicts of one name that leave no doubt", "3.3"),
    threshold!("linklocal.packets", Count, linklocal.packets, 1_000_000_000, "packets a second of one interface: the limit", "3.4"),
    threshold!("linklocal.warning", Share, linklocal.warning, 1, "share of the limit that is a warning", "3.4"),
    threshold!("linklocal.seconds", Size, linklocal.seconds, 60, "in so many seconds", "3.4"),
    threshold!("linklocal.of", Count, linklocal.of, 60, "of so many", "3.4"),
    threshold!("linklocal.missing", Count, linklocal.missing, 1_000_000_000, "queries without a response that show the limit at work", "3.4, number suggested"),
    threshold!("linklocal.missing-share", Share, linklocal.missing_share, 1, "and this share of the queries", "3.4, number suggested"),
    threshold!("amplification.within", Time, amplification.within, 60, "lookups are summed over this time", "3.5"),
    threshold!("amplification.lookups", Count, amplification.lookups, 1_000_000_000, "lookups of one client", "3.5"),
    threshold!("amplification.waste", Share, amplification.waste, 1, "share of its queries that are wasted", "3.5"),
    threshold!("amplification.names", Size, amplification.names, 16, "different names among them", "3.5, number suggested"),
    threshold!("amplification.lookups-at-cache", Count, amplification.lookups_at_cache, 1_000_000_000, "lookups of a client that asks a cache on its node", "3.5, number suggested"),
    threshold!("amplification.overload-at-least", Count, amplification.overload_at_least, 1_000_000_000, "transactions by which a server's overload is judged", "3.5, number suggested"),
    threshold!("amplification.overload-share", Share, amplification.overload_share, 1, "share of them that failed", "3.5, number suggested"),
    threshold!("race.pair", Time, race.pair, 1, "A and AAAA leave one port within this time", "3.6"),
    threshold!("race.musl-from", Time, race.musl.0, 60, "musl repeats what was lost after this time", "3.6"),
    threshold!("race.musl-until", Time, race.musl.1, 60, "and until this time", "3.6"),
    threshold!("race.glibc-from", Time, race.glibc.0, 60, "glibc begins again after this time", "3.6"),
    threshold!("race.glibc-until", Time, race.glibc.1, 60, "and until this time", "3.6"),
    threshold!("race.at-once", Time, race.at_once, 60, "the other half is answered within this time", "3.6"),
    threshold!("race.prompt", Time, race.prompt, 60, "the repeat is answered within this time", "3.6"),
    threshold!("race.second-answer", Time, race.second_answer, 60, "a second answer within this time shows a slow server", "3.6"),
    threshold!("race.events", Count, race.events, 32, "races of one client in a minute", "3.6"),
    threshold!("tcp.silence", Time, tcp.silence, 30, "a SYN without an answer for this time is blocked", "3.1 d"),
    threshold!("tcp.same-lookup", Time, tcp.same_lookup, 60, "connections for one name so close together are one lookup's", "suggested"),
    threshold!("unanswered.others", Share, unanswered.others, 1, "share of queries with a response above which a server is alive", "3.7 P2, number suggested"),
    threshold!("servfail.at-least", Size, servfail.at_least, 64, "SERVFAIL of one server", "3.7 P3"),
    threshold!("servfail.within", Time, servfail.within, 60, "within this time", "3.7 P3"),
    threshold!("servfail.share", Share, servfail.share, 1, "share of its responses", "3.7 P3"),
    threshold!("servfail.lookups", Size, servfail.lookups, 64, "lookups that fail", "1.1, musl repeats at once"),
    threshold!("late-reply.given-up", Time, late.given_up, 60, "no stub resolver waits longer for an answer", "1.3"),
    threshold!("late-reply.repeat", Time, late.repeat, 60, "a query from another port so much later is a repeat", "resolv.conf(5), timeout:1"),
    threshold!("late-reply.after-repeat", Time, late.after_repeat, 60, "an answer so long after a repeat is late for it too", "3.8 P12, number suggested"),
    threshold!("query-storm.per-second", Count, storm.per_second, 128, "repetitions of one question a second", "3.8 P9"),
    threshold!("query-storm.span", Time, storm.span, 60, "for this time, in whole seconds", "3.8 P9"),
    threshold!("query-storm.share", Share, storm.share, 1, "or share of a client's queries that one name makes", "3.8 P9"),
    threshold!("query-storm.within", Time, storm.within, 60, "within this time", "3.8 P9"),
    threshold!("query-storm.at-least", Count, storm.at_least, 1_000_000, "with so many repetitions", "3.8 P9, number suggested"),
    threshold!("id-reuse.kept", Time, port.kept, 86_400, "one port is kept for this time", "3.8 P13"),
    threshold!("id-reuse.queries", Small, port.queries, 1_000_000, "lookups from it", "3.8 P13, number suggested"),
    threshold!("id-reuse.ids", Small, port.ids, 65_536, "different IDs among them at most", "3.8 P13, number suggested"),
    threshold!("deep-cname.cnames", Size, deep_cname.cnames, 1_000, "CNAME records in one answer", "3.8 P11"),
    threshold!("unused-aaaa.within", Time, useless_aaaa.within, 86_400, "within this time", "3.8 P10"),
    threshold!("unused-aaaa.share", Share, useless_aaaa.share, 1, "share of AAAA responses without an address", "3.8 P10"),
    threshold!("unused-aaaa.at-least", Count, useless_aaaa.at_least, 1_000_000_000, "of so many", "3.8 P10, number suggested"),
    threshold!("unused-aaaa.of-queries", Share, useless_aaaa.of_queries, 1, "share of queries that are AAAA", "3.8 P10"),
];

impl Thresholds {
    /// The threshold of this name.
    pub fn named(name: &str) -> Option<&'static Threshold> {
        TABLE.iter().find(|threshold| threshold.name == name)
    }
}
