//! How each server does, in sliding windows: the ground against which failures are judged.
//!
//! Input: the transactions that ended, seen at the client. Bounded: [`MAX_SERVERS`] of 2 KiB each; the one that was
//! silent for longest gives way.

use std::net::IpAddr;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::{Event, Outcome, Transaction};
use crate::capture::frame::Timestamp;
use crate::dns::Rcode;

/// Servers that are kept at most.
const MAX_SERVERS: usize = 1024;
/// Seconds that are kept of each.
const KEPT: u64 = 64;
/// The longest window, in seconds.
const LONGEST: u64 = 60;

/// What a server did within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerWindow {
    /// Transactions that ended, except those whose response may have been overlooked.
    pub transactions: u64,
    /// Those of them without a response.
    pub unanswered: u64,
    /// SERVFAIL.
    pub servfail: u64,
    /// REFUSED.
    pub refused: u64,
    /// Clients among them, up to 64: one is counted exactly, more by a sketch of 64 bits that errs by a few.
    pub clients: u32,
}

impl ServerWindow {
    /// Transactions with a response.
    pub fn replies(&self) -> u64 {
        self.transactions - self.unanswered
    }
}

/// One second of a server.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    number: u64,
    transactions: u32,
    unanswered: u32,
    servfail: u32,
    refused: u32,
    /// One bit for each client, by its address.
    clients: u64,
}

/// The last 64 seconds of one server.
#[derive(Debug)]
struct Server {
    seconds: [Second; KEPT as usize],
}

impl Default for Server {
    fn default() -> Self {
        Self { seconds: [Second::default(); KEPT as usize] }
    }
}

/// All servers, as their clients see them.
#[derive(Debug, Default)]
pub struct Servers {
    servers: LinkedHashMap<IpAddr, Box<Server>>,
}

impl Servers {
    /// Counts a transaction.
    pub fn event(&mut self, event: &Event) {
        let Event::Closed(transaction) = event else { return };
        let Transaction { parties, echo, outcome, .. } = transaction;
        if *echo
            || !parties.at_client()
            || matches!(outcome, Outcome::Unseen { .. } | Outcome::Waiting { .. })
        {
            return;
        }
        let second = self.second(parties.server.ip(), transaction.ended());
        let Some(second) = second else { return };
        second.transactions = second.transactions.saturating_add(1);
        second.clients |= 1 << bit_of(parties.client.ip());
        let failures = match outcome {
            Outcome::Unanswered { .. } => &mut second.unanswered,
            Outcome::Answered { response, .. } if response.rcode == Rcode::SERVFAIL => &mut second.servfail,
            Outcome::Answered { response, .. } if response.rcode == Rcode::REFUSED => &mut second.refused,
            _ => return,
        };
        *failures = failures.saturating_add(1);
    }

    /// What `server` did in the last `span` before `now`, at most 60 s, to a second.
    pub fn window(&self, server: IpAddr, now: Timestamp, span: Duration) -> ServerWindow {
        let Some(server) = self.servers.get(&server) else { return ServerWindow::default() };
        let last = second_of(now);
        let first = last.saturating_sub(span.as_secs().min(LONGEST));
        let mut window = ServerWindow::default();
        let mut clients = 0_u64;
        for second in server.seconds.iter().filter(|second| (first..=last).contains(&second.number)) {
            window.transactions += u64::from(second.transactions);
            window.unanswered += u64::from(second.unanswered);
            window.servfail += u64::from(second.servfail);
            window.refused += u64::from(second.refused);
            clients |= second.clients;
        }
        window.clients = estimate(clients);
        window
    }

    /// The second that a server's transaction belongs to; `None` where that is long past.
    fn second(&mut self, server: IpAddr, time: Timestamp) -> Option<&mut Second> {
        // Nearly always the server that was asked last.
        if self.servers.back().is_none_or(|(last, _)| *last != server)
            && self.servers.to_back(&server).is_none()
        {
            if self.servers.len() >= MAX_SERVERS {
                self.servers.pop_front();
            }
            self.servers.insert(server, Box::default());
        }
        let (_, server) = self.servers.iter_mut().next_back()?;
        let number = second_of(time);
        let second = server.seconds.get_mut((number % KEPT) as usize)?;
        if second.number < number {
            *second = Second { number, ..Second::default() };
        }
        (second.number == number).then_some(second)
    }
}

fn second_of(time: Timestamp) -> u64 {
    time.as_nanos() / 1_000_000_000
}

/// One of 64 bits. Neighbours have different ones.
fn bit_of(client: IpAddr) -> u32 {
    let low = match client {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits() as u64 ^ (ip.to_bits() >> 64) as u64,
    };
    // The golden ratio's bits spread neighbours over all values.
    (low.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as u32
}

/// How many clients set these bits: linear counting (Whang, Vander-Zanden, Taylor 1990).
fn estimate(bits: u64) -> u32 {
    match bits.count_ones() {
        0 => 0,
        64 => 64,
        set => {
            let free = f64::from(64 - set) / 64.0;
            ((-64.0 * free.ln()).round() as u32).clamp(set, 64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::scene::{Say, Scene, at};

    fn play(steps: &[(f64, &str, Say)]) -> Servers {
        let mut scene = Scene::new();
        for (number, (millis, client, say)) in steps.iter().enumerate() {
            let what = (number as u16, 1, "a.test");
            scene.asked(*millis, (&format!("{client}:1000"), "10.0.0.53"), what, *say);
        }
        let mut servers = Servers::default();
        scene.told.events.iter().for_each(|event| servers.event(event));
        servers
    }

    #[test]
    fn windows_slide() {
        let [fine, failed, refused] = [Say::Address(60), Say::Code(2), Say::Code(5)];
        let servers = play(&[
            (0.0, "10.0.0.1", fine),
            (10_000.0, "10.0.0.1", failed),
            (20_000.0, "10.0.0.2", refused),
            (30_000.0, "10.0.0.1", fine),
        ]);
        let server = "10.0.0.53".parse().unwrap();
        let window = |now: f64, span| {
            let window = servers.window(server, at(now), Duration::from_secs(span));
            [window.transactions, window.servfail, window.refused, window.clients.into()]
        };
        assert_eq!(window(30_500.0, 5), [1, 0, 0, 1]);
        assert_eq!(window(30_500.0, 15), [2, 0, 1, 2]);
        assert_eq!(window(30_500.0, 60), [4, 1, 1, 2]);
        assert_eq!(window(90_500.0, 600), [1, 0, 0, 1]);
        assert_eq!(servers.window("10.0.0.54".parse().unwrap(), at(0.0), Duration::from_secs(60)).clients, 0);
    }

    #[test]
    fn clients_are_counted_nearly() {
        for count in [1_usize, 2, 5, 10, 30] {
            let steps: Vec<(f64, String)> =
                (0..count).map(|number| (number as f64 * 10.0, format!("10.0.0.{}", number + 1))).collect();
            let steps: Vec<_> =
                steps.iter().map(|(t, client)| (*t, client.as_str(), Say::Address(9))).collect();
            let found = play(&steps).window("10.0.0.53".parse().unwrap(), at(900.0), Duration::from_secs(9));
            assert!(found.clients.abs_diff(count as u32) * 3 <= count as u32, "{count}: {}", found.clients);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut servers = Servers::default();
        for number in 0..100_000_u32 {
            servers.second(IpAddr::from(number.to_be_bytes()), at(0.0));
        }
        assert_eq!(servers.servers.len(), MAX_SERVERS);
        assert_eq!(size_of::<Server>(), 2048);
    }
}
