//! A real etcd and a real API server of Kubernetes 1.20, without a kubelet: nodes and pods are what is written there.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::http::Request;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};

/// The API server and the agent may take so long for one thing; it is far less.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// Of the tests' administrator.
const ADMIN_TOKEN: &str = "administrator";

/// The servers, with a directory of their own; gone when dropped.
pub struct Server {
    directory: PathBuf,
    binary: PathBuf,
    etcd: Child,
    api: Option<Child>,
    etcd_port: u16,
    port: u16,
}

impl Server {
    /// Starts both; `Err` names what is missing.
    pub fn start(name: &str) -> Result<Self, String> {
        let binary = binary()?;
        let directory = std::env::temp_dir().join(format!("nslookout-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let key = directory.join("service-accounts.key");
        run(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"))?;
        fs::write(directory.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,1,system:masters\n"))
            .map_err(|error| error.to_string())?;
        let [etcd_port, peers, port] = free_ports();
        let url = format!("http://127.0.0.1:{etcd_port}");
        let etcd = Command::new("etcd")
            .arg("--data-dir")
            .arg(directory.join("etcd"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peers}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("etcd does not start ({error}): the package etcd-server has it"))?;
        let mut server = Self { directory, binary, etcd, api: None, etcd_port, port };
        server.start_api();
        Ok(server)
    }

    /// Starts the API server, again too, and waits until it is ready.
    pub fn start_api(&mut self) {
        let file = |name: &str| self.directory.join(name);
        let log = fs::File::create(file("api.log")).unwrap();
        let key = file("service-accounts.key");
        let child = Command::new(&self.binary)
            .args(["--etcd-servers", &format!("http://127.0.0.1:{}", self.etcd_port)])
            .args(["--bind-address", "127.0.0.1", "--secure-port", &self.port.to_string()])
            .args(["--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16"])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--disable-admission-plugins", "ServiceAccount", "--endpoint-reconciler-type", "none"])
            .arg("--cert-dir")
            .arg(file("certificates"))
            .arg("--token-auth-file")
            .arg(file("tokens.csv"))
            .arg("--service-account-key-file")
            .arg(&key)
            .arg("--service-account-signing-key-file")
            .arg(&key)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.api = Some(child);
        let end = Instant::now() + DEADLINE;
        while !self.is_ready() {
            let log = || fs::read_to_string(file("api.log")).unwrap_or_default();
            assert!(Instant::now() < end, "the API server is not ready: {}", tail(&log()));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends the API server; etcd keeps what was written.
    pub fn stop_api(&mut self) {
        if let Some(mut api) = self.api.take() {
            api.kill().unwrap();
            api.wait().unwrap();
        }
    }

    fn is_ready(&self) -> bool {
        block_on(async {
            let Ok(client) = self.try_client(&self.kubeconfig("ready", ADMIN_TOKEN)).await else {
                return false;
            };
            let request = Request::get("/readyz").body(Vec::new()).unwrap();
            let ready = client.request_text(request).await.is_ok_and(|text| text == "ok");
            // The namespaces are written a moment later than it calls itself ready.
            let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client);
            ready && namespaces.get("default").await.is_ok() && namespaces.get("kube-system").await.is_ok()
        })
    }

    /// Writes a kubeconfig for whoever has this token.
    pub fn kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let path = self.directory.join(format!("{name}.kubeconfig"));
        let authority = self.directory.join("certificates/apiserver.crt");
        let server = format!("https://127.0.0.1:{}", self.port);
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority": authority } }],
            "users": [{ "name": "test", "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        });
        fs::write(&path, text.to_string()).unwrap();
        path
    }

    async fn try_client(&self, kubeconfig: &Path) -> Result<Client, String> {
        let file = Kubeconfig::read_from(kubeconfig).map_err(|error| error.to_string())?;
        let options = KubeConfigOptions::default();
        let config =
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| error.to_string())?;
        Client::try_from(config).map_err(|error| error.to_string())
    }

    async fn admin(&self) -> Client {
        self.try_client(&self.kubeconfig("admin", ADMIN_TOKEN)).await.unwrap()
    }

    /// Creates a thing at a path of the API.
    pub fn create(&self, path: &str, body: &Value) {
        block_on(async {
            let request = Request::post(path).header("content-type", "application/json");
            let request = request.body(body.to_string().into_bytes()).unwrap();
            let made: Result<Value, _> = self.admin().await.request(request).await;
            made.unwrap_or_else(|error| panic!("{path} {body}: {error}"));
        });
    }

    /// A token of a new ServiceAccount in the namespace `default`.
    pub fn service_account(&self, name: &str) -> String {
        block_on(async {
            let accounts: Api<ServiceAccount> = Api::namespaced(self.admin().await, "default");
            let account = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
            accounts.create(&PostParams::default(), &account).await.unwrap();
            let request = TokenRequest {
                spec: TokenRequestSpec { expiration_seconds: Some(3600), ..Default::default() },
                ..Default::default()
            };
            let made = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
            made.status.unwrap().token
        })
    }

    /// Creates a pod that is bound to a node, and returns its UID.
    pub fn create_pod(&self, namespace: &str, pod: Value) -> String {
        block_on(async {
            let pods: Api<Pod> = Api::namespaced(self.admin().await, namespace);
            let pod = serde_json::from_value(pod).unwrap();
            pods.create(&PostParams::default(), &pod).await.unwrap().metadata.uid.unwrap()
        })
    }

    /// Writes what a kubelet would tell of a pod.
    pub fn patch_status(&self, namespace: &str, name: &str, status: &Value) {
        block_on(async {
            let pods: Api<Pod> = Api::namespaced(self.admin().await, namespace);
            let patch = json!({ "status": status });
            pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        });
    }

    /// Deletes a pod at once, as the kubelet does when its containers have ended.
    pub fn delete_pod(&self, namespace: &str, name: &str) {
        block_on(async {
            let pods: Api<Pod> = Api::namespaced(self.admin().await, namespace);
            let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            pods.delete(name, &now).await.unwrap();
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in self.api.iter_mut().chain([&mut self.etcd]) {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Runs one thing after another.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn binary() -> Result<PathBuf, String> {
    let home = || std::env::home_dir().map(|home| home.join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(home).ok_or("no HOME: no cache to look for kube-apiserver in")?;
    let binary = cache.join("nslookout/kubernetes-1.20.2/kube-apiserver");
    if binary.exists() { Ok(binary) } else { Err(format!("{} is missing", binary.display())) }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", output.status)) }
}

/// Ports that nobody listened on a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: Vec<TcpListener> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    std::array::from_fn(|index| listeners[index].local_addr().unwrap().port())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
