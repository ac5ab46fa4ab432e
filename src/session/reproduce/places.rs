//! What the client sees of the file system: the recorded configuration in /etc, and no socket of the host's name services.
//!
//! All of it is in a mount namespace of the reproduction's own (`mount_namespaces(7)`): no path of the host is made, changed
//! or removed.

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Directories of sockets through which a lookup would leave the namespaces.
const HIDDEN: [&str; 5] = [
    "/run/nscd",
    "/run/systemd/resolve",
    "/run/dbus",
    "/run/avahi-daemon",
    "/var/lib/sss/pipes",
];
/// Where a user's own sockets are, by `XDG_RUNTIME_DIR`: only below these is it hidden.
const RUNTIME_PLACES: [&str; 2] = ["/run/", "/tmp/"];
/// A directory of more entries is not rebuilt.
const MAX_ENTRIES: usize = 4_000;

/// The files of /etc that decide how names are looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The name of the host.
    pub hostname: String,
    /// resolv.conf(5)
    pub resolv_conf: String,
    /// nsswitch.conf(5)
    pub nsswitch_conf: String,
    /// hosts(5)
    pub hosts: String,
    /// gai.conf(5); an empty one leaves the defaults.
    pub gai_conf: String,
}

/// Puts everything in place, for this process and those that it starts.
pub fn arrange<'a>(
    configuration: &Configuration,
    services: impl Iterator<Item = &'a str>,
    runtime: Option<&Path>,
) -> io::Result<()> {
    let none: Option<&str> = None;
    // Nothing goes out, nothing comes in.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let mut hidden: BTreeSet<PathBuf> = BTreeSet::new();
    let runtime = runtime.filter(|path| RUNTIME_PLACES.iter().any(|p| path.starts_with(p)));
    for place in HIDDEN.iter().map(Path::new).chain(runtime) {
        hide(place, &mut hidden)?;
    }
    for socket in services {
        place_for(Path::new(socket), &mut hidden)?;
    }
    let files = [
        ("resolv.conf", &configuration.resolv_conf),
        ("nsswitch.conf", &configuration.nsswitch_conf),
        ("hosts", &configuration.hosts),
        ("gai.conf", &configuration.gai_conf),
    ];
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    rebuild(Path::new("/etc"), &names)?;
    for (name, text) in files {
        fs::write(Path::new("/etc").join(name), text)?;
    }
    Ok(())
}

/// An empty directory over another, if that is there.
fn hide(place: &Path, hidden: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let Ok(place) = place.canonicalize() else {
        return Ok(());
    };
    if place.is_dir() && hidden.insert(place.clone()) {
        empty(&place)?;
    }
    Ok(())
}

fn empty(place: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount(
        Some("tmpfs"),
        place,
        Some("tmpfs"),
        flags,
        Some("mode=0755"),
    )?;
    Ok(())
}

/// A directory in which a socket can be made: an empty one, at the path that was recorded.
fn place_for(socket: &Path, hidden: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let directory = socket.parent().unwrap_or(socket);
    if directory.is_dir() {
        return hide(directory, hidden);
    }
    let mut there = directory.ancestors().filter(|a| a.is_dir());
    let base = there.next().unwrap_or(directory).canonicalize()?;
    if hidden.insert(base.clone()) {
        rebuild(&base, &[])?;
    }
    fs::create_dir_all(directory)
}

/// The same directory as before, but one that can be written to: its entries, these aside, are mounted one by one into an
/// empty one.
fn rebuild(place: &Path, but: &[&str]) -> io::Result<()> {
    let before = open(
        place,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let entries: Vec<fs::DirEntry> = fs::read_dir(place)?
        .take(MAX_ENTRIES + 1)
        .collect::<io::Result<_>>()?;
    if entries.len() > MAX_ENTRIES {
        let what = format!("{} has more than {MAX_ENTRIES} entries", place.display());
        return Err(io::Error::other(what));
    }
    empty(place)?;
    let base = PathBuf::from(format!("/proc/self/fd/{}", before.as_raw_fd()));
    let none: Option<&str> = None;
    for entry in entries {
        let name = entry.file_name();
        if but.iter().any(|b| name == *b) {
            continue;
        }
        let (from, to) = (base.join(&name), place.join(&name));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&to)?;
        } else {
            File::create(&to)?;
        }
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&from), &to, none, bind, none)?;
    }
    Ok(())
}
