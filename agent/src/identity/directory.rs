//! Puts together what the sources say of the same instance: the API server knows a pod's owner and specification, `/proc`
//! its interface, addresses, files and processes.
//!
//! Input: [`Statement`]s in any order. Output: [`Fact`]s, each once until it changes. No I/O.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::facts::{Container, Eni, Fact, Instance, InstanceId, PodDns, ServerRole, Source, Whose, Workload};
use super::statement::{Home, Inhabitant, Namespace, Pod, Statement, Task};
use crate::capture::frame::Ifindex;

/// What all sources said, and what of it was told.
#[derive(Debug, Default)]
pub struct Directory {
    /// By UID.
    pods: BTreeMap<String, Pod>,
    /// By ARN.
    tasks: BTreeMap<String, Task>,
    /// By inode.
    namespaces: BTreeMap<u64, Namespace>,
    /// By name.
    links: BTreeMap<String, Ifindex>,
    told: BTreeMap<InstanceId, (Whose, Arc<Instance>)>,
    servers: BTreeMap<IpAddr, ServerRole>,
    enis: BTreeMap<Ifindex, Eni>,
    silent: BTreeMap<Source, String>,
}

/// Whom an inhabitant of a namespace belongs to, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Pod,
    Task,
    Container,
    Unit,
    Process,
}

/// Instances on their way to becoming facts.
type Found = BTreeMap<InstanceId, (Whose, Instance)>;

impl Directory {
    /// Takes news; returns what is different now.
    pub fn take(&mut self, news: impl IntoIterator<Item = Statement>) -> Vec<Fact> {
        let mut facts = Vec::new();
        for statement in news {
            self.note(statement, &mut facts);
        }
        let found = self.put_together();
        self.tell(found, &mut facts);
        facts
    }

    /// The task that has network interfaces of its own which the node does not see, and its namespace.
    pub fn to_enter(&self) -> impl Iterator<Item = (&Task, &Namespace)> {
        let awsvpc = self.tasks.values().filter(|task| task.awsvpc);
        awsvpc.filter_map(|task| {
            let lives_in = |namespace: &&Namespace| {
                let mut inhabitants = namespace.inhabitants.iter();
                inhabitants.any(|inhabitant| container_of(&inhabitant.home).is_some_and(|id| task.has(id)))
            };
            // While a container is set up its first process may still be in the node's.
            let namespace = self.namespaces.values().filter(|place| !place.is_node).find(lives_in)?;
            Some((task, namespace))
        })
    }

    fn note(&mut self, statement: Statement, facts: &mut Vec<Fact>) {
        match statement {
            Statement::Pods(pods) => {
                self.pods = pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect();
            }
            Statement::Pod(pod) => drop(self.pods.insert(pod.uid.clone(), pod)),
            Statement::PodGone(uid) => drop(self.pods.remove(&uid)),
            Statement::Tasks(tasks) => {
                self.tasks = tasks.into_iter().map(|task| (task.arn.clone(), task)).collect();
            }
            Statement::Namespace(namespace) => drop(self.namespaces.insert(namespace.inode, namespace)),
            Statement::NamespaceGone(inode) => drop(self.namespaces.remove(&inode)),
            Statement::Links(links) => {
                self.links = links.into_iter().map(|(ifindex, name)| (name, ifindex)).collect();
            }
            Statement::Servers(role, addresses) => {
                self.servers.retain(|address, known| *known != role || addresses.contains(address));
                for address in addresses {
                    if self.servers.insert(address, role) != Some(role) {
                        facts.push(Fact::Server { address, role });
                    }
                }
            }
            Statement::Eni(eni) => {
                if self.enis.get(&eni.interface) != Some(&eni) {
                    self.enis.insert(eni.interface, eni.clone());
                    facts.push(Fact::Eni(eni));
                }
            }
            Statement::Silent(source, why) => {
                if self.silent.get(&source) != Some(&why) {
                    self.silent.insert(source, why.clone());
                    facts.push(Fact::Silent { source, why });
                }
            }
            Statement::Speaks(source) => {
                if self.silent.remove(&source).is_some() {
                    facts.push(Fact::Speaks(source));
                }
            }
        }
    }

