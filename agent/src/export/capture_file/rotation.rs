//! When a recording goes on in another file, and what that is called: as tcpdump does it.
//!
//! Deliberately absent: files and clocks; time comes with the packets.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use crate::capture::file::shown;
use crate::capture::frame::Timestamp;

/// When to begin another file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Before a packet, once the file is larger than this many bytes (`-C`).
    pub bytes: Option<u64>,
    /// After this time (`-G`).
    pub every: Option<Duration>,
    /// With `-C`: the first file is written anew after this many; with `-G` alone: the end (`-W`).
    pub files: Option<u32>,
}

/// What is to be done before something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It goes into the same file.
    Stay,
    /// It goes into the next one.
    Next,
    /// It goes nowhere: as many files as were wanted are written.
    End,
}

/// The names of the files, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Names {
    path: PathBuf,
    rotation: Rotation,
    zone: TimeZone,
    /// When the present period of `-G` began.
    begun: Timestamp,
    /// Periods that have ended.
    periods: u32,
    /// Files that `-C` ended in this period.
    number: u32,
}

impl Names {
    /// The first file is begun at `begun`.
    pub(super) fn new(path: PathBuf, rotation: Rotation, zone: TimeZone, begun: Timestamp) -> Self {
        Self { path, rotation, zone, begun, periods: 0, number: 0 }
    }

    /// What becomes of something of `now` while the file holds `written` bytes; `packet`: it is a packet, and may be
    /// the first of the next file by `-C`.
    pub(super) fn turn(&mut self, now: Timestamp, written: u64, packet: bool) -> Turn {
        let Rotation { bytes, every, files } = self.rotation;
        if every.is_some_and(|every| now.since(self.begun) >= every) {
            self.begun = now;
            self.periods += 1;
            self.number = 0;
            let enough = bytes.is_none() && files.is_some_and(|files| self.periods >= files);
            return if enough { Turn::End } else { Turn::Next };
        }
        if packet && bytes.is_some_and(|bytes| written > bytes) {
            self.number += 1;
            if files.is_some_and(|files| self.number >= files) {
                self.number = 0;
            }
            return Turn::Next;
        }
        Turn::Stay
    }

    /// The present file's name.
    ///
    /// # Errors
    ///
    /// `-G` with a name that is no text, or with a conversion that is not known; the reason, for a person.
    pub(super) fn name(&self) -> Result<PathBuf, String> {
        let mut name = match self.rotation.every {
            Some(_) => self.with_time()?,
            None => self.path.clone().into_os_string(),
        };
        if self.rotation.bytes.is_some() {
            let digits = self.rotation.files.map_or(0, digits);
            if self.number > 0 || digits > 0 {
                name.push(format!("{:0digits$}", self.number));
            }
        }
        Ok(name.into())
    }

    fn with_time(&self) -> Result<OsString, String> {
        let shown = shown(&self.path);
        let format =
            self.path.to_str().ok_or_else(|| format!("{shown}: -G wants a name of plain characters"))?;
        let time = jiff::Timestamp::from_nanosecond(i128::from(self.begun.as_nanos())).unwrap_or_default();
        let time = BrokenDownTime::from(&time.to_zoned(self.zone.clone()));
        time.to_string(format)
            .map(Into::into)
            .map_err(|error| format!("{shown}: as a format of time: {error}"))
    }
}

/// As many as the highest number of a file has, so that names sort as they were written.
fn digits(files: u32) -> usize {
    match files {
        0 | 1 => 0,
        files => (files - 1).ilog10() as usize + 1,
    }
}

/// What a name says against writing a recording by it.
pub(super) fn check_name(path: &Path) -> Result<(), String> {
    let packed = path.extension().and_then(|extension| match extension.to_str()? {
        "gz" => Some("gzip"),
        "zst" => Some("zstd"),
        _ => None,
    });
    match packed {
        Some(program) => {
            Err(format!("{0}: packed files are not written; -w - | {program} > {0} packs one", shown(path)))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that packets at these seconds, each of 100 bytes, are written to.
    fn names(path: &str, rotation: Rotation, seconds: impl IntoIterator<Item = u64>) -> Vec<String> {
        let mut seconds =
            seconds.into_iter().map(|second| Timestamp::from_nanos(second * 1_000_000_000)).peekable();
        let begun = *seconds.peek().unwrap_or(&Timestamp::default());
        let mut names = Names::new(path.into(), rotation, TimeZone::UTC, begun);
        let mut written = 0;
        let mut all = Vec::new();
        for time in seconds {
            match names.turn(time, written, true) {
                Turn::Stay => {}
                Turn::Next => written = 0,
                Turn::End => break,
            }
            written += 100;
            all.push(names.name().map_or_else(|error| error, |name| name.display().to_string()));
        }
        all
    }

    fn size(bytes: u64, files: Option<u32>) -> Rotation {
        Rotation { bytes: Some(bytes), every: None, files }
    }

    fn time(seconds: u64, files: Option<u32>) -> Rotation {
        Rotation { bytes: None, every: Some(Duration::from_secs(seconds)), files }
    }

    #[test]
    fn size_appends_numbers() {
        // 200 bytes are not more than 200: the third packet still goes into the first file.
        assert_eq!(names("f", size(200, None), 0..7), ["f", "f", "f", "f1", "f1", "f1", "f2"]);
    }

    #[test]
    fn a_ring_has_numbers_of_one_width() {
        assert_eq!(names("f", size(50, Some(3)), 0..5), ["f0", "f1", "f2", "f0", "f1"]);
        let eleven = names("f", size(50, Some(11)), 0..12);
        assert_eq!((&*eleven[0], &*eleven[10], &*eleven[11]), ("f00", "f10", "f00"));
        assert_eq!(names("f", size(50, Some(1)), 0..3), ["f", "f", "f"]);
    }

    #[test]
    fn time_is_told_by_the_name() {
        assert_eq!(
            names("%H:%M:%S", time(5, None), [0, 4, 5, 12, 13, 70]),
            ["00:00:00", "00:00:00", "00:00:05", "00:00:12", "00:00:12", "00:01:10"]
        );
        assert_eq!(names("f", time(5, None), [0, 5]), ["f", "f"]);
        assert_eq!(names("%s", time(5, Some(2)), [0, 5, 9, 10, 11]), ["0", "5", "5"]);
        assert!(names("%!", time(5, None), [0])[0].contains("%!: as a format of time"));
        // Without -G a percent sign is one.
        assert_eq!(names("%s", size(500, None), [0]), ["%s"]);
    }

    /// With both, -W gives the numbers their width and the ring its length, and ends nothing.
    #[test]
    fn time_and_size_together() {
        let both = Rotation { bytes: Some(50), every: Some(Duration::from_secs(5)), files: None };
        assert_eq!(names("%s.", both, [0, 1, 2, 5, 6, 10]), ["0.", "0.1", "0.2", "5.", "5.1", "10."]);
        let ring = Rotation { files: Some(2), ..both };
        assert_eq!(names("%s.", ring, [0, 1, 2, 5, 6, 10]), ["0.0", "0.1", "0.0", "5.0", "5.1", "10.0"]);
    }

    #[test]
    fn packed_files_are_refused_with_a_way_out() {
        assert!(check_name(Path::new("a.pcapng")).is_ok());
        assert!(check_name(Path::new("-")).is_ok());
        for (name, way) in [("a.pcap.gz", "-w - | gzip > a.pcap.gz"), ("a.zst", "-w - | zstd > a.zst")] {
            assert!(check_name(Path::new(name)).is_err_and(|error| error.contains(way)), "{name}");
        }
    }
}
