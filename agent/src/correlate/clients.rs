//! What is known of each client: its open lookups, its habits, what it was told.
//!
//! Bounded: the client that was silent for longest gives way.

use std::net::IpAddr;

use super::fingerprint::Fingerprint;
use super::lookups::Lookup;
use super::resolv_conf::{ResolvConf, SearchSource};
use super::{ClientId, Event};
use crate::capture::frame::Timestamp;

/// All clients.
#[derive(Debug, Default)]
pub struct Clients {}

impl Clients {
    /// Is told how a client's resolver is configured; `None`: every client of which nothing better is known.
    pub fn configure(&mut self, _client: Option<IpAddr>, _config: ResolvConf, _source: SearchSource) {}

    /// Takes an event; gives the lookups that it ended.
    pub fn event(&mut self, _event: &Event, _emit: &mut dyn FnMut(Lookup)) {}

    /// Ends the lookups that nothing more is expected of; everything before `watermark` was seen.
    pub fn tick(&mut self, _watermark: Timestamp, _emit: &mut dyn FnMut(Lookup)) {}

    /// Ends all lookups, at the end of the capture.
    pub fn finish(&mut self, _end: Timestamp, _emit: &mut dyn FnMut(Lookup)) {}

    /// What a client's stub resolver seems to be.
    pub fn fingerprint(&self, _client: &ClientId) -> Fingerprint {
        Fingerprint::default()
    }

    /// Every client with what its stub resolver seems to be.
    pub fn fingerprints(&self) -> Vec<(ClientId, Fingerprint)> {
        Vec::new()
    }
}
