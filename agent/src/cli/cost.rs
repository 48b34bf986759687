//! `nslookout cost`: the queries that one lookup of a name costs.
//!
//! Nothing is asked of any server: which of the names exists is not known here, so each is told with what a lookup costs
//! that finds it there.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::{print, read_resolv_conf, shown};
use crate::correlate::resolv_conf::MAX_NAMESERVERS;
use crate::correlate::search::{Given, Place, Resolver, Said, order, walk};
use crate::dns::Name;

/// What the kubelet writes for a pod of the namespace `default` (facts.md section 4).
const KUBERNETES: [&str; 3] = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"];
/// And its `ndots`.
const KUBERNETES_NDOTS: u8 = 5;
/// A and AAAA.
const QUERIES_PER_NAME: usize = 2;

/// What is to be looked up, and how.
#[derive(Args)]
pub(super) struct CostArgs {
    /// The name as the application gives it; a final dot counts
    #[arg(value_name = "NAME", value_parser = parse_asked)]
    name: Asked,
    /// Names with fewer dots go through the search list first [default: 5, as the kubelet writes, or that of --resolv-conf]
    #[arg(long, value_name = "N", value_parser = parse_ndots)]
    ndots: Option<u8>,
    /// Domains of the search list, in their order [default: those of a pod in Kubernetes' namespace default]
    #[arg(long, value_name = "DOMAIN", num_args = 1.., value_delimiter = ',', value_parser = parse_domain)]
    search: Vec<Name>,
    /// Stub resolver [default: all four]
    #[arg(long, value_enum, value_name = "RESOLVER")]
    resolver: Option<ResolverArg>,
    /// Take search list, ndots and servers from this file
    #[arg(long, value_name = "FILE")]
    resolv_conf: Option<PathBuf>,
}

/// What is to be looked up.
#[derive(Clone)]
enum Asked {
    Name(GivenName),
    /// An address is taken as it is (getaddrinfo of POSIX; c-ares and Go alike).
    Address(IpAddr),
}

