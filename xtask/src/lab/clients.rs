//! The lab's clients: real stub resolvers of every kind, each behind the same few arguments.
//!
//! One getaddrinfo program against four C libraries, Go, c-ares by three ways, BusyBox, dig and kdig. Whoever wants one
//! takes [`Client::command`]; [`compile`] makes the programs, [`prepare`] also what they are made from.

mod build;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

pub use build::{compile, make_bin_dir, prepare};

use crate::{netns, shell};

/// A program that resolves names, and with it a stub resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// getaddrinfo of musl as Debian 12 packages it, 1.2.3: UDP only, no EDNS.
    Musl123,
    /// getaddrinfo of musl 1.2.4: TCP after truncation, room for 768 bytes.
    Musl124,
    /// getaddrinfo of musl 1.2.5: TCP after truncation, room for 4,800 bytes.
    Musl125,
    /// getaddrinfo of the machine's glibc.
    Glibc,
    /// Go's own resolver, without cgo.
    Go,
    /// `ares_getaddrinfo` of the distribution's c-ares, 1.18 on Debian 12: no EDNS by default.
    CAres118,
    /// `ares_getaddrinfo` of the c-ares that pycares 5.2.1 brings, 1.34.9: EDNS by default.
    CAres134,
    /// `dns.resolve4` and `dns.resolve6` of Node: the c-ares that it was built with, each type by a call of its own.
    NodeResolve,
    /// `dns.lookup` of Node: libc's getaddrinfo in a thread of its pool.
    NodeLookup,
    /// nslookup of BusyBox, which has its own code; Debian's is linked with glibc.
    BusyBox,
    /// dig of BIND, asked for A and then for AAAA.
    Dig,
    /// kdig of Knot DNS, asked for A and then for AAAA.
    Kdig,
}

/// How often a client goes over its names, and the pause between two rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// At least 1.
    pub times: u32,
    /// From the end of one round to the begin of the next; whole milliseconds.
    pub pause: Duration,
}

impl Rounds {
    /// Each name once.
    pub const ONE: Self = Self { times: 1, pause: Duration::ZERO };
}