    /// Tells what differs from what was told.
    fn tell(&mut self, found: Found, facts: &mut Vec<Fact>) {
        self.told.retain(|id, _| {
            let here = found.contains_key(id);
            if !here {
                facts.push(Fact::Gone(id.clone()));
            }
            here
        });
        for (id, (whose, instance)) in found {
            let same =
                self.told.get(&id).is_some_and(|(known, before)| *known == whose && **before == instance);
            if !same {
                let instance = Arc::new(instance);
                self.told.insert(id, (whose.clone(), Arc::clone(&instance)));
                facts.push(Fact::Here { whose, instance });
            }
        }
    }

    fn put_together(&self) -> Found {
        let mut found = Found::new();
        for pod in self.pods.values().filter(|pod| !pod.ended) {
            found.insert(pod.id(), self.pod(pod));
        }
        for task in self.tasks.values() {
            found.insert(InstanceId(task.arn.clone()), task_instance(task));
        }
        for namespace in self.namespaces.values() {
            self.settle(namespace, &mut found);
        }
        found
    }

    fn pod(&self, pod: &Pod) -> (Whose, Instance) {
        let interfaces = pod.interface_names.iter().filter_map(|name| self.links.get(name)).copied();
        let addresses = if pod.dns.host_network { Vec::new() } else { pod.addresses.clone() };
        let whose = Whose { interfaces: interfaces.collect(), addresses, cgroups: Vec::new() };
        let containers = pod.containers.iter().map(|container| Container {
            name: container.name.clone(),
            image: container.image.clone(),
            id: container.id.clone(),
            libc: None,
        });
        let instance = Instance {
            id: pod.id(),
            workload: pod.workload.clone(),
            name: pod.name.clone(),
            containers: containers.collect(),
            resolver: pod.resolver.clone(),
            dns: Some(pod.dns.clone()),
        };
        (whose, instance)
    }

    /// The pod whose cgroups have this UID. Its own counts first: annotations may be written by others.
    fn pod_of_cgroup(&self, uid: &str) -> Option<&Pod> {
        let by_hash = |pod: &&Pod| pod.static_hash.as_deref() == Some(uid);
        self.pods.get(uid).or_else(|| self.pods.values().find(by_hash))
    }

    /// Gives the inhabitants of a namespace their instances, and one of those its interfaces and addresses.
    fn settle(&self, namespace: &Namespace, found: &mut Found) {
        let mut owner: Option<(Rank, InstanceId)> = None;
        for inhabitant in &namespace.inhabitants {
            let (rank, id) = self.instance_of(namespace, inhabitant, found);
            let Some((whose, instance)) = found.get_mut(&id) else { continue };
            if namespace.is_node {
                whose.cgroups.extend(inhabitant.cgroup.filter(|cgroup| !whose.cgroups.contains(cgroup)));
            }
            describe(instance, inhabitant);
            if owner.as_ref().is_none_or(|(best, _)| rank < *best) {
                owner = Some((rank, id));
            }
        }
        // What all on the node share tells nobody apart.
        if namespace.is_node {
            return;
        }
        if let Some((_, id)) = owner
            && let Some((whose, _)) = found.get_mut(&id)
        {
            add_new(&mut whose.interfaces, &namespace.interfaces);
            // Where the API server told them these are all: whoever may configure their own namespace adds none.
            if whose.addresses.is_empty() {
                add_new(&mut whose.addresses, &namespace.addresses);
            }
        }
    }

