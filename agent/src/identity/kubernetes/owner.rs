//! Which workload a pod belongs to, from what stands in the pod alone: the controllers name what they make by rules, so
//! nobody has to be asked for ReplicaSets and Jobs, and no permission for them is needed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::identity::facts::Workload;

/// What a Deployment puts on the pods of its ReplicaSets (k8s:pkg/controller/deployment/sync.go).
const DEPLOYMENT_HASH: &str = "pod-template-hash";
/// What a Rollout of Argo puts there.
const ROLLOUT_HASH: &str = "rollouts-pod-template-hash";
/// What a DeploymentConfig of OpenShift puts on the pods of its ReplicationControllers.
const DEPLOYMENT_CONFIG: &str = "deploymentconfig";

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
/// A CronJob starts what it missed at most this long after its time: beyond, digits are something else, such as a date.
const LATEST: i64 = 31 * DAY;

/// The topmost owner of a pod; the pod itself where nothing controls it.
///
/// `node` is the name of the pod's node, which the names of static pods end in.
pub(super) fn workload(meta: &ObjectMeta, node: Option<&str>) -> Workload {
    let own = meta.name.as_deref().unwrap_or_default();
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let (kind, name) = match owners.iter().find(|owner| owner.controller == Some(true)) {
        Some(owner) => above(owner, meta, own, node),
        None => ("Pod", own),
    };
    Workload {
        namespace: meta.namespace.clone().unwrap_or_default(),
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}

/// Kind and name of what stands above the controller of a pod, where its name tells.
fn above<'a>(
    owner: &'a OwnerReference,
    meta: &'a ObjectMeta,
    own: &'a str,
    node: Option<&str>,
) -> (&'a str, &'a str) {
    let name = owner.name.as_str();
    let label = |key: &str| meta.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let without_hash = |key| label(key).and_then(|hash| without_suffix(name, hash));
    match owner.kind.as_str() {
        "ReplicaSet" => {
            let deployment = without_hash(DEPLOYMENT_HASH).map(|name| ("Deployment", name));
            let rollout = || without_hash(ROLLOUT_HASH).map(|name| ("Rollout", name));
            deployment.or_else(rollout).unwrap_or(("ReplicaSet", name))
        }
        "Job" => {
            let created = meta.creation_timestamp.as_ref().map(|time| time.0.as_second());
            cron_job(name, created).map_or(("Job", name), |name| ("CronJob", name))
        }
        "ReplicationController" => label(DEPLOYMENT_CONFIG)
            .map_or(("ReplicationController", name), |config| ("DeploymentConfig", config)),
        // The mirror of a static pod: the kubelet appends its node's name.
        "Node" => ("Node", node.and_then(|node| without_suffix(own, node)).unwrap_or(own)),
        kind => (kind, name),
    }
}

/// What stands before `-suffix`.
fn without_suffix<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    name.strip_suffix(suffix)?.strip_suffix('-').filter(|rest| !rest.is_empty())
}

