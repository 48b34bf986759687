//! How a stub resolver walks the search list (facts.md section 2.1).
//!
//! Input: how many dots a name has, `ndots`, how many domains there are, and what each name would be answered. Output:
//! what is asked, in its order, and where the walk ends. Read in musl (`lookup_name.c`), glibc (`res_query.c`), Go
//! (`dnsclient_unix.go`), c-ares (`ares_search.c`) and BusyBox (`nslookup.c`).

use super::fingerprint::Stub;

/// A program that looks names up, as far as it matters to the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolver {
    /// musl's getaddrinfo.
    Musl,
    /// glibc's getaddrinfo.
    Glibc,
    /// Go's own resolver.
    Go,
    /// c-ares, from 1.18 on.
    CAres,
    /// nslookup of BusyBox.
    BusyboxNslookup,
}

impl Resolver {
    /// As it is called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Musl => "musl",
            Self::Glibc => "glibc",
            Self::Go => "go",
            Self::CAres => "c-ares",
            Self::BusyboxNslookup => "nslookup of BusyBox",
        }
    }

    /// What a client seems to be; of one that is not known glibc's way is supposed, which asks most.
    pub const fn of(stub: Stub) -> Self {
        match stub {
            Stub::MuslBefore124 | Stub::Musl124OrNewer | Stub::Musl => Self::Musl,
            Stub::Go => Self::Go,
            Stub::CAres => Self::CAres,
            Stub::BusyboxNslookup => Self::BusyboxNslookup,
            Stub::Glibc | Stub::Unknown => Self::Glibc,
        }
    }
}

/// A name as the application gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Dots in it; a final one is not counted.
    pub dots: usize,
    /// A final dot: it is asked as it is.
    pub absolute: bool,
}

/// One name of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The name itself.
    AsIs,
    /// The name below this domain of the search list.
    Domain(usize),
}

/// What A and AAAA of one name are answered, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// With an address.
    Answer,
    /// The name exists, without addresses.
    NoData,
    /// NXDOMAIN.
    NxDomain,
    /// SERVFAIL.
    ServFail,
    /// REFUSED or another code.
    Refused,
    /// No response.
    Nothing,
}

/// All names that may be asked, in their order.
pub fn order(
    resolver: Resolver,
    given: Given,
    ndots: u8,
    domains: usize,
) -> impl Iterator<Item = Place> + Clone {
    let enough = given.dots >= usize::from(ndots);
    let (first, domains, last) = match resolver {
        _ if given.absolute => (true, 0, false),
        // A name with a dot is asked as it is; ndots is not looked at.
        Resolver::BusyboxNslookup if given.dots > 0 => (true, 0, false),
        Resolver::BusyboxNslookup => (false, domains, false),
        Resolver::Musl if enough => (true, 0, false),
        Resolver::Musl => (false, domains, true),
        Resolver::Glibc | Resolver::Go | Resolver::CAres => (enough, domains, !enough),
    };
    let as_is = |yes: bool| yes.then_some(Place::AsIs).into_iter();
    as_is(first).chain((0..domains).map(Place::Domain)).chain(as_is(last))
}

/// How a walk went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// What was asked, in its order.
    pub asked: Vec<Place>,
    /// What was answered.
    pub found: Option<Place>,
}

/// Walks through the names until one is answered or the resolver gives up.
pub fn walk(
    resolver: Resolver,
    given: Given,
    ndots: u8,
    domains: usize,
    mut said: impl FnMut(Place) -> Said,
) -> Walk {
    let order = order(resolver, given, ndots, domains);
    let mut walk = Walk { asked: Vec::new(), found: None };
    let mut skip_domains = false;
    for place in order {
        if skip_domains && place != Place::AsIs {
            continue;
        }
        let said = said(place);
        walk.asked.push(place);
        if said == Said::Answer {
            walk.found.get_or_insert(place);
        }
        // It has asked the others already.
        if resolver == Resolver::BusyboxNslookup {
            continue;
        }
        match next(resolver, said, given, place) {
            Next::Stop => break,
            Next::AsIs => skip_domains = true,
            Next::Go => {}
        }
    }
    walk
}

/// What a resolver does after a name.
enum Next {
    Stop,
    Go,
    AsIs,
}