    /// The instance that an inhabitant belongs to; enters one that nobody else told of.
    fn instance_of(
        &self,
        place: &Namespace,
        inhabitant: &Inhabitant,
        found: &mut Found,
    ) -> (Rank, InstanceId) {
        // A pod is none of ECS, whatever somebody on its port says.
        if let Home::Task { container } | Home::Container { id: container, .. } = &inhabitant.home
            && let Some(task) = self.tasks.values().find(|task| task.has(container))
        {
            return (Rank::Task, InstanceId(task.arn.clone()));
        }
        let (rank, id, namespace, kind, name) = match &inhabitant.home {
            Home::Pod { uid, .. } => {
                let pod = self.pod_of_cgroup(uid);
                // One that ended, but still has processes.
                if let Some(pod) = pod {
                    found.entry(pod.id()).or_insert_with(|| self.pod(pod));
                }
                let uid = pod.map_or(uid, |pod| &pod.uid);
                (Rank::Pod, uid.clone(), "kubernetes", "Pod", uid.clone())
            }
            Home::Task { container } => (Rank::Task, container.clone(), "ecs", "container", short(container)),
            Home::Container { runtime, id, name } => {
                let name = name.clone().unwrap_or_else(|| short(id));
                (Rank::Container, id.clone(), runtime.as_str(), "container", name)
            }
            Home::Unit(unit) => (Rank::Unit, unit.clone(), "host", "unit", unit.clone()),
            Home::Process => {
                let name = inhabitant.process.clone();
                // The same program in two namespaces is two instances.
                (Rank::Process, format!("process {name} in {}", place.inode), "host", "process", name)
            }
        };
        let id = InstanceId(id);
        found.entry(id.clone()).or_insert_with(|| {
            let workload =
                Workload { namespace: namespace.to_owned(), kind: kind.to_owned(), name: name.clone() };
            let containers = Vec::new();
            (
                Whose::default(),
                Instance { id: id.clone(), workload, name, containers, resolver: None, dns: None },
            )
        });
        (rank, id)
    }
}

/// Adds what the files of an inhabitant say to its instance.
fn describe(instance: &mut Instance, inhabitant: &Inhabitant) {
    if let Some(read) = &inhabitant.resolver {
        // What a container really has beats what follows from its specification.
        instance.resolver = Some(read.clone());
    }
    let id = container_of(&inhabitant.home);
    let known =
        instance.containers.iter_mut().find(|container| id.is_some() && container.id.as_deref() == id);
    match known {
        Some(container) => container.libc.clone_from(&inhabitant.libc),
        // The sandbox of a pod is none of its containers, and what it maps resolves nothing.
        None if matches!(inhabitant.home, Home::Pod { .. }) && instance.dns.is_some() => {}
        None => instance.containers.push(Container {
            name: inhabitant.process.clone(),
            image: None,
            id: id.map(str::to_owned),
            libc: inhabitant.libc.clone(),
        }),
    }
}

fn task_instance(task: &Task) -> (Whose, Instance) {
    let addresses = task.containers.iter().flat_map(|container| container.addresses.iter().copied());
    let whose = Whose { addresses: addresses.collect(), ..Whose::default() };
    let containers = task.containers.iter().map(|container| Container {
        name: container.name.clone(),
        image: container.image.clone(),
        id: Some(container.id.clone()),
        libc: None,
    });
    let instance = Instance {
        id: InstanceId(task.arn.clone()),
        workload: Workload { namespace: "ecs".into(), kind: "task".into(), name: task.family.clone() },
        name: task.id().to_owned(),
        containers: containers.collect(),
        resolver: None,
        dns: None::<PodDns>,
    };
    (whose, instance)
}

impl Task {
    /// Its id: the last part of the ARN.
    pub fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }

    /// Is the container with this id a part of it?
    pub fn has(&self, container: &str) -> bool {
        self.containers.iter().any(|own| own.id == container)
    }
}

fn container_of(home: &Home) -> Option<&str> {
    match home {
        Home::Pod { container, .. } => container.as_deref(),
        Home::Task { container } => Some(container),
        Home::Container { id, .. } => Some(id),
        Home::Unit(_) | Home::Process => None,
    }
}

/// A container's id as people write it: its first twelve digits.
fn short(id: &str) -> String {
    id.get(..12).unwrap_or(id).to_owned()
}

fn add_new<T: PartialEq + Copy>(known: &mut Vec<T>, more: &[T]) {
    for one in more {
        if !known.contains(one) {
            known.push(*one);
        }
    }
}

#[cfg(test)]
mod tests;
