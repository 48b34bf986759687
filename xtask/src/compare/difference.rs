//! Two readings of one capture, side by side.

use std::collections::BTreeMap;

use super::reading::{Message, Reading, Transaction};

/// One thing that two readers say differently.
pub struct Difference {
    /// The frame in which tshark completes the message, or sees the query; for a message that only nslookout reads,
    /// the frame of its time.
    pub frame: usize,
    /// What differs: a field, `message` or `transaction` where only one reader has it, or `order`.
    pub field: &'static str,
    /// What tshark says.
    pub tshark: String,
    /// What nslookout says.
    pub nslookout: String,
}

/// What stands for nothing at all.
const NOTHING: &str = "nothing";

/// Every difference, in the order of the frames.
pub fn differences(tshark: &Reading, nslookout: &Reading) -> Vec<Difference> {
    let mut found = Vec::new();
    let frame = |time: u64| tshark.frames.iter().position(|at| *at == time).map_or(0, |index| index + 1);
    let pairs = pair(&tshark.messages, &nslookout.messages);
    for (theirs, ours) in &pairs {
        match (theirs.map(|index| &tshark.messages[index]), ours.map(|index| &nslookout.messages[index])) {
            (Some(theirs), Some(ours)) => compare_messages(theirs, ours, &frame, &mut found),
            (Some(theirs), None) => found.push(only_theirs(frame(theirs.time), "message", theirs)),
            (None, Some(ours)) => found.push(only_ours(frame(ours.time), "message", ours)),
            (None, None) => {}
        }
    }
    let mut both: Vec<(usize, usize)> = pairs.iter().filter_map(|(theirs, ours)| theirs.zip(*ours)).collect();
    both.sort_by_key(|(_, ours)| *ours);
    for neighbours in both.windows(2).filter(|neighbours| neighbours[0].0 > neighbours[1].0) {
        let (first, second) = (&tshark.messages[neighbours[1].0], &tshark.messages[neighbours[0].0]);
        let (frame, field) = (frame(first.time), "order");
        let tshark = format!("{first} before {second}");
        found.push(Difference { frame, field, tshark, nslookout: "the other way round".into() });
    }
    compare_transactions(tshark, nslookout, &frame, &mut found);
    found.sort_by_key(|difference| difference.frame);
    found
}

/// Indices of the messages that are the same one: those of the same ends, ID, kind and time first, then, of the same
/// ends, ID and kind in their order.
fn pair(theirs: &[Message], ours: &[Message]) -> Vec<(Option<usize>, Option<usize>)> {
    let mut pairs = Vec::new();
    let (mut left, mut right): (Vec<usize>, Vec<usize>) =
        ((0..theirs.len()).collect(), (0..ours.len()).collect());
    for with_time in [true, false] {
        let key = |message: &Message| {
            let time = if with_time { message.time } else { 0 };
            (message.ends, message.id, message.response, time)
        };
        let mut waiting: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for &index in right.iter().rev() {
            waiting.entry(key(&ours[index])).or_default().push(index);
        }
        left.retain(|&index| match waiting.get_mut(&key(&theirs[index])).and_then(Vec::pop) {
            Some(same) => {
                pairs.push((Some(index), Some(same)));
                false
            }
            None => true,
        });
        right = waiting.into_values().flatten().collect();
        right.sort_unstable();
    }
    pairs.extend(left.into_iter().map(|index| (Some(index), None)));
    pairs.extend(right.into_iter().map(|index| (None, Some(index))));
    pairs
}

fn compare_messages(
    theirs: &Message,
    ours: &Message,
    frame: &impl Fn(u64) -> usize,
    found: &mut Vec<Difference>,
) {
    let at = frame(theirs.time);
    if theirs.time != ours.time {
        let said = |message: &Message| format!("frame {} ({} ns)", frame(message.time), message.time);
        found.push(Difference { frame: at, field: "time", tshark: said(theirs), nslookout: said(ours) });
    }
    for ((field, tshark), (_, nslookout)) in theirs.fields.iter().zip(&ours.fields) {
        if tshark != nslookout {
            let (tshark, nslookout) = (tshark.clone(), nslookout.clone());
            found.push(Difference { frame: at, field, tshark, nslookout });
        }
    }
}

