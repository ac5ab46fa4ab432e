//! What this machine allows: the facts behind `presyn check`. Each is tried, not guessed, wherever trying does no harm.

use super::capture::{self, CaptureSettings, Live};
use super::grant::{self, FileRights};
use super::privilege;
use super::tracer::{self, sys};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::os::fd::AsFd;

/// One thing that presyn needs or would like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub name: &'static str,
    /// Whether it is there.
    pub answer: Availability,
    /// What was found.
    pub detail: String,
}

/// Whether something is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Yes.
    Yes,
    /// No, but presyn does without.
    Spared {
        /// What would mend it, where something can.
        mend: Option<String>,
    },
    /// No, and presyn needs it.
    No {
        /// The command that mends it.
        mend: String,
    },
    /// It works, and gives other users more than they should have.
    Unsafe {
        /// The command that takes it back.
        mend: String,
    },
}

fn fact(name: &'static str, answer: Availability, detail: impl Into<String>) -> Fact {
    Fact {
        name,
        answer,
        detail: detail.into(),
    }
}

/// All facts, in the order in which they are told.
pub fn facts() -> Vec<Fact> {
    vec![
        kernel(),
        fact("libpcap", Availability::Yes, sys::libpcap_version()),
        capturing(),
        program_rights(),
        gaining_programs(),
        interfaces(),
        tracing(),
        yama(),
        seccomp(),
        pidfd(),
        thread_pidfd(),
        user_namespaces(),
    ]
}

/// Whether everything that presyn needs is there.
pub fn suffices(facts: &[Fact]) -> bool {
    !facts
        .iter()
        .any(|f| matches!(f.answer, Availability::No { .. }))
}

/// A file of one line, as most under `/proc/sys` are.
fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

/// Major and minor number of a release such as `6.1.0-13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// `pidfd_getfd` came with it.
const MINIMUM: (u32, u32) = (5, 6);

fn kernel() -> Fact {
    let release = line("/proc/sys/kernel/osrelease").unwrap_or_default();
    let answer = match version(&release) {
        Some(version) if version < MINIMUM => Availability::No {
            mend: "boot Linux 5.6 or newer".to_owned(),
        },
        _ => Availability::Yes,
    };
    fact("kernel", answer, release)
}

fn capturing() -> Fact {
    match Live::open(&CaptureSettings::default()) {
        Ok(live) => fact(
            "capture",
            Availability::Yes,
            format!("on '{}', link type {}", live.interface(), live.link()),
        ),
        Err(error) => {
            let right = privilege::may_capture();
            let mend = if right {
                "presyn run -i INTERFACE …".to_owned()
            } else {
                grant::advice()
            };
            let detail = match error {
                capture::CaptureError::NotPermitted { .. } => "CAP_NET_RAW is missing".to_owned(),
                other => other.to_string(),
            };
            fact("capture", Availability::No { mend }, detail)
        }
    }
}

/// What this program's file gives to those who may execute it.
fn program_rights() -> Fact {
    let name = "who may use it";
    let looked = std::env::current_exe().and_then(|path| Ok((FileRights::of(&path)?, path)));
    match looked {
        Err(error) => fact(
            name,
            Availability::Yes,
            format!("the program's file cannot be read: {error}"),
        ),
        Ok((rights, path)) => match rights.excess(&path) {
            Some(excess) => fact(
                name,
                Availability::Unsafe {
                    mend: excess.remedy,
                },
                excess.detail,
            ),
            None if rights.capabilities.is_some() => {
                fact(name, Availability::Yes, "a group may capture with it")
            }
            None => fact(name, Availability::Yes, "its file gives no rights"),
        },
    }
}

/// What programs that gain rights by an exec do in each mode. It holds on every machine; `tests/rights.rs` tries it.
fn gaining_programs() -> Fact {
    fact(
        "sudo, ping",
        Availability::Yes,
        "set-user-ID and file-capability programs gain no rights in a traced command of an ordinary user (under sudo, \
         -u USER, or without root); they gain them with --allow-setuid (takes root), with --no-trace, and in root's \
         own \
         command",
    )
}

fn interfaces() -> Fact {
    let names: Vec<String> = pcap::Device::list()
        .unwrap_or_default()
        .into_iter()
        .filter(|d| d.flags.is_up() && d.name != "any")
        .map(|d| d.name)
        .collect();
    let answer = if names.is_empty() {
        Availability::Spared {
            mend: Some("ip link set lo up".to_owned()),
        }
    } else {
        Availability::Yes
    };
    fact("interfaces", answer, names.join(" "))
}

