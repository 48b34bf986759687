//! Tasks of ECS, by what the platform itself serves.
//!
//! On an instance: the introspection of the ECS agent, `http://127.0.0.1:51678`, which lists the tasks of all network
//! modes. In a sidecar (Fargate): the task metadata endpoint version 4, which tells of the own task alone; all who ask in
//! its network namespace are that task. Neither address counts against the link-local limit (facts.md section 3.4).
//! Output: [`Statement::Tasks`] after each look.
//!
//! Elsewhere nobody is asked: the port is one that any program of the node may be given, so that a node is one of ECS only
//! where the variable of a task or the agent's configuration says so, or who asks by name.

mod document;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::Teller;
use super::facts::Source;
use super::http::{Server, shown};
use super::statement::{Statement, Task};
use document::Read;

/// Where the ECS agent tells of its instance (facts.md section 4).
const INTROSPECTION: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 51678);
/// The variable that every container of a task has, from platform 1.4.0 of Fargate and agent 1.39 on.
const VARIABLE: &str = "ECS_CONTAINER_METADATA_URI_V4";
/// The configuration of the ECS agent on its instance: it may start later than we do.
const CONFIGURATION: &str = "/etc/ecs/ecs.config";
/// How often is looked.
pub const EVERY: Duration = Duration::from_secs(10);

/// Who tells of tasks here.
pub enum Place {
    /// The agent of the instance.
    Instance(Server),
    /// The endpoint of the own task, and its path.
    Sidecar(Server, String),
}

/// Who tells of tasks here; `None` where this is not ECS, or where it is not told properly.
///
/// `asked`: by name, so that it is said where this is not ECS.
pub fn find(teller: &Teller, asked: bool) -> Option<Place> {
    look_for(asked).unwrap_or_else(|why| {
        teller.tell(Statement::Silent(Source::Ecs, why));
        None
    })
}

/// What would be asked here, or why nobody is, for a person.
pub fn outlook() -> String {
    match look_for(false) {
        Ok(Some(place)) => {
            let (server, path) = place.where_to();
            format!("tasks as {} tells them", server.url(path))
        }
        Ok(None) => format!(
            "nobody: {VARIABLE} is not set, and there is no {CONFIGURATION}; --identity ecs asks all the same"
        ),
        Err(why) => why,
    }
}

/// As [`find`], without telling.
fn look_for(asked: bool) -> Result<Option<Place>, String> {
    let server = Server::new(INTROSPECTION);
    let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
    let is_instance = asked || Path::new(CONFIGURATION).exists();
    if !is_instance && variable.is_none() {
        return Ok(None);
    }
    if server.get("/v1/metadata", &[]).is_ok_and(|text| document::is_agent(&text)) {
        return Ok(Some(Place::Instance(server)));
    }
    if let Some(value) = variable {
        return Place::sidecar(&value.to_string_lossy()).map(Some);
    }
    Ok(Some(Place::Instance(server)))
}

impl Place {
    /// Does it tell of all tasks of an instance, each in a namespace of its own?
    pub fn is_instance(&self) -> bool {
        matches!(self, Self::Instance(_))
    }

    /// Runs until nobody listens any more; `pause` waits for the next look, which comes after [`EVERY`] or sooner.
    pub fn run(&self, teller: &Teller, pause: impl Fn()) {
        while self.look().into_iter().all(|statement| teller.tell(statement)) {
            pause();
        }
    }

    /// From the value of [`VARIABLE`]: `http://169.254.170.2/v4/ID`.
    fn sidecar(value: &str) -> Result<Self, String> {
        let parsed = value.strip_prefix("http://").and_then(|rest| {
            let (host, path) = rest.split_once('/')?;
            let address =
                host.parse().or_else(|_| host.parse().map(|ip: IpAddr| SocketAddr::new(ip, 80))).ok()?;
            let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
            plain
                .then(|| Self::Sidecar(Server::new(address), format!("/{}/task", path.trim_end_matches('/'))))
        });
        parsed.ok_or_else(|| {
            format!(
                "{VARIABLE} is `{}`, and not http://ADDRESS/v4/ID: tasks stay addresses; --identity leaves ecs out",
                shown(value)
            )
        })
    }

