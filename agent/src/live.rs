//! The loop that all commands share: waits for frames, drives the engine, tells the screen, ends in order.

mod tasks;

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};

use crate::capture::counters::CaptureCounters;
use crate::capture::file::FILE_LAG;
use crate::capture::frame::{Frame, Timestamp};
use crate::capture::privileges;
use crate::capture::{Drained, Source};
use crate::correlate::Vantage;
use crate::engine::{Engine, Report};
use crate::identity::Identity;
use crate::identity::facts::{Fact, ServerRole};
use crate::maps::Map;
use crate::tally::{Miss, PacketResult, Tally};
use tasks::Tasks;

/// Frames that are read under one lock.
const BATCH: usize = 2048;
/// The kernel half wakes us only when a quarter of the ring waits; else we look by ourselves.
const POLL: Duration = Duration::from_millis(50);
/// How far the watermark stays behind the clock when the ring was seen empty: two CPUs may write out of order.
const LAG: Duration = Duration::from_millis(10);
/// How often the source's counters are read.
const COUNTERS: Duration = Duration::from_secs(1);

/// What the capture loop writes and a scrape reads.
pub struct Live {
    /// The rooms and their counts.
    pub engine: Engine,
    /// The source's counters; `None` for a file that is no recording.
    pub counters: Option<CaptureCounters>,
    /// The ledger's other side as it was when the counters were read: only both together close it.
    pub packets: Option<PacketCounts>,
    /// Everything there at the start is attached.
    pub ready: bool,
    /// When the capture loop last went round.
    pub beat: Instant,
}

/// What became of the packets.
#[derive(Clone, Debug)]
pub struct PacketCounts {
    /// By vantage and result.
    pub results: Map<(Vantage, PacketResult), u64>,
    /// [`Tally::node_packets`].
    pub node: u64,
    /// [`Tally::passing_packets`].
    pub passing: u64,
}

impl PacketCounts {
    /// As they are now.
    pub fn of(tally: &Tally) -> Self {
        Self { results: tally.packets.clone(), node: tally.node_packets, passing: tally.passing_packets }
    }
}

impl Live {
    fn read_counters(&mut self, source: &mut Source) {
        self.counters = source.counters();
        // The readings of a recording come at their own times: `read_recorded`.
        if let (Some(counters), Some(now)) = (&self.counters, source.now()) {
            self.engine.counters(now, counters);
        }
        self.packets = Some(PacketCounts::of(self.engine.tally()));
    }
}

/// [`Live`], shared.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Live>>);

impl Shared {
    /// Around an engine.
    pub fn new(engine: Engine) -> Self {
        Self(Arc::new(Mutex::new(Live {
            engine,
            counters: None,
            packets: None,
            ready: false,
            beat: Instant::now(),
        })))
    }

    /// A panic elsewhere does not make the counts wrong: they are plain numbers.
    pub fn lock(&self) -> MutexGuard<'_, Live> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a frame that a screen was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Taken, and the next one is wanted.
    More,
    /// Taken; it was the last one wanted.
    Last,
    /// Not wanted any more: nobody else is to see it either.
    No,
}

/// What the loop tells while it runs.
pub trait Screen {
    /// A frame as the source delivered it, before anything is made of it.
    fn frame(&mut self, _frame: &Frame<'_>) -> io::Result<Taken> {
        Ok(Taken::More)
    }

    /// The source's counters were read, about once a second and at the end; `time` by the clock of the frames. `Break`
    /// ends the capture.
    fn counters(&mut self, _time: Timestamp, _counters: &CaptureCounters) -> io::Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// It became known who is who; `time` by the clock of the frames.
    fn fact(&mut self, _time: Timestamp, _fact: &Fact) -> io::Result<()> {
        Ok(())
    }

    /// Something happened. `Break` ends the capture.
    fn report(&mut self, report: &Report<'_>) -> io::Result<ControlFlow<()>>;

    /// Everything there at the start is attached, which took that long; the last error, if one was met.
    fn attached(&mut self, took: Duration, error: Option<String>, counters: &CaptureCounters);

    /// The privileges that it needs itself until the end.
    fn privileges(&self) -> CapabilitySet {
        CapabilitySet::empty()
    }

    /// All privileges were given up but those that are named.
    fn shed(&mut self, _kept: &str) {}

    /// Something is less than it could be: what, and the way out, in one line.
    fn notice(&mut self, _line: &str) {}

    /// Everything reported so far may be shown.
    fn flush(&mut self) -> io::Result<()>;

    /// SIGUSR1: statistics are wanted.
    fn statistics(&mut self, live: &Live);
}

/// SIGINT, SIGTERM, SIGQUIT and SIGHUP end the loop, SIGUSR1 asks for statistics, a second signal ends at once.
pub struct Signals {
    stop: Arc<AtomicBool>,
    statistics: Arc<AtomicBool>,
    wake: UnixStream,
}

impl AsFd for Signals {
    /// Readable when a signal came.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Signals {
    /// Takes the signals over; `stop` is set when the end is asked for.
    pub fn catch(stop: Arc<AtomicBool>) -> io::Result<Self> {
        let statistics = Arc::new(AtomicBool::new(false));
        let (wake, write) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        for signal in [SIGINT, SIGTERM, SIGQUIT, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal)) {
            // The order matters: the second signal finds the flag that the first one set.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        signal_hook::flag::register(SIGUSR1, Arc::clone(&statistics))?;
        signal_hook::low_level::pipe::register(SIGUSR1, write)?;
        Ok(Self { stop, statistics, wake })
    }

