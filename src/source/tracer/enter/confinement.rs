//! What confines a container beside its namespaces and rights: its control groups (which devices it may use, how much
//! memory), its seccomp filters, its label of a security module. The command gets all of them or does not start.
#![allow(unsafe_code)] // reading another task's seccomp filters has no safe wrapper

use super::super::launch::tracer_of;
use super::super::mount;
use super::super::sys::{self, Result};
use libc::sock_filter;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::unistd::Pid;
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// What confines a process.
#[derive(Debug)]
pub struct Confinement {
    /// Its `cgroup.procs`, where it is in other groups than presyn.
    groups: Vec<File>,
    /// The oldest first.
    filters: Vec<Vec<sock_filter>>,
    /// What to write where, for the next exec.
    label: Option<Label>,
}

/// What a security module is to give the next program.
type Label = (&'static CStr, Vec<u8>);

/// Why it is not known, or cannot be applied.
pub enum Unknown {
    Unreadable(&'static str, io::Error),
    CannotApply(String),
    /// Whoever joins its control group stands still as well.
    Paused,
}

/// `PTRACE_SECCOMP_GET_FILTER` (linux/ptrace.h).
const GET_FILTER: libc::c_uint = 0x420c;
/// `BPF_MAXINSNS` (`linux/bpf_common.h`).
const LONGEST_FILTER: usize = 4096;
/// So many filters are copied.
const MAX_FILTERS: usize = 64;

impl Confinement {
    /// Of a process in this mode of seccomp.
    pub fn of(pid: u32, seccomp: u32) -> std::result::Result<Self, Unknown> {
        // First: a paused process does not stop for its filters to be read.
        let groups = groups(pid)?;
        let filters = match seccomp {
            0 => Vec::new(),
            2 => filters(pid)?,
            _ => return Err(Unknown::CannotApply("it is in strict seccomp mode".into())),
        };
        Ok(Self {
            groups,
            filters: [vec![no_terminal_input()], filters].concat(),
            label: label(pid),
        })
    }

    /// Descriptors that the child uses.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.groups.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// In the child, once they have served.
    pub fn close_descriptors(&self) {
        for group in &self.groups {
            // SAFETY: its owner is never dropped in this process: it execs or leaves by `_exit`.
            unsafe { libc::close(group.as_raw_fd()) };
        }
    }

    /// In the child, as root of the host.
    pub fn apply_groups(&self) -> Result<()> {
        for group in &self.groups {
            write_all(group, b"0")?;
        }
        Ok(())
    }

    /// In the child, while it sees the host's `/proc`. What the child forks inherits it.
    pub fn apply_label(&self) -> Result<()> {
        match &self.label {
            // A task may write its own only, so the file is opened here.
            Some((path, text)) => mount::put(path, text, 0),
            None => Ok(()),
        }
    }

    /// In the child, while it has `CAP_SYS_ADMIN`.
    pub fn apply_filters(&self) -> Result<()> {
        for filter in &self.filters {
            sys::install_filter(filter)?;
        }
        Ok(())
    }
}

fn write_all(mut file: &File, text: &[u8]) -> Result<()> {
    // The kernel's files take it in one write.
    file.write_all(text)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// The control groups of a process that presyn is not in, opened.
fn groups(pid: u32) -> std::result::Result<Vec<File>, Unknown> {
    let unreadable = |error| Unknown::Unreadable("its control groups", error);
    let read = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    let own = read("self").map_err(unreadable)?;
    let its = read(&pid.to_string()).map_err(unreadable)?;
    let mut files = Vec::new();
    for line in its
        .lines()
        .filter(|line| !own.lines().any(|own| own == *line))
    {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let name = controllers.strip_prefix("name=").unwrap_or(controllers);
        let mounts = match name {
            "" => vec![
                "/sys/fs/cgroup".to_owned(),
                "/sys/fs/cgroup/unified".to_owned(),
            ],
            name => vec![format!("/sys/fs/cgroup/{name}")],
        };
        let folder = mounts.iter().map(|mount| format!("{mount}{path}"));
        let mut opened = folder.filter_map(|folder| {
            let file = OpenOptions::new()
                .write(true)
                .open(format!("{folder}/cgroup.procs"));
            Some((folder, file.ok()?))
        });
        // Without its group the command could use devices that the container may not.
        let (folder, file) = opened.next().ok_or_else(|| {
            Unknown::CannotApply(format!("its control group {path} cannot be joined"))
        })?;
        if is_frozen(&folder) {
            return Err(Unknown::Paused);
        }
        files.push(file);
    }
    Ok(files)
}

/// `AppArmor`'s profile or `SELinux`'s context of a process, where it has another than presyn.
fn label(pid: u32) -> Option<Label> {
    let read = |path: String| std::fs::read(path).unwrap_or_default();
    let trimmed = |text: Vec<u8>| {
        let end = text.iter().position(|b| matches!(b, 0 | b'\n'));
        text[..end.unwrap_or(text.len())].to_vec()
    };
    let profile = trimmed(read(format!("/proc/{pid}/attr/apparmor/current")));
    if !profile.is_empty() {
        return exec_profile(&profile).map(|text| (c"/proc/self/attr/apparmor/exec", text));
    }
    let its = trimmed(read(format!("/proc/{pid}/attr/current")));
    let own = trimmed(read("/proc/self/attr/current".to_owned()));
    if its.is_empty() || its == own {
        return None;
    }
    // AppArmor before Linux 5.8 has its files here, and shows a mode.
    let text = if its.ends_with(b")") || its == b"unconfined" {
        exec_profile(&its)?
    } else {
        its
    };
    Some((c"/proc/self/attr/exec", text))
}

/// `docker-default (enforce)` as the kernel wants it for the next exec.
fn exec_profile(shown: &[u8]) -> Option<Vec<u8>> {
    if shown == b"unconfined" {
        return None;
    }
    let end = shown.windows(2).rposition(|two| two == b" (");
    Some([b"exec ", &shown[..end.unwrap_or(shown.len())]].concat())
}

/// Whether what is in a control group stands still, by the kernel of version 2 or of version 1.
fn is_frozen(folder: &str) -> bool {
    let read = |file: &str| std::fs::read_to_string(format!("{folder}/{file}")).unwrap_or_default();
    read("cgroup.events").lines().any(|line| line == "frozen 1")
        || matches!(read("freezer.state").trim(), "FROZEN" | "FREEZING")
}

/// How long a process may take to stop for its filters to be read.
const STOPS_WITHIN: Duration = Duration::from_secs(2);

/// The seccomp filters of a process, which is stopped for the moment that it takes to copy them. In a thread of its own:
/// whatever happens, its end lets the process go (ptrace(2)).
fn filters(pid: u32) -> std::result::Result<Vec<Vec<sock_filter>>, Unknown> {
    let read = std::thread::scope(|scope| scope.spawn(|| stop_and_copy(pid)).join());
    let mut filters = read
        .unwrap_or(Err(Errno::EIO))
        .map_err(|error| match tracer_of(pid) {
            Some(tracer) => Unknown::CannotApply(format!(
                "its seccomp filters cannot be read while process {tracer} traces its first process"
            )),
            None => Unknown::Unreadable("its seccomp filters", error.into()),
        })?;
    filters.reverse();
    Ok(filters)
}

fn stop_and_copy(pid: u32) -> Result<Vec<Vec<sock_filter>>> {
    let task = Pid::from_raw(pid.cast_signed());
    let begin = Instant::now();
    while let Err(error) = ptrace::seize(task, Options::empty()) {
        // Another presyn may be reading them; a debugger stays.
        let traced = error == Errno::EPERM && tracer_of(pid).is_some();
        if !traced || begin.elapsed() > STOPS_WITHIN {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    ptrace::interrupt(task)?;
    let status = loop {
        let mut status = 0;
        let flags = libc::__WALL | libc::WNOHANG;
        // SAFETY: the kernel writes one int to `status`.
        match Errno::result(unsafe { libc::waitpid(task.as_raw(), &raw mut status, flags) })? {
            0 if begin.elapsed() > STOPS_WITHIN => return Err(Errno::ETIMEDOUT),
            0 => std::thread::sleep(Duration::from_millis(1)),
            _ => break status,
        }
    };
    if !libc::WIFSTOPPED(status) {
        return Err(Errno::ESRCH);
    }
    let copied = copy_filters(pid);
    // A signal that was on its way arrives all the same; an event is none.
    let event = status >> 16 != 0;
    let signal = if event { 0 } else { libc::WSTOPSIG(status) };
    sys::ptrace(
        libc::PTRACE_DETACH as _,
        pid,
        0,
        signal.unsigned_abs() as usize,
    )?;
    copied
}

/// The newest first.
fn copy_filters(pid: u32) -> Result<Vec<Vec<sock_filter>>> {
    let mut filters = Vec::new();
    for index in 0..MAX_FILTERS {
        let empty = sock_filter {
            code: 0,
            jt: 0,
            jf: 0,
            k: 0,
        };
        let mut filter = vec![empty; LONGEST_FILTER];
        // SAFETY: the kernel writes at most `BPF_MAXINSNS` instructions, for which there is space.
        let length = Errno::result(unsafe {
            libc::ptrace(
                GET_FILTER as _,
                pid.cast_signed(),
                index,
                filter.as_mut_ptr(),
            )
        });
        match length {
            Ok(length) => {
                filter.truncate(usize::try_from(length).unwrap_or(0));
                filters.push(filter);
            }
            Err(Errno::ENOENT) => return Ok(filters),
            Err(error) => return Err(error),
        }
    }
    Err(Errno::E2BIG)
}

/// No program of the container may type into presyn's terminal (`TIOCSTI`, `TIOCLINUX` of `ioctl_tty(2)`).
fn no_terminal_input() -> Vec<sock_filter> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const TIOCSTI: u32 = 0x5412;
    const TIOCLINUX: u32 = 0x541c;
    // The numbers of ioctl(2) in every convention: x86-64, i386 and 32-bit arm, arm64, x32.
    const NUMBERS: [u32; 4] = [16, 54, 29, 0x4000_0000 + 514];
    let row = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    // A number that is another call's in one of the conventions has another meaning of its second argument, which no
    // program gives these values: refusing too much costs nothing.
    let mut program = vec![row(LOAD, 0, 0, 0)];
    for (index, number) in (0u8..).zip(NUMBERS) {
        let rest = 4 - 1 - index;
        program.push(row(EQUAL, number, rest + 1, 0));
    }
    program.extend([
        row(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        row(LOAD, 24, 0, 0),
        row(EQUAL, TIOCSTI, 2, 0),
        row(EQUAL, TIOCLINUX, 1, 0),
        row(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        row(
            RETURN,
            libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs(),
            0,
            0,
        ),
    ]);
    program
}
