//! Events as lines of an ordinary strace log, in the syntax of `strace -f -ttt -T -yy -Y`.
//!
//! A line stands at the moment a call returned but carries the time it began, so times may step back; every
//! reader of strace logs copes with that, because strace's own `resumed` lines do the same.

mod stack;
mod values;

use crate::event::{
    Call, CallOutcome, Event, EventKind, Fd, Lifecycle, LifecycleChange, Op, Syscall, Task,
    Transfer,
};
use crate::time::{SECOND, Timestamp};
use std::borrow::Cow;
use std::io::{self, Write};
use values::{
    address, address_length, descriptor, endpoint, endpoint_length, family, payload, quoted, style,
};

/// Writes one event as one line; packets are not part of a trace.
pub fn write(event: &Event, out: &mut dyn Write) -> io::Result<()> {
    match &event.what {
        EventKind::Call(call) => {
            lead(&call.task, event.at, out)?;
            write!(out, "{}({})", name(&call.op), arguments(&call.op))?;
            result(call, event.at, out)
        }
        EventKind::Life(life) => ending(life, event.at, out),
        EventKind::Stack(stack) => stack::write(stack, out),
        EventKind::Packet(_) | EventKind::Owner(_) => Ok(()),
    }
}

fn lead(task: &Task, at: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let tid = task.tid.or(task.pid).unwrap_or(0);
    let comm = task
        .comm
        .as_deref()
        .map_or(String::new(), |c| format!("<{}>", quoted(c.as_bytes())));
    write!(
        out,
        "{tid}{comm} {}.{:09} ",
        at.0.div_euclid(SECOND),
        at.0.rem_euclid(SECOND)
    )
}

fn result(call: &Call, at: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    match &call.outcome {
        CallOutcome::Returned(value) => match &call.op {
            Op::Socket { fd, .. } => write!(out, " = {}", descriptor(fd))?,
            Op::Wait { fds, ready, .. } => write!(out, " = {value}{}", found(fds, ready, *value))?,
            _ => write!(out, " = {value}")?,
        },
        CallOutcome::Failed(error) => write!(out, " = -1 {error} ({error})")?,
        CallOutcome::Unknown => write!(out, " = ?")?,
    }
    match call.exited {
        Some(exit) => {
            let lasted = (exit - at).0.max(0);
            writeln!(out, " <{}.{:06}>", lasted / SECOND, lasted % SECOND / 1_000)
        }
        None => writeln!(out),
    }
}

fn ending(life: &Lifecycle, at: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let text = match &life.change {
        LifecycleChange::Exited(status) => format!("+++ exited with {status} +++"),
        LifecycleChange::Killed(signal) => format!("+++ killed by {signal} +++"),
        LifecycleChange::ChildDied(pid) => {
            format!("--- SIGCHLD {{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid={pid}}} ---")
        }
        LifecycleChange::Signal(name) => {
            format!("--- {name} {{si_signo={name}, si_code=SI_USER}} ---")
        }
        LifecycleChange::Forked { parent, thread } => {
            return birth(life, *parent, *thread, at, out);
        }
        // strace does not know it.
        LifecycleChange::CpuTime(_) | LifecycleChange::Files(_) | LifecycleChange::Socket(_) => {
            return Ok(());
        }
    };
    lead(&life.task, at, out)?;
    writeln!(out, "{text}")
}

/// strace tells of births by the parent's clone only. The parent's name is not known here.
fn birth(
    life: &Lifecycle,
    parent: Option<u32>,
    thread: Option<bool>,
    at: Timestamp,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (Some(parent), Some(thread), Some(child)) = (parent, thread, life.task.tid) else {
        return Ok(());
    };
    let parent = Task {
        pid: None,
        tid: Some(parent),
        comm: None,
    };
    let flags = if thread {
        "CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD"
    } else {
        "SIGCHLD"
    };
    lead(&parent, at, out)?;
    writeln!(
        out,
        "{}(child_stack=NULL, flags={flags}) = {child} <0.000000>",
        Syscall::Clone.name()
    )
}

fn name(op: &Op) -> Cow<'_, str> {
    match (op, op.syscall()) {
        (Op::Other { name }, _) => Cow::Owned(quoted(name.as_bytes())),
        (_, syscall) => Cow::Borrowed(syscall.map_or("", Syscall::name)),
    }
}

