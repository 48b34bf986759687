use serde_json::{Value, json};

use super::*;
use crate::identity::facts::{ResolverSource, Workload};

fn read(pod_json: Value) -> Pod {
    let api: ApiPod = serde_json::from_value(pod_json).unwrap();
    pod(&api, |_, _| None).unwrap()
}

/// As a server of 1.20 writes it: Docker's ids, no addresses of both families in the oldest, managed fields.
fn of_1_20() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "cart-6d4cf56db6-x7k2p", "generateName": "cart-6d4cf56db6-", "namespace": "shop",
            "uid": "2f8f5e0c-9f31-4c4f-8a68-1b1d0a4f3c55", "resourceVersion": "812",
            "creationTimestamp": "2026-11-21T13:45:00Z", "labels": { "app": "cart", "pod-template-hash": "6d4cf56db6" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-6d4cf56db6",
                "uid": "9a", "controller": true, "blockOwnerDeletion": true }],
            "managedFields": [{ "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                "time": "2026-11-21T13:45:00Z", "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": { "f:dnsPolicy": {} } } }],
        },
        "spec": {
            "containers": [
                { "name": "cart", "image": "shop/cart:1.4", "resources": {}, "imagePullPolicy": "IfNotPresent" },
                { "name": "proxy", "image": "proxy:2", "resources": {} },
            ],
            "initContainers": [{ "name": "migrate", "image": "shop/migrate:1", "resources": {} }],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "nodeName": "node-1",
            "dnsConfig": { "options": [{ "name": "ndots", "value": "2" }, { "name": "edns0" }] },
        },
        "status": {
            "phase": "Running", "hostIP": "10.99.0.1", "podIP": "10.244.0.7",
            "containerStatuses": [
                { "name": "proxy", "ready": false, "restartCount": 0, "image": "proxy:2", "imageID": "",
                  "state": { "waiting": { "reason": "PodInitializing" } }, "lastState": {}, "started": false },
                { "name": "cart", "ready": true, "restartCount": 0, "image": "shop/cart:1.4", "imageID": "sha256:1",
                  "containerID": "docker://f00d", "state": { "running": { "startedAt": "2026-11-21T13:45:02Z" } },
                  "lastState": {}, "started": true },
            ],
            "initContainerStatuses": [
                { "name": "migrate", "ready": true, "restartCount": 0, "image": "shop/migrate:1", "imageID": "sha256:2",
                  "containerID": "docker://dead", "lastState": {},
                  "state": { "terminated": { "exitCode": 0, "containerID": "docker://dead" } } },
            ],
        },
    })
}

