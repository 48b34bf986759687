//! What a scenario is: who asks whom for what, what goes wrong, and what must be found in the capture of it.

use std::time::Duration;

use super::proof::Proof;
use super::server::Server;
use crate::lab::Client;

/// Which half of the corpus a capture belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Set {
    /// The detectors may be adjusted to it.
    Tuned,
    /// Other seeds, names, addresses, clients and resolvers; reported apart, and nobody adjusts anything to it.
    HeldOut,
}

impl Set {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tuned, Self::HeldOut];

    /// Its name on the command line, in the labels and as a folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tuned => "tuned",
            Self::HeldOut => "held-out",
        }
    }
}

/// What a program of a pod does.
#[derive(Clone, Debug)]
pub enum Work {
    /// Looks names up, one after the other.
    Lookups {
        /// By which stub resolver.
        client: Client,
        /// As the application says them.
        names: Vec<String>,
        /// Rounds over all names.
        times: u32,
        /// Between two rounds.
        pause: Duration,
        /// IPv4 addresses alone: no AAAA queries. For the getaddrinfo program only.
        only_a: bool,
    },
    /// Any program, with its arguments; `{dir}` stands for the scenario's own folder, where its files are.
    Program(Vec<String>),
}

/// A program of a pod.
#[derive(Clone, Debug)]
pub struct Job {
    /// From the beginning of the capture on.
    pub delay: Duration,
    /// It is ended where it takes longer.
    pub limit: Duration,
    /// What it does.
    pub work: Work,
}

/// A pod: an address, a resolv.conf, and the programs in it, which all run at once.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its address.
    pub address: String,
    /// What its programs read.
    pub resolv_conf: String,
    /// Its programs.
    pub jobs: Vec<Job>,
    /// Nothing is wrong with it, whatever the label says of the others.
    pub healthy: bool,
}

/// Where the capture is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tap {
    /// At the host end of the first pod's veth.
    Pod,
    /// At the node's uplink.
    Uplink,
    /// At every interface of the node (`tcpdump -i any`).
    Any,
    /// At the first pod's own loopback.
    Loopback,
}

/// How severe a finding must be at least once its incident has happened again, by section 3 of the specification: one that
/// comes as a mere note has been overlooked.
pub fn least_severity(id: &str) -> &'static str {
    match id {
        "truncated-no-tcp" | "search-stopped" | "conntrack-race" | "wrong-source" => "high",
        "linklocal-rate"
        | "search-amplification"
        | "tcp-blocked"
        | "unanswered"
        | "servfail"
        | "refused"
        | "short-name-broken"
        | "servers-disagree" => "warning",
        "old-musl" | "unused-aaaa" | "public-leak" => "info",
        _ => "low",
    }
}

/// Label of a capture: what must be found in it.
#[derive(Clone, Debug, Default)]
pub struct Label {
    /// Findings that must be there.
    pub must: Vec<&'static str>,
    /// How severe some of these must be at least, where that is not [`least_severity`].
    pub at_least: Vec<(&'static str, &'static str)>,
    /// Findings that may be there, and why. Any other is a false alarm.
    pub may: Vec<(&'static str, &'static str)>,
    /// Findings that must not be there though the capture looks like them, and the sentence of the specification.
    pub near_miss: Vec<(&'static str, &'static str)>,
    /// The stub resolver of the first pod, where all its programs share one.
    pub stub: Option<&'static str>,
    /// The agent is told the first pod's resolv.conf.
    pub told: bool,
}

/// One capture to record.
pub struct Scenario {
    /// That of the file, unique in its set.
    pub name: String,
    /// Where it belongs.
    pub set: Set,
    /// Who asks.
    pub pods: Vec<Pod>,
    /// Who answers.
    pub servers: Vec<Server>,
    /// Rules of nftables for the node, which forwards: what it drops was seen at the pod's veth before.
    pub faults: String,
    /// Rules of nftables for what comes in at the servers, beyond the capture.
    pub beyond: String,
    /// Files in the scenario's own folder: names and texts.
    pub files: Vec<(&'static str, String)>,
    /// Where.
    pub tap: Tap,
    /// The capture begins this long after the programs.
    pub join: Duration,
    /// The capture goes on this long after the last program.
    pub linger: Duration,
    /// It loads the machine, so that few such may be recorded at once.
    pub heavy: bool,
    /// What must be found.
    pub label: Label,
    /// What shows that the scenario happened as it says.
    pub proofs: Vec<Proof>,
}

impl Scenario {
    /// Nobody and nothing yet.
    pub fn new(set: Set, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            set,
            pods: Vec::new(),
            servers: Vec::new(),
            faults: String::new(),
            beyond: String::new(),
            files: Vec::new(),
            tap: Tap::Pod,
            join: Duration::ZERO,
            linger: Duration::from_millis(2500),
            heavy: false,
            label: Label::default(),
            proofs: Vec::new(),
        }
    }

    /// The `n`-th pod's address in this set, from 1.
    pub fn pod_address(set: Set, n: usize) -> String {
        match set {
            Set::Tuned => format!("10.1.0.{}", 4 + n),
            Set::HeldOut => format!("10.244.3.{}", 16 + n),
        }
    }

    /// Adds a pod with this resolv.conf.
    pub fn pod(mut self, resolv_conf: impl Into<String>) -> Self {
        let address = Self::pod_address(self.set, self.pods.len() + 1);
        self.pods.push(Pod { address, resolv_conf: resolv_conf.into(), jobs: Vec::new(), healthy: false });
        self
    }

