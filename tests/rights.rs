//! What a traced command has and may reach, compared in every mode with the same command untraced: nothing of presyn's is
//! in it, nothing is missing, set-user-ID programs gain what the mode's row says, and an ordinary user cannot reach a
//! process of presyn's, nor the command's own process before its exec.
#![allow(clippy::unwrap_used)] // tests

use presyn::user::User;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How presyn is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Root runs its own command.
    Root,
    /// An ordinary user types `sudo presyn run`.
    Sudo,
    /// `-u nobody`.
    User,
    /// `-u nobody --allow-setuid`.
    AllowSetuid,
    /// An ordinary user, and a program with `cap_net_raw+ep`.
    FileCapability,
    /// An ordinary user in a user and network namespace of their own.
    Namespace,
}

/// What presyn is told not to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    Trace,
    Capture,
}

/// What set-user-ID programs and those with file capabilities get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gains {
    /// What they get untraced.
    Same,
    /// Nothing: the command has `NO_NEW_PRIVS`.
    Nothing,
}

impl Mode {
    /// The table of expectations.
    fn gains(self, without: Without) -> Gains {
        match (self, without) {
            // Nothing is traced, so nothing is in the way; root in its own namespace has no more to gain.
            (_, Without::Trace) | (Self::Root | Self::Namespace | Self::AllowSetuid, _) => {
                Gains::Same
            }
            (Self::Sudo | Self::User | Self::FileCapability, _) => Gains::Nothing,
        }
    }

    /// The command's user has every right over presyn's processes anyway: root, or root of their namespace.
    fn command_is_root(self) -> bool {
        matches!(self, Self::Root | Self::Namespace)
    }

    /// The command's process belongs to the user before its exec too: presyn has no rights to take from it. It holds
    /// what the user gave, and presyn's two pipes.
    fn child_is_users(self) -> bool {
        self == Self::FileCapability
    }

    fn needs(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Root => &[],
            Self::Sudo => &[&["sudo", "--version"], &["unshare", "-m", "true"]],
            Self::User | Self::AllowSetuid => &[&["setpriv", "--version"]],
            Self::FileCapability => &[&["setcap", "-h"]],
            Self::Namespace => &[&[
                "setpriv",
                "--reuid=nobody",
                "--regid=nogroup",
                "--clear-groups",
                "unshare",
                "-Urn",
                "true",
            ]],
        }
    }
}

/// When an allowed difference is one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// With a tracer only.
    Traced,
    /// Where programs gain nothing, as the table says.
    NoGains,
}

/// Every difference between a traced command and the same one untraced that is allowed. `*` ends a beginning.
const ALLOWED: &[(&str, When)] = &[
    ("status:Pid", When::Always),
    ("status:Tgid", When::Always),
    ("status:NStgid", When::Always),
    ("status:NSpid", When::Always),
    ("status:PPid", When::Always),
    // Group and session are compared by the keys `pgid` and `sid`: their leader's number differs from run to run.
    ("status:NSpgid", When::Always),
    ("status:NSsid", When::Always),
    // How many signals all processes of the user have queued.
    ("status:SigQ", When::Always),
    // The size of the descriptor table, which only ever grows.
    ("status:FDSize", When::Always),
    // Memory, which address randomization changes.
    ("status:Vm*", When::Always),
    ("status:Rss*", When::Always),
    ("status:voluntary_ctxt_switches", When::Always),
    ("status:nonvoluntary_ctxt_switches", When::Always),
    ("status:TracerPid", When::Traced),
    ("status:Seccomp*", When::Traced),
    ("status:Speculation*", When::Traced),
    ("status:NoNewPrivs", When::NoGains),
];

fn is_allowed(key: &str, without: Without, gains: Gains) -> bool {
    ALLOWED.iter().any(|(allowed, when)| {
        let named = match allowed.strip_suffix('*') {
            Some(beginning) => key.starts_with(beginning),
            None => key == *allowed,
        };
        named
            && match when {
                When::Always => true,
                When::Traced => without != Without::Trace,
                When::NoGains => gains == Gains::Nothing,
            }
    })
}

/// What presyn is started with: a name, and the command that does it and runs its arguments.
const SHAPES: &[(&str, &[&str])] = &[
    ("stdin closed", &["sh", "-c", "exec \"$@\" <&-", "sh"]),
    ("SIGPIPE ignored", &["env", "--ignore-signal=PIPE"]),
    (
        // And the rest that an exec passes on.
        "SIGPIPE default",
        &[
            "env",
            "--default-signal=PIPE",
            "nice",
            "-n",
            "3",
            "setpriv",
            "--pdeathsig=USR1",
            "prlimit",
            "--core=4096",
            "--nofile=300",
            "sh",
            "-c",
            "umask 027; exec \"$@\"",
            "sh",
        ],
    ),
    (
        "descriptor 9 open",
        &["sh", "-c", "exec \"$@\" 9</etc/passwd", "sh"],
    ),
];

