//! Counters that a driver keeps of an interface (`ethtool -S`), and among them the limits that it enforces.
//!
//! Input: names of interfaces. Output: counters by the driver's own names. ENA's driver counts what was dropped for a
//! limit of the instance since its version 2.2.10: names that end in `_allowance_exceeded` (facts.md section 4;
//! ena_ethtool.c). Most drivers have none of these; that is found out once for each interface. Everything `unsafe` of this
//! room is in one function.

use std::collections::BTreeMap;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketType, socket};

use super::counters::{AllowanceCount, WatchedInterface};
use super::frame::Ifindex;
use super::netns::Abode;

// linux/ethtool.h and linux/sockios.h.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETH_SS_STATS: u32 = 1;
const ETH_GSTRING_LEN: usize = 32;

/// Counters of one interface that are read at most; a driver that has more is left alone. Large network cards have some
/// thousands, and so has every driver that counts by queue.
const MOST_COUNTERS: usize = 65_536;
/// Interfaces that are asked at most.
const MOST_INTERFACES: usize = 64;
/// How the names of the counters that are kept end.
const SUFFIX: &str = "_allowance_exceeded";

/// A place among an interface's counters, and the name of what stands there.
type Named = (usize, String);

/// The limits of all interfaces.
#[derive(Default)]
pub(super) struct Allowances {
    socket: Option<OwnedFd>,
    /// By interface; `None`: its driver has none.
    known: BTreeMap<Ifindex, Option<Limits>>,
}

/// What one interface's driver counts of limits.
struct Limits {
    /// Counters that the driver has in all.
    total: usize,
    wanted: Vec<Named>,
    /// What they were when they were read first, in the same order: they count since the driver was loaded.
    begin: Vec<u64>,
}

impl Allowances {
    /// Those of the network namespace that the calling thread is in; they are read from wherever it is then.
    pub(super) fn here() -> Self {
        let mut allowances = Self::default();
        allowances.socket();
        allowances
    }

    /// What was dropped since the first call, at each of `interfaces`; those that are not named are forgotten. What cannot
    /// be read is not told.
    pub(super) fn read<'a>(
        &mut self,
        abode: &Abode,
        interfaces: impl Iterator<Item = (Ifindex, &'a str)>,
    ) -> Vec<AllowanceCount> {
        let mut before = std::mem::take(&mut self.known);
        let mut counts = Vec::new();
        for (ifindex, name) in interfaces.take(MOST_INTERFACES) {
            let Some(socket) = self.socket() else { return counts };
            let mut limits = match before.remove(&ifindex) {
                Some(known) => known,
                None => Limits::find(socket, abode.inner(name)),
            };
            if let Some(limits) = &mut limits {
                let mut read = limits.read(socket, abode.inner(name));
                read.iter_mut().for_each(|count| name.clone_into(&mut count.interface));
                counts.extend(read);
            }
            self.known.insert(ifindex, limits);
        }
        counts
    }

    /// Any socket will do: the kernel only wants to know in which network namespace we ask.
    fn socket(&mut self) -> Option<&OwnedFd> {
        if self.socket.is_none() {
            self.socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok();
        }
        self.socket.as_ref()
    }
}

impl Limits {
    /// `None`: the driver counts none, or no counters at all.
    fn find(socket: &OwnedFd, name: &str) -> Option<Self> {
        let total = count(socket, name).ok()?;
        let mut wanted = names(socket, name, total).ok()?;
        wanted.retain(|(_, counter)| counter.ends_with(SUFFIX));
        if wanted.is_empty() {
            return None;
        }
        let values = values(socket, name, total).ok()?;
        let begin = wanted.iter().filter_map(|(index, _)| values.get(*index).copied()).collect();
        Some(Self { total, wanted, begin })
    }

    /// What was counted since the first reading; nothing where it cannot be read now.
    fn read(&mut self, socket: &OwnedFd, name: &str) -> Vec<AllowanceCount> {
        // With other queues (`ethtool -L`) the driver has more or fewer counters, and may have put them before those that
        // are known.
        if count(socket, name).ok() != Some(self.total) {
            match Self::find(socket, name) {
                Some(found) => *self = found.since(self),
                None => return Vec::new(),
            }
        }
        let Ok(values) = values(socket, name, self.total) else { return Vec::new() };
        self.counts(name, &values)
    }

    /// The same limits at other places: what was known goes on counting from where it began.
    fn since(mut self, earlier: &Self) -> Self {
        for ((_, counter), begin) in self.wanted.iter().zip(&mut self.begin) {
            let known = earlier.wanted.iter().position(|(_, known)| known == counter);
            *begin = known.and_then(|known| earlier.begin.get(known)).copied().unwrap_or(*begin);
        }
        self
    }

    /// What `values` say of each limit.
    fn counts(&self, interface: &str, values: &[u64]) -> Vec<AllowanceCount> {
        let counts = self.wanted.iter().zip(&self.begin).filter_map(|((index, counter), begin)| {
            Some(AllowanceCount {
                interface: interface.to_owned(),
                counter: counter.clone(),
                packets: values.get(*index)?.saturating_sub(*begin),
            })
        });
        counts.collect()
    }
}

