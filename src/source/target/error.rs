//! Why a target was not found, in words that say what to do. Lines end where this module ends them: names come from
//! others, and a line end in one is shown as such.

use std::io;

/// So many candidates are listed.
const MAX_CANDIDATES: usize = 16;

/// Why a process, unit or container was not found. What names them comes from others: whoever shows it escapes it.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No process was named.
    #[error("no process is named")]
    NothingNamed,
    /// No process has this number.
    #[error("there is no process {pid}")]
    NoProcess {
        /// As given.
        pid: u32,
    },
    /// It has ended, and its parent has not waited for it.
    #[error("process {pid} ({}) has ended; only its exit status remains", plain(.comm))]
    Zombie {
        /// As given.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// A thread of another number.
    #[error("{tid} is a thread of process {pid}; give {pid}")]
    Thread {
        /// As given.
        tid: u32,
        /// Its process.
        pid: u32,
    },
    /// A thread of the kernel's.
    #[error("{pid} ({}) is a kernel thread, not a program", plain(.comm))]
    KernelThread {
        /// As given.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// presyn itself.
    #[error("process {pid} is presyn itself")]
    Own {
        /// As given.
        pid: u32,
    },
    /// `/proc` does not show it.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// The kernel's words.
        error: io::Error,
    },
    /// No such unit.
    #[error("no unit {} {}{}", plain(.name), unit_places(.looked), hint("similar names", .similar))]
    NoUnit {
        /// With its suffix.
        name: String,
        /// Mounted hierarchies.
        looked: Vec<String>,
        /// Units with a similar name.
        similar: Vec<String>,
    },
    /// The unit has no process.
    #[error("unit {} ({}) has no process now; start it", plain(.name), plain(.file))]
    UnitNotRunning {
        /// With its suffix.
        name: String,
        /// Its file, or its control group.
        file: String,
    },
    /// A template, of which instances run.
    #[error("{} is a template; name an instance:{}", plain(.name), lines(.candidates))]
    Template {
        /// With its suffix.
        name: String,
        /// Its running instances.
        candidates: Vec<String>,
    },
    /// Several have this name.
    #[error("{what} '{}' may be any of {}:{}", plain(.name), .candidates.len(), lines(.candidates))]
    Ambiguous {
        /// What was asked for: unit or container.
        what: &'static str,
        /// As given.
        name: String,
        /// What it may be: each may be given instead.
        candidates: Vec<String>,
    },
    /// No such container.
    #[error("{}", no_container(.0))]
    NoContainer(Box<NoContainer>),
    /// The container is known, and has no process.
    #[error("container {} ({runtime}) is not running", plain(.name))]
    ContainerNotRunning {
        /// For people.
        name: String,
        /// Its engine.
        runtime: &'static str,
    },
    /// A user's record names a process that is not that user's.
    #[error(
        "user {uid} recorded process {pid} as container {}, but that process belongs to another user; not used", plain(.name)
    )]
    ForeignProcess {
        /// For people.
        name: String,
        /// Whose record it is.
        uid: u32,
        /// The process.
        pid: u32,
    },
}

/// What was looked at for a container.
#[derive(Debug, Default)]
pub struct NoContainer {
    /// As given.
    pub asked: String,
    /// Places that are there.
    pub looked: Vec<String>,
    /// What takes more rights.
    pub denied: Vec<String>,
    /// What could not be understood.
    pub damaged: Vec<String>,
    /// Containers that run.
    pub running: Vec<String>,
}

fn no_container(not: &NoContainer) -> String {
    let mut text = format!(
        "no container has the name '{}' or an id that begins with it; looked at ",
        plain(&not.asked)
    );
    let cgroups = "the control groups of all processes".to_owned();
    text.push_str(&list::joined(
        &[not.looked.as_slice(), &[cgroups]].concat(),
        ", ",
    ));
    text.push_str(&hint("running", &not.running));
    text.push_str(&hint("not understood", &not.damaged));
    if not.denied.is_empty() {
        let or = "\n    or attach to one of its processes by number: presyn attach PID";
        text.push_str(or);
    } else {
        text.push_str(&hint("only root may read", &not.denied));
        text.push_str("\n    run presyn as root");
    }
    text
}

fn unit_places(looked: &[String]) -> String {
    if looked.is_empty() {
        "can be found: no control group hierarchy of systemd's is mounted; attach to a process by number".to_owned()
    } else {
        format!("has a control group in {}", list::joined(looked, " or "))
    }
}

fn hint(what: &str, values: &[String]) -> String {
    if values.is_empty() {
        String::new()
    } else {
        format!("\n    {what}: {}", list::joined(values, ", "))
    }
}

fn lines(values: &[String]) -> String {
    let mut values = values.to_vec();
    list::shorten(&mut values, MAX_CANDIDATES);
    format!("\n    {}", list::joined(&values, "\n    "))
}

/// A name without line ends and other control characters.
fn plain(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_control() {
            text.extend(c.escape_unicode());
        } else {
            text.push(c);
        }
    }
    text
}

/// Lists in messages.
pub mod list {
    /// All of them, each on its own line or not.
    pub fn joined(values: &[String], between: &str) -> String {
        let plain: Vec<String> = values.iter().map(|value| super::plain(value)).collect();
        plain.join(between)
    }

    /// The first ones, and how many more there are.
    pub fn shorten(values: &mut Vec<String>, most: usize) {
        if values.len() > most {
            let more = values.len() - most;
            values.truncate(most);
            values.push(format!("and {more} more"));
        }
    }
}