fn next(resolver: Resolver, said: Said, given: Given, place: Place) -> Next {
    match (resolver, said) {
        (_, Said::Answer) => Next::Stop,
        (_, Said::NxDomain) => Next::Go,
        (Resolver::Musl, _) => Next::Stop,
        (Resolver::Glibc, Said::NoData | Said::ServFail) => Next::Go,
        (Resolver::Glibc, _) => Next::AsIs,
        (Resolver::Go | Resolver::BusyboxNslookup, _) => Next::Go,
        (Resolver::CAres, Said::NoData) => Next::Go,
        // A server that does not know single labels (systemd-resolved) says so; the walk goes on.
        (Resolver::CAres, Said::ServFail | Said::Refused) if place == Place::AsIs && given.dots == 0 => {
            Next::Go
        }
        (Resolver::CAres, _) => Next::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Queries (A and AAAA) of a lookup by musl and by the others, where only the name at `place` exists; a minus where
    /// it is not found.
    #[track_caller]
    fn check(dots: usize, ndots: u8, domains: usize, place: Option<Place>, musl: i64, others: i64) {
        let cost = |resolver: Resolver| {
            let given = Given { dots, absolute: false };
            let said = |at: Place| if Some(at) == place { Said::Answer } else { Said::NxDomain };
            let walk = walk(resolver, given, ndots, domains, said);
            assert!(walk.found.is_none() || walk.found == place);
            let queries = 2 * walk.asked.len() as i64;
            if walk.found.is_some() { queries } else { -queries }
        };
        assert_eq!(cost(Resolver::Musl), musl);
        for resolver in [Resolver::Glibc, Resolver::Go, Resolver::CAres] {
            assert_eq!(cost(resolver), others, "{resolver:?}");
        }
    }

    const AS_IS: Option<Place> = Some(Place::AsIs);
    const FIRST: Option<Place> = Some(Place::Domain(0));
    const SECOND: Option<Place> = Some(Place::Domain(1));

    /// facts.md section 2.2, row by row.
    #[test]
    fn worked_examples() {
        // kinesis.ap-northeast-1.amazonaws.com
        check(3, 5, 3, AS_IS, 8, 8);
        check(3, 5, 4, AS_IS, 10, 10);
        check(3, 1, 3, AS_IS, 2, 2);
        // x.cluster-y.ap-northeast-1.rds.amazonaws.com
        check(5, 5, 3, AS_IS, 2, 2);
        // nosuch.example.com
        check(2, 1, 3, None, -2, -8);
        // httpd
        check(0, 5, 3, FIRST, 2, 2);
        // httpd.other
        check(1, 5, 3, SECOND, 4, 4);
        check(1, 1, 3, SECOND, -2, 6);
        check(1, 2, 3, SECOND, 4, 4);
        // httpd.other.svc, which is below the third domain
        check(2, 2, 3, Some(Place::Domain(2)), -2, 2 + 6);
        // httpd.ns.svc.cluster.local
        check(4, 5, 4, AS_IS, 10, 10);
        check(4, 2, 4, AS_IS, 2, 2);
    }

    #[test]
    fn a_final_dot_is_one_name() {
        let given = Given { dots: 3, absolute: true };
        for resolver in
            [Resolver::Musl, Resolver::Glibc, Resolver::Go, Resolver::CAres, Resolver::BusyboxNslookup]
        {
            assert_eq!(order(resolver, given, 5, 3).collect::<Vec<_>>(), [Place::AsIs]);
        }
    }

    #[test]
    fn nslookup_of_busybox_asks_all_domains_or_the_name() {
        let asked = |dots| {
            let walk =
                walk(Resolver::BusyboxNslookup, Given { dots, absolute: false }, 5, 3, |_| Said::Answer);
            (walk.asked.len(), walk.found)
        };
        assert_eq!(asked(0), (3, FIRST));
        assert_eq!(asked(1), (1, AS_IS));
    }

    /// How many names are asked where the first of three domains says `said` and the others do not exist.
    #[track_caller]
    fn check_first(said: Said, [musl, glibc, go, c_ares]: [usize; 4]) {
        let asked = |resolver| {
            let say = |place| if place == Place::Domain(0) { said } else { Said::NxDomain };
            walk(resolver, Given { dots: 1, absolute: false }, 5, 3, say).asked.len()
        };
        assert_eq!(asked(Resolver::Musl), musl, "musl after {said:?}");
        assert_eq!(asked(Resolver::Glibc), glibc, "glibc after {said:?}");
        assert_eq!(asked(Resolver::Go), go, "Go after {said:?}");
        assert_eq!(asked(Resolver::CAres), c_ares, "c-ares after {said:?}");
    }

    /// facts.md section 2.1: what ends a walk.
    #[test]
    fn what_ends_a_walk_differs() {
        check_first(Said::Answer, [1, 1, 1, 1]);
        check_first(Said::NxDomain, [4, 4, 4, 4]);
        check_first(Said::NoData, [1, 4, 4, 4]);
        check_first(Said::ServFail, [1, 4, 4, 1]);
        check_first(Said::Refused, [1, 2, 4, 1]);
        check_first(Said::Nothing, [1, 2, 4, 1]);
    }

    #[test]
    fn c_ares_goes_on_after_an_error_for_a_single_label() {
        let say = |place| if place == Place::AsIs { Said::ServFail } else { Said::Answer };
        let given = Given { dots: 0, absolute: false };
        assert_eq!(walk(Resolver::CAres, given, 0, 3, say).found, FIRST);
    }
}
