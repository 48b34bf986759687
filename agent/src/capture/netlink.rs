//! One rtnetlink socket: requests with their answers, and notices about links.
//!
//! Synchronous on purpose: the capture loop polls the socket beside the ring.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// RTNLGRP_LINK of linux/rtnetlink.h: links that come, change and go.
const GROUP_LINK: u32 = 1;
/// RTNLGRP_IPV4_ROUTE: a default route tells an uplink.
const GROUP_IPV4_ROUTE: u32 = 7;
/// RTNLGRP_IPV6_ROUTE.
const GROUP_IPV6_ROUTE: u32 = 11;
/// The kernel fills at most this many bytes with one part of a dump.
const BUFFER: usize = 64 * 1024;

/// An rtnetlink socket.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Netlink {
    /// A socket for requests.
    pub(super) fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// A socket that hears of links and routes, without waiting.
    pub(super) fn links() -> io::Result<Self> {
        Self::hearing(&[GROUP_LINK, GROUP_IPV4_ROUTE, GROUP_IPV6_ROUTE])
    }

    /// A socket that hears of links alone, without waiting.
    pub(super) fn links_only() -> io::Result<Self> {
        Self::hearing(&[GROUP_LINK])
    }

    fn hearing(groups: &[u32]) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        for group in groups {
            socket.add_membership(*group)?;
        }
        socket.set_non_blocking(true)?;
        // A burst of hundreds of pods must fit; what does not is noticed as ENOBUFS and answered by a new dump.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 4 << 20);
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends a request that is answered by a list.
    pub(super) fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.request(message, NLM_F_REQUEST | NLM_F_DUMP)
    }

    /// Sends a request that is answered by one message and no end.
    pub(super) fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        // The acknowledgement comes behind the answer.
        self.request(message, NLM_F_REQUEST | NLM_F_ACK)
    }

    /// Sends a request that is answered by yes or no.
    pub(super) fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(message, NLM_F_REQUEST | NLM_F_ACK | flags).map(|_| ())
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        loop {
            let mut received = Vec::with_capacity(BUFFER);
            self.socket.recv(&mut received, 0)?;
            for part in messages(&received) {
                if part.header.sequence_number != self.sequence {
                    continue;
                }
                match part.payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Done(done) if done.code != 0 => {
                        return Err(io::Error::from_raw_os_error(done.code.abs()));
                    }
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) => return Ok(answers),
                    _ => {}
                }
            }
        }
    }

    /// What was heard since the last call.
    ///
    /// # Errors
    ///
    /// `ENOBUFS` where notices were lost: the caller lists all links anew.
    pub(super) fn notices(&mut self) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut heard = Vec::new();
        loop {
            let mut received = Vec::with_capacity(BUFFER);
            match self.socket.recv(&mut received, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(heard),
                Err(error) => return Err(error),
            }
            heard.extend(messages(&received).filter_map(|part| match part.payload {
                NetlinkPayload::InnerMessage(message) => Some(message),
                _ => None,
            }));
        }
    }
}

/// The messages of one datagram. One that the library cannot read (a newer kernel's attribute) is skipped, not fatal.
fn messages(bytes: &[u8]) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let length = NetlinkBuffer::new_checked(rest).ok()?.length() as usize;
            let (message, behind) = rest.split_at_checked(length)?;
            rest = behind.get(length.next_multiple_of(4) - length..).unwrap_or_default();
            if length == 0 {
                return None;
            }
            if let Ok(message) = NetlinkMessage::deserialize(message) {
                return Some(message);
            }
        }
    })
}
