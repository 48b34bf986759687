//! The cluster's certificates, keys and tokens, by openssl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::child::output_within;

/// Files that the control plane and its clients read.
pub struct Certificates {
    folder: PathBuf,
}

/// The token by which the daemons and kubectl are administrators.
const ADMIN_TOKEN: &str = "nslookout-e2e-administrator";

impl Certificates {
    /// Makes all of them in `folder`, for an API server at these addresses.
    pub fn make(folder: PathBuf, addresses: &[&str]) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        let made = Self { folder };
        let write = |file: &str, text: &str| {
            let path = made.file(file);
            fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
        };
        made.openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.crt -subj /CN=ca")?;
        made.openssl("req -newkey rsa:2048 -nodes -keyout api.key -out api.csr -subj /CN=kube-apiserver")?;
        let names = ["kubernetes", "kubernetes.default.svc", "localhost"].map(|name| format!("DNS:{name}"));
        let addresses = addresses.iter().map(|address| format!("IP:{address}"));
        let all: Vec<String> = names.into_iter().chain(addresses).collect();
        write("names", &format!("subjectAltName={}\n", all.join(",")))?;
        made.openssl("x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out api.crt")?;
        made.openssl("genrsa -out accounts.key 2048")?;
        write("tokens.csv", &format!("{ADMIN_TOKEN},admin,1,\"system:masters\"\n"))?;
        Ok(made)
    }

    /// The path of one of the files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The same as text, for a flag.
    pub fn flag(&self, name: &str) -> String {
        self.file(name).to_string_lossy().into_owned()
    }

    /// The configuration of an administrator's client of the API server at `server`.
    pub fn kubeconfig(&self, server: &str) -> String {
        let authority = self.flag("ca.crt");
        format!(
            "apiVersion: v1\nkind: Config\n\
             clusters: [{{name: c, cluster: {{server: \"https://{server}:6443\", certificate-authority: {authority}}}}}]\n\
             users: [{{name: u, user: {{token: {ADMIN_TOKEN}}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
             current-context: x\n"
        )
    }

    fn openssl(&self, words: &str) -> Result<()> {
        let mut command = Command::new("openssl");
        command.args(words.split(' ')).current_dir(&self.folder as &Path);
        output_within(&mut command, Duration::from_secs(60)).map(drop)
    }
}