/// The CronJob that made a Job with this name: it appends the time it was due, since 1970 in minutes
/// (k8s:pkg/controller/cronjob/utils.go), until 1.20 in seconds.
///
/// `created` (seconds since 1970) is when the pod was: a date at the end of a name, `-20261121`, is no such time.
fn cron_job(job: &str, created: Option<i64>) -> Option<&str> {
    let (name, digits) = job.rsplit_once('-')?;
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    if name.is_empty() || !all_digits || !(8..=10).contains(&digits.len()) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    let due = if digits.len() == 10 { number } else { number * MINUTE };
    created.is_none_or(|created| (-DAY..LATEST).contains(&(created - due))).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(meta: serde_json::Value, expected: (&str, &str)) {
        let meta: ObjectMeta = serde_json::from_value(meta).unwrap();
        let found = workload(&meta, Some("ip-10-1-2-3.ec2.internal"));
        assert_eq!((found.kind.as_str(), found.name.as_str()), expected);
        assert_eq!(found.namespace, "shop");
    }

    /// A pod of a controller, with labels.
    fn owned(name: &str, kind: &str, owner: &str, labels: serde_json::Value) -> serde_json::Value {
        json!({
            "name": name, "namespace": "shop", "uid": "1", "labels": labels,
            "creationTimestamp": "2026-11-21T13:45:00Z",
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "2",
                "controller": true, "blockOwnerDeletion": true,
            }],
        })
    }

    #[test]
    fn a_deployment_is_its_replica_set_without_the_hash() {
        let labels = json!({ "app": "cart", "pod-template-hash": "6d4cf56db6" });
        check(
            owned("cart-6d4cf56db6-x7k2p", "ReplicaSet", "cart-6d4cf56db6", labels),
            ("Deployment", "cart"),
        );
        let labels = json!({ "pod-template-hash": "7f9d" });
        check(owned("web.v2-7f9d-x7k2p", "ReplicaSet", "web.v2-7f9d", labels), ("Deployment", "web.v2"));
    }

    #[test]
    fn a_pod_name_that_was_cut_hides_no_deployment() {
        // The generated name keeps 58 characters of `<ReplicaSet>-` and loses the end of the hash
        // (k8s:staging/src/k8s.io/apiserver/pkg/storage/names/generate.go); the reference has all of it.
        let deployment = "a-service-with-a-name-that-nobody-would-say-aloud-in-full";
        let replica_set = format!("{deployment}-6d4cf56db6");
        let pod = format!("{}x7k2p", replica_set.get(..58).unwrap());
        assert_eq!(pod.len(), 63);
        let labels = json!({ "pod-template-hash": "6d4cf56db6" });
        check(owned(&pod, "ReplicaSet", &replica_set, labels), ("Deployment", deployment));
    }

    #[test]
    fn a_rollout_has_a_hash_of_its_own() {
        let labels = json!({ "rollouts-pod-template-hash": "5f6d8" });
        check(owned("pay-5f6d8-abcde", "ReplicaSet", "pay-5f6d8", labels), ("Rollout", "pay"));
    }

    #[test]
    fn a_replica_set_that_a_person_made_stays_one() {
        check(owned("db-abcde", "ReplicaSet", "db", json!({})), ("ReplicaSet", "db"));
        let labels = json!({ "pod-template-hash": "6d4cf56db6" });
        check(owned("db-abcde", "ReplicaSet", "db", labels), ("ReplicaSet", "db"));
        // Nothing but the hash is no name.
        let labels = json!({ "pod-template-hash": "db" });
        check(owned("db-abcde", "ReplicaSet", "-db", labels), ("ReplicaSet", "-db"));
    }

    #[test]
    fn a_cron_job_is_its_job_without_the_time() {
        let minutes = 1_795_268_700 / 60;
        let name = format!("backup-{minutes}");
        check(owned("backup-x-abcde", "Job", &name, json!({})), ("CronJob", "backup"));
        // Version 1 of the controller, the default until 1.20: seconds.
        check(owned("backup-x-abcde", "Job", "backup-1795268700", json!({})), ("CronJob", "backup"));
    }

    #[test]
    fn a_job_with_digits_in_its_name_stays_one() {
        for name in
            ["migrate", "migrate-7", "migrate-20261121", "migrate-99999999999", "12345678", "-29921145"]
        {
            check(owned("migrate-abcde", "Job", name, json!({})), ("Job", name));
        }
    }

    #[test]
    fn other_controllers_are_what_they_say() {
        for kind in ["StatefulSet", "DaemonSet", "CloneSet"] {
            check(owned("db-0", kind, "db", json!({})), (kind, "db"));
        }
        check(
            owned("old-1-abcde", "ReplicationController", "old-1", json!({ "deploymentconfig": "old" })),
            ("DeploymentConfig", "old"),
        );
    }

    #[test]
    fn a_static_pod_is_named_without_its_node() {
        let name = "kube-apiserver-ip-10-1-2-3.ec2.internal";
        check(owned(name, "Node", "ip-10-1-2-3.ec2.internal", json!({})), ("Node", "kube-apiserver"));
    }

    #[test]
    fn a_pod_that_nothing_controls_is_itself() {
        check(json!({ "name": "debug", "namespace": "shop" }), ("Pod", "debug"));
        // An owner that deletes it with itself, but does not control it.
        let mut meta = owned("debug", "Widget", "w", json!({}));
        meta["ownerReferences"][0]["controller"] = json!(false);
        check(meta, ("Pod", "debug"));
    }
}
