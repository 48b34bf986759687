//! The documents of ECS: what the agent on the instance lists (`/v1/tasks`), and what a task is told of itself (task
//! metadata version 4). Their fields: facts.md section 4, and the response types in the agent's sources.
//!
//! Input: text. Output: [`Task`]s, and what of the text was not understood. No I/O.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use crate::identity::http::shown;
use crate::identity::statement::{Task, TaskContainer};

/// What the ECS agent says of itself, which nothing else says.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Agent {
    #[serde(rename = "Cluster")]
    _cluster: String,
    #[serde(rename = "Version")]
    _version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tasks {
    /// `null` for none, as Go writes it.
    tasks: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TaskDocument {
    /// `TaskARN` in a task's own document.
    #[serde(alias = "TaskARN")]
    arn: String,
    family: String,
    #[serde(default)]
    known_status: String,
    containers: Option<Vec<ContainerDocument>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerDocument {
    #[serde(default)]
    docker_id: String,
    #[serde(default)]
    name: String,
    image: Option<String>,
    #[serde(default)]
    known_status: String,
    networks: Option<Vec<Network>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    #[serde(default)]
    network_mode: String,
    #[serde(rename = "IPv4Addresses")]
    ipv4: Option<Vec<String>>,
    #[serde(rename = "IPv6Addresses")]
    ipv6: Option<Vec<String>>,
}

/// What was read, and one line about each part that was not understood and left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Those that have not stopped.
    pub tasks: Vec<Task>,
    /// What was left out.
    pub left_out: Vec<String>,
}

/// Is this the ECS agent's `/v1/metadata`?
pub fn is_agent(text: &str) -> bool {
    serde_json::from_str::<Agent>(text).is_ok()
}

/// Reads the list of tasks. The agent keeps those that stopped for three hours: they have no addresses any more.
pub fn tasks(text: &str) -> Result<Read, String> {
    let list: Tasks = serde_json::from_str(text).map_err(|error| shown(&error.to_string()))?;
    let mut read = Read::default();
    for (number, value) in list.tasks.unwrap_or_default().into_iter().enumerate() {
        match TaskDocument::deserialize(value) {
            Ok(document) => read.take(document),
            Err(error) => {
                let error = shown(&error.to_string());
                read.left_out.push(format!("task {} of the list: {error}", number + 1));
            }
        }
    }
    Ok(read)
}

/// Reads what a task is told of itself.
pub fn own_task(text: &str) -> Result<Read, String> {
    let document: TaskDocument = serde_json::from_str(text).map_err(|error| shown(&error.to_string()))?;
    let mut read = Read::default();
    read.take(document);
    Ok(read)
}

impl Read {
    fn take(&mut self, document: TaskDocument) {
        if document.known_status == "STOPPED" {
            return;
        }
        let containers = document.containers.unwrap_or_default();
        let mut modes = containers.iter().flat_map(|container| container.networks.iter().flatten());
        let awsvpc = modes.any(|network| network.network_mode == "awsvpc");
        let running = containers.into_iter().filter(|container| container.known_status != "STOPPED");
        let containers = running.map(|container| self.container(container)).collect();
        self.tasks.push(Task { arn: document.arn, family: document.family, containers, awsvpc });
    }

    fn container(&mut self, document: ContainerDocument) -> TaskContainer {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for network in document.networks.unwrap_or_default() {
            for text in [network.ipv4, network.ipv6].into_iter().flatten().flatten() {
                match text.parse() {
                    Ok(address) if !addresses.contains(&address) => addresses.push(address),
                    Ok(_) => {}
                    Err(_) => self.left_out.push(format!(
                        "`{}` of container {}, which is no address",
                        shown(&text),
                        shown(&document.name)
                    )),
                }
            }
        }
        let image = document.image.filter(|image| !image.is_empty());
        TaskContainer { name: document.name, image, id: document.docker_id, addresses }
    }
}

#[cfg(test)]
mod tests;
