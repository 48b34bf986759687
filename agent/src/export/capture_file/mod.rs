//! Records packets into capture files that tcpdump and Wireshark read, and that replay to the same result here.
//!
//! Input: frames as the source delivered them, and its counters. Output: pcapng, or pcap where the name asks for it, in
//! one file or in several. What is recorded is what the engine looks at: packets from or to the server ports, fragments,
//! and what may have been one of them. Deliberately absent: packing, since `-w -` goes into any program. The form of all
//! that stands beside the packets is that of [`crate::capture::recorded`].

mod known;
mod link;
mod output;
mod pcap;
mod pcapng;
mod rotation;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use jiff::tz::TimeZone;

use crate::capture::Namer;
use crate::capture::counters::CaptureCounters;
use crate::capture::frame::{Frame, Ifindex, InterfaceKind, Place, Timestamp};
use crate::capture::recorded::{
    ENTERPRISE, InterfaceFact, Reading, fact_to_json, write_comment, write_whose,
};
use crate::capture::vantage::{Vantage, Verdict, judge};
use crate::engine;
use crate::identity::facts::Fact;
use crate::identity::who::Who;
use crate::live::Taken;
use crate::maps::Set;
use crate::packet::{self, DecodeError, Packet};

use known::Facts;
pub use link::Encapsulation;
use output::{Format, Output};
pub use output::{Input, RecordError};
pub use rotation::Rotation;
use rotation::{Names, Turn};

/// Of every interface: the most that any reader takes (libpcap's MAXIMUM_SNAPLEN), so nothing is cut here.
const SNAPLEN: u32 = 262_144;

/// What a recording is told once.
#[derive(Clone, Debug)]
pub struct RecordConfig {
    /// Where to; `-` is standard output. With [`Rotation::every`] a format of time.
    pub path: PathBuf,
    /// When to begin another file.
    pub rotation: Rotation,
    /// How frames begin.
    pub encapsulation: Encapsulation,
    /// The server ports.
    pub ports: Set<u16>,
    /// When the capture begins; `None` for a file, where the first packet tells.
    pub begun: Option<Timestamp>,
    /// Of the times in names.
    pub zone: TimeZone,
    /// What is being read, where that is a file on a disk.
    pub input: Option<Input>,
}

/// A recording under way.
pub struct Recording {
    config: RecordConfig,
    format: Format,
    namer: Namer,
    /// `None` before the first packet of a file whose first one is named by it.
    output: Option<Output>,
    names: Option<Names>,
    /// The numbers of the interfaces in the present file.
    ids: HashMap<Option<(Ifindex, InterfaceKind)>, u32>,
    facts: BTreeMap<Ifindex, InterfaceFact>,
    /// Who is who, for the comments, and for files that begin later.
    who: Who,
    known: Facts,
    latest: CaptureCounters,
    /// As they were when the present file began, and when that was.
    base: CaptureCounters,
    begun: Timestamp,
    /// A reading that was not written, since nothing had changed but the time.
    unchanged: Option<Timestamp>,
    /// What was written last.
    told: CaptureCounters,
    /// What is about to be written.
    buffer: Vec<u8>,
    comment: Vec<u8>,
    packets: u64,
    ended: bool,
}

impl Recording {
    /// Opens the first file, unless its name waits for the first packet.
    ///
    /// # Errors
    ///
    /// The name cannot be used or the file not be made; one that is there is overwritten.
    pub fn create(config: RecordConfig, namer: Namer) -> Result<Self, RecordError> {
        rotation::check_name(&config.path).map_err(RecordError::Name)?;
        let mut recording = Self {
            format: Format::by_name(&config.path),
            namer,
            output: None,
            names: None,
            ids: HashMap::new(),
            facts: BTreeMap::new(),
            who: Who::default(),
            known: Facts::default(),
            latest: CaptureCounters::default(),
            base: CaptureCounters::default(),
            begun: Timestamp::default(),
            unchanged: None,
            told: CaptureCounters::default(),
            buffer: Vec::new(),
            comment: Vec::new(),
            packets: 0,
            ended: false,
            config,
        };
        match recording.config.begun {
            Some(begun) => recording.open_first(begun)?,
            None if recording.config.rotation.every.is_none() => recording.open_first(Timestamp::default())?,
            // A mistake in the name is told now.
            None => {
                recording.names_from(Timestamp::default()).name().map_err(RecordError::Name)?;
            }
        }
        Ok(recording)
    }

