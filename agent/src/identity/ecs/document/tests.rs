//! Documents in the form that the ECS guide shows ("Container introspection", "Task metadata endpoint version 4").

use super::*;

/// Bridge, awsvpc with its pause container, host mode, and one that has stopped.
const TASKS: &str = r#"{"Tasks":[
  {"Arn":"arn:aws:ecs:us-west-2:012345678910:task/default/bridge1","KnownStatus":"RUNNING","DesiredStatus":"RUNNING",
   "Family":"hello_world","Version":"8","Containers":[
     {"DockerId":"9581a69a761a557fbfce1d0f6745e4af5b9dbfb86b6b2c5c4df156f1a5932ff1",
      "DockerName":"ecs-hello_world-8-mysql-fcae8ac8f9f1d89d8301","Name":"mysql","Image":"mysql:8",
      "CreatedAt":"2023-10-08T20:09:11.44527186Z","Networks":[{"NetworkMode":"bridge","IPv4Addresses":["172.17.0.2"]}]},
     {"DockerId":"bf25c5c5b2d4dba68846c7236e75b6915e1e778d31611e3c6a06831e39814a15",
      "DockerName":"ecs-hello_world-8-wordpress-e8bfddf9b488dff36c00","Name":"wordpress","Image":"",
      "Networks":[{"NetworkMode":"bridge","IPv4Addresses":["172.17.0.3"],"IPv6Addresses":["fd00::3"]}]}]},
  {"Arn":"arn:aws:ecs:us-west-2:012345678910:task/default/awsvpc1","KnownStatus":"RUNNING","Family":"cart","Version":"3",
   "Containers":[
     {"DockerId":"aaaa","DockerName":"p","Name":"~internal~ecs~pause","Networks":null},
     {"DockerId":"bbbb","DockerName":"c","Name":"cart","Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.2.106"]}]}]},
  {"Arn":"arn:aws:ecs:us-west-2:012345678910:task/default/host1","KnownStatus":"RUNNING","Family":"agent","Version":"1",
   "Containers":[{"DockerId":"cccc","DockerName":"h","Name":"h","Networks":[{"NetworkMode":"host"}]}]},
  {"Arn":"arn:aws:ecs:us-west-2:012345678910:task/default/old","KnownStatus":"STOPPED","Family":"job","Version":"1",
   "Containers":[{"DockerId":"dddd","Name":"j","Networks":[{"NetworkMode":"bridge","IPv4Addresses":["172.17.0.2"]}]}]}]}"#;

/// A task on Fargate.
const OWN: &str = r#"{"Cluster":"default","TaskARN":"arn:aws:ecs:us-west-2:111122223333:task/default/e9028f8d5d8e4f258373e7b93ce9a3c3",
  "Family":"curltest","Revision":"3","DesiredStatus":"RUNNING","KnownStatus":"RUNNING","Limits":{"CPU":0.25,"Memory":512},
  "Containers":[
    {"DockerId":"e9028f8d5d8e4f258373e7b93ce9a3c3-2495160603","Name":"curl","DockerName":"curl","Image":"curltest:latest",
     "KnownStatus":"RUNNING","Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.2.106"],"AttachmentIndex":0,
     "MACAddress":"0a:8a:9d:1c:e6:13","IPv4SubnetCIDRBlock":"10.0.2.0/24","DomainNameServers":["10.0.0.2"]}]},
    {"DockerId":"e9028f8d5d8e4f258373e7b93ce9a3c3-1","Name":"init","KnownStatus":"STOPPED","Networks":[]}],
  "LaunchType":"FARGATE"}"#;

#[test]
fn tasks_of_every_network_mode_are_read() {
    let read = tasks(TASKS).unwrap();
    assert_eq!(read.left_out, [] as [String; 0]);
    let brief: Vec<String> = read
        .tasks
        .iter()
        .map(|task| {
            let containers = task.containers.iter().map(|container| {
                let addresses: Vec<String> = container.addresses.iter().map(IpAddr::to_string).collect();
                format!("{} {:?} {}", container.name, container.image, addresses.join("+"))
            });
            let containers: Vec<String> = containers.collect();
            format!("{} awsvpc={} [{}]", task.family, task.awsvpc, containers.join(", "))
        })
        .collect();
    assert_eq!(
        brief,
        [
            "hello_world awsvpc=false [mysql Some(\"mysql:8\") 172.17.0.2, wordpress None 172.17.0.3+fd00::3]",
            "cart awsvpc=true [~internal~ecs~pause None , cart None 10.0.2.106]",
            "agent awsvpc=false [h None ]",
        ]
    );
    assert!(read.tasks[0].has("bf25c5c5b2d4dba68846c7236e75b6915e1e778d31611e3c6a06831e39814a15"));
}

#[test]
fn a_task_reads_of_itself() {
    let read = own_task(OWN).unwrap();
    let task = &read.tasks[0];
    assert!(
        task.awsvpc && task.arn.ends_with("e9028f8d5d8e4f258373e7b93ce9a3c3") && task.family == "curltest"
    );
    assert_eq!(task.containers.len(), 1, "{task:#?}");
    assert_eq!(task.containers[0].addresses, ["10.0.2.106".parse::<IpAddr>().unwrap()]);
}

#[test]
fn nothing_runs_yet() {
    for text in [r#"{"Tasks":null}"#, r#"{"Tasks":[]}"#, "{}"] {
        assert_eq!(tasks(text), Ok(Read::default()), "{text}");
    }
}

#[test]
fn what_is_malformed_is_left_out_with_a_line() {
    let text = r#"{"Tasks":[{"Arn":7},"x",{"Arn":"a","Family":"good","Containers":[{"Name":"c\n","Networks":[
        {"NetworkMode":"bridge","IPv4Addresses":["10.0.0.1/8","10.0.0.2"]}]}]}]}"#;
    let read = tasks(text).unwrap();
    assert_eq!(read.tasks.len(), 1);
    assert_eq!(read.tasks[0].containers[0].addresses, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
    assert!(read.left_out[0].starts_with("task 1 of the list: invalid type"), "{:?}", read.left_out);
    assert!(read.left_out[1].starts_with("task 2 of the list: "), "{:?}", read.left_out);
    assert_eq!(read.left_out[2], "`10.0.0.1/8` of container c\\n, which is no address");
    for bad in ["", "<html>", "[]", "7", r#"{"Tasks":7}"#, r#"{"Tasks":[{"Arn":"#] {
        assert!(tasks(bad).is_err(), "{bad}");
    }
    for bad in ["", "{}", "null", r#"{"TaskARN":"a"}"#] {
        assert!(own_task(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_agent_is_known_by_what_it_says() {
    assert!(is_agent(
        r#"{"Cluster":"default","ContainerInstanceArn":"arn:x","Version":"Amazon ECS Agent - v1.30.0"}"#
    ));
    assert!(is_agent(r#"{"Cluster":"default","ContainerInstanceArn":null,"Version":""}"#));
    for other in ["", "{}", "ok", r#"{"Version":"1"}"#] {
        assert!(!is_agent(other), "{other}");
    }
}
