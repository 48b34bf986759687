//! The packets of an example for people: who talks with whom once, then a line per packet.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use jiff::tz::TimeZone;

use super::text::wrap;
use crate::export::text::clock;
use crate::findings::Packet;
use crate::packet::Transport;

/// A packet with its sides told apart.
struct Sided<'a> {
    packet: &'a Packet,
    client: SocketAddr,
    server: SocketAddr,
    to_server: bool,
}

/// Adds the packets, below a line for each client, server and protocol: `>` is from the client, `<` to it. Where the
/// client used several ports, each packet has its own.
pub(super) fn write(text: &mut String, packets: &[Packet], zone: &TimeZone, indent: usize) {
    let sided = sides(packets);
    let ports: BTreeSet<u16> = sided.iter().map(|packet| packet.client.port()).collect();
    let one_port = ports.len() == 1;
    let mut between: Option<(IpAddr, SocketAddr, Transport)> = None;
    for Sided { packet, client, server, to_server } in sided {
        let here = (client.ip(), server, packet.transport);
        if between != Some(here) {
            between = Some(here);
            let client = if one_port { client.to_string() } else { client.ip().to_string() };
            let transport = packet.transport.as_str();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:indent$}{client} and {server} over {transport}", "");
        }
        let way = match (packet.text.starts_with('['), to_server) {
            // What did not come has no direction.
            (true, _) => ' ',
            (false, true) => '>',
            (false, false) => '<',
        };
        let port = if one_port { String::new() } else { format!(":{:<5} ", client.port()) };
        let line = format!("{} {port}{way} ", clock(packet.time, zone, "%H:%M:%S.%3f"));
        wrap(text, &format!("{line}{}", packet.text), indent + 2, indent + 2 + line.len());
    }
}

/// Tells servers from clients: the first packet is a client's, and so is what goes to a server or comes from a client that
/// is known by then.
fn sides(packets: &[Packet]) -> Vec<Sided<'_>> {
    let (mut clients, mut servers) = (BTreeSet::new(), BTreeSet::new());
    let mut sided = Vec::with_capacity(packets.len());
    for packet in packets {
        let Packet { source, destination, .. } = *packet;
        let from_server = servers.contains(&source) || clients.contains(&destination);
        let (client, server) = if from_server { (destination, source) } else { (source, destination) };
        clients.insert(client);
        servers.insert(server);
        sided.push(Sided { packet, client, server, to_server: !from_server });
    }
    sided
}
