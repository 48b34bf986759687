//! What the agent may ask of the API server: exactly what the chart grants, and each right of it is needed.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::e2e::kubernetes::metrics::Metrics;
use crate::e2e::kubernetes::must;
use crate::e2e::kubernetes::scene::{RELEASE, Scene};

/// How long the agent may take until everybody is named, and is given to fail to.
const SOON: Duration = Duration::from_secs(15);

/// The kinds of objects that hold rules, with their namespace.
type Holder = (&'static str, String, Option<String>);

/// What the server says that the account may do, beyond what everybody may, is what the chart's roles say.
pub fn listed(scene: &mut Scene) -> Result<String> {
    let account = account(scene)?;
    let mut granted = Vec::new();
    for holder in holders(scene)? {
        for rule in rules(scene, &holder)? {
            granted.push((holder.2.clone(), rule));
        }
    }
    let mut seen = Vec::new();
    for namespace in ["default", "kube-system", RELEASE] {
        let list = |who: &str| {
            scene.node.kubectl.run(&[
                "auth",
                "can-i",
                "--list",
                "--no-headers",
                "--namespace",
                namespace,
                "--as",
                who,
            ])
        };
        // Any other account has what the server grants to all.
        let everybody = list("system:serviceaccount:shop:default")?;
        let own = list(&format!("system:serviceaccount:{RELEASE}:{account}"))?;
        let more: Vec<&str> =
            own.lines().filter(|line| !everybody.lines().any(|other| other == *line)).collect();
        for line in &more {
            let is_granted = granted.iter().any(|(place, rule)| {
                place.as_deref().is_none_or(|place| place == namespace) && stands_for(rule, line)
            });
            must(is_granted, || format!("it may in {namespace} what no role of the chart grants: {line}"))?;
        }
        let expected =
            granted.iter().filter(|(place, _)| place.as_deref().is_none_or(|place| place == namespace));
        for (_, rule) in expected {
            must(more.iter().any(|line| stands_for(rule, line)), || {
                format!("the server does not know of {rule}")
            })?;
        }
        seen.extend(more.iter().map(|line| format!("{namespace}: {}", squeeze(line))));
    }
    Ok(seen.join("; "))
}

/// Is this line of `can-i --list` about a resource of the rule, with its verbs?
fn stands_for(rule: &Value, line: &str) -> bool {
    let words = |key: &str| -> Vec<String> {
        let all = rule[key].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    // Resource, URLs, names, verbs; the first word and the last list are what is compared.
    let resource = line.split_whitespace().next().unwrap_or_default();
    let verbs = line.rsplit('[').next().unwrap_or_default().trim_end().trim_end_matches(']');
    let sorted = |mut all: Vec<String>| {
        all.sort_unstable();
        all
    };
    let seen = sorted(verbs.split_whitespace().map(str::to_owned).collect());
    words("resources").iter().any(|granted| granted == resource) && seen == sorted(words("verbs"))
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without any one of the verbs somebody loses their name, so none is there for nothing.
pub fn needed(scene: &mut Scene) -> Result<String> {
    renew(scene)?;
    scene.wait_for_metrics("everything known with all rights", SOON, is_all_known)?;
    let mut missed = Vec::new();
    let mut tried = Vec::new();
    for holder in holders(scene)? {
        let whole = rules(scene, &holder)?;
        for (place, rule) in whole.iter().enumerate() {
            for verb in rule["verbs"].as_array().into_iter().flatten() {
                let mut less = whole.clone();
                let left: Vec<&Value> =
                    rule["verbs"].as_array().into_iter().flatten().filter(|other| *other != verb).collect();
                less[place]["verbs"] = json!(left);
                let what = format!("{} {}", verb.as_str().unwrap_or_default(), rule["resources"]);
                if rule["verbs"].as_array().is_some_and(|verbs| verbs.len() == 1) {
                    less.remove(place);
                }
                set_rules(scene, &holder, &less)?;
                let known = renew(scene).map(|()| knows_newcomers(scene, tried.len()));
                set_rules(scene, &holder, &whole)?;
                if known? {
                    missed.push(what.clone());
                }
                tried.push(what);
            }
        }
    }
    must(!tried.is_empty(), || "the chart grants nothing".into())?;
    must(missed.is_empty(), || format!("nothing is lost without: {}", missed.join(", ")))?;
    Ok(format!("somebody loses their name without each of: {}", tried.join(", ")))
}

/// Is everybody known: those who were there, and a pod that comes now?
fn knows_newcomers(scene: &Scene, round: usize) -> bool {
    if scene.wait_for_metrics("everything known", SOON, is_all_known).is_err() {
        return false;
    }
    let name = format!("new-{round}");
    let manifest = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      \
         terminationGracePeriodSeconds: 1\n      containers:\n        \
         - {{name: c, image: \"docker.io/nslookout-e2e/glibc:1\", imagePullPolicy: Never, args: [\"-n\", \"100000\", \"-i\", \"300\", kubernetes.default]}}\n"
    );
    let named = |metrics: &Metrics| metrics.queries("shop", &name) > 0.0;
    let known = scene.node.kubectl.apply("newcomer", &manifest).is_ok()
        && scene.wait_for_metrics("a newcomer named", SOON, named).is_ok();
    scene.node.kubectl.run(&["delete", "deployment", &name, "--namespace", "shop", "--wait=false"]).ok();
    known
}

/// Every owner named, and the cluster's resolver known.
fn is_all_known(metrics: &Metrics) -> bool {
    let cart = [("namespace", "shop"), ("workload", "cart"), ("resolver", "cluster")];
    ["web", "ledger", "report", "custom"].iter().all(|name| metrics.queries("shop", name) > 0.0)
        && metrics.sum("queries_total", &cart) > 0.0
}

/// Starts the agent anew, so that it knows nothing from before.
fn renew(scene: &Scene) -> Result<()> {
    let kubectl = &scene.node.kubectl;
    kubectl.run(&["delete", "pod", "--all", "--namespace", RELEASE, "--wait=true", "--timeout=60s"])?;
    // The old one is gone: who answers is the new one, which Kubernetes itself would call ready seconds later.
    scene.wait_until_served()
}

/// The account of the agent's pod.
fn account(scene: &Scene) -> Result<String> {
    let pod = scene.agent_pod()?;
    pod["spec"]["serviceAccountName"].as_str().map(str::to_owned).context("the pod has no account")
}

/// The chart's roles.
fn holders(scene: &Scene) -> Result<Vec<Holder>> {
    let mut found = Vec::new();
    for kind in ["clusterrole", "role"] {
        let label = format!("app.kubernetes.io/instance={RELEASE}");
        let list = scene.node.kubectl.get(&[kind, "-A", "--selector", &label])?;
        for item in list["items"].as_array().into_iter().flatten() {
            let name = item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            found.push((kind, name, item["metadata"]["namespace"].as_str().map(str::to_owned)));
        }
    }
    must(!found.is_empty(), || "no role with the label of the release".into())?;
    Ok(found)
}

fn rules(scene: &Scene, (kind, name, namespace): &Holder) -> Result<Vec<Value>> {
    let place = namespace.as_deref().unwrap_or("default");
    let object = scene.node.kubectl.get(&[kind, name, "--namespace", place])?;
    object["rules"].as_array().cloned().with_context(|| format!("{kind} {name} has no rules"))
}

fn set_rules(scene: &Scene, (kind, name, namespace): &Holder, rules: &[Value]) -> Result<()> {
    let place = namespace.as_deref().unwrap_or("default");
    let patch = json!([{"op": "replace", "path": "/rules", "value": rules}]).to_string();
    let words = ["patch", kind, name, "--namespace", place, "--type=json", "-p", &patch];
    scene.node.kubectl.run(&words).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stands_for_the_rule_with_its_verbs_and_no_more() {
        let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]});
        assert!(stands_for(&rule, "pods      []    []    [list watch]"));
        assert!(!stands_for(&rule, "pods      []    []    [list]"), "a verb is missing");
        assert!(!stands_for(&rule, "pods      []    []    [list watch delete]"), "a verb too many");
        assert!(!stands_for(&rule, "services  []    []    [list watch]"));
    }
}
