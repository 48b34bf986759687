//! The addresses of an interface of this network namespace.

use std::io;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use super::netlink::Netlink;

/// The addresses of the interface with this name, but for link-local ones of IPv6; none where there is no such interface.
///
/// # Errors
///
/// The kernel's, where it tells no addresses.
pub fn addresses_of(name: &str) -> io::Result<Vec<IpAddr>> {
    use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};
    // Any socket will do: the kernel only wants to know in which network namespace we ask.
    let asking = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    let Ok(ifindex) = name_to_index(&asking, name) else { return Ok(Vec::new()) };
    let answers = Netlink::new()?.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let of_interface = |message: RouteNetlinkMessage| match message {
        RouteNetlinkMessage::NewAddress(address) if address.header.index == ifindex => own(&address),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(of_interface).collect())
}

/// The local address; of a point-to-point interface the other is that of its peer.
fn own(message: &AddressMessage) -> Option<IpAddr> {
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => address = Some(*ip),
            AddressAttribute::Address(ip) => address = address.or(Some(*ip)),
            _ => {}
        }
    }
    address.filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_address_and_what_is_not_there_has_none() {
        let loopback = addresses_of("lo").unwrap();
        assert!(loopback.is_empty() || loopback.contains(&"127.0.0.1".parse().unwrap()), "{loopback:?}");
        assert!(addresses_of("no-such-link").unwrap().is_empty());
    }
}
