//! Containers, by what their engines leave on the host: no daemon is asked.

mod containerd;
mod docker;
mod rootless;
mod runtime_state;
mod storage;

use super::cgroup::{self, Membership};
use super::error::{NoContainer, list};
use super::host_root::{HostRoot, Survey};
use super::processes::{ProcessTable, Stat};
use super::{RunningContainer, TargetError};
pub use rootless::RootlessUser;
use std::collections::{BTreeMap, HashMap};

/// So many running containers are named where none is found.
const MAX_RUNNING: usize = 12;
/// As many characters of an id as the engines show.
const SHORT_ID: usize = 12;

/// What an engine has written down about a container.
#[derive(Clone, Debug)]
pub struct ContainerRecord {
    /// Its id.
    pub id: String,
    /// Its name, as given to the engine.
    pub name: Option<String>,
    /// What Kubernetes calls it.
    pub pod: Option<PodContainer>,
    /// Its engine.
    pub runtime: &'static str,
    /// Whose container it is, where not the system's.
    pub user: Option<RootlessUser>,
    /// Its first process.
    pub process: RecordedProcess,
}

/// The first process of a container, by the engine's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedProcess {
    /// This one.
    Is {
        pid: u32,
        /// When it began; without it the number may be another process by now.
        started: Option<u64>,
    },
    /// There is none.
    Stopped,
    /// The record does not say.
    Unknown,
}

/// A container of a pod (the CRI's names).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainer {
    pub namespace: String,
    pub pod: String,
    /// `None`: the one that only holds the pod's namespaces.
    pub container: Option<String>,
}

impl PodContainer {
    /// The names that the kubelet gives for docker and CRI-O: `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`. None of these
    /// parts may hold `_` (RFC 1123 labels).
    pub fn parse(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.strip_prefix("k8s_")?.split('_').collect();
        let [container, pod, namespace, ..] = parts[..] else {
            return None;
        };
        Some(Self {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: (container != "POD").then(|| container.to_owned()),
        })
    }

    fn is_called(&self, asked: &str) -> bool {
        let Self { namespace, pod, .. } = self;
        let Some(container) = &self.container else {
            return false;
        };
        let names = [
            format!("{namespace}/{pod}/{container}"),
            format!("{pod}/{container}"),
            container.clone(),
            format!("{namespace}/{pod}"),
            pod.clone(),
        ];
        names.iter().any(|name| name == asked)
    }
}

impl ContainerRecord {
    /// For people, and to be typed.
    fn shown(&self) -> String {
        if let Some(pod) = &self.pod {
            let container = pod.container.as_deref().unwrap_or("(sandbox)");
            return format!("{}/{}/{container}", pod.namespace, pod.pod);
        }
        self.name
            .clone()
            .unwrap_or_else(|| short_id(&self.id).to_owned())
    }

    fn candidate(&self) -> String {
        let owner = self
            .user
            .as_ref()
            .map_or_else(String::new, |user| format!(" of user {}", user.uid));
        format!("{}  {} ({}{owner})", self.id, self.shown(), self.runtime)
    }

    /// More that another place knows about the same container.
    fn complete(&mut self, other: Self) {
        self.name = self.name.take().or(other.name);
        self.pod = self.pod.take().or(other.pod);
        let knows_start = |process| {
            matches!(
                process,
                RecordedProcess::Is {
                    started: Some(_),
                    ..
                }
            )
        };
        let better = match (self.process, other.process) {
            (RecordedProcess::Is { .. }, _) => {
                knows_start(other.process) && !knows_start(self.process)
            }
            (_, RecordedProcess::Is { .. })
            | (RecordedProcess::Unknown, RecordedProcess::Stopped) => true,
            _ => false,
        };
        if better {
            self.process = other.process;
        }
    }
}

/// Ids become parts of paths.
fn is_plain_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && !id.starts_with('.')
}

fn short_id(id: &str) -> &str {
    let is_hash = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hash { &id[..SHORT_ID] } else { id }
}