impl Client {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Musl123,
        Self::Musl124,
        Self::Musl125,
        Self::Glibc,
        Self::Go,
        Self::CAres118,
        Self::CAres134,
        Self::NodeResolve,
        Self::NodeLookup,
        Self::BusyBox,
        Self::Dig,
        Self::Kdig,
    ];

    /// Its name, as people say it; no blanks, so that it serves in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Musl123 => "musl-1.2.3",
            Self::Musl124 => "musl-1.2.4",
            Self::Musl125 => "musl-1.2.5",
            Self::Glibc => "glibc",
            Self::Go => "go",
            Self::CAres118 => "c-ares-1.18",
            Self::CAres134 => "c-ares-1.34",
            Self::NodeResolve => "node-resolve",
            Self::NodeLookup => "node-lookup",
            Self::BusyBox => "busybox",
            Self::Dig => "dig",
            Self::Kdig => "kdig",
        }
    }

    /// What its stub resolver is, in the agent's words; `unknown` where it is none.
    ///
    /// This is the truth, not what must be found: `unknown` is an honest answer about any client, another name never.
    pub fn fingerprint(self) -> &'static str {
        match self {
            Self::Musl123 => "musl-before-1.2.4",
            Self::Musl124 | Self::Musl125 => "musl-1.2.4-or-newer",
            Self::Glibc | Self::NodeLookup => "glibc",
            Self::Go => "go",
            Self::CAres118 | Self::CAres134 | Self::NodeResolve => "c-ares",
            Self::BusyBox => "busybox-nslookup",
            Self::Dig | Self::Kdig => "unknown",
        }
    }

    /// Its own program in `target/lab/bin`, `None` for one that the distribution brings whole.
    pub fn program(self) -> Option<PathBuf> {
        let file = match self {
            Self::Musl123 => "getaddrinfo-musl",
            Self::Musl124 => "getaddrinfo-musl-1.2.4",
            Self::Musl125 => "getaddrinfo-musl-1.2.5",
            Self::Glibc => "getaddrinfo-glibc",
            Self::Go => "lookup-go",
            Self::CAres118 => "ares_getaddrinfo",
            _ => return None,
        };
        Some(super::dir().join("bin").join(file))
    }

    /// The client in a network namespace, with the `resolv.conf` of that namespace.
    ///
    /// It resolves each name in turn, in as many rounds, and ends with 0 when every lookup succeeded (dig and kdig: when
    /// the last was answered at all). The caller bounds its time: a lookup that nobody answers takes up to 40 s.
    pub fn command(self, netns: &str, names: &[&str], rounds: Rounds) -> Command {
        let mut words = self.words();
        let program = words.remove(0);
        let mut command = netns::command(netns, &program);
        command.args(words);
        if self.repeats_through_shell() {
            command.arg(rounds.times.to_string()).arg(rounds.pause.as_secs_f64().to_string());
        } else {
            command.args(["-n", &rounds.times.to_string()]);
            command.args(["-i", &rounds.pause.as_millis().to_string()]);
        }
        command.args(names);
        command
    }

    /// The line that a person would type for one round.
    pub fn typed(self, names: &[&str]) -> String {
        let names = names.join(" ");
        match self {
            Self::BusyBox => format!("busybox nslookup {names}"),
            Self::Dig | Self::Kdig => format!("{} {names} A {names} AAAA", self.name()),
            Self::NodeResolve => format!("node lookup.js resolve {names}"),
            Self::NodeLookup => format!("node lookup.js lookup {names}"),
            Self::CAres134 => format!("ares_getaddrinfo.py {names}"),
            _ => {
                let program = self.program().unwrap_or_default();
                format!("{} {names}", program.file_name().unwrap_or_default().to_string_lossy())
            }
        }
    }

    /// Program and first arguments.
    fn words(self) -> Vec<String> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let shell = |name: &str, work: &str| vec!["sh".into(), "-c".into(), repeated(work), name.to_owned()];
        let node = |how: &str| vec!["node".into(), text(source("lookup.js")), how.to_owned()];
        match self {
            Self::NodeResolve => node("resolve"),
            Self::NodeLookup => node("lookup"),
            Self::CAres134 => vec![text(build::PYCARES.python()), text(source("ares_getaddrinfo.py"))],
            Self::BusyBox => shell("busybox", "busybox nslookup \"$name\""),
            Self::Dig => shell("dig", "dig \"$name\" A \"$name\" AAAA"),
            Self::Kdig => shell("kdig", "kdig \"$name\" A \"$name\" AAAA"),
            _ => vec![text(self.program().unwrap_or_default())],
        }
    }

    /// Does a shell repeat what the program itself cannot?
    fn repeats_through_shell(self) -> bool {
        matches!(self, Self::BusyBox | Self::Dig | Self::Kdig)
    }
}

/// A shell script that does `work` with each `$name`, in `$1` rounds with `$2` seconds between them.
fn repeated(work: &str) -> String {
    format!(
        "times=$1 pause=$2; shift 2; status=0
        while :; do
            for name; do {work} || status=1; done
            times=$((times - 1)); [ $times -gt 0 ] || exit $status
            sleep $pause
        done"
    )
}

/// A source file of the clients.
pub fn source(file: &str) -> PathBuf {
    shell::workspace().join("xtask/lab/clients").join(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_a_name_of_its_own() {
        let mut names: Vec<&str> = Client::ALL.iter().map(|client| client.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Client::ALL.len());
    }

    #[test]
    fn a_shell_goes_over_all_names_as_often_as_told() {
        let script = repeated("echo \"$name\"");
        let output = shell::output(Command::new("sh").args([
            "-c",
            &script,
            "test",
            "2",
            "0",
            "a.example",
            "b.example",
        ]));
        assert_eq!(output.unwrap(), "a.example\nb.example\na.example\nb.example\n");
    }

    #[test]
    fn rounds_and_names_are_the_last_arguments() {
        let rounds = Rounds { times: 3, pause: Duration::from_millis(250) };
        for client in Client::ALL {
            let command = client.command("nslookout-test", &["a.example"], rounds);
            let words: Vec<&str> = command.get_args().filter_map(|word| word.to_str()).collect();
            let expected: &[&str] = if client.repeats_through_shell() {
                &["3", "0.25", "a.example"]
            } else {
                &["-n", "3", "-i", "250", "a.example"]
            };
            assert!(words.ends_with(expected), "{words:?}");
        }
    }
}