/// A name, and whether it had a final dot.
#[derive(Clone)]
struct GivenName {
    name: Name,
    absolute: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ResolverArg {
    /// musl (Alpine)
    Musl,
    /// glibc (Debian, Ubuntu, Red Hat)
    Glibc,
    /// Go's own
    Go,
    /// c-ares where it searches (ares_getaddrinfo, ares_search: gRPC, Envoy); Node's dns.resolve asks the name alone, once
    #[value(name = "c-ares")]
    CAres,
}

impl ResolverArg {
    fn resolver(self) -> Resolver {
        match self {
            Self::Musl => Resolver::Musl,
            Self::Glibc => Resolver::Glibc,
            Self::Go => Resolver::Go,
            Self::CAres => Resolver::CAres,
        }
    }
}

/// What is known of the client.
struct Setting {
    name: Name,
    given: Given,
    ndots: u8,
    search: Vec<Name>,
    /// That are heeded, at least 1.
    servers: usize,
    /// Where the search list comes from.
    source: String,
}

pub(super) fn run(args: &CostArgs) -> Result<ExitCode> {
    let name = match &args.name {
        Asked::Name(name) => name,
        Asked::Address(address) => {
            print(&format!("{address} is an address: it is taken as it is, and no query is sent\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let setting = Setting::new(args, name)?;
    let resolvers = match args.resolver {
        Some(resolver) => vec![resolver.resolver()],
        None => vec![Resolver::Musl, Resolver::Glibc, Resolver::Go, Resolver::CAres],
    };
    print(&setting.report(&resolvers))?;
    Ok(ExitCode::SUCCESS)
}

impl Setting {
    fn new(args: &CostArgs, name: &GivenName) -> Result<Self> {
        let file = match &args.resolv_conf {
            Some(path) => Some((read_resolv_conf(path)?, shown(path))),
            None => None,
        };
        let ndots = file.as_ref().map_or(KUBERNETES_NDOTS, |(read, _)| read.ndots());
        let servers = file.as_ref().map_or(1, |(read, _)| read.nameservers.len().clamp(1, MAX_NAMESERVERS));
        let (search, source) = match file {
            // The root as a domain is the name as it is, which is asked anyway (facts.md section 2.1).
            _ if !args.search.is_empty() => {
                let domains = args.search.iter().filter(|domain| domain.label_count() > 0);
                (domains.cloned().collect(), "--search".to_owned())
            }
            Some((read, path)) => (read.search, path),
            None => {
                let domains = KUBERNETES.iter().filter_map(|domain| Name::from_text(domain).ok());
                (
                    domains.collect(),
                    "a pod in Kubernetes' namespace default; --search or --resolv-conf names another"
                        .to_owned(),
                )
            }
        };
        let GivenName { name, absolute } = name.clone();
        let given = Given { dots: name.label_count().saturating_sub(1), absolute };
        Ok(Self { name, given, ndots: args.ndots.unwrap_or(ndots), search, servers, source })
    }

    fn report(&self, resolvers: &[Resolver]) -> String {
        let mut text = String::new();
        let domains: Vec<String> = self.search.iter().map(plain).collect();
        let name = plain(&self.name);
        let dot = if self.given.absolute { " and a final one" } else { "" };
        let _ = writeln!(text, "{name}: {}{dot}, ndots:{}", count(self.given.dots, "dot"), self.ndots);
        let _ = match domains.as_slice() {
            [] => writeln!(text, "no search list ({})", self.source),
            domains => writeln!(text, "search {}\n ({})", domains.join(" "), self.source),
        };
        let _ = writeln!(
            text,
            "\nQueries (A and AAAA) until the name is found, in the order of asking; -: it is never asked for:"
        );
        let mut told: Vec<Resolver> = Vec::new();
        for resolver in resolvers {
            if told.contains(resolver) {
                continue;
            }
            let same: Vec<Resolver> =
                resolvers.iter().copied().filter(|other| self.is_alike(*resolver, *other)).collect();
            let names: Vec<&str> = same.iter().map(|same| same.as_str()).collect();
            let _ = write!(text, "\n{}", self.table(&names.join(", "), *resolver));
            for same in &same {
                let _ = writeln!(text, "  {}", stops(*same));
            }
            told.extend(same);
        }
        text
    }

    /// Do both ask the same in every setting that is told?
    fn is_alike(&self, one: Resolver, other: Resolver) -> bool {
        let all = |resolver| {
            self.columns().map(|(given, ndots)| {
                (
                    order(resolver, given, ndots, self.search.len()).collect::<Vec<_>>(),
                    self.per_name(resolver),
                )
            })
        };
        all(one) == all(other)
    }

    /// What is compared: as it is, `ndots:2`, `ndots:1`, a trailing dot.
    fn columns(&self) -> [(Given, u8); 4] {
        let absolute = Given { absolute: true, ..self.given };
        [(self.given, self.ndots), (self.given, 2), (self.given, 1), (absolute, self.ndots)]
    }

    /// Queries for one name: musl asks all servers at once.
    fn per_name(&self, resolver: Resolver) -> usize {
        QUERIES_PER_NAME * if resolver == Resolver::Musl { self.servers } else { 1 }
    }

    fn table(&self, title: &str, resolver: Resolver) -> String {
        let names = order(resolver, self.given, self.ndots, self.search.len());
        let rows: Vec<(String, Option<Place>)> = names
            .filter_map(|place| Some((self.at(place)?, Some(place))))
            .chain([("(nowhere)".to_owned(), None)])
            .collect();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(title.len());
        let mut text = format!(
            "{title:width$}  {:>8}  ndots:2  ndots:1  trailing dot\n",
            format!("ndots:{}", self.ndots)
        );
        for (name, place) in rows {
            let [now, two, one, dot] =
                self.columns().map(|(given, ndots)| self.cost(resolver, given, ndots, place));
            let _ = writeln!(text, "{name:width$}  {now:>8}  {two:>7}  {one:>7}  {dot:>12}");
        }
        text
    }

    /// The name at a place; `None` where it would be too long.
    fn at(&self, place: Place) -> Option<String> {
        match place {
            Place::AsIs => Some(plain(&self.name)),
            Place::Domain(index) => self.name.below(self.search.get(index)?).map(|name| plain(&name)),
        }
    }

    /// Queries until the name at `place` is found, or all that are asked for nothing; a minus where it is never asked.
    fn cost(&self, resolver: Resolver, given: Given, ndots: u8, place: Option<Place>) -> String {
        let said = |at| if Some(at) == place { Said::Answer } else { Said::NxDomain };
        let walk = walk(resolver, given, ndots, self.search.len(), said);
        let asked = walk.asked.iter().filter(|place| self.at(**place).is_some()).count();
        if place.is_some() && walk.found.is_none() {
            "-".to_owned()
        } else {
            (asked * self.per_name(resolver)).to_string()
        }
    }
}

/// Where a resolver stops before the end of the list.
fn stops(resolver: Resolver) -> &'static str {
    match resolver {
        Resolver::Musl => "musl stops at the first name that is not NXDOMAIN, also where it has no address",
        Resolver::Glibc => {
            "glibc stops at an address; after REFUSED or silence only the name itself is still tried"
        }
        Resolver::Go => "go stops at an address only",
        Resolver::CAres => {
            "c-ares stops at an address, and at SERVFAIL, REFUSED or silence (Node's dns.resolve: the name alone, once)"
        }
        Resolver::BusyboxNslookup => "nslookup of BusyBox asks all at once",
    }
}

fn plain(name: &Name) -> String {
    let text = name.to_string();
    if text.len() > 1 { text.trim_end_matches('.').to_owned() } else { text }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn parse_domain(text: &str) -> Result<Name, String> {
    // What getaddrinfo and c-ares refuse to ask for is priced by nobody (res_hnok of glibc, which takes _ too).
    let odd = text.chars().find(|octet| !octet.is_ascii_alphanumeric() && !matches!(octet, '.' | '-' | '_'));
    match odd {
        Some(odd) if odd.is_ascii() => Err(format!(
            "`{}` holds `{}`; a host name has letters, digits, - and _ only",
            text.escape_debug(),
            odd.escape_debug()
        )),
        Some(odd) => Err(format!(
            "`{}` holds `{odd}`; write it in ASCII, as it is asked (xn--...)",
            text.escape_debug()
        )),
        None => Name::from_text(text).map_err(|error| format!("`{text}` is no name: {error}")),
    }
}

fn parse_asked(text: &str) -> Result<Asked, String> {
    // A link-local address may have its zone (RFC 4007 section 11).
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    match address.parse() {
        Ok(address @ IpAddr::V6(_)) => Ok(Asked::Address(address)),
        Ok(address) if zone.is_none() => Ok(Asked::Address(address)),
        _ => parse_given(text).map(Asked::Name),
    }
}

fn parse_given(text: &str) -> Result<GivenName, String> {
    let name = parse_domain(text)?;
    if name.label_count() == 0 {
        return Err(format!("`{text}` is no name that is looked up"));
    }
    Ok(GivenName { name, absolute: text.ends_with('.') })
}

/// Resolvers cut it at 15.
fn parse_ndots(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(ndots @ 0..=15) => Ok(ndots),
        _ => Err(format!("`{text}` is no ndots; write a number from 0 to 15")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, resolver: Option<ResolverArg>, search: &[&str]) -> String {
        let given = parse_given(name).unwrap();
        let search = search.iter().map(|domain| parse_domain(domain).unwrap()).collect();
        let args =
            CostArgs { name: Asked::Name(given.clone()), ndots: None, search, resolver, resolv_conf: None };
        let resolvers: Vec<Resolver> = resolver.map(ResolverArg::resolver).into_iter().collect();
        Setting::new(&args, &given).unwrap().report(&resolvers)
    }

    #[test]
    fn an_external_name_costs_eight_queries_in_kubernetes() {
        let expected = "\
api.stripe.com: 2 dots, ndots:5
search default.svc.cluster.local svc.cluster.local cluster.local
 (a pod in Kubernetes' namespace default; --search or --resolv-conf names another)

Queries (A and AAAA) until the name is found, in the order of asking; -: it is never asked for:

musl                                       ndots:5  ndots:2  ndots:1  trailing dot
api.stripe.com.default.svc.cluster.local         2        -        -             -
api.stripe.com.svc.cluster.local                 4        -        -             -
api.stripe.com.cluster.local                     6        -        -             -
api.stripe.com                                   8        2        2             2
(nowhere)                                        8        2        2             2
  musl stops at the first name that is not NXDOMAIN, also where it has no address
";
        assert_eq!(report("api.stripe.com", Some(ResolverArg::Musl), &[]), expected);
    }

    #[test]
    fn the_root_in_the_search_list_is_the_name_itself() {
        let told = report("x", Some(ResolverArg::Glibc), &["."]);
        assert!(told.contains("no search list (--search)"), "{told}");
        assert_eq!(told.lines().filter(|line| line.starts_with("x ")).count(), 1, "{told}");
        let told = report("x", Some(ResolverArg::Glibc), &["a.test", ".", "b.test"]);
        assert!(told.contains("search a.test b.test\n"), "{told}");
    }

    #[test]
    fn an_address_is_not_asked_for() {
        for address in ["169.254.169.254", "fd00:ec2::253", "fe80::1%eth0"] {
            assert!(matches!(parse_asked(address), Ok(Asked::Address(_))), "{address}");
        }
        for name in ["169.254.169.254.", "1.2.3", "a.test", "256.1.1.1"] {
            assert!(matches!(parse_asked(name), Ok(Asked::Name(_))), "{name}");
        }
    }

    #[test]
    fn what_no_resolver_asks_for_is_refused() {
        for (bad, why) in [
            ("a b.com", "holds ` `"),
            ("a\nb", "holds `\\n`"),
            ("a\x1bb", "holds `\\u{1b}`"),
            ("http://a.com/", "holds `:`"),
            ("b\u{fc}cher.test", "xn--"),
            ("1.1.1.1%lo", "holds `%`"),
        ] {
            let error = parse_asked(bad).err().unwrap();
            assert!(error.contains(why) && !error.contains('\n'), "{bad}: {error}");
        }
    }

    #[test]
    fn what_is_no_name_is_said() {
        for (bad, why) in [("a..b", "empty label"), (".", "no name"), (&"x".repeat(64), "63 octets")] {
            assert!(parse_given(bad).is_err_and(|error| error.contains(bad) && error.contains(why)), "{bad}");
        }
        assert!(parse_ndots("16").is_err_and(|error| error.contains("`16`")));
    }
}
