//! What the demo's clients look up, and every query that each lookup must put on the wire.
//!
//! The queries are written down from what the resolvers are known to do (search lists, fallback to TCP), not taken
//! from the agent: it is the agent that is on trial.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::lab::{
    Client as Program, HOST_RESOLVER, Lab, NODE_IP, Pod, SERVICE_IP, SERVICE_IP6, VPC_RESOLVER,
};

/// An address beyond the uplink where nobody answers, not even with an error.
const SILENT_SERVER: &str = "10.0.9.9";

/// Who asked whom and how: one line of the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// What it is called on the screen.
    pub name: &'static str,
    /// The address that it asks from.
    pub address: &'static str,
    /// The address that it asks.
    pub server: &'static str,
}

/// One query that must be seen, once, from the client's vantage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Who asks whom.
    pub client: Client,
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// The name as sent, with its final dot.
    pub qname: String,
    /// The type, `A`.
    pub qtype: &'static str,
    /// The response code, `None` for a query that nobody answers.
    pub rcode: Option<&'static str>,
}

/// One run of a client program.
pub struct Lookup {
    /// What happens, in words.
    pub heading: String,
    /// The command as it would be typed in the pod or on the node.
    pub typed: String,
    /// The command as it is run.
    pub command: Command,
    /// The queries that it sends, and those that a forwarder sends on its behalf.
    pub expected: Vec<Expected>,
}

/// All lookups of the demo, the one that takes longest first.
pub fn all(lab: &Lab) -> Result<Vec<Lookup>> {
    let mut lookups = vec![nobody_answers(lab)?];
    lookups.extend(musl(lab)?);
    lookups.extend(glibc(lab)?);
    lookups.extend(dig(lab)?);
    lookups.extend(host(lab));
    Ok(lookups)
}

fn nobody_answers(lab: &Lab) -> Result<Lookup> {
    let pod = lab.pod("tools/debug")?;
    let client = Client { name: "tools/debug, silent server", address: pod.address, server: SILENT_SERVER };
    let question = ["@10.0.9.9", "api.stripe.example.", "A", "+time=1", "+tries=1"];
    let expected = Expected { rcode: None, ..Expected::udp(client, "api.stripe.example.", "A", "") };
    in_pod(
        lab,
        pod,
        "asks a server that never answers (seen as such 6 s later)",
        "dig",
        &question,
        vec![expected],
    )
}

fn musl(lab: &Lab) -> Result<Vec<Lookup>> {
    let pod = lab.pod("shop/cart")?;
    let client = Client { name: "shop/cart, musl getaddrinfo", address: pod.address, server: SERVICE_IP };
    let program = Program::Musl123.program().unwrap_or_default();
    let resolve =
        |heading: &str, name: &str, expected| in_pod(lab, pod, heading, &program, &[name], expected);
    // musl before 1.2.4 stays on UDP; a newer one asks again over TCP, which does no harm to the verdict.
    let truncated = pair(client, "login.shop.example.", ["NOERROR", "NOERROR"]);
    Ok(vec![
        resolve(
            "resolves an external name: ndots:5 makes it eight queries",
            "api.stripe.example",
            walk(client, pod, "api.stripe.example"),
        )?,
        resolve(
            "resolves a Service of its own namespace: the first candidate is right",
            "payments",
            pair(client, "payments.shop.svc.cluster.local.", ["NOERROR", "NOERROR"]),
        )?,
        resolve(
            "resolves a name behind five CNAMEs: truncated, and musl before 1.2.4 never asks over TCP",
            "login.shop.example.",
            truncated,
        )?,
    ])
}

fn glibc(lab: &Lab) -> Result<Vec<Lookup>> {
    let pod = lab.pod("shop/batch")?;
    let client = Client { name: "shop/batch, glibc getaddrinfo", address: pod.address, server: SERVICE_IP };
    let program = Program::Glibc.program().unwrap_or_default();
    let resolve =
        |heading: &str, name: &str, expected| in_pod(lab, pod, heading, &program, &[name], expected);
    let mut fallback = pair(client, "login.shop.example.", ["NOERROR", "NOERROR"]);
    fallback.extend(fallback.clone().into_iter().map(|query| Expected { transport: "tcp", ..query }));
    Ok(vec![
        resolve(
            "resolves an external name over the same search list",
            "www.example.test",
            walk(client, pod, "www.example.test"),
        )?,
        resolve(
            "resolves the truncated name: both questions again over TCP",
            "login.shop.example.",
            fallback,
        )?,
    ])
}

