//! Attaches by a clsact filter, where the kernel has no tcx, without hurting anybody else's.
//!
//! Each run has a filter handle of its own and holds an abstract Unix socket of that name while it lives. A filter of
//! ours whose socket is gone belongs to a run that was killed: the next start removes it, by handle. The qdisc goes
//! with the last filter, and only if one of our runs made it: that is written into the filter's name, and a later run
//! beside it takes the note over.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption,
};

use super::frame::{Direction, Ifindex};
use super::netlink::Netlink;

/// What the filters' names begin with.
const NAME: &str = "nslookout";
/// Ends the name of a filter whose qdisc was made by us.
const OWNS_QDISC: &str = "+qdisc";
/// ETH_P_ALL in network byte order, as the low half of tcm_info.
const ALL_PROTOCOLS: u32 = (libc::ETH_P_ALL as u16).to_be() as u32;

/// A bpf filter on a clsact qdisc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// TCA_BPF_NAME, or the kind of a filter that is none of bpf.
    pub name: String,
    /// Unique within priority and protocol; 0 is the kernel's own entry for a priority that has filters.
    pub handle: u32,
    /// The lowest runs first.
    pub priority: u16,
    info: u32,
}

impl Filter {
    fn is_ours(&self) -> bool {
        self.handle != 0 && self.name.starts_with(NAME)
    }

    fn owns_qdisc(&self) -> bool {
        self.is_ours() && self.name.ends_with(OWNS_QDISC)
    }
}

/// One run's clsact filters.
pub(super) struct Clsact {
    netlink: Netlink,
    handle: u32,
    /// Holds the run's name; closed by the kernel however we end.
    _alive: UnixDatagram,
    attached: Vec<Attached>,
}

#[derive(Clone, Debug)]
struct Attached {
    ifindex: Ifindex,
    direction: Direction,
    filter: Filter,
}

impl Clsact {
    /// Takes a free handle and removes what killed runs left on `interfaces`.
    pub(super) fn start(interfaces: &[Ifindex]) -> io::Result<Self> {
        // Not the process id, which in a container is 1 for every run: a killed one would look like ourselves.
        let mut handle = (RandomState::new().hash_one(std::process::id()) as u32).max(1);
        let alive = loop {
            match claim(handle) {
                Ok(socket) => break socket,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    handle = handle.wrapping_add(1).max(1);
                }
                Err(error) => return Err(error),
            }
        };
        let mut clsact = Self { netlink: Netlink::new()?, handle, _alive: alive, attached: Vec::new() };
        for &ifindex in interfaces {
            clsact.sweep(ifindex)?;
        }
        Ok(clsact)
    }

    /// Attaches `program` at the lowest free priority of one hook.
    pub(super) fn attach(
        &mut self,
        ifindex: Ifindex,
        direction: Direction,
        program: BorrowedFd<'_>,
    ) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        let created = match self
            .netlink
            .change(RouteNetlinkMessage::NewQueueDiscipline(qdisc(ifindex)), NLM_F_CREATE | NLM_F_EXCL)
        {
            Ok(()) => true,
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => self.is_clsact(ifindex)?,
            Err(error) => return Err(error),
        };
        let mut others = self.filters(ifindex, Direction::Ingress)?;
        let egress = self.filters(ifindex, Direction::Egress)?;
        let ours = created || others.iter().chain(&egress).any(Filter::owns_qdisc);
        if direction == Direction::Egress {
            others = egress;
        }
        let priority = (1..u16::MAX).find(|priority| others.iter().all(|other| other.priority != *priority));
        let priority = priority.ok_or_else(|| io::Error::other("no free priority for a clsact filter"))?;
        let filter = Filter {
            name: format!("{NAME}-{}{}", self.handle, if ours { OWNS_QDISC } else { "" }),
            handle: self.handle,
            priority,
            info: u32::from(priority) << 16 | ALL_PROTOCOLS,
        };
        let mut message = filter_message(ifindex, direction, &filter);
        message.attributes.push(TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd() as u32)),
            TcOption::Bpf(TcFilterBpfOption::ProgName(filter.name.clone())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ]));
        self.netlink.change(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE | NLM_F_EXCL)?;
        self.attached.push(Attached { ifindex, direction, filter });
        Ok(())
    }

    /// Looks what the qdisc is that is there already; always `false`: we did not make it.
    ///
    /// # Errors
    ///
    /// An `ingress` qdisc has one list of filters for what comes in: a filter for egress would land there too.
    fn is_clsact(&mut self, ifindex: Ifindex) -> io::Result<bool> {
        let mut message = TcMessage::default();
        message.header.index = ifindex.0 as i32;
        let is_ingress = |answer: &RouteNetlinkMessage| match answer {
            RouteNetlinkMessage::NewQueueDiscipline(qdisc) => {
                qdisc.header.index == ifindex.0 as i32
                    && qdisc.attributes.contains(&TcAttribute::Kind("ingress".to_owned()))
            }
            _ => false,
        };
        if self.netlink.dump(RouteNetlinkMessage::GetQueueDiscipline(message))?.iter().any(is_ingress) {
            return Err(io::Error::other(
                "somebody's ingress qdisc is there, beside which clsact cannot be; --attach tcx or --capture packet can",
            ));
        }
        Ok(false)
    }

    /// Removes this run's filters from an interface, and the qdisc if one of ours made it and nobody uses it. On an
    /// interface that is gone the kernel has done so by itself.
    pub(super) fn release(&mut self, ifindex: Ifindex) {
        let mut owned = false;
        for attached in
            self.attached.extract_if(.., |attached| attached.ifindex == ifindex).collect::<Vec<_>>()
        {
            owned |= attached.filter.owns_qdisc();
            // Nobody can act on an error here; the next start would sweep what remains.
            let _ = self.remove(ifindex, attached.direction, &attached.filter);
        }
        if owned {
            let _ = self.remove_empty_qdisc(ifindex);
        }
    }

    /// The filters of one hook, in the order they run; none where there is no qdisc.
    pub(super) fn filters(&mut self, ifindex: Ifindex, direction: Direction) -> io::Result<Vec<Filter>> {
        filters(&mut self.netlink, ifindex, direction)
    }

    /// Removes filters of ours whose run is gone, and the qdisc if it was ours and is empty then.
    fn sweep(&mut self, ifindex: Ifindex) -> io::Result<()> {
        let mut owned = false;
        for direction in [Direction::Ingress, Direction::Egress] {
            for filter in self.filters(ifindex, direction)? {
                if filter.is_ours() && filter.handle != self.handle && claim(filter.handle).is_ok() {
                    owned |= filter.owns_qdisc();
                    self.remove(ifindex, direction, &filter)?;
                }
            }
        }
        if owned { self.remove_empty_qdisc(ifindex) } else { Ok(()) }
    }

    fn remove(&mut self, ifindex: Ifindex, direction: Direction, filter: &Filter) -> io::Result<()> {
        let message = filter_message(ifindex, direction, filter);
        absent_is_fine(self.netlink.change(RouteNetlinkMessage::DelTrafficFilter(message), 0))
    }

    fn remove_empty_qdisc(&mut self, ifindex: Ifindex) -> io::Result<()> {
        for direction in [Direction::Ingress, Direction::Egress] {
            if !self.filters(ifindex, direction)?.is_empty() {
                return Ok(());
            }
        }
        absent_is_fine(self.netlink.change(RouteNetlinkMessage::DelQueueDiscipline(qdisc(ifindex)), 0))
    }
}

