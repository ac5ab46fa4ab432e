//! `presyn run --container` with real podman and crun, in a mount namespace of its own: nothing of the host's storage is
//! used. `--netns`, nsenter and ip-netns with real namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What every script begins with: storage, state and control groups of its own. crun gets a configuration without limits,
/// which a root without `CAP_SYS_RESOURCE` may not set.
const PROLOGUE: &str = r#"
set -e
mount --make-rprivate /
umount -l /sys/fs/cgroup 2>/dev/null || :
mount -t cgroup2 none /sys/fs/cgroup
for folder in /var/lib/containers /run/containers /run/crun /run/libpod /dev/shm; do
    mkdir -p $folder
    mount -t tmpfs none $folder
done
cat > $T/crun <<'END'
#!/bin/sh
previous=
for word in "$@"; do
    case $previous in --bundle|-b) config=$word/config.json;; esac
    previous=$word
done
[ -z "$config" ] || sed -i 's/"rlimits":\[[^]]*\]/"rlimits":[]/' "$config"
exec /usr/bin/crun "$@"
END
chmod +x $T/crun
start() {
    name=$1
    shift
    podman --runtime $T/crun run -d --name $name --cgroups=disabled --network=none "$@" tiny /bin/sleep 600 >/dev/null
}
image() {
    for program in sh cat sleep grep getent readlink env ls $T/probe $T/forger; do
        file=$(command -v $program)
        mkdir -p $T/root/bin $T/root/etc $T/root/tmp
        cp -L $file $T/root/bin/
        for library in $(ldd $file 2>/dev/null | grep -o '/[^ ]*'); do
            mkdir -p $T/root$(dirname $library)
            cp -L $library $T/root$library
        done
    done
    for library in libnss_dns.so.2 libnss_files.so.2 libresolv.so.2; do
        found=$(ldconfig -p | grep -o "/.*/$library" | head -1)
        [ -z "$found" ] || { mkdir -p $T/root$(dirname $found); cp -L $found $T/root$found; }
    done
    echo 'hosts: files dns' > $T/root/etc/nsswitch.conf
    echo 'nameserver 127.0.0.9' > $T/root/etc/resolv.conf
    printf '#!/proc/self/exe\n' > $T/root/bin/presyn-as-interpreter
    chmod +x $T/root/bin/presyn-as-interpreter
    tar -C $T/root -cf - . | podman import - tiny >/dev/null 2>&1
}
trap '{ podman kill -a; podman rm -f -a; } >/dev/null 2>&1 || :' EXIT
"#;

/// What a container's program may do that would be a gain: type into the terminal.
const PROBE: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <sys/ioctl.h>
int main(void) {
    char c = 'x';
    int sti = ioctl(0, TIOCSTI, &c), sti_errno = errno;
    (void)sti;
    printf("TIOCSTI %d\n", sti_errno);
    return 0;
}
"#;

/// A container's program with `CAP_SYS_PTRACE`: writes into the pipes of presyn's child that the process of its argument is
/// the child to go on with.
const FORGER: &str = r#"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char report[5] = "P", path[300], link[300];
    int victim = atoi(argv[1]);
    memcpy(report + 1, &victim, 4);
    for (;;) {
        DIR *processes = opendir("/proc");
        for (struct dirent *p; (p = readdir(processes));) {
            if (atoi(p->d_name) < 2) continue;
            snprintf(path, sizeof path, "/proc/%s/exe", p->d_name);
            ssize_t n = readlink(path, link, sizeof link - 1);
            if (n < 0 || strncmp(link, "/memfd:presyn", 13)) continue;
            snprintf(path, sizeof path, "/proc/%s/fd", p->d_name);
            DIR *fds = opendir(path);
            if (!fds) continue;
            for (struct dirent *f; (f = readdir(fds));) {
                if (atoi(f->d_name) < 3) continue;
                snprintf(path, sizeof path, "/proc/%s/fd/%s", p->d_name, f->d_name);
                int fd = open(path, O_WRONLY | O_NONBLOCK);
                if (fd >= 0 && write(fd, report, 5) == 5) { printf("forged\n"); fflush(stdout); }
                if (fd >= 0) close(fd);
            }
            closedir(fds);
        }
        closedir(processes);
    }
    return argc;
}
"#;

fn presyn() -> &'static str {
    env!("CARGO_BIN_EXE_presyn")
}

