//! Adds to a finding what is known of who stands behind its client: the image with its C library, where its resolver's
//! configuration comes from, and the exact lines of its own specification. The rules know addresses alone.
//!
//! Input: what a rule said, and facts of `identity`. Output: the same, with more. Where several share an address all of
//! them are named, and no lines are made for one.

mod place;
mod words;

use super::{Details, FindingId, Ground, Subject};
use crate::correlate::ClientId;
use crate::identity::facts::{Instance, Libc, LibcKind};
use crate::identity::who::Behind;

/// Findings about what the search list or `ndots` makes of a name.
const OF_SEARCH: [FindingId; 5] = [
    FindingId::SearchStopped,
    FindingId::SearchAmplification,
    FindingId::ShortNameBroken,
    FindingId::ResolvConfLimits,
    FindingId::PublicLeak,
];

/// Who stands behind the client of a finding.
pub(super) fn of(subject: &Subject, ground: &Ground<'_>) -> Behind {
    subject.client.map(|client| ground.who.behind(&client)).unwrap_or_default()
}

/// Adds what is known of them.
pub(super) fn complete(
    details: Details,
    id: FindingId,
    subject: &Subject,
    behind: &Behind,
    ground: &Ground<'_>,
) -> Details {
    let Details { summary, mut because, numbers, example, remedies } = details;
    let (Some(client), false) = (subject.client, behind.is_nobody()) else {
        return Details { summary, because, numbers, example, remedies };
    };
    let Some(instance) = behind.only() else {
        because.push(words::several(behind));
        return Details { summary, because, numbers, example, remedies };
    };
    let fingerprint = ground.clients.fingerprint(&client);
    because.extend(words::image(instance, &fingerprint));
    if OF_SEARCH.contains(&id) {
        because.extend(words::origin(instance));
    }
    let remedies = remedies.into_iter().filter_map(|remedy| place::place(remedy, instance)).collect();
    Details { summary, because, numbers, example, remedies }
}

/// What the files of a client's containers say of its stub resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// A container has musl before 1.2.4.
    pub(super) old_musl: bool,
    /// A container has musl 1.2.4 itself, whose buffer for an answer has 768 bytes (facts.md section 1.1).
    pub(super) musl_124: bool,
    /// There is but one container, or all have that.
    pub(super) all: bool,
}

/// By the files of the one who stands behind a client; `None`: nobody read them, or there are several.
pub(super) fn files(client: &ClientId, ground: &Ground<'_>) -> Option<Files> {
    let behind = ground.who.behind(client);
    let instance = behind.only()?;
    let old_musl = |libc: &Libc| musl_version(libc).is_some_and(|version| version < MUSL_124);
    let musl_124 = |libc: &Libc| is_124(libc);
    let has = |is: &dyn Fn(&Libc) -> bool| libcs(instance).any(is);
    let all = |is: &dyn Fn(&Libc) -> bool| {
        libcs(instance).all(is) && libcs(instance).count() == instance.containers.len()
    };
    let (old_musl_here, musl_124_here) = (has(&old_musl), has(&musl_124));
    let whole = if old_musl_here { all(&old_musl) } else { all(&musl_124) };
    Some(Files { old_musl: old_musl_here, musl_124: musl_124_here, all: whole })
}

/// The first musl that asks over TCP.
pub(super) const MUSL_124: [u32; 3] = [1, 2, 4];

fn libcs(instance: &Instance) -> impl Iterator<Item = &Libc> {
    instance.containers.iter().filter_map(|container| container.libc.as_ref())
}

/// `1.2.3`, as numbers that compare.
pub(super) fn musl_version(libc: &Libc) -> Option<[u32; 3]> {
    let version = libc.version.as_ref().filter(|_| libc.kind == LibcKind::Musl)?;
    let numbers = version.split(|character: char| !character.is_ascii_digit() && character != '.').next()?;
    let mut parts = numbers.split('.');
    let mut next = || parts.next()?.parse().ok();
    Some([next()?, next()?, next().unwrap_or(0)])
}

/// 1.2.4 as it was released: Alpine 3.19 has a later state of it (`1.2.4_git20230717`), with room for 4800 bytes.
fn is_124(libc: &Libc) -> bool {
    musl_version(libc) == Some(MUSL_124) && libc.version.as_deref() == Some("1.2.4")
}

#[cfg(test)]
mod tests;
