//! Who asks for what: the clients of a cluster, and the names that exist.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{NOERROR, NXDOMAIN, Qtype, Record, Response};
use super::packet::Endpoint;
use super::random::Random;

/// The link address of a node as Calico shows it to every pod.
const NODE_MAC: [u8; 6] = [0xee; 6];

/// A pod that asks.
#[derive(Clone, Debug)]
pub struct Client {
    mac: [u8; 6],
    address: IpAddr,
    /// The UDP payload size that its resolver announces; `None` without EDNS.
    pub edns: Option<u16>,
    /// The domains that its resolver appends, in their order.
    pub search: [String; 3],
    ports_used: u32,
}

impl Client {
    fn new(index: u32, random: &mut Random) -> Self {
        // Every tenth has an IPv6 address alone.
        let address = if index % 10 == 9 {
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 1, 0, 0, 0, (index >> 16) as u16, index as u16))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + index))
        };
        let [.., high, middle, low] = index.to_be_bytes();
        let edns = match random.below(10) {
            0..=2 => Some(1232),
            3 => Some(4096),
            _ => None,
        };
        let namespace = format!("team-{}.svc.cluster.local", random.below(50));
        let search = [namespace, "svc.cluster.local".into(), "cluster.local".into()];
        Self {
            mac: [2, 0, 0, high, middle, low],
            address,
            edns,
            search,
            ports_used: random.below(PORTS) as u32,
        }
    }

    /// Its end and the server's end of a new conversation, from a port that it has not used lately.
    pub fn conversation(&mut self) -> Conversation {
        // 7919 is a prime that does not divide the range: every port comes once before any comes again.
        self.ports_used += 1;
        let port = 32_768 + (u64::from(self.ports_used) * 7_919 % PORTS) as u16;
        let server = match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xa)),
        };
        Conversation {
            client: Endpoint { mac: self.mac, address: self.address, port, ttl: 64 },
            server: Endpoint { mac: NODE_MAC, address: server, port: 53, ttl: 62 },
        }
    }
}

/// Linux's range of local ports, 32768 to 60999.
const PORTS: u64 = 28_232;

/// The two ends of one flow.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    /// Who asks.
    pub client: Endpoint,
    /// Who answers, on port 53.
    pub server: Endpoint,
}

/// A name that exists, and what it holds.
#[derive(Clone, Debug)]
pub struct Name {
    /// As the application says it: a service's first label, or the whole name of another site.
    pub spoken: String,
    /// Is it a service of the cluster, found by the first domain of the search list?
    pub service: bool,
    aliases: Vec<String>,
    ipv4_addresses: u32,
    ipv6_addresses: u32,
}

impl Name {
    fn new(index: u64, random: &mut Random) -> Self {
        // Every tenth is a service.
        if index.is_multiple_of(10) {
            return Self {
                spoken: format!("service-{index}"),
                service: true,
                aliases: Vec::new(),
                ipv4_addresses: 1,
                ipv6_addresses: 0,
            };
        }
        let site = random.below(2_000);
        let aliases = if random.chance(3_000) { random.between(1, 5) } else { 0 };
        Self {
            spoken: format!("host-{index}.site-{site}.example.com"),
            service: false,
            aliases: (1..=aliases).map(|step| format!("edge-{step}.cdn-{site}.example.net")).collect(),
            ipv4_addresses: random.between(1, 6) as u32,
            // Four in ten have no IPv6 address: NODATA.
            ipv6_addresses: if random.chance(6_000) { random.between(1, 4) as u32 } else { 0 },
        }
    }

    /// What a server says to a question for it.
    pub fn response(&self, qtype: Qtype) -> Response {
        let addresses = match qtype {
            Qtype::A => self.ipv4_addresses,
            Qtype::Aaaa => self.ipv6_addresses,
        };
        self.response_with(qtype, addresses)
    }

    /// The same, grown to so many addresses that it does not fit into `limit` bytes.
    pub fn large_response(&self, limit: u16, random: &mut Random) -> Response {
        // A record of a compressed name and an IPv4 address takes 16 bytes.
        self.response_with(Qtype::A, u32::from(limit) / 16 + random.between(2, 30) as u32)
    }

    fn response_with(&self, qtype: Qtype, addresses: u32) -> Response {
        let chain = self.aliases.iter().cloned().map(Record::Cname);
        let addresses = (1..=addresses).map(|number| match qtype {
            Qtype::A => Record::A(Ipv4Addr::from_bits(0xc633_6400 + number)),
            Qtype::Aaaa => Record::Aaaa(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number as u16)),
        });
        let records: Vec<Record> = chain.chain(addresses).collect();
        let empty = records.len() == self.aliases.len();
        let zone = if self.service { "cluster.local" } else { "example.com" };
        Response { rcode: NOERROR, records, soa: empty.then(|| zone.to_owned()) }
    }
}

/// What a server of the cluster says to a candidate of the search list that does not exist.
pub fn no_such_name() -> Response {
    Response { rcode: NXDOMAIN, records: Vec::new(), soa: Some("cluster.local".into()) }
}

/// All clients and names of one capture.
pub struct World {
    clients: Vec<Client>,
    names: Vec<Name>,
}

impl World {
    /// Makes `clients` clients and `names` names, at least one and two.
    pub fn new(clients: u32, names: u32, random: &mut Random) -> Self {
        Self {
            clients: (1..=clients.max(1)).map(|index| Client::new(index, random)).collect(),
            names: (0..u64::from(names.max(2))).map(|index| Name::new(index, random)).collect(),
        }
    }

    /// The number of one client, each as likely as the other.
    pub fn pick_client(&self, random: &mut Random) -> usize {
        random.below(self.clients.len() as u64) as usize
    }

    /// The client of that number.
    pub fn client(&mut self, index: usize) -> &mut Client {
        &mut self.clients[index]
    }

    /// One name by its popularity; never a service where `foreign` asks for a name of another site.
    pub fn name(&self, foreign: bool, random: &mut Random) -> &Name {
        let index = random.skewed(self.names.len() as u64) as usize;
        match (foreign && self.names[index].service, index) {
            (false, _) => &self.names[index],
            // Every tenth is a service, so its neighbours are none.
            (true, 0) => &self.names[1],
            (true, _) => &self.names[index - 1],
        }
    }
}
