//! Any bytes as a capture file, through the whole program: nothing panics, and every line is printable.
#![no_main]

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nslookout::capture::pcap_file::{FILE_LAG, PcapFileSource};
use nslookout_fuzz::{MAX_INFLIGHT, Screen, assert_printable, engine};
use rustix::fs::{MemfdFlags, memfd_create};

fuzz_target!(|data: &[u8]| {
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC).expect("memory for the input"));
    file.write_all(data).expect("memory for the input");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let mut source = match PcapFileSource::open(&path) {
        Ok(source) => source,
        Err(error) => return assert_printable(&error.to_string()),
    };
    let (mut engine, screen) = (engine(), Screen::default());
    source.drain(usize::MAX, &mut |frame| {
        engine.frame(frame, &mut |report| screen.show(&report));
        engine.tick(engine.latest().before(FILE_LAG), &mut |report| screen.show(&report));
        assert!(engine.inflight() <= MAX_INFLIGHT);
    });
    engine.finish(engine.latest() + Duration::from_secs(60), &mut |report| screen.show(&report));
    screen.end(&engine);
    if let Some(trouble) = source.trouble() {
        assert_printable(trouble);
    }
});