/// Folders in which the command is looked for before it is found: time for whoever wants to reach it before its exec.
const ABSENT: usize = 40_000;

fn say(text: &str) {
    // Not eprintln: the test harness swallows what passing tests print.
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

struct Bench {
    mode: Mode,
    folder: tempfile::TempDir,
    /// What the copy of presyn is called, and its processes.
    name: String,
    user: User,
}

impl Bench {
    /// `None`: this mode does not run here; said loudly.
    fn new(mode: Mode) -> Option<Self> {
        let skip = |why: &str| {
            say(&format!("SKIPPED: rights in mode {mode:?}: {why}\n"));
            None
        };
        if !nix::unistd::geteuid().is_root() {
            return skip("not root");
        }
        let others = ["cc", "setcap", "setpriv", "timeout", "prlimit"];
        let others = others.map(|name| vec!["sh", "-c", "command -v \"$0\"", name]);
        for needed in others
            .iter()
            .map(Vec::as_slice)
            .chain(mode.needs().iter().copied())
        {
            let done = Command::new(needed[0]).args(&needed[1..]).output();
            if !done.is_ok_and(|done| done.status.success()) {
                return skip(&format!("`{}` does not work here", needed.join(" ")));
            }
        }
        let folder = tempfile::tempdir().unwrap();
        open_to_all(folder.path());
        let bench = Self {
            mode,
            name: format!("rt-{:.11}", format!("{mode:?}").to_lowercase()),
            user: User::find("nobody").unwrap(),
            folder,
        };
        fs::copy(env!("CARGO_BIN_EXE_presyn"), bench.presyn()).unwrap();
        for source in ["state", "gains", "reach"] {
            let file = format!("{}/tests/rights/{source}.c", env!("CARGO_MANIFEST_DIR"));
            done(
                Command::new("cc")
                    .args(["-O1", "-Wall", "-Werror", "-o"])
                    .arg(bench.path(source))
                    .arg(file),
            );
        }
        for (name, mode) in [("set-user-id", 0o4755), ("with-capability", 0o755)] {
            fs::copy(bench.path("gains"), bench.path(name)).unwrap();
            fs::set_permissions(bench.path(name), Permissions::from_mode(mode)).unwrap();
        }
        let setcap = |what, file| done(Command::new("setcap").arg(what).arg(file));
        setcap("cap_net_bind_service+ep", bench.path("with-capability"));
        if mode == Mode::FileCapability {
            setcap("cap_net_raw+ep", bench.presyn());
        }
        if mode == Mode::Sudo {
            let line = format!("#{} ALL=(root) NOPASSWD: ALL\n", bench.user.uid);
            fs::write(bench.path("sudoers"), line).unwrap();
            fs::set_permissions(bench.path("sudoers"), Permissions::from_mode(0o440)).unwrap();
            let tried = bench.command(&[], &["true".into()]).output().unwrap();
            if !tried.status.success() {
                return skip(&format!("sudo: {}", String::from_utf8_lossy(&tried.stderr)));
            }
        }
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn presyn(&self) -> PathBuf {
        self.path(&self.name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Becomes the user that the mode's command runs as.
    fn setpriv(&self) -> Vec<String> {
        let User { uid, gid, .. } = self.user;
        vec![
            "setpriv".into(),
            format!("--reuid={uid}"),
            format!("--regid={gid}"),
            "--init-groups".into(),
        ]
    }

    /// A command in this mode's setting, within a limit of time.
    fn command(&self, shape: &[&str], inner: &[String]) -> Command {
        let around = match self.mode {
            Mode::Root | Mode::User | Mode::AllowSetuid => vec![],
            Mode::Sudo => {
                let mount = "mount --bind \"$0\" /etc/sudoers && exec \"$@\"";
                let mut around: Vec<String> =
                    ["unshare", "-m", "sh", "-c", mount].map(Into::into).into();
                around.push(self.text("sudoers"));
                around.extend(self.setpriv());
                around.extend(["sudo", "-n"].map(Into::into));
                around
            }
            Mode::FileCapability => self.setpriv(),
            Mode::Namespace => {
                [self.setpriv(), ["unshare", "-Urn"].map(Into::into).into()].concat()
            }
        };
        let mut command = Command::new("timeout");
        command
            .args(["--foreground", "-s", "KILL", "30"])
            .args(shape)
            .args(around)
            .args(inner);
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// The words that run a command under presyn, or untraced as the same user.
    fn inner(&self, presyn: Option<Without>, command: &[&str]) -> Vec<String> {
        let mut words = match (presyn, self.mode) {
            (None, Mode::Sudo | Mode::User | Mode::AllowSetuid) => {
                // A change of the user clears it; presyn passes it on.
                [self.setpriv(), vec!["--pdeathsig=keep".into()]].concat()
            }
            (None, _) => vec![],
            (Some(without), mode) => {
                let mut words = vec![
                    self.presyn().display().to_string(),
                    "run".into(),
                    "-q".into(),
                ];
                let options: &[&str] = match mode {
                    Mode::User => &["-u", "nobody"],
                    Mode::AllowSetuid => &["-u", "nobody", "--allow-setuid"],
                    _ => &[],
                };
                words.extend(options.iter().map(|&o| o.into()));
                match without {
                    Without::Nothing => {}
                    Without::Trace => words.push("--no-trace".into()),
                    Without::Capture => words.push("--no-capture".into()),
                }
                words.push("--".into());
                words
            }
        };
        words.extend(command.iter().map(|&c| c.into()));
        words
    }

    /// Runs `state` and what comes after it.
    fn state(&self, presyn: Option<Without>, shape: &[&str]) -> State {
        let mut after = vec![self.text("set-user-id"), self.text("with-capability")];
        if presyn.is_some() && !self.mode.command_is_root() {
            after.push(format!("{} {} 0 -", self.text("reach"), self.name));
        }
        let after = after.join("; ");
        let inner = self.inner(presyn, &[&self.text("state"), &after]);
        let mut command = self.command(shape, &inner);
        // Files, the same ones each time: what they are is compared.
        command.stdout(File::create(self.path("out")).unwrap());
        command.stderr(File::create(self.path("err")).unwrap());
        let status = command.status().unwrap();
        let said = fs::read_to_string(self.path("out")).unwrap();
        let errors = fs::read_to_string(self.path("err")).unwrap();
        assert!(
            status.success(),
            "{:?} {command:?}: {status}\n{said}\n{errors}",
            self.mode
        );
        State::read(&said)
    }

    fn variants(&self) -> &'static [Without] {
        match self.mode {
            Mode::AllowSetuid => &[Without::Nothing, Without::Capture],
            _ => &[Without::Nothing, Without::Trace, Without::Capture],
        }
    }

    /// The command has and gains what it does untraced, and reaches nothing of presyn's.
    fn compare(&self, wrong: &mut Vec<String>) {
        for (name, shape) in SHAPES {
            let untraced = self.state(None, shape);
            for &without in self.variants() {
                let gains = self.mode.gains(without);
                let traced = self.state(Some(without), shape);
                let mut say = |text: String| {
                    wrong.push(format!(
                        "{:?} without {without:?}, {name}: {text}",
                        self.mode
                    ));
                };
                for (key, before, now) in untraced.differences(&traced) {
                    if !is_allowed(key, without, gains) {
                        say(format!("{key}: {before:?} untraced, {now:?} traced"));
                    }
                }
                let expected = match gains {
                    Gains::Same => untraced.gains.clone(),
                    Gains::Nothing => self.nothing_gained(),
                };
                if traced.gains != expected {
                    say(format!("{:?}, expected {expected:?}", traced.gains));
                }
                if self.mode.command_is_root() {
                    continue;
                }
                for reached in &traced.reached {
                    say(reached.clone());
                }
                // The tracer and the analysis process, with the threads that capture.
                if !traced
                    .tried
                    .starts_with("tried 1 tracers 1 analyses 0 children ")
                {
                    say(format!("not what was to be tried: {}", traced.tried));
                }
            }
        }
    }

    fn nothing_gained(&self) -> Vec<String> {
        let line = |name| format!("{name} euid {} CapEff {:016x}", self.user.uid, 0);
        vec![line("set-user-id"), line("with-capability")]
    }

    /// Untraced, both programs gain something: else the comparison says nothing.
    fn gains_something(&self) -> bool {
        let gains = self.state(None, &[]).gains;
        let changed = gains
            .iter()
            .zip(self.nothing_gained())
            .all(|(a, b)| *a != b);
        if !changed {
            say(&format!(
                "SKIPPED: programs gain no rights here ({gains:?}): nosuid?\n"
            ));
        }
        changed
    }

    /// Nobody of the command's user reaches any process of presyn's while the command's file is looked for.
    fn before_the_exec(&self, wrong: &mut Vec<String>) {
        let path = "/z:".repeat(ABSENT);
        // Where the child is the user's, a seizure would only keep presyn from tracing it.
        let spared = if self.mode.child_is_users() { "C" } else { "-" };
        for &without in self.variants() {
            let mut reach = self.setpriv();
            reach.extend([
                self.text("reach"),
                self.name.clone(),
                "2".into(),
                spared.into(),
            ]);
            let watching = Watching::start(&reach, &self.path("watched"));
            // It is looked for by its name, and never found.
            let inner = self.inner(Some(without), &["no-such-command"]);
            // Here, after sudo has set a PATH of its own.
            let inner = [vec!["/usr/bin/env".into(), format!("PATH={path}")], inner].concat();
            for _ in 0..3 {
                let ended = self.command(&[], &inner).output().unwrap();
                let text = String::from_utf8_lossy(&ended.stderr).into_owned();
                assert_eq!(ended.status.code(), Some(127), "{:?}: {text}", self.mode);
            }
            let (reached, tried) = reached(&watching.finish());
            for line in reached {
                let child = line.starts_with("REACHED C ") && self.mode.child_is_users();
                let sockets = line.contains("socket:") || line.contains("anon_inode");
                if !child || sockets {
                    wrong.push(format!(
                        "{:?} without {without:?} before the exec: {line}",
                        self.mode
                    ));
                }
            }
            if tried.contains(" 0 tracers") || tried.contains(" 0 children") {
                wrong.push(format!(
                    "{:?} without {without:?} before the exec: {tried}",
                    self.mode
                ));
            }
        }
    }

    fn run(&self) {
        if !self.mode.command_is_root() && !self.gains_something() {
            return;
        }
        let mut wrong = Vec::new();
        self.compare(&mut wrong);
        if !self.mode.command_is_root() {
            self.before_the_exec(&mut wrong);
        }
        assert!(
            wrong.is_empty(),
            "{} wrong:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}

fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
}

fn done(command: &mut Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

/// A program that runs in the background, with its output in a file. It ends with this value.
struct Watching {
    child: Child,
    output: PathBuf,
}

impl Watching {
    fn start(words: &[impl AsRef<OsStr>], output: &Path) -> Self {
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .stdout(File::create(output).unwrap());
        Self {
            child: command.spawn().unwrap(),
            output: output.to_owned(),
        }
    }

    /// Waits for its end.
    fn finish(mut self) -> String {
        assert!(self.child.wait().unwrap().success());
        fs::read_to_string(&self.output).unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run of `state` and the programs after it printed.
struct State {
    values: BTreeMap<String, String>,
    gains: Vec<String>,
    reached: Vec<String>,
    tried: String,
}

impl State {
    fn read(text: &str) -> Self {
        let (values, after) = text.split_once("==\n").unwrap();
        let pairs = values.lines().map(|line| line.split_once('\t').unwrap());
        let (reached, tried) = reached(after);
        Self {
            values: pairs
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
            gains: after
                .lines()
                .filter(|l| l.contains(" euid "))
                .map(Into::into)
                .collect(),
            reached,
            tried,
        }
    }

    fn differences<'a>(
        &'a self,
        other: &'a Self,
    ) -> Vec<(&'a str, Option<&'a str>, Option<&'a str>)> {
        let keys: std::collections::BTreeSet<_> =
            self.values.keys().chain(other.values.keys()).collect();
        keys.into_iter()
            .map(|key| {
                let value = |state: &'a Self| state.values.get(key).map(String::as_str);
                (key.as_str(), value(self), value(other))
            })
            .filter(|(_, before, now)| before != now)
            .collect()
    }
}

/// What `reach` reached, and its last line.
fn reached(text: &str) -> (Vec<String>, String) {
    let lines = |beginning| text.lines().filter(move |line| line.starts_with(beginning));
    let tried = lines("tried ").next().unwrap_or("nothing was tried");
    (lines("REACHED ").map(Into::into).collect(), tried.into())
}

fn rights(mode: Mode) {
    if let Some(bench) = Bench::new(mode) {
        bench.run();
    }
}

#[test]
fn root() {
    rights(Mode::Root);
}

#[test]
fn sudo() {
    rights(Mode::Sudo);
}

#[test]
fn as_a_user() {
    rights(Mode::User);
}

#[test]
fn as_a_user_with_gains_allowed() {
    rights(Mode::AllowSetuid);
}

#[test]
fn with_a_file_capability() {
    rights(Mode::FileCapability);
}

#[test]
fn in_a_user_namespace() {
    rights(Mode::Namespace);
}
