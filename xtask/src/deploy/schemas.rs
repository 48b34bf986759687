//! What helm renders, held against the schemas of those who will read it: Kubernetes itself and the Prometheus operator.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::chart::{self, Values};
use crate::kube_tools::{self, HELMS};
use crate::shell::{output, workspace};

/// The minor releases of Kubernetes 1 whose schemas there are.
const FIRST: u32 = 25;
const LAST: u32 = 37;
/// From this one on for the plain manifests.
const PLAIN_FIRST: u32 = 30;

/// Renders the chart for each release with each set of values, and checks all of it.
///
/// # Errors
///
/// The first object that a release would not take.
pub fn check() -> Result<()> {
    let folder = folder()?;
    let mut checked = 0;
    for helm in HELMS {
        for values in Values::ALL {
            for minor in FIRST..=LAST {
                let text = chart::render(helm, values, &format!("1.{minor}"))?;
                write(&folder.join(format!("{}-{}-1.{minor}.yaml", values.name(), helm.major)), &text)?;
            }
        }
    }
    let paths = HELMS.iter().flat_map(|helm| {
        Values::ALL.map(|values| folder.join(format!("{}-{}-VERSION.yaml", values.name(), helm.major)))
    });
    checked += validate(FIRST, &paths.collect::<Vec<_>>())?;
    checked += validate(PLAIN_FIRST, &[workspace().join("deploy/kubernetes/nslookout.yaml")])?;
    println!("ok  {checked} objects by the strict schemas of Kubernetes 1.{FIRST} to 1.{LAST}");
    notices_what_is_wrong(&folder)?;
    operator(&folder)
}

/// Where rendered files go.
fn folder() -> Result<PathBuf> {
    let folder = workspace().join("target/deploy");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    Ok(folder)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

fn validator() -> Result<Command> {
    let packages = ["kubernetes-validate==1.37.0", "botocore==1.44.5"];
    let mut command = Command::new(kube_tools::python("deploy-python", &packages)?);
    command.arg(workspace().join("xtask/src/deploy/validate.py"));
    Ok(command)
}

/// Runs `validate.py` with these arguments and gives what it printed.
pub fn python(arguments: &[&str]) -> Result<String> {
    output(validator()?.args(arguments))
}

/// The objects of a YAML file.
pub fn objects(path: &Path) -> Result<Vec<Value>> {
    let text = output(validator()?.arg("json").arg(path))?;
    serde_json::from_str(&text).with_context(|| format!("no objects in {}", path.display()))
}

/// The objects of the chart with these values, for a release of Kubernetes.
pub fn rendered(values: Values, kubernetes: &str) -> Result<Vec<Value>> {
    let [helm, ..] = HELMS;
    let path = folder()?.join(format!("{}-{kubernetes}.yaml", values.name()));
    write(&path, &chart::render(helm, values, kubernetes)?)?;
    objects(&path)
}

/// Checks files, in whose names VERSION stands for the release; gives the number of objects.
fn validate(first: u32, paths: &[PathBuf]) -> Result<u64> {
    let text = output(validator()?.args(["check", &first.to_string(), &LAST.to_string()]).args(paths))?;
    text.trim().parse().with_context(|| format!("no number of objects: {text:?}"))
}

/// A check that takes everything proves nothing: one misspelt field must be found.
fn notices_what_is_wrong(folder: &Path) -> Result<()> {
    let [helm, ..] = HELMS;
    let wrong = chart::render(helm, Values::Default, "1.33")?.replace("hostNetwork:", "hostNetwrok:");
    let path = folder.join("wrong.yaml");
    write(&path, &wrong)?;
    match validate(LAST, &[path]) {
        Err(error) if format!("{error:#}").contains("hostNetwrok") => Ok(()),
        Err(error) => bail!("a misspelt field was refused for another reason: {error:#}"),
        Ok(_) => bail!("a misspelt field passed the schemas"),
    }
}

/// PodMonitor and PrometheusRule: by the operator's types, which refuse unknown fields, and by its schema, which knows
/// patterns (a duration, a severity).
fn operator(folder: &Path) -> Result<()> {
    let modules = kube_tools::node_modules(
        "prometheus-operator-models",
        &[
            "@kubernetes-models/prometheus-operator@6.0.0",
            "@kubernetes-models/validate@5.0.2",
            "typescript@5",
        ],
    )?;
    let objects = rendered(Values::AllOn, "1.33")?;
    let ours = |object: &&Value| object["apiVersion"] == "monitoring.coreos.com/v1";
    let objects: Vec<&Value> = objects.iter().filter(ours).collect();
    let kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    if kinds != ["PodMonitor", "PrometheusRule"] {
        bail!("the chart has other objects for the Prometheus operator: {kinds:?}");
    }
    for object in &objects {
        accepts(&modules, folder, object)?;
    }
    let mut wrong = objects[0].clone();
    wrong["spec"]["podMetricsEndpoints"][0]["honourLabels"] = Value::Bool(true);
    must_refuse(&modules, folder, &wrong, "honourLabels")?;
    let mut wrong = objects[0].clone();
    wrong["spec"]["podMetricsEndpoints"][0]["interval"] = Value::from("soon");
    must_refuse(&modules, folder, &wrong, "interval")?;
    println!("ok  {} by the types and schemas of the Prometheus operator", kinds.join(" and "));
    Ok(())
}

fn must_refuse(modules: &Path, folder: &Path, object: &Value, name: &str) -> Result<()> {
    match accepts(modules, folder, object) {
        Err(error) if format!("{error:#}").contains(name) => Ok(()),
        Err(error) => bail!("{name} was refused for another reason: {error:#}"),
        Ok(()) => bail!("the Prometheus operator's types took a wrong {name}"),
    }
}

fn accepts(modules: &Path, folder: &Path, object: &Value) -> Result<()> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let source = format!(
        "import {{ {kind}, type I{kind} }} from \"@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/{kind}\";\n\
         const object: I{kind} = {object:#};\n\
         new {kind}(object).validate();\n"
    );
    // Modules are looked for beside the file that names them.
    let folder = folder.join("operator");
    fs::create_dir_all(&folder)?;
    let link = folder.join("node_modules");
    if !link.exists() {
        std::os::unix::fs::symlink(modules.join("node_modules"), &link)?;
    }
    write(&folder.join("package.json"), "{\"private\": true, \"type\": \"module\"}\n")?;
    write(&folder.join("object.ts"), &source)?;
    let options = ["--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "object.ts"];
    let tsc = modules.join("node_modules/.bin/tsc");
    said(Command::new(tsc).args(options).current_dir(&folder))?;
    said(Command::new("node").arg("object.js").current_dir(&folder))
}

/// Runs a command whose complaints go to either stream.
fn said(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("failed to start {command:?}"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!("{}", String::from_utf8_lossy(&text).trim());
    }
    Ok(())
}
