//! What is known of each client: its open lookups, its habits, its search list.
//!
//! Input: events as the client sees them ([`Parties::at_client`]); copies and echoes are passed over. Output: [`Lookup`].
//! A query is put to an open lookup of its client whose names begin with the same label, or begins one. Bounded: a
//! client that began no lookup for long gives way, and so does the oldest lookup.
//!
//! [`Parties::at_client`]: super::Parties::at_client

mod ending;
mod learned;
mod open;
mod table;
mod tickets;
mod told;
mod walk;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use self::ending::{End, Stand, Wait};
use self::learned::Learned;
use self::open::{Fit, Open, Place};
use self::table::{List, Slot, Table};
use self::tickets::{Ticket, Tickets};
pub use self::told::Owner;
use self::told::{Config, Told};
use self::walk::Knowledge;
use super::fingerprint::{Fingerprint, Habits};
use super::lookups::{Lookup, Reply};
use super::resolv_conf::{ResolvConf, SearchSource};
use super::{ClientId, Event, Outcome, Parties, Sent, Stray, Transaction};
use crate::capture::frame::Timestamp;
use crate::dns::{Question, RecordType};
use crate::maps::{Map, Seed, mix};

/// A stub resolver that goes on through its search list does so within this time (facts.md section 3.2).
pub const SEARCH_GOES_ON: Duration = Wait::Next.length();
/// Clients that are kept at most.
pub const MAX_CLIENTS: usize = 32_768;
/// Open lookups that are looked at for one query, the newest first.
const MAX_LOOKED_AT: usize = 16;
/// Internet names (RFC 1035 section 3.2.4).
const CLASS_IN: u16 = 1;
/// A standard query (RFC 1035 section 4.1.1).
const OPCODE_QUERY: u8 = 0;

/// All clients.
#[derive(Debug, Default)]
pub struct Clients {
    /// Where each stands in `clients`.
    places: Map<ClientId, u32>,
    clients: Vec<Client>,
    /// Who is looked at first when one has to give way.
    hand: usize,
    table: Table,
    told: Told,
    serial: u64,
    seed: Seed,
    tickets: Tickets,
}

/// One client.
#[derive(Debug)]
struct Client {
    id: ClientId,
    habits: Habits,
    told: Option<Arc<Config>>,
    learned: Learned,
    open: List,
    /// It began another lookup since the hand came by.
    active: bool,
}

impl Client {
    fn knowledge(&self) -> Knowledge {
        match &self.told {
            Some(config) => Knowledge {
                search: Some(Arc::clone(&config.search)),
                source: config.source,
                ndots: Some(config.resolv_conf.ndots()),
                walked_dots: None,
                whole: true,
            },
            None => Knowledge {
                search: self.learned.search.clone(),
                source: match self.learned.search {
                    Some(_) => SearchSource::Inferred,
                    None => SearchSource::Unknown,
                },
                ndots: None,
                walked_dots: self.learned.walked_dots,
                whole: self.learned.whole,
            },
        }
    }
}

impl Clients {
    /// Is told how a client's resolver is configured; `None`: every client of which nothing better is known.
    pub fn configure(&mut self, client: Option<IpAddr>, resolv_conf: ResolvConf, source: SearchSource) {
        self.told.say(client, Config::new(resolv_conf, source));
        for client in &mut self.clients {
            client.told = self.told.find(&client.id).cloned();
        }
    }

    /// Is told how the resolver of `number` is configured, whoever that is, in place of what was told before: an instance
    /// of a workload, whose packets come from where `owner` says. `None`: nothing is known, or it is gone.
    pub fn configure_owner(&mut self, number: u64, owner: Owner, config: Option<(ResolvConf, SearchSource)>) {
        let before = self.told.forget(number).unwrap_or_default();
        if let Some((resolv_conf, source)) = config {
            self.told.learn(number, owner.clone(), &Config::new(resolv_conf, source));
        }
        let may_be = |id: &ClientId| before.may_be(id) || owner.may_be(id);
        for client in self.clients.iter_mut().filter(|client| may_be(&client.id)) {
            client.told = self.told.find(&client.id).cloned();
        }
    }