/// A container that was found, and its first process.
#[derive(Debug)]
pub struct ContainerFound {
    pub name: String,
    pub container: RunningContainer,
    pub first: Stat,
    /// Where it has a control group of its own.
    pub group: Option<cgroup::ControlGroup>,
}

/// The containers of a host.
struct Containers<'a> {
    root: &'a HostRoot,
    survey: Survey,
    records: BTreeMap<String, ContainerRecord>,
    table: ProcessTable,
    /// The control groups of each process of the table.
    memberships: HashMap<u32, Vec<Membership>>,
}

/// The container that a user named.
pub fn find(root: &HostRoot, asked: &str) -> Result<ContainerFound, TargetError> {
    // As kubectl shows ids: `containerd://ID`.
    let asked = asked.split_once("://").map_or(asked, |(_, id)| id);
    let table = root.processes().map_err(|error| TargetError::Unreadable {
        path: root.path("proc").display().to_string(),
        error,
    })?;
    let pids = table.processes.iter().map(|process| process.pid);
    let mut containers = Containers {
        root,
        survey: Survey::default(),
        records: BTreeMap::new(),
        memberships: pids
            .map(|pid| (pid, cgroup::memberships(root, pid)))
            .collect(),
        table,
    };
    containers.read_records();
    containers.find(asked)
}

