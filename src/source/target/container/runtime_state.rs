//! What the low-level runtimes keep about a running container: crun's `status`, runc's `state.json`.

use super::super::host_root::{HostRoot, Survey};
use super::{ContainerRecord, RecordedProcess};
use crate::source::file_user::FileUser;
use serde::Deserialize;

/// crun's `status`.
#[derive(Deserialize)]
struct CrunStatus {
    pid: Option<u32>,
    #[serde(rename = "process-start-time")]
    started: Option<u64>,
}

/// runc's `state.json`.
#[derive(Deserialize)]
struct RuncState {
    init_process_pid: Option<u32>,
    init_process_start: Option<u64>,
}

/// Where runc keeps state for docker and containerd, and alone.
const RUNC_ROOTS: [&str; 2] = ["/run/docker/runtime-runc/moby", "/run/containerd/runc"];

fn recorded(pid: Option<u32>, started: Option<u64>) -> RecordedProcess {
    match pid {
        Some(0) => RecordedProcess::Stopped,
        Some(pid) => RecordedProcess::Is {
            pid,
            // 0: a runtime that could not read it.
            started: started.filter(|started| *started > 0),
        },
        None => RecordedProcess::Unknown,
    }
}

/// The first process of one container, from the state below this directory (`/run`, or a user's runtime directory).
pub fn of(
    root: &HostRoot,
    survey: &mut Survey,
    below: &str,
    id: &str,
    user: Option<&FileUser>,
) -> RecordedProcess {
    match crun(root, survey, &format!("{below}/crun/{id}"), user) {
        RecordedProcess::Unknown => runc(root, survey, &format!("{below}/runc/{id}"), user),
        known => known,
    }
}

fn crun(
    root: &HostRoot,
    survey: &mut Survey,
    folder: &str,
    user: Option<&FileUser>,
) -> RecordedProcess {
    let status: Option<CrunStatus> = survey.json(root, &format!("{folder}/status"), user);
    status.map_or(RecordedProcess::Unknown, |s| recorded(s.pid, s.started))
}

fn runc(
    root: &HostRoot,
    survey: &mut Survey,
    folder: &str,
    user: Option<&FileUser>,
) -> RecordedProcess {
    let state: Option<RuncState> = survey.json(root, &format!("{folder}/state.json"), user);
    state.map_or(RecordedProcess::Unknown, |s| {
        recorded(s.init_process_pid, s.init_process_start)
    })
}

/// All containers that a runtime has state for, whoever started them.
pub fn records(root: &HostRoot, survey: &mut Survey) -> Vec<ContainerRecord> {
    let mut found = Vec::new();
    let record = |id: String, runtime, process| ContainerRecord {
        name: None,
        pod: None,
        user: None,
        id,
        runtime,
        process,
    };
    for id in survey.folders(root, "/run/crun", None) {
        let process = crun(root, survey, &format!("/run/crun/{id}"), None);
        found.push(record(id, "crun", process));
    }
    let mut runc_folders = vec!["/run/runc".to_owned(), RUNC_ROOTS[0].to_owned()];
    for namespace in survey.folders(root, RUNC_ROOTS[1], None) {
        runc_folders.push(format!("{}/{namespace}", RUNC_ROOTS[1]));
    }
    for folder in runc_folders {
        for id in survey.folders(root, &folder, None) {
            let process = runc(root, survey, &format!("{folder}/{id}"), None);
            found.push(record(id, "runc", process));
        }
    }
    found.retain(|record| record.process != RecordedProcess::Unknown);
    found
}