    /// How a client's resolver is configured, where that was told.
    pub fn configuration(&self, client: &ClientId) -> Option<(&ResolvConf, SearchSource)> {
        let config = self.told.find(client)?;
        Some((&config.resolv_conf, config.source))
    }

    /// Takes an event; gives the lookups that it ended.
    pub fn event(&mut self, event: &Event, emit: &mut dyn FnMut(Lookup)) {
        match event {
            Event::Opened(sent) if is_judged(&sent.parties, sent.echo) => self.opened(sent, emit),
            Event::Retransmitted(sent) if is_judged(&sent.parties, sent.echo) => self.again(sent),
            Event::Closed(transaction) if is_judged(&transaction.parties, transaction.echo) => {
                self.closed(transaction, emit);
            }
            Event::Late { stray, .. } if is_judged(&stray.parties, stray.echo) => self.late(stray, emit),
            _ => {}
        }
    }

    /// Ends the lookups that nothing more is expected of; everything before `watermark` was seen.
    pub fn tick(&mut self, watermark: Timestamp, emit: &mut dyn FnMut(Lookup)) {
        while let Some(slot) = self.table.over(watermark) {
            self.end(slot, End::Over, emit);
        }
        while let Some(slot) = self.table.forgotten(watermark) {
            self.end(slot, End::Room, emit);
        }
    }

    /// Ends all lookups, at the end of the capture.
    pub fn finish(&mut self, end: Timestamp, emit: &mut dyn FnMut(Lookup)) {
        self.tick(end, emit);
        while let Some(slot) = self.table.oldest() {
            self.end(slot, End::Capture, emit);
        }
    }

    /// Forgets all clients, when the clock no longer goes with them; not what was told of their configuration.
    pub fn forget(&mut self) {
        *self = Self { told: std::mem::take(&mut self.told), ..Self::default() };
    }

    /// What a client's stub resolver seems to be.
    pub fn fingerprint(&self, client: &ClientId) -> Fingerprint {
        let client = self.places.get(client).and_then(|&at| self.clients.get(at as usize));
        client.map_or_else(Fingerprint::default, |client| client.habits.fingerprint())
    }

    /// Every client with what its stub resolver seems to be.
    pub fn fingerprints(&self) -> Vec<(ClientId, Fingerprint)> {
        self.clients.iter().map(|client| (client.id, client.habits.fingerprint())).collect()
    }

    /// The open lookups of a client that a question may belong to, the newest first.
    pub fn open_of(&self, client: &ClientId, question: &Question) -> impl Iterator<Item = &Lookup> {
        let label = self.label(client, question);
        self.table.of_label(label).take(MAX_LOOKED_AT).map(|(_, open)| &open.lookup)
    }

    /// Lookups that are open now.
    pub fn open(&self) -> usize {
        self.table.len()
    }

    fn opened(&mut self, sent: &Sent, emit: &mut dyn FnMut(Lookup)) {
        let Some(question) = sent.question.as_ref().filter(|question| question.qclass == CLASS_IN) else {
            return;
        };
        if sent.header.opcode() != OPCODE_QUERY {
            return;
        }
        let id = sent.parties.client_id();
        let label = self.label(&id, question);
        let at = match self.place(label, sent, question) {
            Some((slot, fit)) => {
                let Some(open) = self.table.get_mut(slot) else { return };
                if let Some(place) = open.join(fit, sent, question) {
                    self.tickets.note(sent.number, slot, open.serial, place);
                }
                open.client
            }
            None => self.begin(id, label, sent, question, emit),
        };
        if let Some(client) = self.clients.get_mut(at as usize) {
            client.habits.sent(sent, label);
        }
    }

