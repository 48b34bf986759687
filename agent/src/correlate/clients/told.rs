//! What clients were told of how their resolvers are configured.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::ClientId;
use super::super::resolv_conf::{ResolvConf, SearchSource};
use crate::capture::frame::Ifindex;
use crate::dns::Name;
use crate::maps::Map;

/// A configuration as it is used here.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) resolv_conf: ResolvConf,
    pub(super) search: Arc<[Name]>,
    pub(super) source: SearchSource,
}

/// Whose a configuration is: where his packets come from.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// Interfaces that are his alone.
    pub interfaces: Vec<Ifindex>,
    /// Addresses that are his alone.
    pub addresses: Vec<IpAddr>,
}

/// All of them. What a person says of an address comes first, then what the machine says of whoever stands behind it, then
/// what a person says of all.
#[derive(Debug, Default)]
pub(super) struct Told {
    of: Map<IpAddr, Arc<Config>>,
    owners: Map<u64, Owner>,
    at: Map<Ifindex, (u64, Arc<Config>)>,
    behind: Map<IpAddr, (u64, Arc<Config>)>,
    others: Option<Arc<Config>>,
}

impl Config {
    pub(super) fn new(resolv_conf: ResolvConf, source: SearchSource) -> Arc<Self> {
        let search = resolv_conf.search.clone().into();
        Arc::new(Self { resolv_conf, search, source })
    }
}

impl Told {
    /// A person says it: of one address, or of all.
    pub(super) fn say(&mut self, client: Option<IpAddr>, config: Arc<Config>) {
        match client {
            Some(address) => drop(self.of.insert(address, config)),
            None => self.others = Some(config),
        }
    }

    /// The machine says it of `number`, in place of what it said before.
    pub(super) fn learn(&mut self, number: u64, owner: Owner, config: &Arc<Config>) {
        self.forget(number);
        for interface in &owner.interfaces {
            self.at.insert(*interface, (number, Arc::clone(config)));
        }
        for address in &owner.addresses {
            self.behind.insert(*address, (number, Arc::clone(config)));
        }
        self.owners.insert(number, owner);
    }

    /// Forgets what was said of `number`; what another has taken over stays his. Gives whose it was.
    pub(super) fn forget(&mut self, number: u64) -> Option<Owner> {
        let owner = self.owners.remove(&number)?;
        for interface in &owner.interfaces {
            if self.at.get(interface).is_some_and(|(of, _)| *of == number) {
                self.at.remove(interface);
            }
        }
        for address in &owner.addresses {
            if self.behind.get(address).is_some_and(|(of, _)| *of == number) {
                self.behind.remove(address);
            }
        }
        Some(owner)
    }

    pub(super) fn find(&self, client: &ClientId) -> Option<&Arc<Config>> {
        let at = || self.at.get(&client.interface?).map(|(_, config)| config);
        let behind = || {
            let (number, config) = self.behind.get(&client.address)?;
            // His packets would come by his own interface: these are of another with the same address.
            let elsewhere = client.interface.is_some()
                && self.owners.get(number).is_some_and(|owner| !owner.interfaces.is_empty());
            (!elsewhere).then_some(config)
        };
        self.of.get(&client.address).or_else(at).or_else(behind).or(self.others.as_ref())
    }
}

impl Owner {
    /// May it be his?
    pub(super) fn may_be(&self, client: &ClientId) -> bool {
        client.interface.is_some_and(|interface| self.interfaces.contains(&interface))
            || self.addresses.contains(&client.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(search: &str) -> Arc<Config> {
        Config::new(ResolvConf::parse(format!("search {search}").as_bytes()), SearchSource::ResolvConf)
    }

    fn owner(interfaces: &[u32], address: &str) -> Owner {
        let interfaces = interfaces.iter().copied().map(Ifindex).collect();
        Owner { interfaces, addresses: vec![address.parse().unwrap()] }
    }

    #[track_caller]
    fn check(told: &Told, interface: Option<u32>, address: &str, expected: Option<&str>) {
        let client = ClientId { interface: interface.map(Ifindex), address: address.parse().unwrap() };
        let search = told.find(&client).map(|config| config.search[0].to_string());
        assert_eq!(search.as_deref(), expected, "{client:?}");
    }

    #[test]
    fn the_surest_is_taken() {
        let mut told = Told::default();
        told.say(None, config("all"));
        told.learn(1, owner(&[2], "10.0.0.2"), &config("two"));
        told.learn(2, owner(&[3], "10.0.0.3"), &config("three"));
        told.learn(3, owner(&[], "10.0.0.4"), &config("four"));
        check(&told, Some(2), "192.0.2.1", Some("two."));
        check(&told, None, "10.0.0.3", Some("three."));
        // The same address in another network.
        check(&told, Some(9), "10.0.0.3", Some("all."));
        check(&told, Some(9), "10.0.0.4", Some("four."));
        told.say(Some("10.0.0.3".parse().unwrap()), config("person"));
        check(&told, Some(3), "10.0.0.3", Some("person."));
    }

    #[test]
    fn who_is_gone_takes_his_own_only() {
        let mut told = Told::default();
        told.learn(1, owner(&[2], "10.0.0.2"), &config("old"));
        told.learn(2, owner(&[3], "10.0.0.2"), &config("new"));
        told.forget(1);
        check(&told, Some(2), "10.0.0.9", None);
        check(&told, None, "10.0.0.2", Some("new."));
        told.forget(2);
        check(&told, None, "10.0.0.2", None);
        assert!(told.at.is_empty() && told.behind.is_empty() && told.owners.is_empty());
    }
}
