//! Any bytes as a capture file, through the whole program and into a recording: nothing panics, and every line is
//! printable.
#![no_main]

use std::io::Cursor;
use std::time::Duration;

use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use nslookout::capture::file::{FILE_LAG, PcapFileSource};
use nslookout::capture::{Drained, Namer};
use nslookout::export::capture_file::{Encapsulation, RecordConfig, Recording, Rotation};
use nslookout::export::summary::SourceReport;
use nslookout_fuzz::{MAX_INFLIGHT, Screen, assert_printable, engine};

/// A recording that nobody reads, of what `source` reads; it begins anew again and again.
fn recording(source: &PcapFileSource) -> Recording {
    let config = RecordConfig {
        path: "/dev/null".into(),
        rotation: Rotation { bytes: Some(1_000), files: Some(1), ..Rotation::default() },
        encapsulation: source.link_type().map_or(Encapsulation::Cooked, Encapsulation::keeping),
        ports: [53].into_iter().collect(),
        begun: None,
        zone: TimeZone::UTC,
        input: None,
    };
    Recording::create(config, Namer::File(source.recorded().names())).expect("/dev/null is there")
}

fuzz_target!(|data: &[u8]| {
    let mut source = match PcapFileSource::read(Box::new(Cursor::new(data.to_vec()))) {
        Ok(source) => source,
        Err(flaw) => return assert_printable(&flaw.to_string()),
    };
    let (mut engine, screen) = (engine(), Screen::default());
    let mut recording = recording(&source);
    let drained = source.drain(usize::MAX, &mut |frame| {
        recording.frame(frame).expect("/dev/null takes all");
        engine.frame(frame, &mut |report| screen.show(&report));
        engine.tick(engine.latest().before(FILE_LAG), &mut |report| screen.show(&report));
        assert!(engine.inflight() <= MAX_INFLIGHT);
    });
    assert_eq!(drained, Drained::Ended);
    engine.finish(engine.latest() + Duration::from_secs(60), &mut |report| screen.show(&report));
    let (counters, trouble) = (source.recorded().counters(), source.trouble());
    let report = SourceReport { name: "input", counters: counters.as_ref(), trouble: &trouble };
    screen.end(&engine, &report);
    if let Some(counters) = &counters {
        let time = source.recorded().latest().unwrap_or_default();
        let _ = recording.counters(time, counters).expect("/dev/null takes all");
    }
    recording.finish().expect("/dev/null takes all");
});