    /// The open lookup that a query belongs to: of several the one that asks from its port, else the newest.
    fn place(&self, label: u64, sent: &Sent, question: &Question) -> Option<(Slot, Fit)> {
        let mut newest = None;
        for (slot, open) in self.table.of_label(label).take(MAX_LOOKED_AT) {
            match open.fits(sent, question) {
                Some((fit, true)) => return Some((slot, fit)),
                Some((fit, false)) => drop(newest.get_or_insert((slot, fit))),
                None => {}
            }
        }
        newest
    }

    /// Begins a lookup; gives the place of its client.
    fn begin(
        &mut self,
        id: ClientId,
        label: u64,
        sent: &Sent,
        question: &Question,
        emit: &mut dyn FnMut(Lookup),
    ) -> u32 {
        let at = self.client(id, emit);
        while let Some(oldest) =
            self.clients.get(at as usize).and_then(|client| self.table.surplus(&client.open, label))
        {
            self.end(oldest, End::Room, emit);
        }
        let Some(client) = self.clients.get_mut(at as usize) else { return at };
        self.serial += 1;
        let mut open = Open::begin(id, at, sent, question, client.knowledge());
        (open.label, open.serial) = (label, self.serial);
        let slot = self.table.insert(open, &mut client.open);
        self.tickets.note(sent.number, slot, self.serial, Place::default());
        at
    }

    /// The place of a client, known or not.
    fn client(&mut self, id: ClientId, emit: &mut dyn FnMut(Lookup)) -> u32 {
        if let Some(&at) = self.places.get(&id) {
            if let Some(client) = self.clients.get_mut(at as usize) {
                client.active = true;
            }
            return at;
        }
        let told = self.told.find(&id).cloned();
        let client = Client {
            id,
            habits: Habits::default(),
            told,
            learned: Learned::default(),
            open: List::default(),
            active: false,
        };
        if self.clients.len() < MAX_CLIENTS {
            let at = self.clients.len() as u32;
            self.clients.push(client);
            self.places.insert(id, at);
            return at;
        }
        let at = self.quiet();
        while let Some(slot) =
            self.clients.get(at as usize).and_then(|client| self.table.oldest_of(&client.open))
        {
            self.end(slot, End::Room, emit);
        }
        if let Some(place) = self.clients.get_mut(at as usize) {
            let before = std::mem::replace(place, client);
            self.places.remove(&before.id);
        }
        self.places.insert(id, at);
        at
    }

    /// The place of a client that began no second lookup since the hand came by: a clock (Corbató 1968). A list in the order
    /// of their lookups would cost each lookup four looks into memory.
    fn quiet(&mut self) -> u32 {
        for _ in 0..=self.clients.len() {
            let at = self.hand;
            self.hand = (at + 1) % self.clients.len().max(1);
            match self.clients.get_mut(at) {
                Some(client) if client.active => client.active = false,
                _ => return at as u32,
            }
        }
        self.hand as u32
    }

    fn again(&mut self, sent: &Sent) {
        let Some(question) = &sent.question else { return };
        let id = sent.parties.client_id();
        let label = self.label(&id, question);
        let at = self.find(label, |open| open.again(sent, question)).map(|(_, at)| at);
        if let Some(client) = self.of(at, &id) {
            client.habits.again(sent);
        }
    }

    fn closed(&mut self, transaction: &Transaction, emit: &mut dyn FnMut(Lookup)) {
        let Transaction { parties, query, number, .. } = transaction;
        let Some(question) = &query.question else { return };
        let id = parties.client_id();
        let known = self.tickets.find(*number).and_then(|Ticket { slot, serial, place, .. }| {
            let open = self.table.get_mut(slot).filter(|open| open.serial == serial)?;
            close(open, place, transaction, question).then_some((slot, open.client))
        });
        let found = known.or_else(|| {
            let label = self.label(&id, question);
            self.find(label, |open| {
                let place = open.find(parties, query.header.id, question);
                place.is_some_and(|place| close(open, place, transaction, question))
            })
        });
        let at = found.map(|(_, at)| at);
        if let Some(client) = self.of(at, &id) {
            client.habits.closed(transaction);
        }
        if let Some((slot, _)) = found {
            self.settle(slot, emit);
        }
    }