fn dig(lab: &Lab) -> Result<Vec<Lookup>> {
    let pod = lab.pod("tools/debug")?;
    let client = |name, server| Client { name, address: pod.address, server };
    let udp = client("tools/debug, dig", SERVICE_IP);
    let tcp = client("tools/debug, dig +tcp", SERVICE_IP);
    let ipv6 = Client { address: pod.address6, ..client("tools/debug, dig over IPv6", SERVICE_IP6) };
    let vpc = client("tools/debug, dig to the VPC", VPC_RESOLVER);
    let ask = |heading: &str, question: &str, expected| {
        let mut words: Vec<&str> = question.split(' ').collect();
        words.extend(["+noall", "+answer", "+comments", "+time=2", "+tries=1"]);
        in_pod(lab, pod, heading, "dig", &words, vec![expected])
    };
    Ok(vec![
        ask(
            "asks for a TXT",
            "txt.example.test TXT",
            Expected::udp(udp, "txt.example.test.", "TXT", "NOERROR"),
        )?,
        ask(
            "asks for a name that is not there",
            "nosuch.example A",
            Expected::udp(udp, "nosuch.example.", "A", "NXDOMAIN"),
        )?,
        ask(
            "asks over TCP for a name with 59 addresses",
            "+tcp big.example.test A",
            Expected { transport: "tcp", ..Expected::udp(tcp, "big.example.test.", "A", "NOERROR") },
        )?,
        ask(
            "asks the Service over IPv6",
            "@fd00:10:96::a www.example.test AAAA",
            Expected::udp(ipv6, "www.example.test.", "AAAA", "NOERROR"),
        )?,
        ask(
            "asks the VPC resolver directly, past the cluster's",
            "@169.254.169.253 registry.example.test A",
            Expected::udp(vpc, "registry.example.test.", "A", "NOERROR"),
        )?,
    ])
}

fn host(lab: &Lab) -> Vec<Lookup> {
    let vpc = Client { name: "host process to the VPC", address: NODE_IP, server: VPC_RESOLVER };
    let stub = Client { name: "host process to lo", address: "127.0.0.1", server: HOST_RESOLVER };
    let forwarder = Client { name: "the node's own stub to the VPC", ..vpc };
    let mut through_stub = pair(stub, "assets.shop.example.", ["NOERROR", "NOERROR"]);
    through_stub.extend(pair(forwarder, "assets.shop.example.", ["NOERROR", "NOERROR"]));
    vec![
        on_node(
            lab,
            "a host process asks the VPC resolver",
            "dig".into(),
            &["@169.254.169.253", "smtp.mail.example", "A", "+noall", "+answer", "+time=2", "+tries=1"],
            vec![Expected::udp(vpc, "smtp.mail.example.", "A", "NOERROR")],
        ),
        on_node(
            lab,
            "a host process asks the stub on lo, which asks the VPC resolver",
            Program::Glibc.program().unwrap_or_default(),
            &["assets.shop.example"],
            through_stub,
        ),
    ]
}

impl Expected {
    fn udp(client: Client, qname: &str, qtype: &'static str, rcode: &'static str) -> Self {
        Self { client, transport: "udp", qname: qname.to_owned(), qtype, rcode: Some(rcode) }
    }
}

/// A and AAAA of one name.
fn pair(client: Client, qname: &str, rcodes: [&'static str; 2]) -> Vec<Expected> {
    ["A", "AAAA"]
        .into_iter()
        .zip(rcodes)
        .map(|(qtype, rcode)| Expected::udp(client, qname, qtype, rcode))
        .collect()
}

/// The walk over the search list to a name that exists only as it was typed.
fn walk(client: Client, pod: &Pod, name: &str) -> Vec<Expected> {
    let mut queries = Vec::new();
    for domain in pod.search() {
        queries.extend(pair(client, &format!("{name}.{domain}."), ["NXDOMAIN", "NXDOMAIN"]));
    }
    queries.extend(pair(client, &format!("{name}."), ["NOERROR", "NOERROR"]));
    queries
}

fn in_pod(
    lab: &Lab,
    pod: &Pod,
    heading: &str,
    program: impl Into<PathBuf>,
    arguments: &[&str],
    expected: Vec<Expected>,
) -> Result<Lookup> {
    let program = program.into();
    let mut command = lab.pod_command(pod.name, &program)?;
    command.args(arguments);
    Ok(Lookup {
        heading: format!("{} {heading}", pod.name),
        typed: typed(&program, arguments),
        command,
        expected,
    })
}

fn on_node(
    lab: &Lab,
    heading: &str,
    program: PathBuf,
    arguments: &[&str],
    expected: Vec<Expected>,
) -> Lookup {
    let mut command = lab.node_command(&program);
    command.args(arguments);
    Lookup { heading: heading.into(), typed: typed(&program, arguments), command, expected }
}

/// The command without folders and without the words that only shape its output.
fn typed(program: &std::path::Path, arguments: &[&str]) -> String {
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    let shaping = ["+noall", "+answer", "+comments", "+time=", "+tries="];
    let words = arguments.iter().filter(|word| !shaping.iter().any(|shape| word.starts_with(shape)));
    std::iter::once(program.as_ref()).chain(words.copied()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_name_costs_eight_queries() {
        let pod = crate::lab::PODS.iter().find(|pod| pod.name == "shop/cart").unwrap();
        let client = Client { name: "test", address: pod.address, server: SERVICE_IP };
        let queries = walk(client, pod, "api.stripe.example");
        assert_eq!(queries.len(), 8);
        assert_eq!(queries[0].qname, "api.stripe.example.shop.svc.cluster.local.");
        assert_eq!((queries[7].qname.as_str(), queries[7].rcode), ("api.stripe.example.", Some("NOERROR")));
    }

    #[test]
    fn a_typed_command_has_no_shaping_words() {
        let arguments = ["+tcp", "big.example.test", "A", "+noall", "+time=2"];
        assert_eq!(typed(std::path::Path::new("/usr/bin/dig"), &arguments), "dig +tcp big.example.test A");
    }
}
