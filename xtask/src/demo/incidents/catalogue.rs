//! The incidents that a few lookups show: all run at once, each on pods of its own.

use std::time::Duration;

use anyhow::Result;

use super::findings::Severity;
use super::incident::{Expected, Incident, Silent};
use super::run::Run;
use crate::lab::{Client, FRAGMENTED, Lab, PAIR_CONFLICT, Rounds, SERVFAIL, SERVICE_IP, SLOW, WRONG_SOURCE};

/// The names of all of them, in the order of the show.
pub const NAMES: &[&str] = &[
    "truncated",
    "search-stopped",
    "pair-conflict",
    "conntrack-race",
    "tcp-blocked",
    "servfail",
    "late-reply",
    "wrong-source",
    "fragmented",
];

/// What the agent may take from its first symptom on for the incidents 0 to 3, the repetition of the lookup included.
pub const INCIDENT_LIMIT: Duration = Duration::from_secs(10);

/// What the agent may take for every other finding from the moment on at which its rule first holds.
const RULE_LIMIT: Duration = Duration::from_secs(5);

/// musl 1.2.3 may be named as what it is.
const OLD_MUSL: (&str, Severity) = ("old-musl", Severity::Low);

/// The incident of this name, one of [`NAMES`].
pub fn incident(lab: &Lab, name: &str) -> Result<Incident> {
    match name {
        "truncated" => truncated(lab),
        "search-stopped" => search_stopped(lab),
        "pair-conflict" => pair_conflict(lab),
        "conntrack-race" => conntrack_race(lab),
        "tcp-blocked" => tcp_blocked(lab),
        "servfail" => servfail(lab),
        "late-reply" => late_reply(lab),
        "wrong-source" => wrong_source(lab),
        "fragmented" => fragmented(lab),
        _ => anyhow::bail!("no incident {name} among those of a few lookups"),
    }
}

const fn rounds(times: u32, pause_ms: u64) -> Rounds {
    Rounds { times, pause: Duration::from_millis(pause_ms) }
}

/// The limit of a rule that first holds so long after the first symptom.
fn holds_after(seconds: f32) -> Duration {
    RULE_LIMIT + Duration::from_secs_f32(seconds)
}

fn truncated(lab: &Lab) -> Result<Incident> {
    let name = "login.shop.example.";
    let resolve = |pod, client| Run::of(lab, pod, client, &[name], rounds(4, 1000));
    Ok(Incident {
        name: "truncated",
        title: "the answer does not fit, and musl before 1.2.4 never asks over TCP",
        runs: vec![
            resolve("sso/portal", Client::Musl123)?,
            resolve("sso/portal-glibc", Client::Glibc)?,
            resolve("sso/portal-musl-1-2-5", Client::Musl125)?,
        ],
        expected: vec![
            Expected::about(lab, "truncated-no-tcp", "sso/portal", SERVICE_IP, INCIDENT_LIMIT)?
                .naming("login.shop.example"),
        ],
        silent: vec![Silent::of(lab, "sso/portal-glibc")?, Silent::of(lab, "sso/portal-musl-1-2-5")?],
    })
}

/// The name is complete, but has four dots: with `ndots:5` the search list comes first.
fn search_stopped(lab: &Lab) -> Result<Incident> {
    let name = "payments.shop.svc.cluster.local";
    let resolve = |pod, client| Run::of(lab, pod, client, &[name], rounds(4, 1000));
    Ok(Incident {
        name: "search-stopped",
        title: "the node's domain answers NODATA in place of NXDOMAIN, and musl stops there",
        runs: vec![
            resolve("dnscheck/client", Client::Musl123)?,
            resolve("dnscheck/client-glibc", Client::Glibc)?,
            resolve("dnscheck/client-other-domain", Client::Musl123)?,
        ],
        expected: vec![
            Expected::about(lab, "search-stopped", "dnscheck/client", SERVICE_IP, INCIDENT_LIMIT)?
                .naming(name),
        ],
        silent: vec![
            // It goes on and gets its answer; that the server says NODATA without SOA remains true.
            Silent::but(lab, "dnscheck/client-glibc", &[("lame-nodata", Severity::Low)])?,
            Silent::but(lab, "dnscheck/client-other-domain", &[OLD_MUSL])?,
        ],
    })
}

