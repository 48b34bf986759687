//! The flags of recording, as tcpdump has them.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::WatchArgs;
use crate::capture::Source;
use crate::capture::file;
use crate::capture::frame::LinkType;
use crate::capture::interfaces;
use crate::export::capture_file::{Encapsulation, Input, RecordConfig, Recording, Rotation};

#[derive(Args)]
pub(super) struct RecordArgs {
    /// Write packets to a file instead of printing lines: pcapng, or pcap where the name ends in .pcap (- is standard
    /// output); -r reads it back with the same result
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Print lines too while writing packets
    #[arg(long)]
    pub(super) print: bool,
    /// Begin a new file, with a number behind its name, after this many millions of bytes (or 64KiB, 10MiB, 1GiB)
    #[arg(short = 'C', value_name = "SIZE", requires = "write", value_parser = parse_size)]
    file_size: Option<u64>,
    /// Begin a new file after this many seconds; strftime conversions in FILE tell its time (%Y%m%d-%H%M%S)
    #[arg(short = 'G', value_name = "SECONDS", requires = "write", value_parser = clap::value_parser!(u64).range(1..))]
    period: Option<u64>,
    /// With -C write this many files, then the first one anew; with -G alone stop after this many
    #[arg(short = 'W', value_name = "FILES", requires = "write", value_parser = clap::value_parser!(u32).range(1..))]
    files: Option<u32>,
    /// Write packets as they come; that is so anyway
    #[arg(short = 'U', long)]
    packet_buffered: bool,
}

impl RecordArgs {
    /// Are packets to be written?
    pub(super) const fn is_wanted(&self) -> bool {
        self.write.is_some()
    }

    /// Opens the recording that was asked for.
    pub(super) fn create(&self, args: &WatchArgs, source: &Source) -> Result<Option<Recording>> {
        let Some(path) = &self.write else { return Ok(None) };
        self.check(path)?;
        let config = RecordConfig {
            path: path.clone(),
            rotation: Rotation {
                bytes: self.file_size,
                every: self.period.map(Duration::from_secs),
                files: self.files,
            },
            encapsulation: encapsulation(args, source)?,
            ports: args.live.port_set(),
            begun: source.now(),
            zone: jiff::tz::TimeZone::system(),
            input: input(args, source),
        };
        Ok(Some(Recording::create(config, source.namer())?))
    }

    fn check(&self, path: &Path) -> Result<()> {
        let rotates = self.file_size.is_some() || self.period.is_some();
        if self.files.is_some() && !rotates {
            bail!("-W needs -C or -G, which begin new files");
        }
        if path == Path::new("-") {
            if rotates {
                bail!("-w - writes one stream: -C and -G need the name of a file");
            }
            if self.print {
                bail!("-w - and --print both want standard output; give -w the name of a file");
            }
            if std::io::stdout().is_terminal() {
                bail!(
                    "-w - writes packets, not for a terminal: send it to a file or a program (| tcpdump -nr -)"
                );
            }
        }
        Ok(())
    }
}

/// The file that is read, if any; a pipe cannot be overwritten.
fn input(args: &WatchArgs, source: &Source) -> Option<Input> {
    match (&args.read, source) {
        (Some(path), Source::File(file)) => Some(Input { id: file.id()?, name: file::display_name(path) }),
        _ => None,
    }
}

/// One interface of Ethernet gives a file of Ethernet, as does a file where all is of one kind; else there is one header
/// that has room for all.
fn encapsulation(args: &WatchArgs, source: &Source) -> Result<Encapsulation> {
    let link_type = match (&args.read, source) {
        (Some(path), Source::File(opened)) => match opened.link_type() {
            Some(link_type) => Some(link_type),
            None => {
                file::one_link_type(path).with_context(|| format!("failed to read {}", file::shown(path)))?
            }
        },
        _ => {
            let link_type = interfaces::one_link_type(&args.live.config().selection)?;
            link_type.filter(|link_type| *link_type == LinkType::Ethernet)
        }
    };
    Ok(link_type.map_or(Encapsulation::Cooked, Encapsulation::keeping))
}

/// Millions of bytes, or powers of 1024 with a unit, as tcpdump's -C takes them.
fn parse_size(text: &str) -> Result<u64, String> {
    let advice =
        || format!("`{text}` is no size of a file; write 10 (millions of bytes), 64KiB, 10MiB or 1GiB");
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| advice())?;
    let unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "" => 1_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(advice()),
    };
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_tcpdump() {
        for (text, bytes) in [
            ("1", 1_000_000),
            ("20", 20_000_000),
            ("64k", 65_536),
            ("64KiB", 65_536),
            ("2M", 2 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "0", "-1", "1.5", "10MB", "x", "99999999999999999999", "9999999999999g"] {
            assert!(parse_size(bad).is_err_and(|error| error.contains(bad)), "{bad}");
        }
    }
}