fn skip(why: &str) {
    // Not eprintln: the test harness swallows what passing tests print.
    let said = format!("SKIPPED: {why}; what it would show is NOT checked\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}

/// Whether this can run here; says loudly where it cannot.
fn permitted(programs: &[&str]) -> bool {
    if !nix::unistd::geteuid().is_root() {
        skip("entering containers and namespaces takes root");
        return false;
    }
    for program in programs {
        let found = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder| folder.join(program).exists())
        });
        if !found {
            skip(&format!("{program} is not installed"));
            return false;
        }
    }
    true
}

/// A script, run in a mount namespace of its own. `$T` is its folder, `$P` presyn.
struct Script {
    folder: tempfile::TempDir,
}

impl Script {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its standard output.
    fn run(&self, text: &str) -> String {
        let ran = Command::new("timeout")
            .args(["-k", "5", "150", "unshare", "-m", "sh", "-c", text])
            .env("T", self.folder.path())
            .env("P", presyn())
            .env("SECRET_OF_THE_HOST", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&ran.stdout).into_owned(),
            String::from_utf8_lossy(&ran.stderr).into_owned(),
        );
        assert!(ran.status.success(), "{}\n{out}\n{err}", ran.status);
        out
    }

    /// The same, with podman's containers.
    fn with_podman(&self, text: &str) -> String {
        for (name, program) in [("probe", PROBE), ("forger", FORGER)] {
            let source = self.path(&format!("{name}.c"));
            fs::write(&source, program).unwrap();
            let built = Command::new("cc")
                .args([&source, Path::new("-o"), &self.path(name)])
                .status();
            assert!(built.unwrap().success());
        }
        self.run(&format!("{PROLOGUE}\nimage\n{text}"))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

const PODMAN: [&str; 6] = ["podman", "crun", "unshare", "cc", "ldd", "conmon"];

/// The lines of a status that say what a process may do.
const RIGHTS: &str = "grep -E '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb):' /proc/PID/status; for n in user mnt net pid uts ipc cgroup; do readlink /proc/PID/ns/$n; done; cat /proc/PID/cgroup";

fn rights(of: &str) -> String {
    RIGHTS.replace("PID", of)
}

#[test]
fn a_command_in_a_container_has_the_rights_of_its_first_process() {
    if !permitted(&PODMAN) {
        return;
    }
    let script = Script::new();
    let both = format!(
        "echo own; {}; echo first; {}; echo end; grep -E '^(NoNewPrivs|Seccomp)' /proc/self/status",
        rights("self"),
        rights("1")
    );
    let out = script.with_podman(&format!(
        r#"
start plain
start user --user 1000:1000 --cap-drop ALL --security-opt no-new-privileges
start mapped --uidmap 0:100000:65536 --gidmap 0:100000:65536
# A control group of its own, as it would have where podman makes them.
mkdir /sys/fs/cgroup/presyn-test-$$
pid=$(podman inspect -f '{{{{.State.Pid}}}}' plain)
echo $pid > /sys/fs/cgroup/presyn-test-$$/cgroup.procs
grep presyn-test /proc/$pid/cgroup
for name in plain user mapped; do
    echo "container $name"
    status=0
    $P run -q --container $name -- sh -c "$(cat <<'END'
{both}
exit 7
END
)" || status=$?
    echo "status $status"
done
kill -9 $pid
until rmdir /sys/fs/cgroup/presyn-test-$$ 2>/dev/null; do sleep 0.1; done
"#
    ));
    assert!(out.contains(":/presyn-test-"), "{out}");
    let parts: Vec<&str> = out.split("container ").skip(1).collect();
    assert_eq!(parts.len(), 3, "{out}");
    for part in parts {
        is_as_the_first_process(part);
    }
}

/// What a command in a container said about itself and about that container's first process.
fn is_as_the_first_process(part: &str) {
    let (before, rest) = part.split_once("first\n").unwrap();
    let (_, own) = before.split_once("own\n").unwrap();
    let (first, after) = rest.split_once("end\n").unwrap();
    assert!(own.contains("CapBnd:") && own.contains("net:["), "{part}");
    assert_eq!(own, first, "{part}");
    // podman's filter, presyn's own, and the one against typing into the terminal.
    assert!(after.contains("Seccomp_filters:\t3"), "{part}");
    assert!(part.contains("status 7"), "{part}");
    if part.starts_with("user") {
        assert!(own.contains("Uid:\t1000\t1000\t1000\t1000"), "{part}");
        assert!(after.contains("NoNewPrivs:\t1"), "{part}");
    }
    if part.starts_with("plain") {
        assert!(own.contains("CapBnd:\t00000000"), "bounded: {part}");
        assert!(after.contains("NoNewPrivs:\t0"), "{part}");
    }
}