fn arguments(op: &Op) -> String {
    match op {
        Op::Socket { kind, .. } => {
            format!("{}, {}, IPPROTO_IP", family(kind.family), style(kind.style))
        }
        Op::Connect { fd, to: end } | Op::Bind { fd, local: end } => {
            format!(
                "{}, {}, {}",
                descriptor(fd),
                address(end),
                address_length(end)
            )
        }
        Op::Accept { fd, .. } => format!("{}, NULL, NULL", descriptor(fd)),
        Op::LocalName { fd, local: end } | Op::PeerName { fd, peer: end } => {
            format!("{}, {}, [16]", descriptor(fd), address(end))
        }
        Op::SocketTypeIs { fd, style: s } => {
            format!(
                "{}, SOL_SOCKET, SO_TYPE, [{}], [4]",
                descriptor(fd),
                style(*s)
            )
        }
        Op::SocketError { fd, error } => {
            let error = error.as_deref().unwrap_or("0");
            format!("{}, SOL_SOCKET, SO_ERROR, [{error}], [4]", descriptor(fd))
        }
        Op::Send { fd, messages } => send(fd, messages),
        Op::Receive { fd, messages } => receive(fd, messages),
        Op::Wait { fds, timeout, .. } => wait(fds, *timeout),
        Op::Close { fd } | Op::Duplicate { fd, .. } => descriptor(fd),
        Op::Clone { thread, files } => {
            let mut flags = vec!["CLONE_VM"];
            if *files {
                flags.push("CLONE_FILES");
            }
            if *thread {
                flags.push("CLONE_THREAD");
            }
            format!("child_stack=NULL, flags={}|SIGCHLD", flags.join("|"))
        }
        Op::Exec { program } => format!("\"{}\", [], []", quoted(program.as_bytes())),
        Op::Sleep => "{}, NULL".into(),
        Op::IoUring => "0, {}".into(),
        Op::Other { .. } => String::new(),
    }
}

fn send(fd: &Fd, messages: &[Transfer]) -> String {
    if let [message] = messages {
        let (to, length) = message
            .peer
            .map_or(("NULL".into(), 0), |p| (endpoint(p), endpoint_length(p)));
        return format!(
            "{}, {}, {}, 0, {to}, {length}",
            descriptor(fd),
            payload(fd, message),
            message.length
        );
    }
    let list: Vec<String> = messages.iter().map(|m| header(fd, m)).collect();
    format!(
        "{}, [{}], {}, 0",
        descriptor(fd),
        list.join(", "),
        messages.len()
    )
}

fn receive(fd: &Fd, messages: &[Transfer]) -> String {
    match messages {
        [] => format!("{}, \"\", 0, 0, NULL, NULL", descriptor(fd)),
        [message] => {
            let from = message.peer.map_or_else(
                || "NULL, NULL".into(),
                |p| format!("{}, [28 => 16]", endpoint(p)),
            );
            format!(
                "{}, {}, 65536, 0, {from}",
                descriptor(fd),
                payload(fd, message)
            )
        }
        _ => {
            let list: Vec<String> = messages.iter().map(|m| header(fd, m)).collect();
            format!(
                "{}, [{}], {}, 0, NULL",
                descriptor(fd),
                list.join(", "),
                messages.len()
            )
        }
    }
}

fn header(fd: &Fd, message: &Transfer) -> String {
    let name = message.peer.map_or_else(|| "NULL".into(), endpoint);
    let taken = if message.taken {
        format!(", msg_len={}", message.length)
    } else {
        String::new()
    };
    format!(
        "{{msg_hdr={{msg_name={name}, msg_namelen=0, msg_iov=[{{iov_base={}, iov_len={}}}], msg_iovlen=1, \
         msg_controllen=0, msg_flags=0}}{taken}}}",
        payload(fd, message),
        message.length
    )
}

fn wait(fds: &[Fd], timeout: Option<crate::time::Span>) -> String {
    let timeout = timeout.map_or_else(|| "-1".into(), |t| (t.0 / 1_000_000).to_string());
    if fds.is_empty() {
        return format!("0, [], 0, {timeout}");
    }
    let list: Vec<String> = fds
        .iter()
        .map(|fd| format!("{{fd={}, events=POLLIN}}", descriptor(fd)))
        .collect();
    format!("[{}], {}, {timeout}", list.join(", "), fds.len())
}

/// What strace says behind the result of a `poll`. `epoll_wait` names no descriptors.
fn found(fds: &[Fd], ready: &[i32], value: i64) -> String {
    if value == 0 && !fds.is_empty() {
        return " (Timeout)".into();
    }
    if ready.is_empty() {
        return String::new();
    }
    let list: Vec<String> = ready
        .iter()
        .map(|fd| format!("{{fd={fd}, revents=POLLIN}}"))
        .collect();
    format!(" ([{}])", list.join(", "))
}