    /// What is to be told now.
    fn look(&self) -> Vec<Statement> {
        let read = match self.read() {
            Ok(read) => read,
            Err(why) => {
                let every = EVERY.as_secs();
                let why = format!(
                    "ECS tells nothing of tasks: {why}; asked again every {every} s; --identity leaves ecs out"
                );
                return vec![Statement::Silent(Source::Ecs, why)];
            }
        };
        let tasks = Statement::Tasks(read.tasks);
        match read.left_out.first() {
            None => vec![tasks, Statement::Speaks(Source::Ecs)],
            Some(first) => {
                let more = match read.left_out.len() - 1 {
                    0 => String::new(),
                    more => format!(", and {more} more"),
                };
                let why = format!("ECS says what is not understood and left out: {first}{more}");
                vec![tasks, Statement::Silent(Source::Ecs, why)]
            }
        }
    }

    fn where_to(&self) -> (&Server, &str) {
        match self {
            Self::Instance(server) => (server, "/v1/tasks"),
            Self::Sidecar(server, path) => (server, path),
        }
    }

    fn read(&self) -> Result<Read, String> {
        let (server, path) = self.where_to();
        let text = server.get(path, &[]).map_err(|error| error.to_string())?;
        let malformed = |why| format!("{} is not understood: {why}", server.url(path));
        match self {
            Self::Instance(_) => document::tasks(&text).map_err(malformed),
            Self::Sidecar(..) => {
                let mut read = document::own_task(&text).map_err(malformed)?;
                read.tasks.iter_mut().for_each(own_namespace);
                Ok(read)
            }
        }
    }
}

/// Whoever asks over the loopback of a task's own namespace is the task too; and there is nothing to enter: we are inside.
fn own_namespace(task: &mut Task) {
    if !std::mem::take(&mut task.awsvpc) {
        return;
    }
    if let Some(first) = task.containers.first_mut() {
        first.addresses.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_of_a_task_says_where_to_ask() {
        let check = |value: &str, expected: &str| {
            let found = match Place::sidecar(value) {
                Ok(Place::Sidecar(server, path)) => server.url(&path),
                Ok(Place::Instance(_)) => "instance".into(),
                Err(why) => why,
            };
            assert!(found.starts_with(expected), "{value}: {found}");
        };
        check("http://169.254.170.2/v4/e9028f8d-1", "http://169.254.170.2:80/v4/e9028f8d-1/task");
        check("http://127.0.0.1:8080/v4/x/", "http://127.0.0.1:8080/v4/x/task");
        check("http://[fd00::2]/v4/x", "ECS_CONTAINER_METADATA_URI_V4 is");
        for bad in [
            "https://169.254.170.2/v4/x",
            "http://metadata.test/v4/x",
            "http://169.254.170.2",
            "x",
            "http://1.2.3.4/a b",
        ] {
            check(bad, &format!("ECS_CONTAINER_METADATA_URI_V4 is `{bad}`, and not http://ADDRESS/v4/ID"));
        }
    }

    /// What the endpoint of a task makes us say, which answers with `said` once.
    fn look(said: &str) -> Vec<Statement> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::sidecar(&format!("http://{}/v4/x", listener.local_addr().unwrap())).unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}", said.len());
        let server = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = [0; 2048];
            let length = connection.read(&mut request).unwrap();
            connection.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let told = place.look();
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /v4/x/task HTTP/1.1\r\n"), "{request}");
        told
    }

    #[test]
    fn all_that_asks_in_a_sidecar_s_namespace_is_its_task() {
        let told = look(
            r#"{"TaskARN":"arn:a/b","Family":"cart","KnownStatus":"RUNNING","Containers":[{"DockerId":"1","Name":"c",
                "Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.2.106"]}]}]}"#,
        );
        let [Statement::Tasks(tasks), Statement::Speaks(Source::Ecs)] = told.as_slice() else {
            panic!("{told:?}")
        };
        let addresses: Vec<String> = tasks[0].containers[0].addresses.iter().map(IpAddr::to_string).collect();
        assert_eq!(addresses, ["10.0.2.106", "127.0.0.1", "::1"]);
        // There is nothing to enter.
        assert!(!tasks[0].awsvpc);
    }

    #[test]
    fn a_document_that_is_none_is_one_line() {
        let told = look("<html>");
        let [Statement::Silent(Source::Ecs, why)] = told.as_slice() else { panic!("{told:?}") };
        assert!(why.starts_with("ECS tells nothing of tasks: http://127.0.0.1:"), "{why}");
        assert!(why.contains("/v4/x/task is not understood: expected value"), "{why}");
    }
}