#[test]
fn a_hostile_container_is_given_nothing_of_the_hosts() {
    if !permitted(&PODMAN) {
        return;
    }
    let script = Script::new();
    let out = script.with_podman(
        r#"
start web
echo fds
$P run -q --container web -- sh -c 'ls /proc/self/fd; echo env; env; echo cwd; readlink /proc/self/cwd; echo probe; probe' 9</etc 8>$T/host-file
echo at-once
for one in 1 2 3 4 5 6 7 8; do
    { $P run -q --no-capture --container web -- sh -c 'exit 9' || echo $?; } &
done
wait
echo exe
$P run -q --container web -- sleep 2 &
sleep 1
readlink /proc/$!/exe
wait $!
echo interpreter
sum=$(md5sum < $P)
$P run -q --container web -- /bin/presyn-as-interpreter 2>/dev/null && echo ran || echo refused
[ "$sum" = "$(md5sum < $P)" ] && echo same
echo directory
$P run -q --container web -- true </ 2>&1 || echo status $?
echo case
mkdir -m 700 $T/cases
$P run -q --save $T/cases/one --report $T/report --container web -- sh -c 'ls /tmp'
ls $T/cases/one
"#,
    );
    let after = |name: &str| out.split(&format!("{name}\n")).nth(1).unwrap();
    let descriptors: Vec<&str> = after("fds").lines().take_while(|l| *l != "env").collect();
    // The fourth is that of ls.
    assert_eq!(descriptors, ["0", "1", "2", "3"], "{out}");
    assert!(after("env").contains("container=podman"), "{out}");
    assert!(!out.contains("SECRET_OF_THE_HOST"), "{out}");
    assert!(after("cwd").starts_with("/\n"), "{out}");
    assert!(after("probe").starts_with("TIOCSTI 1\n"), "EPERM: {out}");
    // Each reads the filters of the first process, which has one tracer at a time.
    assert!(after("at-once").starts_with(&"9\n".repeat(8)), "{out}");
    assert!(after("exe").starts_with("/memfd:presyn"), "{out}");
    assert!(after("interpreter").contains("same"), "{out}");
    let directory = after("directory");
    assert!(
        directory.contains("standard stream 0 is a directory"),
        "{out}"
    );
    assert!(directory.contains("status 125"), "{out}");
    let case = after("case");
    assert!(
        case.contains("trace.jsonl") && case.contains("packets.pcap"),
        "{out}"
    );
}

/// What a container with `CAP_SYS_PTRACE` writes into the child's pipe makes presyn trace no other process: it would kill
/// that one with itself.
#[test]
fn a_container_that_may_trace_cannot_name_another_process() {
    if !permitted(&PODMAN) {
        return;
    }
    let script = Script::new();
    let out = script.with_podman(
        r"
sleep 120 &
victim=$!
podman --runtime $T/crun run -d --name forger --cap-add SYS_PTRACE --cgroups=disabled --network=none tiny /bin/forger $victim >/dev/null
runs=0
until podman logs forger 2>&1 | grep -q forged || [ $runs -ge 40 ]; do
    timeout 10 $P run -q --container forger -- ls / >/dev/null 2>&1 || :
    runs=$((runs + 1))
done
podman logs forger | sort -u
grep -E '^(State|TracerPid)' /proc/$victim/status
kill $victim
",
    );
    assert!(out.contains("forged"), "the attack was not made: {out}");
    assert!(out.contains("TracerPid:\t0"), "{out}");
    assert!(out.contains("State:\tS"), "{out}");
}

