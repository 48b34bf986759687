//! Real stub resolvers are called by their names, or not at all.
//!
//! `tests/data/clients` holds one capture of each, recorded by `record.sh` there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs::File;
use std::path::Path;

use nslookout::capture::file::{FILE_LAG, PcapFileSource};
use nslookout::correlate::Event;
use nslookout::correlate::fingerprint::{Confidence, Fingerprint, Habits, Stub};
use nslookout::engine::{Engine, EngineConfig, Report};

/// What the habits of a recorded client say; in a file with one client there is no need to tell clients apart.
fn fingerprint(capture: &str) -> Fingerprint {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/clients").join(format!("{capture}.pcap.zst"));
    let mut source = PcapFileSource::read(Box::new(File::open(path).unwrap())).unwrap();
    let config = EngineConfig { ports: [53].into_iter().collect(), ..EngineConfig::default() };
    let mut engine = Engine::new(config);
    let mut habits = Habits::default();
    let mut emit = |report: Report<'_>| match report {
        Report::Event(Event::Opened(sent)) => {
            let label = sent.question.as_ref().map_or(0, |question| question.qname.mix_first_label(7));
            habits.sent(sent, label);
        }
        Report::Event(Event::Retransmitted(sent)) => habits.again(sent),
        Report::Event(Event::Closed(transaction)) => habits.closed(transaction),
        _ => {}
    };
    source.drain(usize::MAX, &mut |frame| {
        engine.tick(engine.latest().max(frame.time).before(FILE_LAG), &mut emit);
        engine.frame(frame, &mut emit);
    });
    engine.finish(engine.latest(), &mut emit);
    habits.fingerprint()
}

#[test]
fn recorded_clients_are_called_by_their_names_or_not_at_all() {
    let high = Confidence::High;
    for (capture, stub, confidence) in [
        ("musl-1.2.3", Stub::MuslBefore124, high),
        ("musl-1.2.4", Stub::Musl124OrNewer, high),
        ("musl-1.2.5", Stub::Musl124OrNewer, high),
        ("glibc-2.36", Stub::Glibc, high),
        ("go-1.19", Stub::Go, high),
        ("c-ares-1.18", Stub::CAres, high),
        ("c-ares-1.34", Stub::CAres, high),
        ("node-20-lookup", Stub::Glibc, high),
        // It never uses the search list, and a new port for each name: so does glibc with a full name.
        ("node-20-resolve", Stub::Unknown, Confidence::Low),
        ("busybox-1.35-nslookup", Stub::BusyboxNslookup, Confidence::Medium),
        ("dig", Stub::Unknown, Confidence::Low),
        ("kdig", Stub::Unknown, Confidence::Low),
    ] {
        let found = fingerprint(capture);
        assert_eq!((found.stub, found.confidence), (stub, confidence), "{capture}: {}", found.because);
    }
}
