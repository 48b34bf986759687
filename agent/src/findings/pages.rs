//! The page of each finding: the text of docs/findings, so that the program and the repository say the same.

use super::FindingId;

impl FindingId {
    /// The page, in Markdown of 80 columns: what it is, how it looks, why it happens, how to fix it, when it is wrong.
    pub const fn page(self) -> &'static str {
        match self {
            Self::TruncatedNoTcp => include_str!("../../../docs/findings/truncated-no-tcp.md"),
            Self::SearchStopped => include_str!("../../../docs/findings/search-stopped.md"),
            Self::PairConflict => include_str!("../../../docs/findings/pair-conflict.md"),
            Self::LinkLocalRate => include_str!("../../../docs/findings/linklocal-rate.md"),
            Self::SearchAmplification => include_str!("../../../docs/findings/search-amplification.md"),
            Self::ConntrackRace => include_str!("../../../docs/findings/conntrack-race.md"),
            Self::TcpBlocked => include_str!("../../../docs/findings/tcp-blocked.md"),
            Self::OversizeUdp => include_str!("../../../docs/findings/oversize-udp.md"),
            Self::OldMusl => include_str!("../../../docs/findings/old-musl.md"),
            Self::Unanswered => include_str!("../../../docs/findings/unanswered.md"),
            Self::ServFail => include_str!("../../../docs/findings/servfail.md"),
            Self::Refused => include_str!("../../../docs/findings/refused.md"),
            Self::Fragmented => include_str!("../../../docs/findings/fragmented.md"),
            Self::WrongSource => include_str!("../../../docs/findings/wrong-source.md"),
            Self::ShortNameBroken => include_str!("../../../docs/findings/short-name-broken.md"),
            Self::ServersDisagree => include_str!("../../../docs/findings/servers-disagree.md"),
            Self::ResolvConfLimits => include_str!("../../../docs/findings/resolv-conf-limits.md"),
            Self::LateReply => include_str!("../../../docs/findings/late-reply.md"),
            Self::QueryStorm => include_str!("../../../docs/findings/query-storm.md"),
            Self::IdReuse => include_str!("../../../docs/findings/id-reuse.md"),
            Self::LameNodata => include_str!("../../../docs/findings/lame-nodata.md"),
            Self::DeepCname => include_str!("../../../docs/findings/deep-cname.md"),
            Self::PublicLeak => include_str!("../../../docs/findings/public-leak.md"),
            Self::UnusedAaaa => include_str!("../../../docs/findings/unused-aaaa.md"),
        }
    }

    /// What it says in one line: the heading of its page.
    pub fn title(self) -> &'static str {
        let heading = self.page().lines().next().unwrap_or_default();
        heading.split_once(": ").map_or(heading, |(_, title)| title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The headings of a page, in their order.
    const HEADINGS: [&str; 5] =
        ["What it is", "How it looks on the wire", "Why it happens", "How to fix it", "When it is wrong"];

    #[test]
    fn every_page_has_its_title_and_the_five_headings_and_text_below_each() {
        for id in FindingId::ALL {
            let (id, page) = (id.as_str(), id.page());
            assert!(page.starts_with(&format!("# {id}: ")), "{id}");
            assert!(page.ends_with('\n') && !page.ends_with("\n\n"), "{id}");
            let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
            let headings: Vec<&str> = sections.iter().filter_map(|section| section.lines().next()).collect();
            assert_eq!(headings, HEADINGS, "{id}");
            for section in sections {
                assert!(
                    section.split_once("\n\n").is_some_and(|(_, text)| text.len() > 60),
                    "{id}: {section}"
                );
            }
        }
    }

    /// Lines to copy stand in the part that tells how to fix it.
    #[test]
    fn every_page_has_lines_to_copy() {
        for id in FindingId::ALL {
            let fix =
                id.page().split("\n## How to fix it").nth(1).and_then(|rest| rest.split("\n## ").next());
            let fix = fix.unwrap_or_default();
            assert!(fix.lines().any(|line| line.starts_with("    ")), "{}", id.as_str());
        }
    }

    #[test]
    fn pages_fit_into_a_terminal() {
        for id in FindingId::ALL {
            for line in id.page().lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", id.as_str());
            }
            assert!(id.title().len() <= 59, "{}", id.as_str());
        }
    }

    #[test]
    fn no_page_is_without_its_finding() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/findings");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut expected = FindingId::ALL.map(|id| format!("{}.md", id.as_str())).to_vec();
        files.sort();
        expected.sort();
        assert_eq!(files, expected);
    }
}
