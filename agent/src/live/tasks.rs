//! Tasks of ECS in `awsvpc` mode: their interface is in their own network namespace, so the capture goes in and leaves with
//! them (facts.md section 5).
//!
//! Input: the tasks that are here, each with a process to enter it by. Output: what could not be entered, in a line each.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::mpsc::Receiver;

use rustix::thread::CapabilitySet;

use crate::capture::netns::{NetnsError, NetnsRef};
use crate::capture::{Gate, Source, privileges};
use crate::identity::Identity;

/// The tasks that were entered, or are about to be.
pub(super) struct Tasks {
    gate: Option<Gate>,
    /// By ARN.
    entered: BTreeMap<String, Entered>,
}

/// A task on its way in, or inside.
struct Entered {
    /// The process whose namespace it is, and the inode of that: a container's first process is still in the node's or
    /// the runtime's for a moment.
    way: (u32, u64),
    /// What it is called inside; the source may put a number behind it.
    label: String,
    /// Until it has come.
    answer: Option<Receiver<Result<String, NetnsError>>>,
}

impl Tasks {
    /// Opens the gate where there can be such tasks; tells why not where it should.
    pub(super) fn new(source: &mut Source, identity: &Identity) -> (Self, Option<String>) {
        let none = |told| (Self { gate: None, entered: BTreeMap::new() }, told);
        // Whoever names interfaces wants no others.
        if !identity.enters_tasks() || !source.watches_any() {
            return none(None);
        }
        if !privileges::effective().contains(CapabilitySet::SYS_ADMIN) {
            return none(Some(
                "tasks of ECS in awsvpc mode are not seen: CAP_SYS_ADMIN is needed to enter them; --identity leaves ecs out"
                    .into(),
            ));
        }
        match source.gate() {
            Ok(gate) => (Self { gate, entered: BTreeMap::new() }, None),
            Err(error) => none(Some(format!("tasks of ECS in awsvpc mode are not seen: no thread: {error}"))),
        }
    }

    /// Enters what came and leaves what went; gives what failed since the last call.
    pub(super) fn follow(&mut self, identity: &Identity) -> Vec<String> {
        let Self { gate: Some(gate), entered } = self else { return Vec::new() };
        let failed = entered.values_mut().filter_map(Entered::hear).collect();
        let here: BTreeMap<&str, (String, (u32, u64))> =
            identity.to_enter().map(|(arn, label, way)| (arn, (label, way))).collect();
        entered.retain(|arn, task| {
            // Another process: the one that led there has ended, and by that the source has let it go.
            let stays = here.get(arn.as_str()).is_some_and(|(_, way)| *way == task.way);
            if !stays {
                gate.leave(task.label.clone());
            }
            stays
        });
        for (arn, (label, way)) in here {
            entered.entry(arn.to_owned()).or_insert_with(|| {
                let answer = Some(gate.enter(NetnsRef::Pid(way.0), label.clone()));
                Entered { way, label, answer }
            });
        }
        failed
    }
}

impl Entered {
    /// Takes the source's answer; what it says where it is a refusal. It is not tried again before the task has another
    /// process to enter by: what forbids it today forbids it in a second.
    fn hear(&mut self) -> Option<String> {
        let answer = self.answer.as_ref()?.try_recv().ok()?;
        self.answer = None;
        match answer {
            Ok(label) => {
                self.label = label;
                None
            }
            Err(error) => {
                let mut reasons = error.to_string();
                let mut inner = error.source();
                while let Some(reason) = inner {
                    reasons.push_str(&format!(": {reason}"));
                    inner = reason.source();
                }
                Some(format!("the task {} of ECS is not seen: {reasons}", self.label))
            }
        }
    }
}