    /// Was the end asked for?
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks for the end, as SIGTERM does.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Were statistics asked for since the last call?
    fn statistics(&self) -> bool {
        use std::io::Read as _;
        let mut bytes = [0; 64];
        // Whatever waits in the pipe has done its work by waking us.
        let _ = (&self.wake).read(&mut bytes);
        self.statistics.swap(false, Ordering::Relaxed)
    }
}

/// SIGHUP is ignored from the start under nohup, and stays so.
fn is_ignored(signal: i32) -> bool {
    if signal != SIGHUP {
        return false;
    }
    // SAFETY: all-zero bytes are a valid sigaction; the call only writes the present one into it.
    unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut present) == 0
            && present.sa_sigaction == libc::SIG_IGN
    }
}

/// Runs until the source ends, a signal comes, `longest` is over or the screen has seen enough.
///
/// `identity` says who is who while the source is live.
///
/// At the end the source is let go first, then what it still holds is read, so that every captured packet is counted.
///
/// # Errors
///
/// What the screen said; the source is let go of all the same.
pub fn run(
    source: &mut Source,
    shared: &Shared,
    signals: &Signals,
    longest: Option<Duration>,
    identity: &mut Identity,
    screen: &mut dyn Screen,
) -> io::Result<()> {
    let result = capture(source, shared, signals, longest, identity, screen);
    source.detach();
    let result = result.and_then(|enough| if enough { Ok(()) } else { drain_rest(source, shared, screen) });
    let mut live = shared.lock();
    let mut outcome = Ok(());
    // An end after `-c` lines or a closed pipe still closes the books; its last events are not shown.
    let show = result.is_ok();
    // A recording tells how long nothing came after its last packet.
    let end = source
        .now()
        .or(source.recorded_until())
        .map_or(live.engine.latest(), |end| end.max(live.engine.latest()));
    // What was lost, or counted by the kernel alone, is known before the last judgements.
    live.read_counters(source);
    live.engine.finish(end, &mut |report| {
        if show && outcome.is_ok() {
            outcome = screen.report(&report).map(drop);
        }
    });
    live.packets = Some(PacketCounts::of(live.engine.tally()));
    let told = match &live.counters {
        Some(counters) if show => screen.counters(end, counters).map(drop),
        _ => Ok(()),
    };
    drop(live);
    result.and(outcome).and(told).and_then(|()| screen.flush())
}