impl Containers<'_> {
    fn read_records(&mut self) {
        let (root, survey) = (self.root, &mut self.survey);
        let mut records = storage::records(root, survey);
        records.extend(docker::records(root, survey));
        records.extend(containerd::records(root, survey));
        records.extend(runtime_state::records(root, survey));
        for record in records {
            self.add(record);
        }
        self.add_from_cgroups();
    }

    fn add(&mut self, record: ContainerRecord) {
        if !is_plain_id(&record.id) {
            self.survey
                .damaged
                .push(format!("an id of {} that is none", record.runtime));
            return;
        }
        match self.records.get_mut(&record.id) {
            // What a user wrote about a container of the system's, or of another user's, is not believed.
            Some(known) if known.user != record.user => {
                if record.user.is_none() {
                    *known = record;
                }
            }
            Some(known) => known.complete(record),
            None => {
                self.records.insert(record.id.clone(), record);
            }
        }
    }

    /// Containers of engines whose records are elsewhere. A group of the system's is not a user's container, whatever
    /// that user's files say.
    fn add_from_cgroups(&mut self) {
        for process in &self.table.processes {
            for membership in self.memberships.get(&process.pid).into_iter().flatten() {
                let Some(group) = membership.container() else {
                    continue;
                };
                let known = self.records.get(group.id);
                if known.is_none_or(|known| known.user.is_some() && !membership.is_users()) {
                    let record = ContainerRecord {
                        id: group.id.to_owned(),
                        name: None,
                        pod: None,
                        runtime: group.engine.unwrap_or("unknown engine"),
                        user: None,
                        process: RecordedProcess::Unknown,
                    };
                    self.records.insert(record.id.clone(), record);
                }
                break;
            }
        }
    }

    fn find(self, asked: &str) -> Result<ContainerFound, TargetError> {
        let candidates = self.candidates(asked);
        let mut running = Vec::new();
        let mut foreign = None;
        for record in &candidates {
            match self.first_process(record) {
                Ok(Some(first)) => running.push((*record, first)),
                Ok(None) => {}
                Err(error) => foreign = Some(error),
            }
        }
        // A stopped container of the same name is not meant.
        match running.len() {
            1 => {
                let (record, first) = running.remove(0);
                Ok(self.found(record, first))
            }
            0 => Err(match (foreign, candidates.first()) {
                (Some(error), _) => error,
                (None, Some(record)) => TargetError::ContainerNotRunning {
                    name: record.shown(),
                    runtime: record.runtime,
                },
                (None, None) => {
                    drop(candidates);
                    self.not_found(asked)
                }
            }),
            _ => Err(TargetError::Ambiguous {
                what: "container",
                name: asked.to_owned(),
                candidates: running.iter().map(|(r, _)| r.candidate()).collect(),
            }),
        }
    }

    /// What the text may mean: an id or a name, then a name of Kubernetes', then the beginning of an id. A user cannot
    /// take the name of a container of the system's.
    fn candidates(&self, asked: &str) -> Vec<&ContainerRecord> {
        let hex = !asked.is_empty() && asked.bytes().all(|b| b.is_ascii_hexdigit());
        let ways: [&dyn Fn(&ContainerRecord) -> bool; 3] = [
            &|record| record.id == asked || record.name.as_deref() == Some(asked),
            &|record| record.pod.as_ref().is_some_and(|pod| pod.is_called(asked)),
            &|record| hex && record.id.starts_with(&asked.to_ascii_lowercase()),
        ];
        for means in ways {
            let mut found: Vec<&ContainerRecord> = self
                .records
                .values()
                .filter(|record| means(record))
                .collect();
            if found.iter().any(|record| record.user.is_none()) {
                found.retain(|record| record.user.is_none());
            }
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// The container's first process, where it runs. A record may be older than the host's last start: its process
    /// counts when it began at the recorded moment, or is in the container's control group.
    fn first_process(&self, record: &ContainerRecord) -> Result<Option<Stat>, TargetError> {
        if let RecordedProcess::Is { pid, started } = record.process
            && let Some(process) = self.process(pid)
        {
            let is_it = match started {
                Some(started) => process.started == started,
                None => self.group_path(pid, &record.id).is_some(),
            };
            if is_it {
                return self.of_its_user(record, process).map(Some);
            }
        }
        if record.process == RecordedProcess::Stopped {
            return Ok(None);
        }
        match self.oldest_in_group(record) {
            Some(process) => self.of_its_user(record, process).map(Some),
            None => Ok(None),
        }
    }

    fn process(&self, pid: u32) -> Option<&Stat> {
        self.table.processes.iter().find(|p| p.pid == pid)
    }

    /// The files of a rootless engine are its user's, who may write any number there.
    fn of_its_user(&self, record: &ContainerRecord, process: &Stat) -> Result<Stat, TargetError> {
        if let Some(user) = &record.user
            && !user.owns(self.root, process.pid)
        {
            return Err(TargetError::ForeignProcess {
                name: record.shown(),
                uid: user.uid,
                pid: process.pid,
            });
        }
        Ok(process.clone())
    }

    fn group_path(&self, pid: u32, id: &str) -> Option<(&Membership, &str)> {
        let mut all = self.memberships.get(&pid)?.iter();
        all.find_map(|membership| Some((membership, membership.of_container(id)?)))
    }

    fn oldest_in_group(&self, record: &ContainerRecord) -> Option<&Stat> {
        let in_group = |process: &&Stat| {
            self.group_path(process.pid, &record.id)
                // A user may give a control group of theirs any name.
                .is_some_and(|(group, _)| {
                    record.user.is_some() || !group.is_users() || record.name.is_none()
                })
        };
        self.table
            .processes
            .iter()
            .filter(in_group)
            .min_by_key(|process| (process.started, process.pid))
    }

    fn found(&self, record: &ContainerRecord, first: Stat) -> ContainerFound {
        let group = self
            .group_path(first.pid, &record.id)
            .and_then(|(membership, path)| membership.folder(self.root, path, first.pid));
        ContainerFound {
            name: record.shown(),
            container: RunningContainer {
                id: record.id.clone(),
                name: record.shown(),
                runtime: record.runtime,
            },
            first,
            group,
        }
    }

    fn not_found(self, asked: &str) -> TargetError {
        let mut running: Vec<String> = self
            .records
            .values()
            .filter(|record| matches!(self.first_process(record), Ok(Some(_))))
            .map(|record| format!("{} ({})", record.shown(), record.runtime))
            .collect();
        list::shorten(&mut running, MAX_RUNNING);
        TargetError::NoContainer(Box::new(NoContainer {
            asked: asked.to_owned(),
            looked: self.survey.looked,
            denied: self.survey.denied,
            damaged: self.survey.damaged,
            running,
        }))
    }
}
