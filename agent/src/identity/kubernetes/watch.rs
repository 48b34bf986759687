//! Lists and watches the pods of this node, and says what changes. Begins anew after gaps and outages.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::api::{Api, ListParams};
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use tokio::time::{interval_at, sleep, timeout};

use super::cluster::Cluster;
use super::connect::{Connection, WATCH_SECONDS, Way, connect};
use super::error::{Error, is_gap};
use super::pod::{addresses, pod};
use super::resolver::implied;
use super::voice::Voice;
use crate::identity::Teller;
use crate::identity::facts::{PodDns, Resolver, ResolverSource, ServerRole};
use crate::identity::statement::{Pod, Statement};

/// How often the Services of the cluster's DNS are asked for.
const LOOK: Duration = Duration::from_secs(300);
/// Pods are not kept waiting for what is asked beside them.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where the backoff has no more to say.
const LONGEST: Duration = Duration::from_secs(30);

/// The source: what it needs and what it remembers.
pub(super) struct Watch {
    way: Way,
    /// As the user named it.
    node: Option<String>,
    /// Somebody asked for this server: failures are told even if it never spoke.
    meant: bool,
    teller: Teller,
    voice: Voice,
    backoff: DefaultBackoff,
    cluster: Cluster,
    /// Pods of a list that is not complete yet.
    listed: Vec<Pod>,
    /// Addresses of the pods behind the cluster's DNS, by UID.
    behind: BTreeMap<String, Vec<IpAddr>>,
    told_servers: BTreeMap<&'static str, Vec<IpAddr>>,
    has_pods: bool,
}

