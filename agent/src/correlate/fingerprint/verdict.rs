//! Weighs the signs of one client.
//!
//! Two programs behind one address give signs of two resolvers: then nothing is said, or what prevails with less
//! confidence.

use super::signs::Signs;
use super::{Confidence, Fingerprint, Stub};

/// Pairs whose IDs are all close make musl likely: three random ones do so once in 30,000 clients (facts.md section
/// 1.3: 3 % of random pairs are).
const SOME_PAIRS: u8 = 3;
/// With so many a share is a share.
const MANY_PAIRS: u8 = 10;
/// Pairs of musl that never had equal high bytes, before that says "1.2.4 or newer": older ones have 35 % and more (facts.md
/// section 8.1), so 20 miss it once in 5,000 clients.
const NEVER_EQUAL: u8 = 20;

/// What nslookup of BusyBox does.
const ALL_AT_ONCE: &str = "all candidates of the search list at once from one port";

/// Weighs the signs of one kind of pair.
type Judge = fn(&Signs) -> Fingerprint;

/// What the signs say together.
pub(super) fn verdict(signs: &Signs) -> Fingerprint {
    let Signs { plain, close, .. } = *signs;
    // Of musl's pairs 1 in 20,000 is not close; of all others 3 in 100 are (facts.md section 1.3).
    let not_musl = signs.pairs() > 0 && u16::from(close) * 4 <= u16::from(plain);
    Fingerprint { not_musl, ..which(signs) }
}

/// Which it is.
fn which(signs: &Signs) -> Fingerprint {
    let pairs = signs.pairs();
    let kinds: [(u8, Judge); 6] = [
        (signs.plain, plain),
        (signs.authentic, authentic),
        (signs.edns_one_port, edns_one_port),
        (signs.edns_two_ports, edns_two_ports),
        (signs.edns_1200, edns_1200),
        (signs.other, |_| Fingerprint::default()),
    ];
    let Some((most, judge)) = kinds.into_iter().max_by_key(|(count, _)| *count) else {
        return Fingerprint::default();
    };
    if most == 0 {
        return without_pairs(signs);
    }
    let strangers = pairs - u16::from(most);
    let fingerprint = judge(signs);
    match strangers {
        0 => fingerprint,
        // One in ten may be a tool that somebody ran in the pod.
        _ if strangers * 10 <= pairs => weaker(fingerprint),
        _ => several(),
    }
}

/// A statement.
fn say(stub: Stub, confidence: Confidence, because: &'static str) -> Fingerprint {
    Fingerprint { stub, confidence, because, not_musl: false }
}

/// One step less sure.
fn weaker(fingerprint: Fingerprint) -> Fingerprint {
    let confidence = match fingerprint.confidence {
        Confidence::High => Confidence::Medium,
        _ => Confidence::Low,
    };
    Fingerprint { confidence, ..fingerprint }
}

/// Signs of more than one resolver.
fn several() -> Fingerprint {
    say(Stub::Unknown, Confidence::Low, "signs of several resolvers at one address")
}

/// The more pairs, the surer.
fn by_pairs(pairs: u8) -> Confidence {
    match pairs {
        0..=1 => Confidence::Low,
        2..=3 => Confidence::Medium,
        _ => Confidence::High,
    }
}

/// Pairs without OPT from one port: musl, glibc, c-ares without EDNS, BusyBox nslookup on glibc.
fn plain(signs: &Signs) -> Fingerprint {
    let Signs { plain, close, same_port, new_port, burst, regrow, again_5000, .. } = *signs;
    let musl = plain >= SOME_PAIRS
        && if plain < MANY_PAIRS { close == plain } else { u16::from(close) * 10 >= u16::from(plain) * 8 };
    if musl {
        return musl_version(signs);
    }
    // Random IDs fall into the range once in 30: a quarter of them is none of musl's.
    let random = plain >= 2 && u16::from(close) * 4 <= u16::from(plain);
    let signs_of_musl = signs.parallel > 1 || signs.servfail_storm > 0;
    let one_port = u16::from(same_port) + u16::from(burst);
    match () {
        () if !random && signs_of_musl && plain == close && one_port == 0 => {
            say(Stub::Musl, Confidence::Low, "the same query to all servers, or again at once after SERVFAIL")
        }
        () if !random => Fingerprint::default(),
        () if signs_of_musl => several(),
        () if one_port > 0 && new_port.max(regrow).max(again_5000) > 0 => {
            if one_port * 10 <= u16::from(new_port) { glibc(signs, Confidence::Low) } else { several() }
        }
        () if burst >= 2 && burst >= same_port / 2 => {
            say(Stub::BusyboxNslookup, Confidence::Medium, ALL_AT_ONCE)
        }
        () if same_port >= 2 => {
            let confidence = if same_port >= 4 { Confidence::High } else { Confidence::Medium };
            say(Stub::CAres, confidence, "one port for question after question, random IDs, no EDNS")
        }
        () if new_port > 0 || regrow > 0 || again_5000 > 0 => {
            let confidence = match () {
                () if plain >= MANY_PAIRS && (new_port >= 3 || again_5000 > 0) => Confidence::High,
                () if plain >= 4 => Confidence::Medium,
                () => Confidence::Low,
            };
            glibc(signs, confidence)
        }
        // Node's resolver and BusyBox nslookup look like glibc where no search list is walked.
        () => Fingerprint::default(),
    }
}

