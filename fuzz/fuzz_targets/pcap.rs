//! Any bytes as a capture file, through the whole program: nothing panics, and every line is printable.
#![no_main]

use std::io::Cursor;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nslookout::capture::Drained;
use nslookout::capture::file::{FILE_LAG, PcapFileSource};
use nslookout_fuzz::{MAX_INFLIGHT, Screen, assert_printable, engine};

fuzz_target!(|data: &[u8]| {
    let mut source = match PcapFileSource::read(Box::new(Cursor::new(data.to_vec()))) {
        Ok(source) => source,
        Err(flaw) => return assert_printable(&flaw.to_string()),
    };
    let (mut engine, screen) = (engine(), Screen::default());
    let drained = source.drain(usize::MAX, &mut |frame| {
        engine.frame(frame, &mut |report| screen.show(&report));
        engine.tick(engine.latest().before(FILE_LAG), &mut |report| screen.show(&report));
        assert!(engine.inflight() <= MAX_INFLIGHT);
    });
    assert_eq!(drained, Drained::Ended);
    engine.finish(engine.latest() + Duration::from_secs(60), &mut |report| screen.show(&report));
    screen.end(&engine);
    for line in source.trouble() {
        assert_printable(&line);
    }
});