fn tracing() -> Fact {
    let other = tracer::tracer_of(std::process::id());
    match (tracer::try_seize(), other) {
        (Ok(()), _) => fact("ptrace", Availability::Yes, "a child can be traced"),
        (Err(_), Some(other)) => fact(
            "ptrace",
            Availability::No {
                mend: "run presyn outside of the other tracer, or with --no-trace".to_owned(),
            },
            format!("presyn is itself traced, by process {other}"),
        ),
        (Err(error), None) => fact(
            "ptrace",
            Availability::No {
                mend: "sudo sysctl kernel.yama.ptrace_scope=1, or in a container: --cap-add SYS_PTRACE"
                    .to_owned(),
            },
            error.desc(),
        ),
    }
}

/// The Yama module (admin-guide/LSM/Yama): 0 and 1 let parents trace their children, 2 wants `CAP_SYS_PTRACE`, 3 lets
/// nobody.
fn yama() -> Fact {
    let Some(scope) = line("/proc/sys/kernel/yama/ptrace_scope") else {
        return fact("yama", Availability::Yes, "not in this kernel");
    };
    let answer = match scope.as_str() {
        "0" | "1" => Availability::Yes,
        "2" => Availability::Spared {
            mend: Some("sudo sysctl kernel.yama.ptrace_scope=1".to_owned()),
        },
        _ => Availability::No {
            mend: "set kernel.yama.ptrace_scope=1 in /etc/sysctl.d and reboot: 3 cannot be undone"
                .to_owned(),
        },
    };
    fact("yama", answer, format!("ptrace_scope {scope}"))
}

fn seccomp() -> Fact {
    match sys::seccomp_can_trace() {
        Ok(()) => fact(
            "seccomp",
            Availability::Yes,
            "filters can report to a tracer",
        ),
        Err(error) => fact(
            "seccomp",
            Availability::No {
                mend:
                    "boot a kernel with CONFIG_SECCOMP_FILTER, or run presyn outside of the sandbox"
                        .to_owned(),
            },
            error.desc(),
        ),
    }
}

fn pidfd() -> Fact {
    let tried = sys::pidfd_open(std::process::id(), false)
        .and_then(|pidfd| sys::pidfd_getfd(pidfd.as_fd(), 0).map(drop));
    match tried {
        // Standard input may be closed: the call exists all the same.
        Ok(()) | Err(Errno::EBADF) => fact(
            "pidfd",
            Availability::Yes,
            "sockets can be asked for their addresses",
        ),
        Err(error) => fact(
            "pidfd",
            Availability::No {
                mend: "boot Linux 5.6 or newer; in a container: --cap-add SYS_PTRACE".to_owned(),
            },
            error.desc(),
        ),
    }
}

fn thread_pidfd() -> Fact {
    match sys::pidfd_open(std::process::id(), true) {
        Ok(_) => fact("pidfd of threads", Availability::Yes, "Linux 6.9 or newer"),
        Err(_) => fact(
            "pidfd of threads",
            Availability::Spared { mend: None },
            "before Linux 6.9: threads that do not share their files are seen less exactly",
        ),
    }
}

fn user_namespaces() -> Fact {
    let tried =
        sys::try_in_child(|| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).is_ok());
    if tried == Ok(true) {
        return fact(
            "user namespaces",
            Availability::Yes,
            "--resolv-conf works without root",
        );
    }
    let knobs = [
        ("kernel/apparmor_restrict_unprivileged_userns", "0"),
        ("kernel/unprivileged_userns_clone", "1"),
        ("user/max_user_namespaces", "15000"),
    ];
    let mend = knobs.iter().find_map(|(knob, wanted)| {
        let is = line(&format!("/proc/sys/{knob}"))?;
        let closed = match *wanted {
            "0" => is != "0",
            _ => is == "0",
        };
        closed.then(|| format!("sudo sysctl {}={wanted}", knob.replace('/', ".")))
    });
    fact(
        "user namespaces",
        Availability::Spared { mend },
        "--resolv-conf needs root here",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared() {
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.15"), Some((5, 15)));
        assert_eq!(version(""), None);
        assert!((5, 10) >= MINIMUM && (4, 19) < MINIMUM);
    }

    #[test]
    fn every_no_comes_with_a_command() {
        let facts = facts();
        assert!(
            facts
                .iter()
                .any(|f| f.name == "kernel" && !f.detail.is_empty())
        );
        for fact in &facts {
            if let Availability::No { mend } = &fact.answer {
                assert!(!mend.is_empty(), "{fact:?}");
            }
        }
        assert_eq!(facts.len(), 12);
        let broken = [fact(
            "x",
            Availability::No {
                mend: String::new(),
            },
            "",
        )];
        assert!(!suffices(&broken) && suffices(&[]));
    }
}
