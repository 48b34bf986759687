//! The signs that tell stub resolvers apart, counted.

/// Pairs that are counted before all counts are halved, so that what a client did long ago fades.
const FADE: u8 = 128;

/// How often each sign was seen; all fade together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// Pairs without OPT from one port.
    pub(super) plain: u8,
    /// Those of them whose IDs are a step of the clock apart.
    pub(super) close: u8,
    /// Those of these whose step is that of the pair before: a clock seldom makes the same one twice.
    pub(super) same_step: u8,
    /// Those of these whose step is smaller than any clock's: a counter.
    pub(super) counter: u8,
    /// Those that are close whose IDs have equal high bytes: musl before 1.2.4 alone (musl 6c858d6f).
    pub(super) equal_high: u8,
    /// Pairs without OPT, with AD, from one port.
    pub(super) authentic: u8,
    /// Those of them whose IDs are a step of the clock apart.
    pub(super) authentic_close: u8,
    /// Pairs with OPT of 1232 or 1280 bytes from one port.
    pub(super) edns_one_port: u8,
    /// Pairs with OPT of 1232 bytes from two ports.
    pub(super) edns_two_ports: u8,
    /// Pairs with OPT of 1200 bytes from one port.
    pub(super) edns_1200: u8,
    /// All other pairs.
    pub(super) other: u8,
    /// Another question from the port of the one before, which was answered.
    pub(super) same_port: u8,
    /// The next candidate of a name from a new port, once the one before was answered.
    pub(super) new_port: u8,
    /// The next candidate of a name from the same port, without waiting.
    pub(super) burst: u8,
    /// The same query to several servers at once.
    pub(super) parallel: u8,
    /// Sent again after 2.5 s, what was not answered alone.
    pub(super) again_2500: u8,
    /// A sent again after 5 s although it was answered.
    pub(super) again_5000: u8,
    /// Sent again more than twice at once after SERVFAIL.
    pub(super) servfail_storm: u8,
    /// The pair again from a new port at once after TC.
    pub(super) regrow: u8,
    /// TCP after TC.
    pub(super) tcp: u8,
    /// The name as it is first, then the search list.
    pub(super) as_is_first: u8,
}

impl Signs {
    /// All pairs.
    pub(super) fn pairs(&self) -> u16 {
        let Self { plain, authentic, edns_one_port, edns_two_ports, edns_1200, other, .. } = *self;
        [plain, authentic, edns_one_port, edns_two_ports, edns_1200, other].map(u16::from).iter().sum()
    }

    /// Lets what is old count less, once there is much.
    pub(super) fn fade(&mut self) {
        if self.pairs() < u16::from(FADE) {
            return;
        }
        let Self {
            plain,
            close,
            same_step,
            counter,
            equal_high,
            authentic,
            authentic_close,
            edns_one_port,
            edns_two_ports,
            edns_1200,
            other,
            same_port,
            new_port,
            burst,
            parallel,
            again_2500,
            again_5000,
            servfail_storm,
            regrow,
            tcp,
            as_is_first,
        } = self;
        let steps = [same_step, counter];
        let pairs = [plain, close, equal_high, authentic, authentic_close, edns_one_port, edns_two_ports];
        let more = [edns_1200, other, same_port, new_port, burst, parallel, again_2500, again_5000];
        let rest = [servfail_storm, regrow, tcp, as_is_first];
        pairs.into_iter().chain(more).chain(rest).chain(steps).for_each(|count| *count /= 2);
    }
}

/// Adds one; what is full stays full.
pub(super) fn add(count: &mut u8) {
    *count = count.saturating_add(1);
}