    /// Adds a server.
    pub fn server(mut self, server: Server) -> Self {
        self.servers.push(server);
        self
    }

    /// Adds a program to the last pod, with 30 s to do its work.
    pub fn work(self, work: Work) -> Self {
        self.work_after(Duration::ZERO, work)
    }

    /// Adds a program to the last pod that begins after `delay`.
    pub fn work_after(mut self, delay: Duration, work: Work) -> Self {
        let job = Job { delay, limit: Duration::from_secs(30), work };
        if let Some(pod) = self.pods.last_mut() {
            pod.jobs.push(job);
        }
        self
    }

    /// Adds lookups to the last pod: `times` rounds over `names`, `pause_ms` apart.
    pub fn lookups(self, client: Client, names: &[String], times: u32, pause_ms: u64) -> Self {
        let pause = Duration::from_millis(pause_ms);
        let stub = client.fingerprint();
        let mut scenario =
            self.work(Work::Lookups { client, names: names.to_vec(), times, pause, only_a: false });
        if scenario.pods.len() == 1 && scenario.pods[0].jobs.len() == 1 {
            scenario.label.stub = Some(stub);
        }
        if client == Client::Musl123 {
            scenario = scenario.may("old-musl", "the client is musl 1.2.3, and three pairs can already tell");
        }
        scenario
    }

    /// Adds one round of lookups to the last pod, `delay_ms` after the beginning.
    pub fn lookups_after(self, delay_ms: u64, client: Client, names: &[String]) -> Self {
        let work =
            Work::Lookups { client, names: names.to_vec(), times: 1, pause: Duration::ZERO, only_a: false };
        self.work_after(Duration::from_millis(delay_ms), work)
    }

    /// Adds lookups of A alone to the last pod.
    pub fn lookups_of_a(self, client: Client, names: &[String], times: u32, pause_ms: u64) -> Self {
        let pause = Duration::from_millis(pause_ms);
        self.work(Work::Lookups { client, names: names.to_vec(), times, pause, only_a: true })
    }

    /// Adds a program with its words to the last pod.
    pub fn program(self, words: &[&str]) -> Self {
        self.work(Work::Program(words.iter().map(|&word| word.to_owned()).collect()))
    }

    /// Adds another program, `delay_ms` after the beginning.
    pub fn program_after(self, delay_ms: u64, words: &[&str]) -> Self {
        let work = Work::Program(words.iter().map(|&word| word.to_owned()).collect());
        self.work_after(Duration::from_millis(delay_ms), work)
    }

    /// Ends every program of the last pod after `seconds`.
    pub fn limit(mut self, seconds: u64) -> Self {
        for job in self.pods.last_mut().into_iter().flat_map(|pod| &mut pod.jobs) {
            job.limit = Duration::from_secs(seconds);
        }
        self
    }

    /// No finding may be about the last pod.
    pub fn healthy(mut self) -> Self {
        if let Some(pod) = self.pods.last_mut() {
            pod.healthy = true;
        }
        self
    }

    /// Adds rules of nftables in the node's namespace.
    pub fn fault(mut self, rules: impl AsRef<str>) -> Self {
        self.faults.push_str(rules.as_ref());
        self.faults.push('\n');
        self
    }

    /// Adds rules of nftables for what comes in at the servers.
    pub fn fault_beyond(mut self, rules: &str) -> Self {
        self.beyond.push_str(rules);
        self.beyond.push('\n');
        self
    }

    /// Adds a file to the scenario's folder.
    pub fn file(mut self, name: &'static str, text: String) -> Self {
        self.files.push((name, text));
        self
    }

    /// Where the capture is taken.
    pub fn tap(mut self, tap: Tap) -> Self {
        self.tap = tap;
        self
    }

    /// How long the capture goes on.
    pub fn linger(mut self, milliseconds: u64) -> Self {
        self.linger = Duration::from_millis(milliseconds);
        self
    }

    /// The capture begins late.
    pub fn join(mut self, milliseconds: u64) -> Self {
        self.join = Duration::from_millis(milliseconds);
        self
    }

    /// The machine should have little else to do.
    pub fn heavy(mut self) -> Self {
        self.heavy = true;
        self
    }

    /// This finding must be there.
    pub fn must(mut self, id: &'static str) -> Self {
        self.label.may.retain(|(may, _)| *may != id);
        self.label.must.push(id);
        self
    }

    /// This finding must be there, and as severe as this at least.
    pub fn must_be(mut self, id: &'static str, severity: &'static str) -> Self {
        self.label.at_least.push((id, severity));
        self.must(id)
    }

    /// This finding may be there, because of `why`.
    pub fn may(mut self, id: &'static str, why: &'static str) -> Self {
        if !self.label.must.contains(&id) && !self.label.may.iter().any(|(may, _)| *may == id) {
            self.label.may.push((id, why));
        }
        self
    }

    /// This finding must not be there, though `why` makes it look so.
    pub fn near(mut self, id: &'static str, why: &'static str) -> Self {
        self.label.near_miss.push((id, why));
        self
    }

    /// The fingerprint is not judged, since several stub resolvers share the address or none is at work.
    pub fn no_stub(mut self) -> Self {
        self.label.stub = None;
        self
    }

    /// The agent is told the resolv.conf.
    pub fn told(mut self) -> Self {
        self.label.told = true;
        self
    }

    /// Adds what must be seen in the recording.
    pub fn proof(mut self, proof: Proof) -> Self {
        self.proofs.push(proof);
        self
    }
}
