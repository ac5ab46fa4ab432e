//! The errors of system calls that something is concluded from.

/// An error of a system call (errno(3)). Those from which nothing is concluded have only their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// `EACCES`: a rule forbids it.
    Access,
    /// `EADDRNOTAVAIL`: no local address or port is left.
    AddressNotAvailable,
    /// `EAGAIN`: not now.
    Again,
    /// `EALREADY`: an earlier connect is still under way.
    Already,
    /// `ECONNREFUSED`: the far end refused.
    ConnectionRefused,
    /// `EHOSTUNREACH`: the next hop did not answer, or a router said so.
    HostUnreachable,
    /// `EINPROGRESS`: the connect goes on in the background.
    InProgress,
    /// `EINTR`: a signal handler ran; a connect goes on in the background.
    Interrupted,
    /// `EINVAL`.
    Invalid,
    /// `EISCONN`: it is connected already.
    IsConnected,
    /// `ENETDOWN`: the interface is down.
    NetworkDown,
    /// `ENETUNREACH`: no route.
    NetworkUnreachable,
    /// `EPERM`: a rule of this host forbids it.
    NotPermitted,
    /// `ERESTARTSYS` and its like (include/linux/errno.h): a signal broke in, and the kernel makes the call again.
    Restart,
    /// `ETIMEDOUT`: nothing answered for as long as the kernel tried.
    TimedOut,
}

impl Errno {
    /// The error of this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "EACCES" => Self::Access,
            "EADDRNOTAVAIL" => Self::AddressNotAvailable,
            "EAGAIN" => Self::Again,
            "EALREADY" => Self::Already,
            "ECONNREFUSED" => Self::ConnectionRefused,
            "EHOSTUNREACH" => Self::HostUnreachable,
            "EINPROGRESS" => Self::InProgress,
            "EINTR" => Self::Interrupted,
            "EINVAL" => Self::Invalid,
            "EISCONN" => Self::IsConnected,
            "ENETDOWN" => Self::NetworkDown,
            "ENETUNREACH" => Self::NetworkUnreachable,
            "EPERM" => Self::NotPermitted,
            "ETIMEDOUT" => Self::TimedOut,
            name if name.starts_with("ERESTART") => Self::Restart,
            _ => return None,
        })
    }

    /// Whether what a call was to send cannot leave this host: no route, or a rule of its own.
    pub fn cannot_leave(self) -> bool {
        matches!(
            self,
            Self::NetworkUnreachable
                | Self::HostUnreachable
                | Self::NetworkDown
                | Self::NotPermitted
                | Self::Access
                | Self::AddressNotAvailable
        )
    }

    /// Whether `connect` gives it for stream sockets only (connect(2)).
    pub fn proves_stream(self) -> bool {
        matches!(
            self,
            Self::InProgress
                | Self::ConnectionRefused
                | Self::TimedOut
                | Self::Already
                | Self::Interrupted
        )
    }

    /// Whether a `connect` that gave it goes on in the background.
    pub fn goes_on(self) -> bool {
        matches!(self, Self::InProgress | Self::Interrupted)
    }

    /// Whether a call that gave it says nothing of how the connect under way will end.
    pub fn ends_nothing(self) -> bool {
        self.goes_on()
            || matches!(
                self,
                Self::Again | Self::Already | Self::IsConnected | Self::Restart
            )
    }

    /// Whether the kernel gives it for a `connect` after it has waited for an answer.
    pub fn follows_wait(self) -> bool {
        matches!(self, Self::TimedOut | Self::HostUnreachable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_meanings_by_name() {
        let rows = [
            // name, cannot leave, proves a stream, goes on, follows a wait
            ("ENETUNREACH", [true, false, false, false]),
            ("EHOSTUNREACH", [true, false, false, true]),
            ("EPERM", [true, false, false, false]),
            ("EINPROGRESS", [false, true, true, false]),
            ("EINTR", [false, true, true, false]),
            ("ETIMEDOUT", [false, true, false, true]),
            ("ECONNREFUSED", [false, true, false, false]),
            ("EAGAIN", [false, false, false, false]),
        ];
        for (name, expected) in rows {
            let e = Errno::named(name).expect(name);
            let meanings = [
                e.cannot_leave(),
                e.proves_stream(),
                e.goes_on(),
                e.follows_wait(),
            ];
            assert_eq!(meanings, expected, "{name}");
        }
        assert_eq!(Errno::named("ERESTART_RESTARTBLOCK"), Some(Errno::Restart));
        assert_eq!(Errno::named("EXDEV"), None);
    }
}