    fn late(&mut self, stray: &Stray, emit: &mut dyn FnMut(Lookup)) {
        let Stray { parties, time, response, .. } = stray;
        let Some(question) = &response.question else { return };
        let label = self.label(&parties.client_id(), question);
        let found = self.find(label, |open| {
            let place = open.find(parties, response.header.id, question);
            place.is_some_and(|place| open.answered(place, question, *time, response, true))
        });
        if let Some((slot, _)) = found {
            self.settle(slot, emit);
        }
    }

    /// The open lookup that takes something, and the place of its client.
    fn find(&mut self, label: u64, mut takes: impl FnMut(&mut Open) -> bool) -> Option<(Slot, u32)> {
        let mut next = self.table.newest_of_label(label);
        while let Some(slot) = next {
            let (open, older) = self.table.with_older(slot)?;
            if takes(open) {
                return Some((slot, open.client));
            }
            next = older;
        }
        None
    }

    /// The client at a place, or by its name where the lookup is gone.
    fn of(&mut self, at: Option<u32>, id: &ClientId) -> Option<&mut Client> {
        let at = at.or_else(|| self.places.get(id).copied())?;
        self.clients.get_mut(at as usize)
    }

    /// Ends a lookup that is over, or notes when it may be.
    fn settle(&mut self, slot: Slot, emit: &mut dyn FnMut(Lookup)) {
        let Some(open) = self.table.get_mut(slot) else { return };
        match open.stand() {
            Stand::Waiting => open.due = None,
            Stand::Over => self.end(slot, End::Over, emit),
            Stand::After(wait) => {
                let at = open.last + wait.length();
                // What is noted already need not be noted again.
                if open.due.replace(at) != Some(at) {
                    let serial = open.serial;
                    self.table.wait(slot, serial, wait, at);
                }
            }
        }
    }

    fn end(&mut self, slot: Slot, end: End, emit: &mut dyn FnMut(Lookup)) {
        let Some(at) = self.table.get_mut(slot).map(|open| open.client) else { return };
        let Some(client) = self.clients.get_mut(at as usize) else { return };
        let Some(open) = self.table.remove(slot, &mut client.open) else { return };
        let (mut lookup, walk) = open.end(end);
        if walk.is_proof() && !lookup.autopath {
            client.learned.learn(&lookup, walk.base_labels);
        }
        client.habits.looked_up(&lookup);
        lookup.fingerprint = client.habits.fingerprint();
        emit(lookup);
    }

    /// By client, first label and kind of question: A and AAAA are asked for together, any other type alone.
    fn label(&self, id: &ClientId, question: &Question) -> u64 {
        let addresses = matches!(question.qtype, RecordType::A | RecordType::AAAA);
        let kind = if addresses { 0 } else { u64::from(question.qtype.0) };
        let interface = id.interface.map_or(0, |interface| u64::from(interface.0));
        let client = mix(self.seed.address(id.address), interface << 16 | kind);
        question.qname.mix_first_label(client)
    }
}

/// Tells a lookup what came of one of its queries; `false`: it was over before.
fn close(open: &mut Open, place: Place, transaction: &Transaction, question: &Question) -> bool {
    let ended = transaction.ended();
    let reply = match &transaction.outcome {
        Outcome::Answered { response, .. } => return open.answered(place, question, ended, response, false),
        Outcome::Unanswered { .. } => Reply::Unanswered(ended),
        Outcome::Unseen { .. } => Reply::Unseen,
        Outcome::Waiting { .. } => Reply::Waiting,
    };
    open.ended(place, ended, reply)
}

/// Only from the client's side a client is judged, and by what it did itself.
fn is_judged(parties: &Parties, echo: bool) -> bool {
    parties.at_client() && !echo
}

#[cfg(test)]
pub(crate) mod tests;