/// The interfaces whose limits matter: those that packets leave the machine by.
pub(super) fn uplinks(interfaces: &[WatchedInterface]) -> impl Iterator<Item = (Ifindex, &str)> {
    let uplinks = interfaces.iter().filter(|interface| interface.kind.is_way_out());
    uplinks.map(|interface| (interface.ifindex, interface.name.as_str()))
}

/// All counters of an interface's driver, by its own names.
///
/// # Errors
///
/// There is no such interface, its driver counts nothing (`EOPNOTSUPP`), or it has more counters than are read.
pub fn statistics(name: &str) -> io::Result<Vec<(String, u64)>> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let total = count(&socket, name)?;
    let values = values(&socket, name, total)?;
    Ok(names(&socket, name, total)?.into_iter().map(|(_, name)| name).zip(values).collect())
}

/// How many counters the driver has.
///
/// # Errors
///
/// It cannot be asked, or there are more than [`MOST_COUNTERS`].
fn count(socket: &OwnedFd, name: &str) -> io::Result<usize> {
    // struct ethtool_sset_info: cmd, reserved, a mask of 64 bits, one number for each bit.
    let mut buffer = vec![0; 16 + 4];
    put(&mut buffer, 0, ETHTOOL_GSSET_INFO);
    buffer[8..16].copy_from_slice(&(1_u64 << ETH_SS_STATS).to_ne_bytes());
    ask(socket, name, &mut buffer)?;
    match parse_count(&buffer) {
        total if total <= MOST_COUNTERS => Ok(total),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

/// Their names, in the order of the values. The room for all that a driver may write takes no memory before it is written
/// to: the pages come zeroed from the kernel.
fn names(socket: &OwnedFd, name: &str, total: usize) -> io::Result<Vec<Named>> {
    let mut buffer = vec![0; 12 + MOST_COUNTERS * ETH_GSTRING_LEN];
    put(&mut buffer, 0, ETHTOOL_GSTRINGS);
    put(&mut buffer, 4, ETH_SS_STATS);
    put(&mut buffer, 8, total as u32);
    ask(socket, name, &mut buffer)?;
    Ok(parse_names(&buffer))
}

/// What they count.
fn values(socket: &OwnedFd, name: &str, total: usize) -> io::Result<Vec<u64>> {
    let mut buffer = vec![0; 8 + MOST_COUNTERS * 8];
    put(&mut buffer, 0, ETHTOOL_GSTATS);
    put(&mut buffer, 4, total as u32);
    ask(socket, name, &mut buffer)?;
    Ok(parse_values(&buffer))
}

/// The answer to `ETHTOOL_GSSET_INFO`: the number stands there if its bit is still set.
fn parse_count(buffer: &[u8]) -> usize {
    let mask = buffer.get(8..16).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    let counted = mask & 1 << ETH_SS_STATS != 0;
    if counted { word(buffer, 16) as usize } else { 0 }
}

/// The answer to `ETHTOOL_GSTRINGS` (struct ethtool_gstrings): cmd, set, how many, names of 32 bytes filled up with zeros.
fn parse_names(buffer: &[u8]) -> Vec<Named> {
    let names = buffer.get(12..).unwrap_or_default().chunks_exact(ETH_GSTRING_LEN);
    let text = |name: &[u8]| {
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        // A driver's word; what is not printable is none.
        String::from_utf8_lossy(name).chars().filter(|letter| !letter.is_control()).collect()
    };
    names.take(word(buffer, 8) as usize).map(text).enumerate().collect()
}

/// The answer to `ETHTOOL_GSTATS` (struct ethtool_stats): cmd, how many, numbers of 64 bits.
fn parse_values(buffer: &[u8]) -> Vec<u64> {
    let (numbers, _) = buffer.get(8..).unwrap_or_default().as_chunks();
    numbers.iter().take(word(buffer, 4) as usize).map(|number| u64::from_ne_bytes(*number)).collect()
}

/// The 32 bits at an offset; 0 beyond the end.
fn word(buffer: &[u8], at: usize) -> u32 {
    buffer.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn put(buffer: &mut [u8], at: usize, word: u32) {
    buffer[at..at + 4].copy_from_slice(&word.to_ne_bytes());
}

/// Lets the driver of an interface fill a buffer that begins with a command.
fn ask(socket: &OwnedFd, name: &str, buffer: &mut [u8]) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // IFNAMSIZ counts the zero at the end (linux/if.h).
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (letter, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *letter = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = buffer.as_mut_ptr().cast();
    // SAFETY: the name ends with a zero; the buffer lives until the call returns and has room for what the command that
    // it begins with writes. Kernels without a check of the length write as many counters as the driver has then, however
    // many were asked for (net/ethtool/ioctl.c, ethtool_get_stats and ethtool_get_strings): so there is room for
    // `MOST_COUNTERS`, and nobody is asked who had more a moment ago.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of ENA's counters of limits, as `ethtool -S` shows them (ena:kernel/linux/ena/ena_ethtool.c,
    /// ena_stats_eni_strings), between two others.
    const ENA: [&str; 7] = [
        "tx_timeout",
        "bw_in_allowance_exceeded",
        "bw_out_allowance_exceeded",
        "pps_allowance_exceeded",
        "conntrack_allowance_exceeded",
        "linklocal_allowance_exceeded",
        "queue_0_tx_cnt",
    ];

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn strings(names: &[&str]) -> Vec<u8> {
        let mut buffer = words(&[ETHTOOL_GSTRINGS, ETH_SS_STATS, names.len() as u32]);
        for name in names {
            let mut field = name.as_bytes().to_vec();
            field.resize(ETH_GSTRING_LEN, 0);
            buffer.extend(field);
        }
        buffer
    }

    fn numbers(values: &[u64]) -> Vec<u8> {
        let values = values.iter().flat_map(|value| value.to_ne_bytes());
        words(&[ETHTOOL_GSTATS, values.clone().count() as u32 / 8]).into_iter().chain(values).collect()
    }

    #[test]
    fn ena_s_counters_are_read() {
        let mut info = words(&[ETHTOOL_GSSET_INFO, 0]);
        info.extend((1_u64 << ETH_SS_STATS).to_ne_bytes());
        info.extend(words(&[ENA.len() as u32]));
        assert_eq!(parse_count(&info), 7);
        let mut names = parse_names(&strings(&ENA));
        assert_eq!(names[5], (5, "linklocal_allowance_exceeded".to_owned()));
        names.retain(|(_, name)| name.ends_with(SUFFIX));
        assert_eq!(names.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(parse_values(&numbers(&[0, 1, 2, 3, 4, 1 << 40, 6]))[5], 1 << 40);
    }

    #[test]
    fn a_name_may_fill_its_field() {
        let long = "x".repeat(ETH_GSTRING_LEN);
        assert_eq!(
            parse_names(&strings(&[&long, "", "ab"])),
            [(0, long), (1, String::new()), (2, "ab".into())]
        );
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        // The driver has no counters: it clears the bit.
        assert_eq!(parse_count(&words(&[ETHTOOL_GSSET_INFO, 0, 0, 0, 9])), 0);
        let mut many = words(&[ETHTOOL_GSSET_INFO, 0]);
        many.extend((1_u64 << ETH_SS_STATS).to_ne_bytes());
        many.extend(words(&[u32::MAX]));
        assert_eq!(parse_count(&many), u32::MAX as usize);
        let mut claims = strings(&["a"]);
        claims[8..12].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(parse_names(&claims).len(), 1);
        let mut claims = numbers(&[1, 2]);
        claims[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(parse_values(&claims), [1, 2]);
        for length in 0..24 {
            let all = vec![0xff; length];
            assert_eq!(parse_count(&all), if length < 16 { 0 } else { word(&all, 16) as usize });
            assert!(parse_names(&vec![0; length]).is_empty() && parse_values(&vec![0; length]).is_empty());
        }
    }

    /// Limits as they were read at these places, each with the value that it began with.
    fn limits(total: usize, wanted: &[(usize, &str, u64)]) -> Limits {
        Limits {
            total,
            wanted: wanted.iter().map(|(index, name, _)| (*index, (*name).to_owned())).collect(),
            begin: wanted.iter().map(|(_, _, begin)| *begin).collect(),
        }
    }

    #[test]
    fn with_other_queues_a_limit_goes_on_counting() {
        let before = limits(7, &[(3, ENA[3], 10), (5, ENA[5], 20)]);
        // One is new; the others stand elsewhere and have grown.
        let now = limits(9, &[(5, ENA[3], 15), (6, "new_allowance_exceeded", 7), (7, ENA[5], 40)]);
        let counts = now.since(&before).counts("ens5", &[0, 0, 0, 0, 0, 15, 8, 41, 0]);
        let told: Vec<_> = counts.iter().map(|count| (count.counter.as_str(), count.packets)).collect();
        assert_eq!(told, [(ENA[3], 5), ("new_allowance_exceeded", 1), (ENA[5], 21)]);
    }

    #[test]
    fn an_interface_without_limits_is_asked_once() {
        let mut allowances = Allowances::default();
        for _ in 0..2 {
            assert_eq!(allowances.read(&Abode::default(), [(Ifindex(1), "lo")].into_iter()), []);
            assert!(matches!(allowances.known.get(&Ifindex(1)), Some(None)));
        }
        assert_eq!(allowances.read(&Abode::default(), std::iter::empty()), []);
        assert!(allowances.known.is_empty());
        assert!(statistics("no such interface").is_err());
        assert!(statistics("lo").is_err_and(|error| error.raw_os_error() == Some(libc::EOPNOTSUPP)));
    }
}
