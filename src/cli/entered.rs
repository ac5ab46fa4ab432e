//! Where a command begins, and where it goes by itself: the network namespace that nsenter(1) or ip-netns(8) is about to
//! enter is the one to capture in.

use super::RunArgs;
use crate::source::capture::Netns;
use crate::source::target::{Asked, HostRoot, RunningTarget};
use crate::source::tracer::{ContainerEntrance, Entrance, NetworkEntrance};
use anyhow::Result;
use nix::unistd::geteuid;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

/// Where the command is to begin.
pub fn entrance(args: &RunArgs) -> Result<Option<Arc<Entrance>>> {
    if let Some(name) = &args.container {
        let asked = Asked::Container(name.clone());
        let target = RunningTarget::find(&asked, &HostRoot::host())?;
        let container = ContainerEntrance::open(&target)?;
        return Ok(Some(Arc::new(Entrance::Container(Box::new(container)))));
    }
    let Some(netns) = &args.netns else {
        return Ok(None);
    };
    let network = NetworkEntrance::open(&Netns::parse(netns))?;
    Ok(Some(Arc::new(Entrance::Network(network))))
}

/// The network namespace that the command enters by itself, where presyn may enter it too.
pub fn by_command(command: &[OsString]) -> Option<Netns> {
    let netns = entered(command)?;
    let may = geteuid().is_root() && netns.open().is_ok();
    may.then_some(netns)
}

fn entered(command: &[OsString]) -> Option<Netns> {
    let words: Vec<&str> = command.iter().map_while(|word| word.to_str()).collect();
    let (program, arguments) = words.split_first()?;
    match Path::new(program).file_name()?.to_str()? {
        "nsenter" => nsenter(arguments),
        "ip" => ip_netns(arguments),
        _ => None,
    }
}

/// The options of nsenter(1) that take the next word where none is attached.
const NSENTER_WITH_VALUE: [&str; 7] = ["t", "S", "G", "W", "target", "setuid", "setgid"];

fn nsenter(arguments: &[&str]) -> Option<Netns> {
    let mut target = None;
    let mut net = None;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.strip_prefix("--") {
            Some("") => break,
            Some(long) => match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            },
            None => match word.strip_prefix('-') {
                // The first word that is no option is the program.
                None | Some("") => break,
                Some(short) => {
                    let end = short.chars().next().map_or(0, char::len_utf8);
                    (&short[..end], Some(&short[end..]).filter(|v| !v.is_empty()))
                }
            },
        };
        let value = match value {
            None if NSENTER_WITH_VALUE.contains(&name) => words.next().copied(),
            value => value,
        };
        match name {
            "t" | "target" => target = value?.parse().ok(),
            "n" | "net" => net = Some(value.map(|file| Netns::Path(file.into()))),
            "a" | "all" => net = net.or(Some(None)),
            _ => {}
        }
    }
    net?.or_else(|| target.map(Netns::Process))
}

/// The options of ip(8) that take the next word.
const IP_WITH_VALUE: [&str; 10] = [
    "-n", "-netns", "-f", "-family", "-l", "-loops", "-b", "-batch", "-rc", "-rcvbuf",
];

fn ip_netns(arguments: &[&str]) -> Option<Netns> {
    let mut words = arguments.iter();
    let object = loop {
        let word = words.next()?;
        if IP_WITH_VALUE.contains(word) {
            words.next();
        } else if ["-a", "-all"].contains(word) {
            // In every namespace, one after the other.
            return None;
        } else if !word.starts_with('-') {
            break *word;
        }
    };
    let verb = words.next()?;
    // ip(8) takes the beginnings of its words.
    let meant = object.len() > 3
        && "netns".starts_with(object)
        && !verb.is_empty()
        && "exec".starts_with(verb);
    let name = words.next()?;
    meant.then(|| Netns::Named((*name).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_that_a_command_enters() {
        for (command, path) in [
            ("nsenter -t 12 -n curl", Some("/proc/12/ns/net")),
            (
                "/usr/bin/nsenter --target=12 --net -- curl",
                Some("/proc/12/ns/net"),
            ),
            ("nsenter -t12 -m -n curl -t 13", Some("/proc/12/ns/net")),
            ("nsenter --target 12 --all sh", Some("/proc/12/ns/net")),
            ("nsenter -a -t 12 -n/run/netns/x sh", Some("/run/netns/x")),
            ("nsenter --net=/run/netns/x sh", Some("/run/netns/x")),
            ("nsenter -S 0 -t 12 -n sh", Some("/proc/12/ns/net")),
            ("nsenter -t 12 -m sh -n", None),
            ("nsenter -n sh", None),
            ("nsenter -t x -n sh", None),
            ("nsenter -t", None),
            ("nsenter", None),
            ("ip netns exec blue curl", Some("/run/netns/blue")),
            ("ip -4 -f inet netn e blue curl", Some("/run/netns/blue")),
            ("ip -all netns exec curl", None),
            ("ip netns add blue", None),
            ("ip netns exec", None),
            ("ip n exec blue", None),
            ("curl nsenter -t 12 -n", None),
        ] {
            let words: Vec<OsString> = command.split(' ').map(OsString::from).collect();
            let found = entered(&words).map(|netns| netns.path().display().to_string());
            assert_eq!(found.as_deref(), path, "{command}");
        }
        assert!(entered(&[]).is_none());
    }
}
