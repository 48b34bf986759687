//! What the instance metadata service is asked, and how its answers are read (EC2 guide, "Use instance metadata").
//!
//! Version 2 alone: a token by PUT, then documents by GET. Each is a line of text, or one line per value. Deliberately
//! absent: when it is asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::identity::http::{HttpError, Server, shown};

/// Where the service is in every VPC (facts.md section 4).
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
/// Where it gives tokens.
const TOKEN: &str = "/latest/api/token";
/// Where it tells of interfaces, by hardware address.
const MACS: &str = "/latest/meta-data/network/interfaces/macs/";
/// How long a token is asked for, in seconds: the longest there is, six hours.
const TOKEN_SECONDS: u64 = 21_600;
/// A token that ends sooner is not used any more.
const MARGIN: Duration = Duration::from_secs(60);
/// Values of one list that are read at most: an interface has 50 addresses of a kind (EC2 guide, "IP addresses per network
/// interface per instance type").
const MOST_VALUES: usize = 64;

/// Why the service says nothing.
#[derive(Debug, Error)]
pub enum ImdsError {
    /// It took the request for a token and its answer did not come.
    #[error(
        "the instance metadata service gave no token: {0}. A hop limit of 1 keeps its answer from a container: give the \
         agent the node's network (hostNetwork) or the instance a hop limit of 2; --identity leaves imds out"
    )]
    NoAnswer(HttpError),
    /// It is turned off.
    #[error(
        "the instance metadata service is turned off or closed to us ({0}): turn it on for this instance; --identity leaves \
         imds out"
    )]
    Off(HttpError),
    /// Only version 1 is there.
    #[error(
        "what answers at 169.254.169.254 has no version 2 of the instance metadata service ({0}); version 1 is not asked; \
         --identity leaves imds out"
    )]
    NoVersion2(HttpError),
    /// Any other failure.
    #[error("the instance metadata service says nothing of interfaces: {0}; --identity leaves imds out")]
    Http(#[from] HttpError),
    /// An answer that cannot be one.
    #[error("the instance metadata service says `{said}` for {what}; --identity leaves imds out")]
    Malformed {
        /// What was asked for.
        what: &'static str,
        /// Its answer, or the beginning of it.
        said: String,
    },
}

/// The service, and the token that it gave.
pub struct Service {
    server: Server,
    token: Option<(String, Instant)>,
}

/// What it says of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `eni-0123456789abcdef0`.
    pub id: String,
    /// Its private addresses of both families.
    pub addresses: Vec<IpAddr>,
    /// The blocks of its VPC, those of IPv4 first.
    pub vpc_blocks: Vec<Block>,
    /// The IPv4 blocks of its subnet.
    pub subnet_blocks: Vec<Block>,
}

/// A block of addresses: `10.0.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its first address.
    pub base: IpAddr,
    /// Bits that all its addresses share.
    pub prefix: u8,
}

impl Block {
    /// Reads `ADDRESS/PREFIX`.
    pub fn parse(text: &str) -> Option<Self> {
        let (base, prefix) = text.split_once('/')?;
        let (base, prefix): (IpAddr, u8) = (base.parse().ok()?, prefix.parse().ok()?);
        let most = if base.is_ipv4() { 32 } else { 128 };
        (prefix <= most).then_some(Self { base, prefix })
    }

