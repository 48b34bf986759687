//! What is said of a client, a server, or both, and what to change.

use std::net::IpAddr;

use super::Scope;
use crate::correlate::servers::ServerWindow;
use crate::correlate::{ClientId, Transaction};
use crate::findings::evidence::{percent, share};
use crate::findings::example::of_transaction;
use crate::findings::remedies::{count, remedy, text};
use crate::findings::{Details, Remedy, RemedyPlace};

/// What it rests on.
pub(super) struct Told {
    /// Who waits.
    pub(super) client: ClientId,
    /// For whom.
    pub(super) server: IpAddr,
    /// Who is cut off.
    pub(super) scope: Scope,
    /// The server's last minute, of all its clients.
    pub(super) window: ServerWindow,
    /// Queries that this is about.
    pub(super) evidence: u64,
    /// Queries of this client that the server answered meanwhile.
    pub(super) answered: u64,
    /// Packets that the capture lost meanwhile.
    pub(super) lost: u64,
}

/// The whole of it; `names` as a list.
pub(super) fn details(told: &Told, names: &str, transaction: &Transaction) -> Details {
    let Told { client, server, scope, window, evidence, answered, lost } = told;
    let ServerWindow { unanswered, transactions, clients, .. } = window;
    let whom = client.address;
    let (summary, reason) = said(told, names);
    let whose = if *scope == Scope::Client { String::new() } else { format!(" to {server}") };
    let waits = format!("{evidence} queries of {whom}{whose} had no response within 6 s of their last send");
    let mut because = vec![waits, reason];
    if *lost > 0 {
        because.push(format!("{lost} packets were lost there meanwhile, which does not explain as many"));
    }
    Details {
        summary,
        because,
        numbers: vec![
            count("unanswered_of_client", *evidence),
            count("answered_of_client", *answered),
            count("unanswered_of_server", *unanswered),
            count("transactions_of_server", *transactions),
            share("unanswered_share", *unanswered, *transactions),
            count("clients", *clients),
            count("lost_packets", *lost),
            text("names", names),
        ],
        example: of_transaction(transaction),
        remedies: remedies(*scope, *server),
    }
}

/// What is wrong, and what that rests on beside the queries themselves.
fn said(told: &Told, names: &str) -> (String, String) {
    let Told { client, server, scope, window, evidence, answered, .. } = told;
    let ServerWindow { unanswered, transactions, clients, .. } = *window;
    let (whom, without) = (client.address, percent(unanswered, transactions));
    match scope {
        Scope::Server => (
            match window.replies() {
                0 => format!("Server {server} answers nobody: several clients wait in vain"),
                _ => format!("Server {server} leaves {without} of all queries without a response"),
            },
            format!(
                "of {transactions} queries of about {clients} clients {unanswered} had no response: the server is down, or \
                 the way to it is"
            ),
        ),
        Scope::Client => (
            format!("Client {whom} gets no response from any of its servers"),
            "it is the client's way out: a policy or a route".to_owned(),
        ),
        Scope::Names => (
            format!("Server {server} does not answer client {whom} for {names}"),
            format!(
                "other queries to it are answered ({answered} of this client since; {without} of all without a response)"
            ),
        ),
        Scope::Spare { waits } => (
            format!("Server {server} does not answer client {whom}; another server does"),
            match waits {
                true => "the client waits before it asks the other one, each time".to_owned(),
                false => {
                    "all servers are asked at once, and the first answer is taken: nothing waits".to_owned()
                }
            },
        ),
        Scope::Upstream => (
            format!("Upstream {server} does not answer {whom}, which asks many servers"),
            format!(
                "{whom} is a recursive resolver or a forwarder: {evidence} queries were lost at this one of its upstreams, and \
                 others answer"
            ),
        ),
        Scope::Unknown => (
            format!("Client {whom} gets no response from server {server}"),
            "no other client and no other server is seen, so either may be cut off".to_owned(),
        ),
    }
}

/// facts.md section 3.7, P2: by scope.
fn remedies(scope: Scope, server: IpAddr) -> Vec<Remedy> {
    let ask = format!("dig @{server} . NS +tries=1");
    let is_it_up = remedy("See whether the server runs and listens", RemedyPlace::Server, &[&ask]);
    let policy = remedy(
        "Allow UDP and TCP to port 53 in the NetworkPolicy, security group or firewall between them",
        RemedyPlace::Firewall,
        &["egress:", "- ports:", "  - protocol: UDP", "    port: 53", "  - protocol: TCP", "    port: 53"],
    );
    let upstream = remedy(
        "Ask the server's own upstream for these names: a forwarder that gets no answer gives none in time",
        RemedyPlace::Server,
        &[],
    );
    let limit = remedy(
        "If it is the VPC resolver: packets beyond 1024 a second of one interface are dropped (nslookout explain \
         linklocal-rate)",
        RemedyPlace::Node,
        &[],
    );
    let without = remedy(
        "Take the line of the silent server out of the client's resolv.conf",
        RemedyPlace::ResolvConf,
        &[&format!("sed -i '/^nameserver {server}$/d' /etc/resolv.conf")],
    );
    match scope {
        Scope::Server => vec![is_it_up, policy, limit],
        Scope::Client => vec![policy],
        Scope::Names => vec![upstream, limit],
        Scope::Spare { .. } => vec![without, is_it_up],
        Scope::Upstream => vec![],
        Scope::Unknown => vec![is_it_up, policy],
    }
}
