//! How long stub resolvers wait, by arithmetic.

use crate::time::Span;

/// The resolver options of resolv.conf(5) that decide waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// `timeout:n`, seconds for the first server of the list.
    pub timeout: i64,
    /// `attempts:n`, rounds over all servers.
    pub attempts: usize,
}

impl Default for Patience {
    /// `RES_TIMEOUT` 5 and `RES_DFLRETRY` 2 of glibc's `<resolv.h>`.
    fn default() -> Self {
        Self {
            timeout: 5,
            attempts: 2,
        }
    }
}

/// How long glibc waits for the server with index `server` of `servers` over UDP: the timeout shifted left
/// by the index, divided by the number of servers from the second one on, at least a second; the same in
/// every round (`resolv/res_send.c`, `send_dg`; measured 5, 3, 6, 5, 3, 6 s with three servers).
pub fn glibc(patience: Patience, server: usize, servers: usize) -> Span {
    let shift = u32::try_from(server.min(16)).unwrap_or(16);
    let mut seconds = patience.timeout.saturating_mul(1 << shift);
    if server > 0 {
        seconds /= i64::try_from(servers.max(1)).unwrap_or(1);
    }
    Span::seconds(seconds.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_with_one_two_and_three_servers() {
        let waits = |servers| -> Vec<i64> {
            let patience = Patience::default();
            let round = || (0..servers).map(|i| glibc(patience, i, servers).0 / 1_000_000_000);
            (0..patience.attempts).flat_map(|_| round()).collect()
        };
        assert_eq!(waits(1), [5, 5]);
        assert_eq!(waits(2), [5, 5, 5, 5]);
        assert_eq!(waits(3), [5, 3, 6, 5, 3, 6]);
    }

    #[test]
    fn a_wait_is_never_shorter_than_a_second() {
        assert_eq!(
            glibc(
                Patience {
                    timeout: 1,
                    attempts: 1
                },
                1,
                3
            ),
            Span::seconds(1)
        );
    }
}