/// Why a session ended.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    /// What all pods are described by has changed: they are listed again.
    Changed,
    /// The server failed.
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Watch {
    pub(super) fn new(way: Way, node: Option<String>, meant: bool, teller: Teller) -> Self {
        Self {
            way,
            // An empty value, as of a variable that was not filled in, would select the pods of no node.
            node: node.filter(|name| !name.is_empty()),
            meant,
            teller,
            voice: Voice::default(),
            backoff: DefaultBackoff::default(),
            cluster: Cluster::default(),
            listed: Vec::new(),
            behind: BTreeMap::new(),
            told_servers: BTreeMap::new(),
            has_pods: false,
        }
    }

    /// Follows the pods until nobody listens.
    pub(super) async fn follow(mut self) {
        loop {
            match self.session().await {
                Ended::Unheard => return,
                Ended::Changed => {}
                Ended::Failed(error) => {
                    if !self.complain(&error) {
                        return;
                    }
                    self.pause().await;
                }
            }
        }
    }

    /// Says why nothing can be said.
    pub(super) fn give_up(mut self, error: &Error) {
        self.complain(error);
    }

    /// One client, one list, one watch.
    async fn session(&mut self) -> Ended {
        match self.listen().await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn listen(&mut self) -> Result<std::convert::Infallible, Ended> {
        let connection = connect(&self.way).await?;
        let node = self.node_name(&connection).await;
        self.look(&connection).await;
        // As the kubelets do: from the server's cache, which knows the pods by node.
        let config = watcher::Config::default()
            .any_semantic()
            .timeout(WATCH_SECONDS)
            .fields(&format!("spec.nodeName={}", escaped(&node)));
        let mut events = pin!(watcher(Api::<ApiPod>::all(connection.client.clone()), config));
        let mut looks = interval_at(tokio::time::Instant::now() + LOOK, LOOK);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.take(event, &node)?,
                    Some(Err(error)) if is_gap(&error) => self.begin_anew().await,
                    Some(Err(error)) => self.bear(Error::of_watch(&error, &connection.server)).await?,
                    None => return Err(Ended::Changed),
                },
                _ = looks.tick() => if self.look(&connection).await { return Err(Ended::Changed) },
            }
        }
    }

    /// Takes what the watch says.
    fn take(&mut self, event: Event<ApiPod>, node: &str) -> Result<(), Ended> {
        match event {
            // Nothing was asked yet.
            Event::Init => {
                self.listed.clear();
                self.behind.clear();
                return Ok(());
            }
            Event::InitApply(pod) => {
                self.note(&pod);
                self.listed.extend(self.describe(&pod));
                return Ok(());
            }
            Event::InitDone => {
                let pods = std::mem::take(&mut self.listed);
                self.has_pods |= !pods.is_empty();
                self.say(Statement::Pods(pods))?;
            }
            Event::Apply(pod) => {
                self.note(&pod);
                if let Some(pod) = self.describe(&pod) {
                    self.has_pods = true;
                    self.say(Statement::Pod(pod))?;
                }
            }
            Event::Delete(pod) => {
                if let Some(uid) = pod.metadata.uid {
                    self.behind.remove(&uid);
                    self.say(Statement::PodGone(uid))?;
                }
            }
        }
        self.backoff = DefaultBackoff::default();
        if self.has_pods || !self.meant {
            self.voice.spoke().map_or(Ok(()), |speaks| self.say(speaks))?;
        } else if !self.complain(&Error::NoPods(node.to_owned())) {
            return Err(Ended::Unheard);
        }
        self.tell_servers()
    }

    /// A failure of the watch: waits where that may help, else ends the session.
    async fn bear(&mut self, error: Error) -> Result<(), Ended> {
        if self.voice.is_lost(Instant::now()) {
            return Err(Ended::Failed(error));
        }
        self.pause().await;
        Ok(())
    }

    /// After a gap the pods are listed again, soon but not at once: the server has just said that it has much to do or
    /// that it has just come back.
    async fn begin_anew(&mut self) {
        self.backoff = DefaultBackoff::default();
        self.pause().await;
    }

    async fn pause(&mut self) {
        sleep(self.backoff.next().unwrap_or(LONGEST)).await;
    }

    /// `false` once nobody listens.
    fn complain(&mut self, error: &Error) -> bool {
        let silent = if self.meant { self.voice.complain(error) } else { None };
        silent.is_none_or(|silent| self.teller.tell(silent))
    }

    fn say(&self, statement: Statement) -> Result<(), Ended> {
        if self.teller.tell(statement) { Ok(()) } else { Err(Ended::Unheard) }
    }

    /// Looks at the cluster's DNS; `true` where that changes what follows for pods.
    async fn look(&mut self, connection: &Connection) -> bool {
        let before = self.cluster.clone();
        // Late is as good as never: it is asked for again.
        let _ = timeout(PATIENCE, self.cluster.look(&connection.client)).await;
        before != self.cluster
    }

    fn note(&mut self, pod: &ApiPod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        if self.cluster.is_behind(pod) {
            self.behind.insert(uid, addresses(pod.status.as_ref()));
        } else {
            self.behind.remove(&uid);
        }
    }

    fn describe(&self, api: &ApiPod) -> Option<Pod> {
        pod(api, |dns: &PodDns, namespace: &str| {
            let text = implied(dns, namespace, &self.cluster.dns(), self.cluster.node_resolv_conf())?;
            Some(Resolver { resolv_conf: text, source: ResolverSource::PodSpec })
        })
    }

    /// Says which servers are whose, where that changed; those of the node first, so that an address which ends there is
    /// never called the cluster's.
    fn tell_servers(&mut self) -> Result<(), Ended> {
        let mut of_cluster = self.cluster.servers();
        of_cluster.extend(self.behind.values().flatten());
        let node_local = self.cluster.node_local();
        self.tell_role("node_local", ServerRole::NodeLocal, node_local)?;
        self.tell_role("cluster", ServerRole::Cluster, of_cluster)
    }

    fn tell_role(&mut self, key: &'static str, role: ServerRole, servers: Vec<IpAddr>) -> Result<(), Ended> {
        let told = self.told_servers.entry(key).or_default();
        if *told == servers {
            return Ok(());
        }
        told.clone_from(&servers);
        self.say(Statement::Servers(role, servers))
    }

    /// The name of this node: what the user says, what the API server knows of the pod that this is, or the host name.
    async fn node_name(&self, connection: &Connection) -> String {
        if let Some(name) = &self.node {
            return name.clone();
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if self.way == Way::Pod {
            let known = timeout(PATIENCE, node_of_pod(connection, &host)).await;
            if let Ok(Some(node)) = known {
                return node;
            }
        }
        // The kubelet takes it in lower case (k8s:pkg/util/node/node.go).
        host.trim().to_lowercase()
    }
}

/// The node of the pod with this name in our own namespace: a pod's host name is its name, unless it has the node's.
async fn node_of_pod(connection: &Connection, name: &str) -> Option<String> {
    let pods: Api<ApiPod> = Api::namespaced(connection.client.clone(), &connection.namespace);
    let own = ListParams::default().fields(&format!("metadata.name={}", escaped(name)));
    let found = pods.list(&own).await.ok()?;
    found.items.into_iter().next()?.spec?.node_name
}

/// A value for a field selector (apimachinery:pkg/fields/selector.go, EscapeValue).
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}