fn glibc(signs: &Signs, confidence: Confidence) -> Fingerprint {
    let because = match () {
        () if signs.again_5000 > 0 => "A again after 5 s although it was answered",
        () if signs.new_port > 0 => "A and AAAA from one port with random IDs, a new port for each candidate",
        () => "the pair again from a new port at once after TC",
    };
    say(Stub::Glibc, confidence, because)
}

/// IDs by the clock: musl, of which version?
fn musl_version(signs: &Signs) -> Fingerprint {
    let Signs {
        plain,
        close,
        same_step,
        counter,
        equal_high,
        tcp,
        as_is_first,
        again_5000,
        regrow,
        same_port,
        ..
    } = *signs;
    // What musl never does; glibc beside it would do it.
    if as_is_first > 0 || again_5000 > 0 || regrow > 0 || u16::from(same_port) * 10 > u16::from(plain) {
        return several();
    }
    // IDs that are counted up are no clock.
    if u16::from(counter) * 2 >= u16::from(close) {
        return say(
            Stub::Unknown,
            Confidence::Low,
            "IDs of A and AAAA by a counter: always the same small step",
        );
    }
    let steady = u16::from(same_step) * 2 >= u16::from(close);
    let pure = !steady && u16::from(close) * 20 >= u16::from(plain) * 19;
    let fingerprint = match () {
        // Before 1.2.4 there is no TCP, from 1.2.4 on the high bytes differ.
        () if equal_high > 0 && tcp > 0 => {
            return say(Stub::Musl, Confidence::Low, "IDs of A and AAAA by the clock, signs of two versions");
        }
        // A random pair has equal high bytes once in 500: a single one among many is no sign.
        () if equal_high > 0 && (u16::from(equal_high) * 20 >= u16::from(plain) || plain < MANY_PAIRS) => {
            let confidence = match () {
                () if plain > MANY_PAIRS && equal_high >= 2 => Confidence::High,
                () if plain > SOME_PAIRS => Confidence::Medium,
                () => Confidence::Low,
            };
            say(
                Stub::MuslBefore124,
                confidence,
                "IDs of A and AAAA a step of the clock apart, with equal high bytes",
            )
        }
        () if equal_high == 0 && tcp > 0 => {
            let confidence = if plain > SOME_PAIRS { Confidence::High } else { Confidence::Medium };
            say(Stub::Musl124OrNewer, confidence, "IDs of A and AAAA a step of the clock apart, TCP after TC")
        }
        () if equal_high == 0 && plain >= NEVER_EQUAL => {
            let confidence = if plain >= 2 * NEVER_EQUAL { Confidence::High } else { Confidence::Medium };
            say(
                Stub::Musl124OrNewer,
                confidence,
                "IDs of A and AAAA a step of the clock apart, never with equal high bytes",
            )
        }
        () => {
            let confidence = match plain {
                0..=3 => Confidence::Low,
                4..=9 => Confidence::Medium,
                _ => Confidence::High,
            };
            say(Stub::Musl, confidence, "IDs of A and AAAA a step of the clock apart")
        }
    };
    if pure { fingerprint } else { weaker(fingerprint) }
}

/// AD and no OPT: BusyBox nslookup on musl, glibc with `trust-ad`.
fn authentic(signs: &Signs) -> Fingerprint {
    let Signs { authentic, authentic_close, new_port, .. } = *signs;
    if authentic == authentic_close {
        let because = "A and AAAA from one port with AD, IDs by the clock";
        return say(Stub::BusyboxNslookup, by_pairs(authentic.min(SOME_PAIRS)), because);
    }
    if new_port > 0 && u16::from(authentic_close) * 4 <= u16::from(authentic) {
        return say(Stub::Glibc, Confidence::Medium, "A and AAAA from one port with AD and random IDs");
    }
    Fingerprint::default()
}

fn edns_one_port(signs: &Signs) -> Fingerprint {
    say(Stub::CAres, by_pairs(signs.edns_one_port), "A and AAAA from one port with c-ares' EDNS size")
}

fn edns_two_ports(signs: &Signs) -> Fingerprint {
    say(Stub::Go, by_pairs(signs.edns_two_ports), "A and AAAA at once from two ports with EDNS 1232")
}

fn edns_1200(signs: &Signs) -> Fingerprint {
    say(Stub::Glibc, by_pairs(signs.edns_1200), "A and AAAA from one port with EDNS 1200")
}

/// Programs that ask for one type only give little to go by; nslookup of BusyBox asks for A of all candidates before the
/// first AAAA.
fn without_pairs(signs: &Signs) -> Fingerprint {
    match () {
        // A server that answers at once makes half of a burst look like question after question.
        () if signs.burst >= 2 && signs.burst >= signs.same_port / 2 && signs.new_port <= signs.burst / 2 => {
            say(Stub::BusyboxNslookup, Confidence::Medium, ALL_AT_ONCE)
        }
        () if signs.parallel > 1 && signs.tcp == 0 => {
            say(Stub::Musl, Confidence::Low, "the same query to all servers at once")
        }
        () if signs.servfail_storm > 0 => {
            say(Stub::Musl, Confidence::Low, "again at once after SERVFAIL, more than twice")
        }
        () => Fingerprint::default(),
    }
}
