//! Signals to presyn itself while a command runs. The terminal sends Ctrl-C and Ctrl-Z to the whole foreground
//! group: the command decides what they mean, presyn only takes note.
#![allow(unsafe_code)] // handlers and timers have no safe interface

use super::sys::Result;
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::marker::PhantomData;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static INTERRUPTS: AtomicU32 = AtomicU32::new(0);
static ENDS: AtomicU32 = AtomicU32::new(0);
static SUSPENDED: AtomicBool = AtomicBool::new(false);

/// How many tracers there are, and what the signals did before the first.
static INSTALLED: Mutex<(u32, Vec<(Signal, SigAction)>)> = Mutex::new((0, Vec::new()));

/// The signals that are noted.
const NOTED: [Signal; 5] = [
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGTSTP,
];

extern "C" fn note(signal: libc::c_int) {
    match signal {
        libc::SIGINT | libc::SIGQUIT => INTERRUPTS.fetch_add(1, Ordering::Relaxed),
        libc::SIGTERM | libc::SIGHUP => ENDS.fetch_add(1, Ordering::Relaxed),
        libc::SIGTSTP => u32::from(SUSPENDED.swap(true, Ordering::Relaxed)),
        _ => 0,
    };
}

/// How often Ctrl-C (or Ctrl-\) came.
pub fn interrupts() -> u32 {
    INTERRUPTS.load(Ordering::Relaxed)
}

/// How often somebody asked presyn to end (`SIGTERM`, `SIGHUP`).
pub fn ends() -> u32 {
    ENDS.load(Ordering::Relaxed)
}

/// Whether Ctrl-Z came since the last question.
pub fn take_suspended() -> bool {
    SUSPENDED.swap(false, Ordering::Relaxed)
}

/// Whether Ctrl-Z came and was not taken yet.
pub fn suspended() -> bool {
    SUSPENDED.load(Ordering::Relaxed)
}

/// Notes signals as long as it lives, and wakes its thread regularly. Made after the fork: the command
/// keeps the dispositions it would have had.
#[derive(Debug)]
pub struct Guard {
    timer: libc::timer_t,
    /// The timer belongs to the thread that made it.
    _thread: PhantomData<*const ()>,
}

impl Guard {
    /// Wakes the calling thread (`EINTR`) every `milliseconds`.
    pub fn new(milliseconds: i32) -> Result<Self> {
        install();
        match wake_every(milliseconds) {
            Ok(timer) => Ok(Self {
                timer,
                _thread: PhantomData,
            }),
            Err(error) => {
                uninstall();
                Err(error)
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: the timer was made by us and is deleted once.
        unsafe { libc::timer_delete(self.timer) };
        uninstall();
    }
}

fn install() {
    let Ok(mut installed) = INSTALLED.lock() else {
        return;
    };
    installed.0 += 1;
    if installed.0 > 1 {
        return;
    }
    // No SA_RESTART: waiting is interrupted, so that the tracer takes note at once.
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    // Every stop of a task would send SIGCHLD, for nobody: the tracer asks waitpid.
    let quiet = SigAction::new(SigHandler::SigDfl, SaFlags::SA_NOCLDSTOP, SigSet::empty());
    // SAFETY: the default disposition has no handler.
    if let Ok(before) = unsafe { sigaction(Signal::SIGCHLD, &quiet) } {
        installed.1.push((Signal::SIGCHLD, before));
    }
    for signal in NOTED {
        // SAFETY: the handler only touches atomics.
        let Ok(before) = (unsafe { sigaction(signal, &action) }) else {
            continue;
        };
        if matches!(before.handler(), SigHandler::SigIgn) {
            // Ignored from the start (nohup, background jobs): stays so.
            // SAFETY: restores what was there.
            let _ = unsafe { sigaction(signal, &before) };
        } else {
            installed.1.push((signal, before));
        }
    }
}

fn uninstall() {
    let Ok(mut installed) = INSTALLED.lock() else {
        return;
    };
    installed.0 = installed.0.saturating_sub(1);
    if installed.0 == 0 {
        for (signal, before) in installed.1.drain(..) {
            // SAFETY: restores what was there before.
            let _ = unsafe { sigaction(signal, &before) };
        }
    }
}

extern "C" fn wake(_: libc::c_int) {}

/// What presyn may not write beyond `ulimit -f` is an error of that write, and does not end presyn and the command with
/// it. A handler that does nothing: unlike an ignored signal, it does not pass to the command. Who ignores the signal
/// already goes on ignoring it.
pub fn survive_file_size_limit() {
    let action = SigAction::new(
        SigHandler::Handler(wake),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing.
    let Ok(before) = (unsafe { sigaction(Signal::SIGXFSZ, &action) }) else {
        return;
    };
    if !matches!(before.handler(), SigHandler::SigDfl) {
        // SAFETY: restores what was there.
        let _ = unsafe { sigaction(Signal::SIGXFSZ, &before) };
    }
}

/// A timer that interrupts the calling thread. Its real-time signal does nothing but that, and its handler stays for
/// good: a late one must never end the process.
fn wake_every(milliseconds: i32) -> Result<libc::timer_t> {
    let signal = libc::SIGRTMIN() + 7;
    let interval = libc::timespec {
        tv_sec: (milliseconds / 1000).into(),
        tv_nsec: libc::c_long::from(milliseconds % 1000) * 1_000_000,
    };
    let times = libc::itimerspec {
        it_interval: interval,
        it_value: interval,
    };
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: all structs are plain data for which zero is valid; the handler does nothing; `timer` outlives the
    // calls that write and read it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = wake as extern "C" fn(libc::c_int) as usize;
        Errno::result(libc::sigaction(
            signal,
            &raw const action,
            std::ptr::null_mut(),
        ))?;
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        event.sigev_notify_thread_id = libc::gettid();
        Errno::result(libc::timer_create(
            libc::CLOCK_MONOTONIC,
            &raw mut event,
            &raw mut timer,
        ))?;
        Errno::result(libc::timer_settime(
            timer,
            0,
            &raw const times,
            std::ptr::null_mut(),
        ))?;
    }
    Ok(timer)
}

/// Ends this process as the command ended: by its status, or by the same signal (without a second core).
pub fn end_like(exit: super::Exit) -> ! {
    let number = match exit {
        super::Exit::Code(code) => std::process::exit(code),
        super::Exit::Signal { number, .. } => number,
    };
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    // SAFETY: the default disposition has no handler; `raise` and the mask take plain values.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, number);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::raise(number);
    }
    // Its default is not to end a process after all.
    std::process::exit(exit.shell_status())
}