#[test]
fn a_lookup_in_a_container_is_explained_by_its_own_files_and_packets() {
    if !permitted(&PODMAN) {
        return;
    }
    let script = Script::new();
    let out = script.with_podman(
        r#"
start web
start other --rm
id=$(podman inspect -f '{{.Id}}' web)
$P run -q --save $T/case --report $T/report --container "$(echo $id | cut -c1-9)" -- getent hosts nothing.example || echo "status $?"
podman kill web >/dev/null
podman wait web >/dev/null 2>&1 || :
for name in web nothing $id; do
    $P run -q --container $name -- true 2>&1 || echo "status $?"
done
$P run -q --container other -- no-such-program 2>&1 || echo "status $?"
$P run -q --container other -u root -- true 2>&1 || echo "status $?"
group=/sys/fs/cgroup/presyn-test-$$
mkdir $group
pid=$(podman inspect -f '{{.State.Pid}}' other)
echo $pid > $group/cgroup.procs
echo 1 > $group/cgroup.freeze
until grep -q 'frozen 1' $group/cgroup.events; do sleep 0.1; done
timeout 20 $P run -q --container other -- ls 2>&1 || echo "status $?"
echo 0 > $group/cgroup.freeze
kill -9 $pid
until rmdir $group 2>/dev/null; do sleep 0.1; done
"#,
    );
    assert!(out.contains("status 2\n"), "getent's own: {out}");
    assert_eq!(script.read("case/resolv.conf"), "nameserver 127.0.0.9\n");
    assert!(
        script
            .read("case/nsswitch.conf")
            .starts_with("hosts: files dns")
    );
    let report = script.read("report");
    for part in ["127.0.0.9", "refused", "resolver-refused", "packets.pcap:"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    for part in [
        "presyn: container web (podman) is not running\nstatus 125",
        "no container has the name 'nothing'",
        "\n    running: other (podman)\n",
        "container other is paused; resume it first\nstatus 125",
        "cannot run 'no-such-program' in container other: No such file or directory\nstatus 127",
        "cannot be used with",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

/// Two namespaces of the network: one that ip-netns(8) named, with a resolv.conf of its own.
const NAMESPACES: &str = r"
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/netns
mount -t tmpfs none /etc/netns 2>/dev/null || { mkdir -p $T/etc $T/work; mount -t overlay -o lowerdir=/etc,upperdir=$T/etc,workdir=$T/work none /etc; mkdir -p /etc/netns; }
mkdir -p /etc/netns/blue
echo 'nameserver 127.0.0.7' > /etc/netns/blue/resolv.conf
ip netns add blue
ip -n blue link set lo up
ip -n blue link add only-in-blue type bridge
trap 'ip netns del blue' EXIT
";

#[test]
fn commands_in_network_namespaces_are_captured_where_they_run() {
    if !permitted(&["ip", "nsenter", "unshare", "getent"]) {
        return;
    }
    let script = Script::new();
    let ask = "getent hosts nothing.example";
    let out = script.run(&format!(
        r#"{NAMESPACES}
run() {{
    name=$1
    shift
    $P run -q --save $T/$name --report $T/$name.report "$@" {ask} || echo "$name $?"
}}
run named --netns blue --
run path --netns /run/netns/blue --
ip netns exec blue sleep 60 &
sleep 0.5
run pid --netns $! --resolv-conf /etc/netns/blue/resolv.conf --
run nsenter -- nsenter -t $! -n -m
run exec -- ip netns exec blue
kill $!
$P run -q --netns blue -- readlink /proc/self/ns/net
ip netns exec blue readlink /proc/self/ns/net
$P run -q --netns blue -- ls /sys/class/net
$P run -q --netns nope -- true 2>&1 || echo "nope $?"
$P run -q --netns /etc/passwd -- true 2>&1 || echo "file $?"
$P run -q -u nobody --netns blue -- sh -c 'id -u; cat /etc/resolv.conf'
"#
    ));
    for name in ["named", "path", "pid", "nsenter", "exec"] {
        assert!(out.contains(&format!("{name} 2\n")), "{name}: {out}");
        let report = script.read(&format!("{name}.report"));
        for part in ["127.0.0.7", "resolver-refused", "packets.pcap:"] {
            assert!(report.contains(part), "{name}: {part}: {report}");
        }
        let header = script.read(&format!("{name}/trace.jsonl"));
        let header = header.lines().next().unwrap();
        assert!(header.contains("only-in-blue"), "{name}: {header}");
        assert!(header.contains("\"any\""), "{name}: {header}");
    }
    let lines: Vec<&str> = out.lines().filter(|l| l.starts_with("net:[")).collect();
    assert!(lines.len() == 2 && lines[0] == lines[1], "{out}");
    assert!(out.contains("only-in-blue"), "{out}");
    assert!(out.contains("cannot enter network namespace nope"), "{out}");
    assert!(
        out.contains("nope 125\n") && out.contains("file 125\n"),
        "{out}"
    );
    assert!(out.contains("65534\nnameserver 127.0.0.7"), "{out}");
}
