//! Which interfaces of the node lead into which network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::capture::frame::Ifindex;
use crate::capture::namespaces::{NamespaceId, NodeLink, NodeLinks};

/// The links of the node, and what is known of where they lead.
pub struct Links {
    source: NodeLinks,
    list: Vec<NodeLink>,
    /// Counts the lists that differed.
    generation: u64,
    /// By the inode of the namespace.
    namespaces: BTreeMap<u64, Asked>,
}

/// What the kernel said of a namespace.
struct Asked {
    generation: u64,
    /// The process that was asked about, with its start: of another one another namespace may be meant, with the same inode.
    process: (u64, u32),
    id: Option<NamespaceId>,
}

impl Links {
    /// Begins to hear of links.
    pub fn open() -> io::Result<Self> {
        let source = NodeLinks::open()?;
        Ok(Self { source, list: Vec::new(), generation: 0, namespaces: BTreeMap::new() })
    }

    /// Readable when there is news of links.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    /// Is there news? Takes it away.
    pub fn heard(&mut self) -> bool {
        // A socket that fails is asked by the clock alone.
        self.source.changed().unwrap_or(false)
    }

    /// Lists them; are they others than before?
    pub fn refresh(&mut self) -> io::Result<bool> {
        let list = self.source.list()?;
        let changed = list != self.list;
        self.generation += u64::from(changed);
        self.list = list;
        Ok(changed)
    }

    /// All, by number.
    pub fn all(&self) -> Vec<(Ifindex, String)> {
        self.list.iter().map(|link| (link.ifindex, link.name.clone())).collect()
    }

    /// The host ends of the pairs that lead into a namespace; `process` is one that lives there, its start and its number.
    pub fn leading_into(&mut self, inode: u64, process: (u64, u32)) -> Vec<Ifindex> {
        if self.list.iter().all(|link| link.leads_into.is_none()) {
            return Vec::new();
        }
        let known = self.namespaces.get(&inode).filter(|asked| asked.process == process);
        // A number holds while both live; that there is none holds until links change.
        let holds = known.is_some_and(|asked| asked.id.is_some() || asked.generation == self.generation);
        if !holds {
            let id = self.source.namespace_of(process.1).unwrap_or_default();
            self.namespaces.insert(inode, Asked { generation: self.generation, process, id });
        }
        let Some(id) = self.namespaces.get(&inode).and_then(|asked| asked.id) else { return Vec::new() };
        self.list.iter().filter(|link| link.leads_into == Some(id)).map(|link| link.ifindex).collect()
    }

    /// Forgets the namespaces that are gone.
    pub fn keep(&mut self, here: &BTreeSet<u64>) {
        self.namespaces.retain(|inode, _| here.contains(inode));
    }

    /// The interfaces that lead where nobody is known.
    pub fn leading_nowhere(&self) -> impl Iterator<Item = &NodeLink> {
        let known: BTreeSet<NamespaceId> = self.namespaces.values().filter_map(|asked| asked.id).collect();
        self.list.iter().filter(move |link| link.leads_into.is_some_and(|id| !known.contains(&id)))
    }
}
