//! containerd: one folder for each task, with its process and its OCI configuration. CRI-O's configuration has other
//! annotations of the same meaning.

use super::super::host_root::{HostRoot, Survey};
use super::{ContainerRecord, PodContainer, RecordedProcess};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Where the state of containerd is, also in the distributions of Kubernetes that bring their own.
const STATES: [&str; 3] = [
    "/run/containerd",
    "/run/k3s/containerd",
    "/var/snap/microk8s/common/run/containerd",
];
/// The folder of its tasks, by the version of the shim.
const TASKS: [&str; 2] = [
    "io.containerd.runtime.v2.task",
    "io.containerd.runtime.v1.linux",
];

/// `config.json` of an OCI bundle.
#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// The tasks of every namespace of containerd's.
pub fn records(root: &HostRoot, survey: &mut Survey) -> Vec<ContainerRecord> {
    let mut found = Vec::new();
    for tasks in STATES
        .iter()
        .flat_map(|s| TASKS.map(|t| format!("{s}/{t}")))
    {
        for namespace in survey.folders(root, &tasks, None) {
            for id in survey.folders(root, &format!("{tasks}/{namespace}"), None) {
                let folder = format!("{tasks}/{namespace}/{id}");
                found.push(record(root, survey, &namespace, &folder, id));
            }
        }
    }
    found
}

fn record(
    root: &HostRoot,
    survey: &mut Survey,
    namespace: &str,
    folder: &str,
    id: String,
) -> ContainerRecord {
    let pid = survey.text(root, &format!("{folder}/init.pid"), None);
    let pid = pid.and_then(|text| text.trim().parse().ok());
    let bundle: Option<Bundle> = survey.json(root, &format!("{folder}/config.json"), None);
    let annotations = bundle.and_then(|b| b.annotations).unwrap_or_default();
    let get = |key: &str| annotations.get(key).cloned();
    let cri = |key: &str| get(&format!("io.kubernetes.cri.{key}"));
    let pod = match (cri("sandbox-namespace"), cri("sandbox-name")) {
        (Some(namespace), Some(pod)) => Some(PodContainer {
            namespace,
            pod,
            container: cri("container-name"),
        }),
        _ => None,
    };
    ContainerRecord {
        id,
        name: get("nerdctl/name"),
        pod,
        runtime: if namespace == "moby" {
            "docker"
        } else {
            "containerd"
        },
        user: None,
        process: match pid {
            Some(pid) => RecordedProcess::Is { pid, started: None },
            None => RecordedProcess::Unknown,
        },
    }
}