    /// Packets that were written.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Writes a frame, if it is one that the engine looks at.
    pub fn frame(&mut self, frame: &Frame<'_>) -> Result<Taken, RecordError> {
        if self.ended {
            return Ok(Taken::No);
        }
        let Some(vantage) = self.judge(frame) else { return Ok(Taken::More) };
        if self.turn(frame.time, true)?.is_break() {
            return Ok(Taken::No);
        }
        if self.begun == Timestamp::default() {
            self.begun = frame.time;
        }
        self.comment.clear();
        if let Some(place) = &frame.place {
            write_comment(&mut self.comment, place, vantage);
            if let Some(known) = self.who.behind_interface(place.ifindex) {
                write_whose(&mut self.comment, &known.instance);
            }
        }
        let id = self.interface_of(frame.place.as_ref());
        let wrapped = link::wrap(frame, self.config.encapsulation);
        let packet = pcapng::Packet {
            time: frame.time,
            parts: wrapped.parts(),
            original_length: wrapped.original_length,
            direction: frame.place.map(|place| place.direction),
            comment: &self.comment,
        };
        match self.format {
            Format::Pcap => pcap::packet(&mut self.buffer, &packet),
            Format::Pcapng => pcapng::packet(&mut self.buffer, id, &packet),
        }
        self.packets += 1;
        self.write()?;
        Ok(Taken::More)
    }

    /// Writes what the source counts, and what it knows of its interfaces. `Break`: as many files as were wanted are
    /// written.
    pub fn counters(
        &mut self,
        time: Timestamp,
        counters: &CaptureCounters,
    ) -> Result<ControlFlow<()>, RecordError> {
        if self.ended {
            return Ok(ControlFlow::Break(()));
        }
        self.latest.clone_from(counters);
        for watched in &counters.interfaces {
            self.learn(InterfaceFact::of(watched));
        }
        let flow = self.turn(time, false)?;
        if flow.is_continue() {
            self.reading(time);
            self.write()?;
        }
        Ok(flow)
    }

    /// Writes what became known of who is who at `time`.
    pub fn fact(&mut self, time: Timestamp, fact: &Fact) -> Result<(), RecordError> {
        if self.ended {
            return Ok(());
        }
        self.who.learn(time, fact);
        self.who.forget_workloads(|_| false);
        self.known.learn(fact);
        if self.format == Format::Pcapng && self.output.is_some() {
            pcapng::custom(&mut self.buffer, ENTERPRISE, &fact_to_json(time, fact));
        }
        self.write()
    }

    /// Ends the last file in order.
    pub fn finish(&mut self) -> Result<(), RecordError> {
        self.close()?;
        self.ended = true;
        Ok(())
    }

