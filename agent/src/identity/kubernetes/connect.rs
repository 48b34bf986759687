//! How to reach the API server: as a pod of it, or by a kubeconfig.

use std::env;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::error::{Error, root_cause};

/// What the kubelet sets in every pod.
const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";
/// A watch ends after this long and is begun anew where it stood, so that a connection which died unnoticed is noticed.
pub(super) const WATCH_SECONDS: u32 = 120;
/// Nothing is heard for longer only on a dead connection.
const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where it stands how to reach the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In the file that was named.
    File(PathBuf),
    /// In the environment of a pod and the files of its ServiceAccount.
    Pod,
    /// In `$KUBECONFIG`.
    Environment,
    /// In `~/.kube/config`.
    Home,
}

impl Way {
    /// The first that is here: the file that was named, the pod's, then what kubectl would take.
    pub(super) fn find(kubeconfig: Option<&Path>) -> Option<Self> {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        if let Some(file) = kubeconfig {
            return Some(Self::File(file.to_owned()));
        }
        if is_set(SERVICE_HOST) {
            return Some(Self::Pod);
        }
        if is_set("KUBECONFIG") {
            return Some(Self::Environment);
        }
        home_kubeconfig().is_some_and(|file| file.exists()).then_some(Self::Home)
    }

    async fn config(&self) -> Result<Config, Error> {
        let options = KubeConfigOptions::default();
        match self {
            Self::Pod => Config::incluster().map_err(Error::Pod),
            Self::File(path) => {
                let failed = |source| Error::Kubeconfig { path: path.clone(), source };
                // A device has no end, and a pipe may have no writer.
                if fs::metadata(path).is_ok_and(|file| !file.is_file()) {
                    let error = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
                    return Err(failed(KubeconfigError::ReadConfig(error, path.clone())));
                }
                let file = Kubeconfig::read_from(path).map_err(failed)?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(failed)
            }
            Self::Environment | Self::Home => Config::from_kubeconfig(&options)
                .await
                .map_err(|source| Error::Kubeconfig { path: self.path(), source }),
        }
    }

    /// As a person knows it.
    fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Environment => PathBuf::from(env::var_os("KUBECONFIG").unwrap_or_default()),
            Self::Pod | Self::Home => home_kubeconfig().unwrap_or_default(),
        }
    }
}

fn home_kubeconfig() -> Option<PathBuf> {
    env::home_dir().map(|home| home.join(".kube/config"))
}

/// A client of the API server.
pub(super) struct Connection {
    pub(super) client: Client,
    /// Address and port, for people.
    pub(super) server: String,
    /// The namespace of the pod that this is, or of the kubeconfig.
    pub(super) namespace: String,
}

/// Reads all anew: certificates and tokens are renewed under us.
pub(super) async fn connect(way: &Way) -> Result<Connection, Error> {
    let mut config = way.config().await?;
    let hosts = || fs::read_to_string("/etc/hosts").unwrap_or_default();
    by_address(&mut config, hosts)?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    // It would go on for minutes without a word; the watch has pauses of its own, and tells.
    config.default_retry = false;
    let server = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let namespace = config.default_namespace.clone();
    let failed = |error| Error::Client { server: server.clone(), reason: root_cause(&error) };
    let client = Client::try_from(config).map_err(failed)?;
    Ok(Connection { client, server, namespace })
}

/// Puts the address in place of the server's name: nobody here may ask a DNS server, of all things.
fn by_address(config: &mut Config, hosts: impl Fn() -> String) -> Result<(), Error> {
    let url = &config.cluster_url;
    let host = url.host().unwrap_or_default().to_owned();
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let address = address_of(&host, &hosts()).ok_or_else(|| Error::Name(host.clone()))?;
    let scheme = url.scheme_str().unwrap_or("https");
    let port = url.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
    let with_address = format!("{scheme}://{}{}", SocketAddr::new(address, port), url.path());
    config.cluster_url = with_address.parse().map_err(|_| Error::Name(host.clone()))?;
    // The certificate is still the name's.
    config.tls_server_name.get_or_insert(host);
    Ok(())
}

/// The address that hosts(5) gives a name.
fn address_of(name: &str, hosts: &str) -> Option<IpAddr> {
    let in_line = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    let loopback = name.eq_ignore_ascii_case("localhost").then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    hosts.lines().find_map(in_line).or(loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, hosts: &str, expected: Result<(&str, Option<&str>), &str>) {
        let mut config = Config::new(url.parse().unwrap());
        let result = by_address(&mut config, || hosts.to_owned()).map_err(|error| error.to_string());
        let found = (config.cluster_url.to_string(), config.tls_server_name);
        match expected {
            Ok((url, name)) => {
                assert_eq!(result.map(|()| found), Ok((url.to_owned(), name.map(str::to_owned))));
            }
            Err(part) => assert!(result.as_ref().is_err_and(|error| error.contains(part)), "{result:?}"),
        }
    }

    #[test]
    fn a_server_by_its_address_is_left_alone() {
        check("https://10.96.0.1:443/", "", Ok(("https://10.96.0.1:443/", None)));
        check("https://[fd00::1]:6443/", "", Ok(("https://[fd00::1]:6443/", None)));
    }

    #[test]
    fn a_name_is_looked_up_in_the_file_and_never_asked_for() {
        let hosts = "# 192.0.2.9 api.example\n127.0.0.1 localhost\n10.1.2.3\tmaster API.example # the one\nfd00::1 six\n";
        check(
            "https://api.example:6443/k8s/clusters/c-1",
            hosts,
            Ok(("https://10.1.2.3:6443/k8s/clusters/c-1", Some("api.example"))),
        );
        check("https://six", hosts, Ok(("https://[fd00::1]:443/", Some("six"))));
        check("http://localhost:8080", "", Ok(("http://127.0.0.1:8080/", Some("localhost"))));
        check(
            "https://AB12.gr7.eu-west-1.eks.amazonaws.com",
            hosts,
            Err("called `AB12.gr7.eu-west-1.eks.amazonaws.com`"),
        );
    }

    #[tokio::test]
    async fn a_file_that_is_no_kubeconfig_is_named() {
        let told = |path: &str| {
            let way = Way::File(PathBuf::from(path));
            async move { connect(&way).await.map(|_| ()).unwrap_err().to_string() }
        };
        let missing = told("/nonexistent/kubeconfig").await;
        assert!(missing.contains("cannot use the kubeconfig /nonexistent/kubeconfig"), "{missing}");
        assert!(missing.contains("--kubeconfig"), "{missing}");
        let nonsense = told(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).await;
        assert!(nonsense.contains("lib.rs"), "{nonsense}");
    }
}