/// The loop itself; `true` when the screen has seen enough.
fn capture(
    source: &mut Source,
    shared: &Shared,
    signals: &Signals,
    longest: Option<Duration>,
    identity: &mut Identity,
    screen: &mut dyn Screen,
) -> io::Result<bool> {
    // Packets are read while attaching goes on; the time allowed counts from its end.
    let mut deadline = None;
    let mut attached = false;
    let mut next_counters = Instant::now();
    let mut drained = Drained::Empty;
    let (mut tasks, told) = Tasks::new(source, identity);
    told.iter().for_each(|line| screen.notice(line));
    while !signals.stopped() && drained != Drained::Ended {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            break;
        }
        if drained == Drained::Empty {
            let poll = if attached || source.now().is_none() { POLL } else { POLL / 10 };
            let rest = deadline.map_or(poll, |deadline: Instant| deadline - now);
            source.wait(signals.as_fd(), rest.min(poll));
        }
        let mut live = shared.lock();
        // Who asks is known before what it asks is looked at.
        learn(source, &mut live, identity, screen)?;
        let strangers = live.engine.tally().misses.count(Miss::Pod);
        let (left, mut enough) = batch(source, &mut live, screen)?;
        if live.engine.tally().misses.count(Miss::Pod) > strangers {
            identity.look_again();
        }
        drained = left;
        enough |= read_recorded(source, &mut live, screen)?.is_break();
        live.beat = Instant::now();
        if !attached && let Some((took, error)) = source.first_round() {
            attached = true;
            live.ready = true;
            deadline = longest.map(|longest| Instant::now() + longest);
            let had = privileges::effective();
            let shed = source.shed(screen.privileges());
            live.read_counters(source);
            enough |= tell_counters(source, &live, screen)?.is_break();
            match shed {
                Ok(Some(kept)) => screen.shed(&privileges::names(kept | had & identity.privileges())),
                Ok(None) => {}
                Err(error) => screen.shed(&format!("could not be given up: {error}")),
            }
            screen.attached(took, error, live.counters.as_ref().unwrap_or(&CaptureCounters::default()));
        }
        if Instant::now() >= next_counters {
            tasks.follow(identity).iter().for_each(|line| screen.notice(line));
            live.read_counters(source);
            next_counters = Instant::now() + COUNTERS;
            enough |= tell_counters(source, &live, screen)?.is_break();
        }
        if signals.statistics() {
            live.read_counters(source);
            enough |= tell_counters(source, &live, screen)?.is_break();
            screen.statistics(&live);
        }
        drop(live);
        screen.flush()?;
        if enough {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Tells everybody what became known of who is who.
fn learn(
    source: &mut Source,
    live: &mut Live,
    identity: &mut Identity,
    screen: &mut dyn Screen,
) -> io::Result<()> {
    for fact in identity.take() {
        let time = source.now().unwrap_or(live.engine.latest());
        if let Fact::Server { address, role: ServerRole::Vpc } = &fact {
            source.add_vpc_resolver(*address);
        }
        live.engine.learn(time, &fact);
        screen.fact(time, &fact)?;
    }
    Ok(())
}

fn tell_counters(source: &Source, live: &Live, screen: &mut dyn Screen) -> io::Result<ControlFlow<()>> {
    let Some(counters) = &live.counters else { return Ok(ControlFlow::Continue(())) };
    screen.counters(source.now().unwrap_or(live.engine.latest()), counters)
}

/// Takes the facts and the reading that a recording holds, at the time when they were learnt and made.
fn read_recorded(
    source: &mut Source,
    live: &mut Live,
    screen: &mut dyn Screen,
) -> io::Result<ControlFlow<()>> {
    for (time, fact) in source.take_facts() {
        live.engine.learn(time, &fact);
        screen.fact(time, &fact)?;
    }
    let Some((time, counters)) = source.take_reading() else { return Ok(ControlFlow::Continue(())) };
    live.engine.counters(time, &counters);
    screen.counters(time, &counters)
}

/// Reads one batch and moves the watermark.
fn batch(source: &mut Source, live: &mut Live, screen: &mut dyn Screen) -> io::Result<(Drained, bool)> {
    // The clock is read before the ring is seen empty: what came in between is older than the watermark allows.
    let before = source.now();
    let engine = &mut live.engine;
    let mut shown = Shown { screen, flow: Ok(ControlFlow::Continue(())) };
    let drained = source.drain(BATCH, &mut |frame| {
        if !shown.frame(frame) {
            return;
        }
        // A file's frames are its clock; what ended before this frame is told before it.
        if before.is_none() {
            engine
                .tick(engine.latest().max(frame.time).before(FILE_LAG), &mut |report| shown.report(&report));
        }
        engine.frame(frame, &mut |report| shown.report(&report));
    });
    // While records wait, nothing can be said about what else is on its way.
    if let (Some(before), Drained::Empty) = (before, drained) {
        engine.tick(before.before(LAG), &mut |report| shown.report(&report));
    }
    shown.flow.map(|flow| (drained, flow.is_break()))
}

/// A screen, until it has seen enough.
struct Shown<'a> {
    screen: &'a mut dyn Screen,
    flow: io::Result<ControlFlow<()>>,
}

impl Shown<'_> {
    /// Shows a frame; `false`: it is not wanted.
    #[inline]
    fn frame(&mut self, frame: &Frame<'_>) -> bool {
        if self.flow.is_err() {
            return false;
        }
        match self.screen.frame(frame) {
            Ok(Taken::More) => return true,
            Ok(Taken::Last) => self.flow = Ok(ControlFlow::Break(())),
            Ok(Taken::No) => {
                self.flow = Ok(ControlFlow::Break(()));
                return false;
            }
            Err(error) => {
                self.flow = Err(error);
                return false;
            }
        }
        true
    }

    fn report(&mut self, report: &Report<'_>) {
        if matches!(self.flow, Ok(ControlFlow::Continue(()))) {
            self.flow = self.screen.report(report);
        }
    }
}

/// Reads what the source still holds after it was let go.
fn drain_rest(source: &mut Source, shared: &Shared, screen: &mut dyn Screen) -> io::Result<()> {
    if source.now().is_none() {
        return Ok(());
    }
    loop {
        let mut live = shared.lock();
        if batch(source, &mut live, screen)?.0 != Drained::More {
            return Ok(());
        }
    }
}
