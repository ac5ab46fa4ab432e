//! Waits for sockets that have no part in looking up names or connecting: Kerberos, LDAP, D-Bus, databases.

use super::ChargedParty;
use crate::event::{EventKind, Op, SocketType};
use crate::explain::Case;
use crate::join::service::name_of;
use crate::join::socket::Association;
use crate::join::{AssociationId, EventId};
use crate::time::{Span, Timestamp};
use std::collections::HashMap;

/// Shorter waits are a program's daily work.
const WORTH_SAYING: Span = Span::millis(100);

/// One wait of a thread for one socket.
#[derive(Clone, Copy, Debug)]
pub struct OtherWait {
    /// From.
    pub from: Timestamp,
    /// To.
    pub to: Timestamp,
    /// The call.
    pub call: EventId,
    /// The far end.
    pub party: ChargedParty,
}

/// The waits, by thread and in order of time. A wait belongs to the descriptor in it: where several are, nobody knows to
/// which.
pub fn waits(case: &Case) -> HashMap<Option<u32>, Vec<OtherWait>> {
    let mut list: HashMap<Option<u32>, Vec<OtherWait>> = HashMap::new();
    if !case.evidence.is_timed() {
        return list;
    }
    for (id, event) in case.evidence.numbered() {
        let EventKind::Call(call) = &event.what else {
            continue;
        };
        let waits = match &call.op {
            Op::Wait { fds, .. } => fds.len() == 1,
            Op::Receive { .. } => true,
            _ => false,
        };
        let Some(exited) = call.exited.filter(|exit| *exit - event.at >= WORTH_SAYING) else {
            continue;
        };
        let socket = case.joined.sockets.waited_for(id).filter(|_| waits);
        if let Some(party) = socket.and_then(|a| party(case, id, a)) {
            list.entry(call.task.tid).or_default().push(OtherWait {
                from: event.at,
                to: exited,
                call: id,
                party,
            });
        }
    }
    list
}

/// The far end of a socket, unless it is a resolver or a name service, or not yet connected: that is the attempt's time.
fn party(case: &Case, id: EventId, socket: AssociationId) -> Option<ChargedParty> {
    let association: &Association = &case.joined.sockets.list[socket];
    if let Some(path) = &association.path {
        return name_of(path)
            .is_none()
            .then(|| ChargedParty::Service(unix_name(path)));
    }
    let peer = association.peer?;
    let mut earlier = case.joined.sockets.calls(socket).iter();
    let used = earlier.any(|c| {
        let op = case.evidence.call(*c).map(|call| &call.op);
        *c < id && matches!(op, Some(Op::Send { .. } | Op::Receive { .. }))
    });
    let datagram = association.style == SocketType::Datagram;
    ((used || datagram) && !case.evidence.is_dns_port(peer.port))
        .then_some(ChargedParty::Endpoint(peer))
}

/// What listens on a unix socket, by its path.
fn unix_name(path: &str) -> &'static str {
    const KNOWN: &[(&str, &str)] = &[
        ("/dbus/system_bus_socket", "the D-Bus system bus"),
        ("/bus", "the D-Bus session bus"),
        ("/systemd/private", "systemd"),
        ("/systemd/userdb/", "systemd-userdbd"),
        ("/systemd/journal/", "systemd-journald"),
        ("/dev/log", "the system log"),
        (".s.PGSQL.", "a PostgreSQL socket"),
        ("mysql", "a MySQL socket"),
        ("docker.sock", "the Docker socket"),
        ("containerd.sock", "the containerd socket"),
        (".X11-unix/", "the X server"),
        ("wayland-", "the Wayland compositor"),
        ("/pulse/", "PulseAudio"),
        ("/sss/pipes/", "sssd"),
        ("/krb5", "a Kerberos socket"),
        ("ssh-", "the SSH agent"),
        ("/gnupg/", "the GnuPG agent"),
    ];
    let known = KNOWN.iter().find(|(part, _)| path.contains(part));
    known.map_or("another unix socket", |(_, name)| name)
}

/// What a port is for, where the number tells.
pub fn service_of_port(port: u16) -> Option<&'static str> {
    Some(match port {
        88 | 464 => "Kerberos",
        111 => "rpcbind",
        123 => "NTP",
        389 | 3268 => "LDAP",
        514 => "syslog",
        636 | 3269 => "LDAP over TLS",
        1433 => "SQL Server",
        1521 => "Oracle",
        2049 => "NFS",
        3306 => "MySQL",
        5432 => "PostgreSQL",
        6379 => "Redis",
        27017 => "MongoDB",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_sockets_and_ports_have_names() {
        assert_eq!(
            unix_name("/run/dbus/system_bus_socket"),
            "the D-Bus system bus"
        );
        assert_eq!(unix_name("/run/user/0/bus"), "the D-Bus session bus");
        assert_eq!(unix_name("/tmp/.s.PGSQL.5432"), "a PostgreSQL socket");
        assert_eq!(unix_name("/tmp/x"), "another unix socket");
        assert_eq!(service_of_port(88), Some("Kerberos"));
        assert_eq!(service_of_port(80), None);
    }
}