/// However the run ends, short of being killed, its filters go.
impl Drop for Clsact {
    fn drop(&mut self) {
        while let Some(ifindex) = self.attached.first().map(|attached| attached.ifindex) {
            self.release(ifindex);
        }
    }
}

/// The filters of one hook, in the order they run; none where there is no qdisc.
pub(super) fn filters(
    netlink: &mut Netlink,
    ifindex: Ifindex,
    direction: Direction,
) -> io::Result<Vec<Filter>> {
    let mut message = TcMessage::default();
    message.header = header(ifindex, parent(direction));
    let answers = match netlink.dump(RouteNetlinkMessage::GetTrafficFilter(message)) {
        Ok(answers) => answers,
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV | libc::ENOENT)) => {
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let mut found: Vec<Filter> = answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewTrafficFilter(message) => Some(filter_of(&message)),
            _ => None,
        })
        .collect();
    found.sort_by_key(|filter| filter.priority);
    Ok(found)
}

fn filter_of(message: &TcMessage) -> Filter {
    let mut name = String::new();
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(kind) if name.is_empty() => name.clone_from(kind),
            TcAttribute::Options(options) => {
                for option in options {
                    if let TcOption::Bpf(TcFilterBpfOption::ProgName(program)) = option {
                        name.clone_from(program);
                    }
                }
            }
            _ => {}
        }
    }
    let handle = message.header.handle.into();
    Filter { name, handle, priority: (message.header.info >> 16) as u16, info: message.header.info }
}

/// Binds the socket that stands for a living run. Abstract names belong to the network namespace, as filters do.
fn claim(handle: u32) -> io::Result<UnixDatagram> {
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("{NAME}/clsact/{handle}"))?)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => {
            Ok(())
        }
        other => other,
    }
}

fn parent(direction: Direction) -> TcHandle {
    let minor = match direction {
        Direction::Ingress => TcHandle::MIN_INGRESS,
        Direction::Egress => TcHandle::MIN_EGRESS,
    };
    TcHandle { major: TcHandle::CLSACT.major, minor }
}

fn header(ifindex: Ifindex, parent: TcHandle) -> TcHeader {
    TcHeader { index: ifindex.0 as i32, parent, ..TcHeader::default() }
}

fn qdisc(ifindex: Ifindex) -> TcMessage {
    let mut message = TcMessage::default();
    message.header = header(ifindex, TcHandle::CLSACT);
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.attributes.push(TcAttribute::Kind("clsact".into()));
    message
}

fn filter_message(ifindex: Ifindex, direction: Direction, filter: &Filter) -> TcMessage {
    let mut message = TcMessage::default();
    message.header = header(ifindex, parent(direction));
    message.header.handle = filter.handle.into();
    message.header.info = filter.info;
    message.attributes.push(TcAttribute::Kind("bpf".into()));
    message
}