    /// Its third address, which AWS keeps for the resolver (VPC guide, "Amazon DNS server": base plus two).
    pub fn resolver(&self) -> Option<IpAddr> {
        match self.base {
            // A VPC has a block of /16 to /28 (VPC guide, "VPC CIDR blocks").
            IpAddr::V4(base) if (16..=28).contains(&self.prefix) => {
                let mask = u32::MAX << (32 - self.prefix);
                Some(Ipv4Addr::from_bits((base.to_bits() & mask) + 2).into())
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }
}

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl Default for Service {
    fn default() -> Self {
        Self { server: Server::new(ADDRESS), token: None }
    }
}

impl Service {
    /// The hardware addresses of the instance's interfaces: one request, and one for a token where none is at hand.
    pub fn macs(&mut self) -> Result<Vec<String>, ImdsError> {
        let text = self.get("")?;
        // Each stands as a folder: `02:29:96:8f:6a:2d/`.
        let macs = text.lines().take(MOST_VALUES).map(|line| line.trim().trim_end_matches('/'));
        Ok(macs.map(str::to_ascii_lowercase).collect())
    }

    /// What it says of the interface with this hardware address, which [`Service::macs`] named: six requests.
    pub fn describe(&mut self, mac: &str) -> Result<Description, ImdsError> {
        let id = self.get(&format!("{mac}/interface-id"))?;
        let id = id.trim();
        if !is_id(id) {
            return Err(ImdsError::Malformed { what: "the id of an interface", said: shown(id) });
        }
        let mut addresses = self.list(mac, "local-ipv4s", |text| text.parse().ok().map(IpAddr::V4))?;
        addresses.extend(self.list(mac, "ipv6s", |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6))?);
        let mut vpc_blocks = self.list(mac, "vpc-ipv4-cidr-blocks", Block::parse)?;
        vpc_blocks.extend(self.list(mac, "vpc-ipv6-cidr-blocks", Block::parse)?);
        let subnet_blocks = self.list(mac, "subnet-ipv4-cidr-block", Block::parse)?;
        Ok(Description { id: id.to_owned(), addresses, vpc_blocks, subnet_blocks })
    }

    /// The values of a category; none where the interface has none: the category is not there then.
    fn list<T>(
        &mut self,
        mac: &str,
        what: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ImdsError> {
        let text = match self.get(&format!("{mac}/{what}")) {
            Err(ImdsError::Http(HttpError::Status { status: 404, .. })) => return Ok(Vec::new()),
            other => other?,
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(MOST_VALUES);
        let malformed = |line| ImdsError::Malformed { what, said: shown(line) };
        lines.map(|line| parse(line).ok_or_else(|| malformed(line))).collect()
    }

    /// A document below [`MACS`]. A token that is not valid any more is replaced once.
    fn get(&mut self, path: &str) -> Result<String, ImdsError> {
        match self.get_once(path) {
            Err(ImdsError::Http(HttpError::Status { status: 401, .. })) => {
                self.token = None;
                self.get_once(path)
            }
            other => other,
        }
    }

    fn get_once(&mut self, path: &str) -> Result<String, ImdsError> {
        let token = self.token()?;
        let headers = [("X-aws-ec2-metadata-token", token.as_str())];
        self.server.get(&format!("{MACS}{path}"), &headers).map_err(|error| match error {
            HttpError::Status { status: 403, .. } => ImdsError::Off(error),
            _ => ImdsError::Http(error),
        })
    }

    /// The token at hand, or a new one.
    fn token(&mut self) -> Result<String, ImdsError> {
        if let Some((token, end)) = &self.token
            && *end > Instant::now() + MARGIN
        {
            return Ok(token.clone());
        }
        let seconds = TOKEN_SECONDS.to_string();
        let headers = [("X-aws-ec2-metadata-token-ttl-seconds", seconds.as_str())];
        let token = self.server.put(TOKEN, &headers).map_err(|error| match error {
            HttpError::TimedOut { .. } => ImdsError::NoAnswer(error),
            HttpError::Status { status: 403, .. } => ImdsError::Off(error),
            HttpError::Status { status: 404 | 405 | 501, .. } => ImdsError::NoVersion2(error),
            _ => ImdsError::Http(error),
        })?;
        let token = token.trim();
        // It goes into a header.
        if token.is_empty() || token.len() > 1024 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ImdsError::Malformed { what: "a token", said: shown(token) });
        }
        self.token = Some((token.to_owned(), Instant::now() + Duration::from_secs(TOKEN_SECONDS)));
        Ok(token.to_owned())
    }
}

/// `eni-` and hexadecimal digits: 8 of old, 17 today.
fn is_id(text: &str) -> bool {
    text.strip_prefix("eni-").is_some_and(|rest| {
        (1..=32).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolver_is_the_third_address_of_a_block() {
        let check = |block: &str, expected: Option<&str>| {
            let found = Block::parse(block).and_then(|block| block.resolver());
            assert_eq!(found, expected.map(|address| address.parse().unwrap()), "{block}");
        };
        check("10.0.0.0/16", Some("10.0.0.2"));
        check("172.31.16.0/20", Some("172.31.16.2"));
        check("192.168.7.240/28", Some("192.168.7.242"));
        // Not its first address, no VPC's size, IPv6.
        check("10.0.5.0/16", Some("10.0.0.2"));
        check("10.0.0.0/8", None);
        check("255.255.255.255/32", None);
        check("2001:db8::/56", None);
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/16", "fd00::/129", "/16", "10.0.0.0/-1", "x/16"] {
            assert_eq!(Block::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_id_is_what_may_stand_in_a_label() {
        for good in ["eni-0a1b2c3d", "eni-0123456789abcdef0"] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", "eni-", "eni-x", "eni-0\n", "<html>", "i-0123", &format!("eni-{}", "0".repeat(33))] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