fn pair_conflict(lab: &Lab) -> Result<Incident> {
    let name = "hub.home.example";
    let resolve = |pod, client| Run::of(lab, pod, client, &[name], rounds(6, 500));
    Ok(Incident {
        name: "pair-conflict",
        title: "A is answered and AAAA is NXDOMAIN: for musl the name does not exist",
        runs: vec![
            resolve("home/automation", Client::Musl125)?,
            resolve("home/automation-glibc", Client::Glibc)?,
        ],
        expected: vec![
            Expected::about(lab, "pair-conflict", "home/automation", PAIR_CONFLICT, INCIDENT_LIMIT)?
                .at_least(Severity::High)
                .naming(name),
        ],
        silent: vec![Silent::but(
            lab,
            "home/automation-glibc",
            &[("pair-conflict", Severity::Low), ("lame-nodata", Severity::Low)],
        )?],
    })
}

/// Five lookups at once, each in a process of its own, since glibc asks one after the other once it was hit; the rule
/// wants three events, and two sends that the machine pulls apart by a millisecond are none.
fn conntrack_race(lab: &Lab) -> Result<Incident> {
    let mut runs = Vec::new();
    for name in [
        "www.example.test.",
        "registry.example.test.",
        "assets.shop.example.",
        "api.stripe.example.",
        "smtp.mail.example.",
    ] {
        for (pod, client) in [
            ("race/musl", Client::Musl123),
            ("race/glibc", Client::Glibc),
            ("race/untouched", Client::Musl123),
        ] {
            runs.push(Run::of(lab, pod, client, &[name], Rounds::ONE)?);
        }
    }
    let found = |pod, wait| Expected::about(lab, "conntrack-race", pod, SERVICE_IP, holds_after(wait));
    Ok(Incident {
        name: "conntrack-race",
        title: "one packet of a pair is lost on the way: 2.5 s (musl) or 5 s (glibc) until the repetition",
        runs,
        // A slow server would answer the lost copy too: that is waited for, 3 s.
        expected: vec![found("race/musl", 2.5 + 3.0)?, found("race/glibc", 5.0 + 3.0)?],
        silent: vec![Silent::but(lab, "race/untouched", &[OLD_MUSL])?],
    })
}

fn tcp_blocked(lab: &Lab) -> Result<Incident> {
    let resolve = |pod, name, rounds| Run::of(lab, pod, Client::Musl125, &[name], rounds);
    let found = |pod, wait| Expected::about(lab, "tcp-blocked", pod, SERVICE_IP, holds_after(wait));
    Ok(Incident {
        name: "tcp-blocked",
        title: "the answer does not fit, and TCP does not get through: dropped, or rejected",
        runs: vec![
            resolve("tcp/dropped", "login.shop.example.", Rounds::ONE)?,
            Run::later(lab, "tcp/dropped", 1.5, Client::Musl125, "login.shop.example.")?,
            resolve("tcp/rejected", "login.shop.example.", rounds(4, 500))?,
            resolve("tcp/open", "login.shop.example.", rounds(4, 500))?,
        ],
        // A SYN that nobody answers is known as such after 3 s, and the second lookup makes it more than a note.
        expected: vec![found("tcp/dropped", 1.5 + 3.0)?, found("tcp/rejected", 0.5)?],
        silent: vec![
            Silent::never(lab, "tcp/dropped", "truncated-no-tcp")?,
            Silent::never(lab, "tcp/rejected", "truncated-no-tcp")?,
            Silent::of(lab, "tcp/open")?,
        ],
    })
}

