//! Why the API server says nothing, and the way out: each is one line for a person.

use std::path::PathBuf;

use kube::config::{InClusterError, KubeconfigError};
use kube::runtime::watcher;
use thiserror::Error as ThisError;

/// Why the API server says nothing.
#[derive(Debug, ThisError)]
pub(super) enum Error {
    /// It was asked for by name, but is not here.
    #[error(
        "this is no pod of Kubernetes, and there is neither $KUBECONFIG nor ~/.kube/config; --kubeconfig FILE says how \
         to reach the API server"
    )]
    NoWay,
    /// A kubeconfig cannot be read or used.
    #[error("cannot use the kubeconfig {}: {source}; --kubeconfig FILE chooses another", .path.display())]
    Kubeconfig {
        /// Where it is.
        path: PathBuf,
        #[source]
        source: KubeconfigError,
    },
    /// The environment is that of a pod, but something is missing.
    #[error(
        "this is a pod, but {0}; automountServiceAccountToken: true gives it a token, --kubeconfig FILE is another way \
         to the API server"
    )]
    Pod(#[source] InClusterError),
    /// The address of the server is a name, and nobody here may ask for it.
    #[error(
        "the API server is called `{0}`, and nslookout sends no DNS queries; write its address into the kubeconfig with \
         the name as tls-server-name (in a pod: KUBERNETES_SERVICE_HOST), or the name into /etc/hosts"
    )]
    Name(String),
    /// The client cannot be made.
    #[error(
        "cannot prepare to ask the API server at {server}: {reason}; --kubeconfig FILE chooses another way"
    )]
    Client {
        /// Address and port.
        server: String,
        /// What is wrong.
        reason: String,
    },
    /// It does not answer, or not as it should.
    #[error(
        "the API server at {server} does not answer: {reason}; what was known of pods stays, and it is asked again \
         (--kubeconfig FILE chooses another)"
    )]
    Unreachable {
        /// Address and port.
        server: String,
        /// What went wrong at last.
        reason: String,
    },
    /// 401.
    #[error(
        "the API server at {server} does not accept the credentials ({reason}); a pod needs the token of its \
         ServiceAccount, --kubeconfig FILE chooses others"
    )]
    Unauthorized {
        /// Address and port.
        server: String,
        /// Its own words.
        reason: String,
    },
    /// 403.
    #[error(
        "the API server does not allow to {verb} pods ({reason}); the ClusterRole of the agent needs the rule \
         {{apiGroups: [\"\"], resources: [pods], verbs: [list, watch]}}"
    )]
    Forbidden {
        /// `list` or `watch`.
        verb: &'static str,
        /// Its own words.
        reason: String,
    },
    /// It answers, but has no pod here.
    #[error(
        "the API server knows no pod of a node `{0}`; --node-name NAME (or $NODE_NAME) says what this node is called"
    )]
    NoPods(String),
    /// No thread, or nothing to run in it.
    #[error(
        "cannot start the thread that asks the API server: {0}; --identity without kubernetes does without"
    )]
    Thread(#[source] std::io::Error),
}

impl Error {
    /// What went wrong with the watch of pods.
    pub(super) fn of_watch(error: &watcher::Error, server: &str) -> Self {
        let (verb, error) = match error {
            watcher::Error::InitialListFailed(error) => ("list", error),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => ("watch", error),
            watcher::Error::WatchError(status) => {
                return Self::of_status("watch", status.code, &status.message, server);
            }
            watcher::Error::NoResourceVersion => {
                return Self::unreachable(server, "it told no resourceVersion".to_owned());
            }
        };
        match error {
            kube::Error::Api(status) => Self::of_status(verb, status.code, &status.message, server),
            other => Self::unreachable(server, root_cause(other)),
        }
    }

    fn of_status(verb: &'static str, code: u16, message: &str, server: &str) -> Self {
        let reason = if message.is_empty() { format!("status {code}") } else { message.to_owned() };
        match code {
            401 => Self::Unauthorized { server: server.to_owned(), reason },
            403 => Self::Forbidden { verb, reason },
            _ => Self::unreachable(server, reason),
        }
    }

    fn unreachable(server: &str, reason: String) -> Self {
        Self::Unreachable { server: server.to_owned(), reason }
    }
}

/// Does the server no longer know what came after the version that the watch would go on from (410)? It answers, so that is
/// no failure: one that was started anew says so to every watch (Kubernetes API concepts, "410 Gone responses").
pub(super) fn is_gap(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::WatchError(status) => status.code,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code,
        _ => 0,
    };
    code == 410
}

/// The innermost error: those around it say in general words that something failed.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    loop {
        // Below it stands only that a deadline has elapsed.
        let io = innermost.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut) {
            return "nothing came from it in time".to_owned();
        }
        match innermost.source() {
            Some(source) => innermost = source,
            None => return innermost.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn told(error: &watcher::Error) -> String {
        Error::of_watch(error, "10.96.0.1:443").to_string()
    }

    fn refused(code: u16, message: &str) -> Box<Status> {
        Status::failure(message, "").with_code(code).boxed()
    }

    #[test]
    fn a_refusal_names_verb_and_resource_and_the_rule_that_allows_it() {
        let list = watcher::Error::InitialListFailed(kube::Error::Api(refused(
            403,
            "pods is forbidden: User \"x\"",
        )));
        let text = told(&list);
        assert!(text.contains("does not allow to list pods (pods is forbidden: User \"x\")"), "{text}");
        assert!(text.contains("{apiGroups: [\"\"], resources: [pods], verbs: [list, watch]}"), "{text}");
        let watch = watcher::Error::WatchStartFailed(kube::Error::Api(refused(403, "")));
        assert!(told(&watch).contains("to watch pods (status 403)"), "{}", told(&watch));
    }

    #[test]
    fn the_innermost_reason_is_told_and_a_time_out_in_words() {
        let service = |kind, error: &str| {
            let io = std::io::Error::new(kind, error.to_owned());
            watcher::Error::WatchFailed(kube::Error::Service(Box::new(io)))
        };
        let refused = told(&service(std::io::ErrorKind::ConnectionRefused, "connection refused"));
        assert!(refused.contains("does not answer: connection refused;"), "{refused}");
        let slow = told(&service(std::io::ErrorKind::TimedOut, "deadline has elapsed"));
        assert!(slow.contains("does not answer: nothing came from it in time;"), "{slow}");
    }

    #[test]
    fn other_answers_are_told_in_the_words_of_the_server() {
        let unauthorized = watcher::Error::InitialListFailed(kube::Error::Api(refused(401, "Unauthorized")));
        assert!(told(&unauthorized).contains("does not accept the credentials (Unauthorized)"));
        let ill = watcher::Error::WatchError(refused(500, "etcdserver: request timed out"));
        assert!(told(&ill).contains("10.96.0.1:443 does not answer: etcdserver: request timed out"));
        assert!(matches!(Error::of_watch(&ill, ""), Error::Unreachable { .. }));
        assert!(!matches!(Error::of_watch(&unauthorized, ""), Error::Unreachable { .. }));
    }

    /// Seen in a cluster whose API server had been killed: it was back, and the line said that it does not answer.
    #[test]
    fn a_server_that_came_back_is_no_failure() {
        let gone = || refused(410, "too old resource version: 1988 (2003)");
        assert!(is_gap(&watcher::Error::WatchError(gone())));
        assert!(is_gap(&watcher::Error::WatchStartFailed(kube::Error::Api(gone()))));
        assert!(!is_gap(&watcher::Error::WatchError(refused(403, "pods is forbidden"))));
    }
}
