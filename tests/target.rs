//! Processes, units and containers are found from the host's own files, in the layouts of each engine; what others wrote
//! there is not believed beyond what they may say.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

use presyn::source::target::{Asked, HostRoot, RunningTarget, TargetError, TargetKind};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// A host, as far as it is looked at. Everybody may search it, as a real one.
struct Host {
    folder: tempfile::TempDir,
}

/// One process of it.
struct Running<'a> {
    pid: u32,
    comm: &'a str,
    parent: u32,
    started: u64,
    cgroup: &'a str,
    uid: u32,
}

fn id(letter: char) -> String {
    letter.to_string().repeat(64)
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let host = Self { folder };
        host.write("proc/self/status", "Name:\tx\n");
        host
    }

    fn root(&self) -> HostRoot {
        HostRoot::at(self.folder.path())
    }

    fn path(&self, of_host: &str) -> PathBuf {
        self.folder.path().join(of_host)
    }

    fn write(&self, of_host: &str, text: &str) {
        let path = self.path(of_host);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn process(&self, process: &Running<'_>) {
        let Running {
            pid,
            comm,
            parent,
            started,
            cgroup,
            uid,
        } = process;
        self.write(
            &format!("proc/{pid}/stat"),
            &format!(
                "{pid} ({comm}) S {parent} 1 1 0 -1 4194304 9 0 0 0 0 0 0 0 20 0 1 0 {started} 3133440 377 1844674407\n"
            ),
        );
        self.write(
            &format!("proc/{pid}/status"),
            &format!("Name:\t{comm}\nTgid:\t{pid}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"),
        );
        self.write(&format!("proc/{pid}/cgroup"), &format!("0::{cgroup}\n"));
    }

    /// A process of root's, which began at its own number.
    fn simple(&self, pid: u32, cgroup: &str) {
        self.process(&Running {
            pid,
            comm: "app",
            parent: 1,
            started: u64::from(pid),
            cgroup,
            uid: 0,
        });
    }

    fn cgroup(&self, path: &str, pids: &[u32]) {
        let list: Vec<String> = pids.iter().map(u32::to_string).collect();
        self.write(
            &format!("sys/fs/cgroup{path}/cgroup.procs"),
            &list.join("\n"),
        );
    }

    fn find(&self, asked: &Asked) -> Result<RunningTarget, TargetError> {
        RunningTarget::find(asked, &self.root())
    }

    fn container(&self, name: &str) -> Result<RunningTarget, TargetError> {
        self.find(&Asked::Container(name.to_owned()))
    }

    fn unit(&self, name: &str) -> Result<RunningTarget, TargetError> {
        self.find(&Asked::Unit(name.to_owned()))
    }

    /// The first process of a container, or the message.
    fn first(&self, name: &str) -> Result<u32, String> {
        self.container(name)
            .map(|target| target.first.pid)
            .map_err(|error| error.to_string())
    }
}