fn servfail(lab: &Lab) -> Result<Incident> {
    let resolve = |pod, name| Run::of(lab, pod, Client::Musl123, &[name], Rounds::ONE);
    Ok(Incident {
        name: "servfail",
        title: "a resolver whose upstreams are gone answers SERVFAIL for three zones, and musl asks again at once",
        runs: vec![
            resolve("broken/client", "api.broken.example")?,
            resolve("broken/client", "db.broken.example.net")?,
            resolve("broken/client", "mail.broken.example.org")?,
            Run::of(lab, "broken/other-zone", Client::Musl123, &["www.example.test."], rounds(4, 500))?,
        ],
        expected: vec![Expected::about(lab, "servfail", "broken/client", SERVFAIL, holds_after(0.0))?],
        silent: vec![Silent::but(lab, "broken/other-zone", &[OLD_MUSL])?],
    })
}

/// musl is answered 0.5 s after it has asked again, and once more 5.5 s after the first query; dig after it has gone,
/// which shows when nobody waits any more: 6 s after its only query.
fn late_reply(lab: &Lab) -> Result<Incident> {
    let found = |pod, wait| {
        let expected = Expected::about(lab, "late-reply", pod, SLOW, holds_after(wait))?;
        Ok::<_, anyhow::Error>(expected.at_least(Severity::Low))
    };
    let ask = |name: &str| Run::shell(lab, "slow/dig", &format!("dig +time=2 +tries=1 {name} A"));
    Ok(Incident {
        name: "late-reply",
        title: "answers come after 3 s, when musl has asked again, and after 7 s, when dig has gone",
        runs: vec![
            Run::of(lab, "slow/musl", Client::Musl123, &["a.slow.example"], Rounds::ONE)?,
            Run::of(lab, "slow/musl", Client::Musl123, &["b.slow.example"], Rounds::ONE)?,
            ask("c.slower.example")?,
            ask("d.slower.example")?,
            Run::of(lab, "slow/fast", Client::Musl123, &["www.example.test"], rounds(4, 500))?,
        ],
        expected: vec![found("slow/musl", 5.5)?, found("slow/dig", 7.0)?],
        silent: vec![Silent::but(lab, "slow/fast", &[OLD_MUSL])?],
    })
}

fn wrong_source(lab: &Lab) -> Result<Incident> {
    let resolve = |pod, name| Run::of(lab, pod, Client::Musl123, &[name], Rounds::ONE);
    Ok(Incident {
        name: "wrong-source",
        title: "a resolver with two addresses answers from the one that was not asked",
        runs: vec![
            resolve("mirror/client", "www.example.test")?,
            resolve("mirror/client", "registry.example.test")?,
            resolve("mirror/right-address", "www.example.test")?,
            resolve("mirror/right-address", "registry.example.test")?,
        ],
        expected: vec![Expected::about(
            lab,
            "wrong-source",
            "mirror/client",
            WRONG_SOURCE,
            holds_after(0.0),
        )?],
        silent: vec![Silent::but(lab, "mirror/right-address", &[OLD_MUSL])?],
    })
}

fn fragmented(lab: &Lab) -> Result<Incident> {
    let ask = |pod, size: &str| {
        let line = format!("for i in 1 2 3; do dig +bufsize={size} large.example A; sleep 0.3; done");
        Run::shell(lab, pod, &line)
    };
    Ok(Incident {
        name: "fragmented",
        title: "whoever announces 4,096 bytes gets them, in three fragments; the control announces 1,232 and gets TCP",
        runs: vec![ask("zones/edns-4096", "4096")?, ask("zones/edns-1232", "1232")?],
        expected: vec![
            Expected::about(lab, "fragmented", "zones/edns-4096", FRAGMENTED, holds_after(0.6))?
                .at_least(Severity::Info),
        ],
        silent: vec![Silent::of(lab, "zones/edns-1232")?],
    })
}
