//! Series come and go with those whom they are about: an address gets a name, a workload is gone.

use std::net::IpAddr;
use std::time::Duration;

use super::{Subject, Tally};
use crate::capture::counters::CaptureCounters;
use crate::capture::frame::Timestamp;
use crate::identity::who::{HOST, Who, WorkloadId};
use crate::maps::{Map, Set};

/// How often it is looked which series leave.
const SWEEP: Duration = Duration::from_secs(10);

/// Does the same with each metric that is counted by subject.
macro_rules! each_series {
    ($tally:expr, $series:ident => $do:expr) => {{
        let (client, server) = (&mut $tally.client, &mut $tally.server);
        each_series!(@ $series => $do, client, queries responses nodata unanswered late retransmits truncated oversize);
        each_series!(@ $series => $do, server, queries responses durations);
    }};
    (@ $series:ident => $do:expr, $side:ident, $($field:ident)+) => {
        $({
            let $series = &mut $side.$field;
            $do;
        })+
    };
}

impl Tally {
    /// It became known who is who: what was counted by address goes to the workloads.
    pub(crate) fn identified(&mut self, who: &Who) {
        let name = |subject: Subject| match subject {
            Subject::Address(client) => {
                who.client(&client, None).map(|known| Subject::Workload(known.workload))
            }
            Subject::Workload(_) | Subject::Other => None,
        };
        let most = self.limits.max_series;
        each_series!(self, series => series.rename(most, &name));
    }

    /// A workload turned out to be another one.
    pub(crate) fn renamed(&mut self, before: WorkloadId, now: WorkloadId) {
        let (before, now) = (Subject::Workload(before), Subject::Workload(now));
        let name = |subject: Subject| (subject == before).then_some(now);
        let most = self.limits.max_series;
        each_series!(self, series => series.rename(most, &name));
    }

    /// A scrape has read everything.
    pub(crate) fn scraped(&mut self) {
        each_series!(self, series => series.scraped());
    }

    /// The source's counters were read.
    pub(crate) fn counters(&mut self, now: Timestamp, counters: &CaptureCounters, who: &Who) {
        if self.limits.identity {
            self.misses.counters(now, counters, who);
        }
    }

    /// Lets go of the series of those who are gone, now and then.
    pub(crate) fn tick(&mut self, now: Timestamp, who: &mut Who) {
        let Some(grace) = self.limits.series_grace else { return };
        if now.since(self.swept) < SWEEP && now >= self.swept {
            return;
        }
        self.swept = now;
        // All series of an address leave together, wherever they were counted.
        let mut latest: Map<IpAddr, Timestamp> = Map::default();
        each_series!(self, series => for (subject, changed) in series.subjects() {
            if let Subject::Address(client) = subject {
                let latest = latest.entry(client.address).or_default();
                *latest = changed.max(*latest);
            }
        });
        let is_quiet =
            |address: IpAddr| latest.get(&address).is_none_or(|latest| now.since(*latest) >= grace);
        let over = |subject: Subject| match subject {
            Subject::Workload(id) => who.gone_for(id, now).is_some_and(|gone| gone >= grace),
            Subject::Address(client) => is_quiet(client.address),
            Subject::Other => false,
        };
        each_series!(self, series => series.leave(&over));
        self.misses.forget(is_quiet);
        let mut counted: Set<WorkloadId> = Set::default();
        each_series!(self, series => counted.extend(series.subjects().filter_map(|(subject, _)| match subject {
            Subject::Workload(id) => Some(id),
            Subject::Address(_) | Subject::Other => None,
        })));
        who.forget_workloads(|id| counted.contains(&id));
        // A histogram goes with the last workload of its namespace; that of the node stays.
        self.client.durations.retain(|(id, _), _| *id == HOST || who.namespace(*id).is_some());
    }
}

#[cfg(test)]
mod tests;