fn compare_transactions(
    tshark: &Reading,
    nslookout: &Reading,
    frame: &impl Fn(u64) -> usize,
    found: &mut Vec<Difference>,
) {
    let key = |transaction: &Transaction| (transaction.query_time, transaction.ends, transaction.id);
    let mut waiting: BTreeMap<_, Vec<&Transaction>> = BTreeMap::new();
    for ours in nslookout.transactions.iter().rev() {
        waiting.entry(key(ours)).or_default().push(ours);
    }
    for theirs in &tshark.transactions {
        let at = frame(theirs.query_time);
        let Some(ours) = waiting.get_mut(&key(theirs)).and_then(Vec::pop) else {
            found.push(only_theirs(at, "transaction", theirs));
            continue;
        };
        let unpaired = |message: &Message| {
            let same = (message.ends, message.id) == (ours.ends.reversed(), ours.id);
            message.gave_up && message.response && same && Some(message.time) == ours.response_time
        };
        let untold = theirs.response_time.is_none() && tshark.messages.iter().any(unpaired);
        if theirs.response_time != ours.response_time && !untold {
            let said = |transaction: &Transaction| match transaction.response_time {
                Some(time) => {
                    format!(
                        "by frame {} after {} ns",
                        frame(time),
                        time.saturating_sub(transaction.query_time)
                    )
                }
                None => "never".into(),
            };
            found.push(Difference {
                frame: at,
                field: "answered",
                tshark: said(theirs),
                nslookout: said(ours),
            });
        }
        if theirs.sends != ours.sends {
            let (tshark, nslookout) = (theirs.sends.to_string(), ours.sends.to_string());
            found.push(Difference { frame: at, field: "sends", tshark, nslookout });
        }
    }
    for ours in waiting.into_values().flatten() {
        found.push(only_ours(frame(ours.query_time), "transaction", ours));
    }
}

fn only_theirs(frame: usize, field: &'static str, what: &impl ToString) -> Difference {
    Difference { frame, field, tshark: what.to_string(), nslookout: NOTHING.into() }
}

fn only_ours(frame: usize, field: &'static str, what: &impl ToString) -> Difference {
    Difference { frame, field, tshark: NOTHING.into(), nslookout: what.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::reading::Ends;

    fn ends(port: u16) -> Ends {
        let end = |host: u8, port: u16| ([192, 0, 2, host], port).into();
        Ends { tcp: false, source: end(1, port), destination: end(53, 53) }
    }

    fn query(id: u16, time: u64, qname: &str) -> Message {
        let fields = vec![("qname", qname.to_owned())];
        Message { ends: ends(40_000), time, id, response: false, gave_up: false, fields }
    }

    fn transaction(id: u16, query_time: u64, response_time: Option<u64>) -> Transaction {
        Transaction { ends: ends(40_000), id, query_time, sends: 1, response_time }
    }

    fn reading(messages: Vec<Message>, transactions: Vec<Transaction>) -> Reading {
        Reading { messages, transactions, frames: vec![10, 20, 30] }
    }

    /// Differences as `frame field`.
    #[track_caller]
    fn check(tshark: &Reading, nslookout: &Reading, expected: &[&str]) {
        let found: Vec<String> = differences(tshark, nslookout)
            .iter()
            .map(|difference| format!("{} {}", difference.frame, difference.field))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_kind_of_difference_is_found_in_its_frame() {
        let messages = || vec![query(1, 10, "a."), query(2, 20, "b."), query(1, 30, "a.")];
        let theirs = reading(messages(), vec![transaction(1, 10, Some(30))]);
        check(&theirs, &reading(messages(), vec![transaction(1, 10, Some(30))]), &[]);
        let changed = |change: &dyn Fn(&mut Vec<Message>)| {
            let mut messages = messages();
            change(&mut messages);
            reading(messages, vec![transaction(1, 10, Some(30))])
        };
        check(&theirs, &changed(&|messages| messages[1].fields[0].1 = "B.".into()), &["2 qname"]);
        check(&theirs, &changed(&|messages| messages[1].time = 30), &["2 time"]);
        check(&theirs, &changed(&|messages| messages[2].id = 3), &["3 message", "3 message"]);
        check(&theirs, &changed(&|messages| messages.swap(0, 1)), &["1 order"]);
        check(&theirs, &changed(&|messages| drop(messages.pop())), &["3 message"]);
        check(&theirs, &reading(messages(), vec![transaction(1, 10, Some(20))]), &["1 answered"]);
        check(&theirs, &reading(messages(), vec![transaction(1, 10, None)]), &["1 answered"]);
        check(&theirs, &reading(messages(), Vec::new()), &["1 transaction"]);
        let twice = Transaction { sends: 2, ..transaction(1, 10, Some(30)) };
        check(&theirs, &reading(messages(), vec![twice]), &["1 sends"]);
    }
}