#[test]
fn a_pod_of_1_20_is_read() {
    let pod = read(of_1_20());
    assert_eq!(pod.uid, "2f8f5e0c-9f31-4c4f-8a68-1b1d0a4f3c55");
    let workload = Workload { namespace: "shop".into(), kind: "Deployment".into(), name: "cart".into() };
    assert_eq!((pod.workload, pod.name.as_str()), (workload, "cart-6d4cf56db6-x7k2p"));
    assert_eq!(pod.addresses, ["10.244.0.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(pod.dns.policy, "ClusterFirst");
    assert_eq!(pod.dns.options, ["ndots:2", "edns0"]);
    assert!(!pod.ended && !pod.dns.host_network);
    assert_eq!(pod.interface_names.len(), 3);
    // In the order of the specification, without the init container that is done.
    let container = |name: &str, image: &str, id: Option<&str>| PodContainer {
        name: name.into(),
        image: Some(image.into()),
        id: id.map(str::to_owned),
    };
    assert_eq!(
        pod.containers,
        [container("cart", "shop/cart:1.4", Some("f00d")), container("proxy", "proxy:2", None)]
    );
}

#[test]
fn a_pod_of_a_server_that_knows_more_is_read() {
    let mut now = of_1_20();
    // Fields that came after 1.20, and some of no version yet.
    now["status"]["podIPs"] = json!([{ "ip": "10.244.0.7" }, { "ip": "fd00:10:244::7" }]);
    now["status"]["hostIPs"] = json!([{ "ip": "10.99.0.1" }]);
    now["status"]["fromTheFuture"] = json!({ "a": [1] });
    now["spec"]["hostUsers"] = json!(false);
    now["spec"]["resources"] = json!({ "limits": { "cpu": "1" } });
    now["spec"]["containers"][0]["restartPolicyRules"] = json!([{ "action": "Restart" }]);
    now["spec"]["ephemeralContainers"] =
        json!([{ "name": "debugger", "image": "busybox", "targetContainerName": "cart" }]);
    now["status"]["ephemeralContainerStatuses"] = json!([{ "name": "debugger", "ready": false, "restartCount": 0,
        "image": "busybox", "imageID": "", "containerID": "containerd://beef", "state": { "running": {} } }]);
    // An init container that goes on running is a sidecar.
    now["spec"]["initContainers"][0]["restartPolicy"] = json!("Always");
    now["status"]["initContainerStatuses"][0]["state"] = json!({ "running": {} });
    now["status"]["initContainerStatuses"][0]["containerID"] = json!("cri-o://cafe");
    let pod = read(now);
    assert_eq!(pod.addresses, ["10.244.0.7".parse::<IpAddr>().unwrap(), "fd00:10:244::7".parse().unwrap()]);
    let ids: Vec<_> = pod.containers.iter().map(|one| (one.name.as_str(), one.id.as_deref())).collect();
    assert_eq!(
        ids,
        [("cart", Some("f00d")), ("proxy", None), ("migrate", Some("cafe")), ("debugger", Some("beef"))]
    );
}

#[test]
fn a_pod_in_the_network_of_the_node_has_no_address_of_its_own() {
    let mut pod_json = of_1_20();
    pod_json["spec"]["hostNetwork"] = json!(true);
    let pod = read(pod_json);
    assert!(pod.addresses.is_empty() && pod.interface_names.is_empty() && pod.dns.host_network);
}

#[test]
fn a_pod_that_ended_is_told_from_one_that_runs() {
    for (phase, ended) in
        [("Pending", false), ("Running", false), ("Succeeded", true), ("Failed", true), ("Unknown", false)]
    {
        let mut pod_json = of_1_20();
        pod_json["status"]["phase"] = json!(phase);
        assert_eq!(read(pod_json).ended, ended, "{phase}");
    }
}

#[test]
fn a_pod_that_was_just_made_has_neither_addresses_nor_ids() {
    let mut pod_json = of_1_20();
    pod_json["status"] = json!({ "phase": "Pending", "qosClass": "BestEffort" });
    pod_json["spec"]["dnsPolicy"].take();
    let pod = read(pod_json);
    assert!(pod.addresses.is_empty());
    assert!(pod.containers.iter().all(|container| container.id.is_none()));
    assert_eq!(pod.dns.policy, "ClusterFirst");
}

#[test]
fn nonsense_is_no_pod_and_breaks_nothing() {
    let empty: ApiPod = serde_json::from_value(json!({ "metadata": {} })).unwrap();
    assert_eq!(pod(&empty, |_, _| None), None);
    let mut pod_json = of_1_20();
    pod_json["status"]["podIPs"] = json!([{ "ip": "" }, { "ip": "10.244.0.300" }]);
    pod_json["status"]["containerStatuses"][1]["containerID"] = json!("docker://");
    let pod = read(pod_json);
    assert_eq!(pod.addresses, ["10.244.0.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(pod.containers[0].id, None);
}

#[test]
fn what_follows_for_the_resolver_is_asked_for_its_own_namespace() {
    let api: ApiPod = serde_json::from_value(of_1_20()).unwrap();
    let found = pod(&api, |dns, namespace| {
        Some(Resolver {
            resolv_conf: format!("{namespace} {}", dns.options.join(" ")),
            source: ResolverSource::PodSpec,
        })
    });
    assert_eq!(found.unwrap().resolver.unwrap().resolv_conf, "shop ndots:2 edns0");
}
