//! How each server does, in sliding windows: the ground against which failures are judged.

use std::net::IpAddr;
use std::time::Duration;

use super::Event;
use crate::capture::frame::Timestamp;

/// What a server did within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerWindow {
    /// Transactions that ended.
    pub transactions: u64,
    /// Those of them without a response.
    pub unanswered: u64,
    /// SERVFAIL.
    pub servfail: u64,
    /// REFUSED.
    pub refused: u64,
    /// Clients among them, up to 64.
    pub clients: u32,
}

/// All servers, as their clients see them.
#[derive(Debug, Default)]
pub struct Servers {}

impl Servers {
    /// Counts a transaction.
    pub fn event(&mut self, _event: &Event) {}

    /// What `server` did in the last `span` before `now`, at most 60 s.
    pub fn window(&self, _server: IpAddr, _now: Timestamp, _span: Duration) -> ServerWindow {
        ServerWindow::default()
    }
}