#[test]
fn podman_by_name_id_and_beginning_of_the_id() {
    let host = Host::new();
    let (web, db) = (id('a'), id('b'));
    let storage = "var/lib/containers/storage/overlay-containers";
    host.write(
        &format!("{storage}/containers.json"),
        &format!(
            r#"[{{"id":"{web}","names":["web"],"metadata":"{{}}"}},{{"id":"{}","names":null}}]"#,
            id('c')
        ),
    );
    host.write(
        &format!("{storage}/volatile-containers.json"),
        &format!(r#"[{{"id":"{db}","names":["db"]}}]"#),
    );
    host.write(
        &format!("run/crun/{web}/status"),
        r#"{"pid":40,"process-start-time":40,"cgroup-path":"/x","rootfs":"/r"}"#,
    );
    host.write(
        &format!("run/crun/{db}/status"),
        r#"{"pid":50,"process-start-time":50}"#,
    );
    let group = format!("/machine.slice/libpod-{web}.scope");
    host.simple(40, &format!("{group}/container"));
    // Without control groups (`--cgroups=disabled`), and the number of its process is another's now.
    host.simple(50, "/user.slice");
    host.cgroup("", &[]);
    host.cgroup(&group, &[]);
    host.cgroup(&format!("{group}/container"), &[40, 41]);
    host.cgroup(&format!("{group}/container/deeper"), &[42]);

    let target = host.container("web").unwrap();
    assert_eq!(
        (target.kind, target.name.as_str()),
        (TargetKind::Container, "web")
    );
    assert_eq!(target.first.pid, 40);
    assert_eq!(target.processes(), [40, 41, 42]);
    let container = target.container.unwrap();
    assert_eq!(
        (container.id.as_str(), container.runtime),
        (web.as_str(), "podman")
    );
    assert_eq!(host.first("aaa"), Ok(40));
    assert_eq!(host.first(&web), Ok(40));
    assert_eq!(host.first(&format!("docker://{web}")), Ok(40));
    assert_eq!(host.first("db"), Ok(50));
    let other = r#"{"pid":50,"process-start-time":49}"#;
    host.write(&format!("run/crun/{db}/status"), other);
    let error = host.first("db").unwrap_err();
    assert_eq!(error, "container db (podman) is not running");
    // Listed, and never started.
    assert_eq!(
        host.first("ccc").unwrap_err(),
        "container cccccccccccc (podman) is not running"
    );
}

#[test]
fn a_storage_configured_elsewhere_is_found() {
    let host = Host::new();
    host.write(
        "etc/containers/storage.conf",
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"/data/containers\" # big disk\nrunroot = \"/data/run\"\n",
    );
    host.write(
        "data/containers/vfs-containers/containers.json",
        &format!(r#"[{{"id":"{}","names":["web"]}}]"#, id('a')),
    );
    let pidfile = format!("data/run/vfs-containers/{}/userdata/pidfile", id('a'));
    host.write(&pidfile, "40\n");
    host.simple(40, &format!("/libpod_parent/libpod-{}", id('a')));
    assert_eq!(host.first("web"), Ok(40));
}

#[test]
fn docker_where_its_data_are() {
    let host = Host::new();
    let (web, old) = (id('a'), id('b'));
    let config = |pid: u32, name: &str| {
        format!(
            r#"{{"State":{{"Running":true,"Pid":{pid},"StartedAt":"2026-01-01T00:00:00Z"}},"ID":"x","Name":"/{name}","Config":{{"Labels":{{}}}}}}"#
        )
    };
    host.write("etc/docker/daemon.json", r#"{"data-root":"/data/docker"}"#);
    let containers = "data/docker/containers";
    host.write(
        &format!("{containers}/{web}/config.v2.json"),
        &config(40, "web"),
    );
    host.write(
        &format!("{containers}/{old}/config.v2.json"),
        &config(40, "old"),
    );
    host.simple(40, &format!("/system.slice/docker-{web}.scope"));
    let target = host.container("web").unwrap();
    assert_eq!(target.first.pid, 40);
    assert_eq!(target.container.unwrap().runtime, "docker");
    // The host has started again since: another process has the number.
    assert!(host.first("old").unwrap_err().contains("is not running"));
    // Stopped.
    host.write(
        &format!("{containers}/{web}/config.v2.json"),
        &config(0, "web"),
    );
    assert!(host.first("web").unwrap_err().contains("is not running"));
}

fn bundle(pod: &str, container: Option<&str>) -> String {
    let container = container.map_or_else(String::new, |name| {
        format!(r#","io.kubernetes.cri.container-name":"{name}""#)
    });
    format!(
        r#"{{"ociVersion":"1.1","annotations":{{"io.kubernetes.cri.sandbox-namespace":"prod","io.kubernetes.cri.sandbox-name":"{pod}"{container}}}}}"#
    )
}

#[test]
fn containerd_by_the_names_of_kubernetes() {
    let host = Host::new();
    let tasks = "run/containerd/io.containerd.runtime.v2.task";
    let task = |letter, pid: u32, text: &str| {
        let folder = format!("{tasks}/k8s.io/{}", id(letter));
        host.write(&format!("{folder}/init.pid"), &pid.to_string());
        host.write(&format!("{folder}/config.json"), text);
        host.simple(
            pid,
            &format!("/kubepods.slice/cri-containerd-{}.scope", id(letter)),
        );
    };
    task('a', 40, &bundle("api-0", Some("api")));
    task('b', 41, &bundle("api-0", Some("proxy")));
    task('c', 42, &bundle("api-0", None));
    task('d', 43, &bundle("web-0", Some("web")));
    task('e', 44, &bundle("web-0", None));
    // `ctr run … redis`: the user's own id.
    host.write(&format!("{tasks}/default/redis/init.pid"), "45");
    host.simple(45, "/default/redis");

    assert_eq!(host.first("prod/api-0/api"), Ok(40));
    assert_eq!(host.first("api-0/proxy"), Ok(41));
    assert_eq!(host.first("proxy"), Ok(41));
    // The only container of its pod beside the sandbox.
    assert_eq!(host.first("web-0"), Ok(43));
    assert_eq!(host.first("prod/web-0"), Ok(43));
    assert_eq!(host.first("redis"), Ok(45));
    assert_eq!(host.first(&id('c')), Ok(42), "a sandbox by its id");
    assert_eq!(host.container("web").unwrap().name, "prod/web-0/web");
    let error = host.first("api-0").unwrap_err();
    for candidate in [id('a'), id('b'), "prod/api-0/proxy (containerd)".to_owned()] {
        assert!(error.contains(&candidate), "{error}");
    }
    assert!(!error.contains(&id('c')), "{error}");
    assert_eq!(error.lines().count(), 3, "{error}");
}

#[test]
fn cri_o_by_pidfile_and_the_names_of_kubernetes() {
    let host = Host::new();
    let names = |letter, name: &str| format!(r#"{{"id":"{}","names":["{name}"]}}"#, id(letter));
    host.write(
        "var/lib/containers/storage/overlay-containers/containers.json",
        &format!(
            "[{},{},{}]",
            names('a', "k8s_api_api-0_prod_2f1c_1"),
            names('b', "k8s_POD_api-0_prod_2f1c_0"),
            names('c', "k8s_api_api-0_prod_2f1c_0"),
        ),
    );
    for (letter, pid) in [('a', 40), ('b', 41), ('c', 42)] {
        let userdata = format!(
            "run/containers/storage/overlay-containers/{}/userdata",
            id(letter)
        );
        host.write(&format!("{userdata}/pidfile"), &pid.to_string());
    }
    host.simple(40, &format!("/kubepods.slice/crio-{}.scope", id('a')));
    host.simple(41, &format!("/kubepods.slice/crio-{}.scope", id('b')));
    // The first attempt has ended, and its number is of another process.
    host.simple(42, "/system.slice/cron.service");
    assert_eq!(host.first("prod/api-0/api"), Ok(40));
    assert_eq!(host.first("api-0"), Ok(40));
    assert_eq!(
        host.container("api").unwrap().container.unwrap().runtime,
        "CRI-O"
    );
}

#[test]
fn runtimes_without_an_engine() {
    let host = Host::new();
    host.write(
        "run/runc/mine/state.json",
        r#"{"id":"mine","init_process_pid":40,"init_process_start":40,"config":{"rootfs":"/x"}}"#,
    );
    host.write(
        "run/crun/yours/status",
        r#"{"pid":41,"process-start-time":7}"#,
    );
    host.simple(40, "/");
    host.simple(41, "/");
    assert_eq!(host.first("mine"), Ok(40));
    assert_eq!(
        host.first("yours").unwrap_err(),
        "container yours (crun) is not running"
    );
}

#[test]
fn an_unknown_engine_by_the_control_group() {
    let host = Host::new();
    let (one, other) = (id('a'), format!("ab{}", &id('c')[2..]));
    // The oldest process is the first one, whatever its number.
    for (pid, started) in [(900, 5), (40, 8)] {
        host.process(&Running {
            pid,
            comm: "app",
            parent: 1,
            started,
            cgroup: &format!("/engine/{one}/inner"),
            uid: 0,
        });
    }
    host.simple(50, &format!("/engine/{other}"));
    host.simple(
        51,
        &format!("/machine.slice/libpod-conmon-{}.scope", id('d')),
    );
    // A container that makes a control group with the name of another container's.
    host.simple(52, &format!("/engine/{one}/docker/{}", id('e')));
    assert_eq!(host.first("aa"), Ok(900));
    assert_eq!(host.first("ab"), Ok(50));
    let error = host.first("a").unwrap_err();
    assert!(error.contains(&one) && error.contains(&other), "{error}");
    for none in ["dd", "ee"] {
        let error = host.first(none).unwrap_err();
        assert!(error.starts_with("no container has the name"), "{error}");
    }
}

/// A user with containers, whose files are read with that user's rights.
fn with_user(host: &Host) -> String {
    let home = "home/u";
    host.write(
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n",
    );
    host.write("etc/subuid", "u:100000:65536\n");
    fs::create_dir_all(host.path("run/user/1000")).unwrap();
    format!("{home}/.local/share/containers/storage/overlay-containers")
}

#[test]
fn a_rootless_user_names_processes_of_their_own_only() {
    let host = Host::new();
    let storage = with_user(&host);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: other users' containers are looked at by root only");
        return;
    }
    host.write(
        &format!("{storage}/containers.json"),
        &format!(
            r#"[{{"id":"{}","names":["mine"]}},{{"id":"{}","names":["theft"]}},{{"id":"{}","names":["web"]}}]"#,
            id('a'),
            id('b'),
            id('c')
        ),
    );
    for (letter, pid) in [('a', 40), ('b', 41), ('c', 40)] {
        host.write(
            &format!("run/user/1000/crun/{}/status", id(letter)),
            &format!(r#"{{"pid":{pid},"process-start-time":{pid}}}"#),
        );
    }
    let of_user = |pid, uid| {
        host.process(&Running {
            pid,
            comm: "app",
            parent: 1,
            started: u64::from(pid),
            cgroup: "/user.slice",
            uid,
        });
    };
    of_user(40, 100_998);
    of_user(41, 0);
    assert_eq!(host.first("mine"), Ok(40));
    let error = host.first("theft").unwrap_err();
    assert!(error.contains("belongs to another user"), "{error}");
    // The system's container of that name, even a stopped one, is what root means.
    let docker = format!("var/lib/docker/containers/{}/config.v2.json", id('d'));
    host.write(&docker, r#"{"Name":"/web","State":{"Pid":0}}"#);
    assert_eq!(
        host.first("web").unwrap_err(),
        "container web (docker) is not running"
    );
    // A record of the system's with the same id is not completed by the user's.
    let docker = format!("var/lib/docker/containers/{}/config.v2.json", id('b'));
    host.write(&docker, r#"{"Name":"/db","State":{"Pid":0}}"#);
    assert_eq!(
        host.first("db").unwrap_err(),
        "container db (docker) is not running"
    );
}

/// A link of the user's leads nowhere that the user could not go.
#[test]
fn a_rootless_users_files_are_read_with_that_users_rights() {
    let host = Host::new();
    let storage = with_user(&host);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: other users' containers are looked at by root only");
        return;
    }
    fs::create_dir_all(host.path(&storage)).unwrap();
    let secret = host.path("secret.json");
    fs::write(
        &secret,
        format!(r#"[{{"id":"{}","names":["secret"]}}]"#, id('e')),
    )
    .unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&secret, Some(0), Some(0)).unwrap();
    let list = host.path(&format!("{storage}/containers.json"));
    symlink(&secret, &list).unwrap();
    let error = host.first("secret").unwrap_err();
    assert!(error.contains("only root may read"), "{error}");
}

#[test]
fn what_is_no_record_is_said_and_stops_nothing() {
    let host = Host::new();
    let containers = "var/lib/docker/containers";
    let good = id('a');
    host.write(
        &format!("{containers}/{good}/config.v2.json"),
        r#"{"Name":"/web","State":{"Pid":40}}"#,
    );
    host.simple(40, &format!("/docker/{good}"));
    let bad = |name: &str, text: &str| {
        host.write(&format!("{containers}/{name}/config.v2.json"), text);
    };
    bad(&id('b'), "{");
    bad(
        &id('c'),
        &format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)),
    );
    bad(&id('d'), r#"{"Name":"/x","State":{"Pid":-1}}"#);
    bad("..hidden", r#"{"Name":"/y","State":{"Pid":40}}"#);
    fs::create_dir_all(host.path(&format!("{containers}/{}", id('e')))).unwrap();
    let fifo = host.path(&format!("{containers}/{}/config.v2.json", id('e')));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let long = host.path(&format!("{containers}/{}/config.v2.json", id('f')));
    fs::create_dir_all(long.parent().unwrap()).unwrap();
    fs::File::create(&long).unwrap().set_len(1 << 30).unwrap();
    host.write("run/crun/x/status", r#"{"pid":99999999999999999999}"#);

    assert_eq!(host.first("web"), Ok(40));
    let error = host.first("nothing").unwrap_err();
    for part in [
        "no container has the name 'nothing' or an id that begins with it",
        "running: web (docker)",
        "not understood",
        "not a regular file",
        "longer than 8 MiB",
        "presyn attach PID",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // A name cannot add lines to the message.
    let forged = format!("{containers}/{}/config.v2.json", id('1'));
    host.write(
        &forged,
        r#"{"Name":"/x\npresyn: all is well\u001b[2J","State":{"Pid":41}}"#,
    );
    host.simple(41, &format!("/docker/{}", id('1')));
    let error = host.first("nothing").unwrap_err();
    let shown = "x\\u{a}presyn: all is well\\u{1b}[2J (docker)";
    assert!(error.contains(shown), "{error}");
    assert!(host.first("").unwrap_err().starts_with("no container"));
    assert!(
        host.first("../../etc")
            .unwrap_err()
            .starts_with("no container")
    );
}

/// A host with units of the system, of a container and of two users.
fn with_units() -> Host {
    let host = Host::new();
    let inside = format!("/system.slice/docker-{}.scope/system.slice", id('a'));
    let manager = |user: u32| format!("/user.slice/user-{user}.slice/user@{user}.service");
    for (path, pids) in [
        ("", &[][..]),
        ("/system.slice", &[]),
        ("/system.slice/nginx.service", &[40, 41]),
        ("/system.slice/nginx.service/workers", &[42]),
        ("/system.slice/empty.service", &[]),
        ("/system.slice/system-getty.slice/getty@tty1.service", &[43]),
        ("/system.slice/system-getty.slice/getty@tty2.service", &[44]),
        ("/system.slice/_cpu.service", &[45]),
        ("/system.slice/mnt-a\\x20b.mount", &[46]),
        (&format!("{inside}/inner.service"), &[47]),
        (&manager(1000), &[]),
        (&format!("{}/app.slice/nginx.service", manager(1000)), &[50]),
        (&format!("{}/app.slice/sync.service", manager(1000)), &[60]),
        (&format!("{}/app.slice/only.service", manager(1000)), &[70]),
        (&manager(1001), &[]),
        (&format!("{}/app.slice/nginx.service", manager(1001)), &[51]),
        (&format!("{}/app.slice/sync.service", manager(1001)), &[61]),
    ] {
        host.cgroup(path, pids);
        for pid in pids {
            host.simple(*pid, "/");
        }
    }
    // Older than the one with a lower number.
    host.process(&Running {
        pid: 41,
        comm: "master",
        parent: 1,
        started: 3,
        cgroup: "/",
        uid: 0,
    });
    host.write("usr/lib/systemd/system/down.service", "[Unit]\n");
    host.write("usr/lib/systemd/system/vm@.service", "[Unit]\n");
    host
}

#[test]
fn units_of_the_system_come_before_those_of_users() {
    let host = with_units();
    let target = host.unit("nginx").unwrap();
    assert_eq!(
        (target.kind, target.name.as_str()),
        (TargetKind::Unit, "nginx.service")
    );
    assert_eq!(target.first.pid, 41, "the oldest");
    assert_eq!(target.processes(), [40, 41, 42]);
    let only = host.unit("only").unwrap();
    assert_eq!(only.name, "only.service (of user 1000)");
    for (name, first) in [
        ("nginx.service", 41),
        ("getty@tty2", 44),
        ("cpu.service", 45),
        ("mnt-a\\x20b.mount", 46),
        ("mnt-a b.mount", 46),
        ("only", 70),
        ("system-getty.slice", 43),
        (
            "/user.slice/user-1001.slice/user@1001.service/app.slice/sync.service",
            61,
        ),
    ] {
        assert_eq!(host.unit(name).unwrap().first.pid, first, "{name}");
    }
}

#[test]
fn a_unit_that_is_not_found_is_explained() {
    let host = with_units();
    for (name, parts) in [
        (
            "inner",
            vec!["no unit inner.service has a control group in"],
        ),
        ("empty", vec!["unit empty.service", "has no process now"]),
        (
            "down",
            vec![
                "unit down.service",
                "systemd/system/down.service",
                "has no process now",
            ],
        ),
        ("vm@1", vec!["unit vm@1.service", "vm@.service"]),
        (
            "getty@",
            vec!["is a template", "getty@tty1.service", "getty@tty2.service"],
        ),
        (
            "sync",
            vec!["may be any of 2", "user@1000.service", "user@1001.service"],
        ),
        (
            "ngin",
            vec!["no unit ngin.service", "similar names: nginx.service"],
        ),
        (
            "../system.slice/nginx.service",
            vec!["no unit ../system.slice"],
        ),
        ("/", vec!["no unit /"]),
        ("", vec!["no unit .service"]),
    ] {
        let error = host.unit(name).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{name}: {part}: {error}");
        }
    }
}

#[test]
fn units_in_version_1_and_hybrid_hierarchies() {
    for hierarchy in ["unified", "systemd"] {
        let host = Host::new();
        let write = |path: &str, text: &str| {
            host.write(
                &format!("sys/fs/cgroup/{hierarchy}{path}/cgroup.procs"),
                text,
            );
        };
        write("", "1\n");
        write("/system.slice", "");
        write("/system.slice/nginx.service", "40\n");
        // Controllers have folders of that name as well.
        host.write(
            "sys/fs/cgroup/memory/system.slice/nginx.service/cgroup.procs",
            "99\n",
        );
        host.simple(40, "/");
        assert_eq!(host.unit("nginx").unwrap().processes(), [40], "{hierarchy}");
    }
    let host = Host::new();
    fs::create_dir_all(host.path("sys/fs/cgroup")).unwrap();
    let error = host.unit("nginx").unwrap_err().to_string();
    assert!(error.contains("no control group hierarchy"), "{error}");
}

#[test]
fn processes_by_number() {
    let host = Host::new();
    let process = |pid, parent| {
        host.process(&Running {
            pid,
            comm: "a) S 1",
            parent,
            started: u64::from(pid),
            cgroup: "/",
            uid: 0,
        });
    };
    process(40, 1);
    process(41, 40);
    process(42, 41);
    process(50, 1);
    let asked = |pids: &[u32]| host.find(&Asked::Processes(pids.to_vec()));
    let target = asked(&[40, 50]).unwrap();
    assert_eq!(target.name, "a) S 1 (pid 40), a) S 1 (pid 50)");
    assert_eq!(target.processes(), [40, 41, 42, 50]);
    // A parent has ended, and its child goes on.
    fs::remove_dir_all(host.path("proc/41")).unwrap();
    process(42, 1);
    assert_eq!(target.processes(), [40, 42, 50]);
    // Another process has the number.
    host.process(&Running {
        pid: 50,
        comm: "other",
        parent: 1,
        started: 999,
        cgroup: "/",
        uid: 0,
    });
    assert_eq!(target.processes(), [40, 42]);
    assert!(target.first_is_running());
    fs::remove_dir_all(host.path("proc/40")).unwrap();
    assert!(!target.first_is_running());

    host.write(
        "proc/60/stat",
        "60 (kworker) S 2 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 60 0",
    );
    host.write(
        "proc/61/stat",
        "61 (x) Z 2 0 0 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 61 0",
    );
    host.write(
        "proc/62/stat",
        "62 (x) S 2 0 0 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 62 0",
    );
    host.write("proc/62/status", "Tgid:\t50\n");
    for (pids, words) in [
        (&[][..], "no process is named"),
        (&[7], "there is no process 7"),
        (&[60], "is a kernel thread"),
        (&[61], "has ended"),
        (&[62], "is a thread of process 50; give 50"),
    ] {
        let error = asked(pids).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn this_host_has_these_processes() {
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let asked = Asked::Processes(vec![child.id()]);
    let target = RunningTarget::find(&asked, &HostRoot::host()).unwrap();
    assert_eq!(target.processes(), [child.id()]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(target.processes().is_empty());
    assert!(!target.first_is_running());
    assert!(Path::new("/proc/self/cgroup").exists());
}