    /// Gives all that was written to the reader.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        self.output.as_mut().map_or(Ok(()), Output::flush)
    }

    /// Is it to be recorded? If so, with its vantage where that is certain.
    fn judge(&self, frame: &Frame<'_>) -> Option<Option<Vantage>> {
        match packet::parse(frame) {
            Ok(Packet::Payload(payload)) => {
                let to_server = engine::to_server(&self.config.ports, &payload)?;
                let place = frame.place.as_ref();
                Some(match place.map(|_| judge(place, to_server)) {
                    Some(Verdict::Certain(vantage)) => Some(vantage),
                    Some(Verdict::NodeOrUplink) | None => None,
                })
            }
            Err(DecodeError::NotIp(_) | DecodeError::NotTransport(_)) => None,
            // Later fragments carry no ports; what cannot be read is counted, so it is kept for whoever looks.
            Ok(Packet::Fragment(_)) | Err(_) => Some(None),
        }
    }

    /// Goes over to another file where it is time.
    fn turn(&mut self, time: Timestamp, packet: bool) -> Result<ControlFlow<()>, RecordError> {
        if self.output.is_none() {
            self.open_first(time)?;
        }
        let (Some(names), Some(output)) = (&mut self.names, &mut self.output) else {
            return Ok(ControlFlow::Continue(()));
        };
        match names.turn(time, output.written(), packet) {
            Turn::Stay => Ok(ControlFlow::Continue(())),
            Turn::Next => {
                let name = names.name().map_err(RecordError::Name)?;
                self.reading(time);
                self.close()?;
                self.open(name, time)?;
                Ok(ControlFlow::Continue(()))
            }
            Turn::End => {
                self.reading(time);
                self.finish()?;
                Ok(ControlFlow::Break(()))
            }
        }
    }

    fn names_from(&self, begun: Timestamp) -> Names {
        let RecordConfig { path, rotation, zone, .. } = &self.config;
        Names::new(path.clone(), *rotation, zone.clone(), begun)
    }

    fn open_first(&mut self, begun: Timestamp) -> Result<(), RecordError> {
        let names = self.names_from(begun);
        let name = names.name().map_err(RecordError::Name)?;
        self.names = Some(names);
        self.open(name, begun)
    }

    /// Begins a file that stands alone: with its own header, and with what is known by now.
    fn open(&mut self, path: PathBuf, begun: Timestamp) -> Result<(), RecordError> {
        self.output = Some(Output::create(path, self.config.input.as_ref())?);
        self.ids.clear();
        self.base.clone_from(&self.latest);
        self.begun = begun;
        match self.format {
            Format::Pcap => pcap::header(&mut self.buffer, self.config.encapsulation.number(), SNAPLEN),
            Format::Pcapng => {
                pcapng::section(&mut self.buffer, &author());
                for fact in self.facts.values() {
                    pcapng::custom(&mut self.buffer, ENTERPRISE, &fact.to_json());
                }
                for fact in self.known.all() {
                    pcapng::custom(&mut self.buffer, ENTERPRISE, &fact_to_json(begun, &fact));
                }
            }
        }
        self.write()
    }

    /// Ends the present file; libpcap reads none that describes no interface.
    fn close(&mut self) -> Result<(), RecordError> {
        // Until when nothing came is worth a line.
        if let Some(time) = self.unchanged {
            self.write_reading(time);
        }
        if self.ids.is_empty() && self.output.is_some() {
            self.interface_of(None);
        }
        self.write()?;
        self.flush()
    }

    /// The number of an interface in the present file, which is told what is known of it.
    fn interface_of(&mut self, place: Option<&Place>) -> u32 {
        let key = place.map(|place| (place.ifindex, place.kind));
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let fact = key.map(|(ifindex, kind)| self.fact_of(ifindex, kind));
        let id = self.ids.len() as u32;
        self.ids.insert(key, id);
        if self.format == Format::Pcapng {
            let json = fact.as_ref().map(InterfaceFact::to_json);
            pcapng::interface(
                &mut self.buffer,
                &pcapng::Interface {
                    link_type: self.config.encapsulation.number(),
                    snaplen: SNAPLEN,
                    name: fact.as_ref().map_or("", |fact| &fact.name),
                    description: fact.as_ref().map_or("", |fact| fact.kind.as_str()),
                    custom: json.as_deref().map(|json| (ENTERPRISE, json)),
                },
            );
        }
        id
    }

    /// Packets may come before the counters that tell of their interface, and after it became something else.
    fn fact_of(&self, ifindex: Ifindex, kind: InterfaceKind) -> InterfaceFact {
        match self.facts.get(&ifindex) {
            Some(fact) if fact.kind == kind => fact.clone(),
            _ => {
                let name = self.namer.name_of(ifindex).unwrap_or_default();
                InterfaceFact { ifindex, name, kind, watched: None }
            }
        }
    }

    fn learn(&mut self, fact: InterfaceFact) {
        if self.facts.get(&fact.ifindex) == Some(&fact) {
            return;
        }
        if self.format == Format::Pcapng && self.output.is_some() {
            pcapng::custom(&mut self.buffer, ENTERPRISE, &fact.to_json());
        }
        self.facts.insert(fact.ifindex, fact);
    }

    /// What was counted in this file, where that has changed: Wireshark shows each reading as a line of its own.
    fn reading(&mut self, time: Timestamp) {
        if self.latest == self.told {
            self.unchanged = Some(time);
        } else {
            self.write_reading(time);
            self.told.clone_from(&self.latest);
        }
    }

    fn write_reading(&mut self, time: Timestamp) {
        self.unchanged = None;
        if self.format == Format::Pcapng && self.output.is_some() {
            let reading = Reading { begun: self.begun, time, counters: self.latest.since(&self.base) };
            pcapng::custom(&mut self.buffer, ENTERPRISE, &reading.to_json());
        }
        // These are told once.
        self.latest.forget_recent();
    }

    fn write(&mut self) -> Result<(), RecordError> {
        if let Some(output) = &mut self.output {
            output.write(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// This program, on this machine.
fn author() -> pcapng::Author {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    pcapng::Author {
        hardware: text(uname.machine()),
        system: format!("{} {}", text(uname.sysname()), text(uname.release())),
        application: concat!("nslookout ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

impl From<RecordError> for io::Error {
    fn from(error: RecordError) -> Self {
        Self::new(error.kind(), error)
    }
}
