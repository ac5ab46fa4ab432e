//! The seccomp filter: which calls stop the program. Written by hand, because ready-made builders kill calls
//! of foreign conventions, and with them every 32-bit program.
//!
//! The filter guards nothing; it only says when to look. Kernels from 5.11 on remember that a call number is
//! always allowed and do not even run it.
//!
//! Sends are no reason to stop, for programs make millions, and whether one is a query stands in memory, which no filter
//! reads. What stops is what comes before a query: the making of a datagram socket, a bind, a connect
//! ([`super::watch`]). Three kinds of send stop all the same:
//!
//! 1. those that may open a connection (`MSG_FASTOPEN`), which no connect announces;
//! 2. `sendmmsg`, which is rare where it is no query;
//! 3. `sendto`, `sendmsg` and `sendmmsg` by i386's `socketcall`, whose arguments stand in memory.

use super::abi::{ARCH_AARCH64, ARCH_I386, ARCH_X86_64, Abi, X32_BIT};
use crate::event::syscall::SYSCALLS;
use crate::event::{PayloadLayout, Syscall};
use libc::sock_filter;

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// The low half of an argument, on little-endian machines.
const fn low(argument: u32) -> u32 {
    16 + 8 * argument
}

/// The bits of socket(2)'s second argument that are the type; `SOCK_NONBLOCK` and `SOCK_CLOEXEC` are others
/// (`SOCK_TYPE_MASK`, linux/net.h).
const SOCKET_TYPE: u32 = 0xf;

const RETURN_ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const RETURN_TRACE: u32 = libc::SECCOMP_RET_TRACE;

/// Where a conditional jump goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Trace,
    Native,
    SendTo,
    SendMsg,
    Socket,
    Datagram,
    SocketCall,
    Clone,
    Prctl,
    Strict,
    Seccomp,
    X32,
    I386,
}

/// A program before its labels are resolved.
#[derive(Default)]
struct Assembler {
    code: Vec<(u16, u32, Option<Label>)>,
    labels: Vec<(Label, usize)>,
}

// Operation codes (linux/bpf_common.h): class | size or operation | source.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

impl Assembler {
    fn load(&mut self, offset: u32) {
        self.code.push((LOAD, offset, None));
    }

    /// Jumps when the comparison holds, else goes on.
    fn jump(&mut self, operation: u16, value: u32, to: Label) {
        self.code.push((operation, value, Some(to)));
    }

    fn mask(&mut self, bits: u32) {
        self.code.push((AND, bits, None));
    }

    fn give(&mut self, value: u32) {
        self.code.push((RETURN, value, None));
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.code.len()));
    }

    /// Every label is defined, and after its jumps: a test runs every program there is.
    fn finish(self) -> Vec<sock_filter> {
        let labels = self.labels;
        let resolve = |(index, (code, k, target)): (usize, (u16, u32, Option<Label>))| {
            let jump = target.map_or(0, |target| {
                let found = labels.iter().find(|(label, _)| *label == target);
                found.map_or(0, |(_, at)| at.saturating_sub(index + 1))
            });
            sock_filter {
                code,
                jt: u8::try_from(jump).unwrap_or(0),
                jf: 0,
                k,
            }
        };
        self.code.into_iter().enumerate().map(resolve).collect()
    }

    /// The trapped calls of one convention; ends by allowing.
    fn calls(&mut self, abi: Abi) {
        let always = Syscall::TRAPPED.map(|call| (call, Label::Trace));
        let by_argument = [
            (Syscall::Socket, Label::Socket),
            (Syscall::Send(PayloadLayout::Addressed), Label::SendTo),
            (Syscall::Send(PayloadLayout::Header), Label::SendMsg),
        ];
        for (call, to) in always.into_iter().chain(by_argument) {
            for number in abi.numbers(call) {
                self.jump(JUMP_EQUAL, number, to);
            }
        }
        if abi == Abi::I386 {
            for number in abi.numbers(Syscall::SocketCall) {
                self.jump(JUMP_EQUAL, number, Label::SocketCall);
            }
        }
        // What a traced program is refused, and a child that leaves the trace: told in the report.
        for (call, to) in [
            (Syscall::Ptrace, Label::Trace),
            (Syscall::Clone, Label::Clone),
            (Syscall::Prctl, Label::Prctl),
            (Syscall::Seccomp, Label::Seccomp),
        ] {
            for number in abi.numbers(call) {
                self.jump(JUMP_EQUAL, number, to);
            }
        }
        self.give(RETURN_ALLOW);
    }

    /// At a label: goes to another where an argument passes a test, else allows.
    fn argument(&mut self, label: Label, test: ArgumentTest, to: Label) {
        self.label(label);
        self.load(low(test.argument));
        self.jump(test.operation, test.value, to);
        self.give(RETURN_ALLOW);
    }
}

/// A comparison of the low half of an argument.
#[derive(Clone, Copy)]
struct ArgumentTest {
    argument: u32,
    operation: u16,
    value: u32,
}

impl ArgumentTest {
    fn equal(argument: u32, value: u32) -> Self {
        Self {
            argument,
            operation: JUMP_EQUAL,
            value,
        }
    }

    fn any_bit(argument: u32, value: u32) -> Self {
        Self {
            argument,
            operation: JUMP_SET,
            value,
        }
    }
}

/// The program for this machine.
pub fn program() -> Vec<sock_filter> {
    let mut a = Assembler::default();
    a.load(ARCH);
    if cfg!(target_arch = "aarch64") {
        a.jump(JUMP_EQUAL, ARCH_AARCH64, Label::Native);
        a.give(RETURN_ALLOW);
        a.label(Label::Native);
        a.load(NUMBER);
        a.calls(Abi::Aarch64);
    } else {
        a.jump(JUMP_EQUAL, ARCH_I386, Label::I386);
        // Only one other convention exists on these machines.
        debug_assert_ne!(ARCH_I386, ARCH_X86_64);
        a.load(NUMBER);
        a.jump(JUMP_AT_LEAST, X32_BIT, Label::X32);
        a.calls(Abi::X86_64);
        a.label(Label::X32);
        a.calls(Abi::X32);
        a.label(Label::I386);
        a.load(NUMBER);
        a.calls(Abi::I386);
        a.label(Label::SocketCall);
        a.load(low(0));
        for which in trapped_socketcalls() {
            a.jump(JUMP_EQUAL, which, Label::Trace);
        }
        a.give(RETURN_ALLOW);
    }
    let untraced = ArgumentTest::any_bit(0, libc::CLONE_UNTRACED.unsigned_abs());
    a.argument(Label::Clone, untraced, Label::Trace);
    let strict = ArgumentTest::equal(0, libc::SECCOMP_SET_MODE_STRICT);
    a.argument(Label::Seccomp, strict, Label::Trace);
    let set_seccomp = ArgumentTest::equal(0, libc::PR_SET_SECCOMP.unsigned_abs());
    a.argument(Label::Prctl, set_seccomp, Label::Strict);
    let strict = ArgumentTest::equal(1, libc::SECCOMP_MODE_STRICT);
    a.argument(Label::Strict, strict, Label::Trace);
    for (label, flags) in [(Label::SendTo, 3), (Label::SendMsg, 2)] {
        let opens = ArgumentTest::any_bit(flags, libc::MSG_FASTOPEN.unsigned_abs());
        a.argument(label, opens, Label::Trace);
    }
    a.label(Label::Socket);
    a.load(low(0));
    for family in [libc::AF_INET, libc::AF_INET6] {
        a.jump(JUMP_EQUAL, family.unsigned_abs(), Label::Datagram);
    }
    a.give(RETURN_ALLOW);
    a.label(Label::Datagram);
    a.load(low(1));
    a.mask(SOCKET_TYPE);
    a.jump(JUMP_EQUAL, libc::SOCK_DGRAM.unsigned_abs(), Label::Trace);
    a.give(RETURN_ALLOW);
    a.label(Label::Trace);
    a.give(RETURN_TRACE);
    a.finish()
}

/// What a `socketcall` may be that stops: the calls that always do, and those whose arguments decide. `send` names no
/// address, and opens nothing that a connect did not.
fn trapped_socketcalls() -> impl Iterator<Item = u32> {
    /// `SYS_SEND` (linux/net.h)
    const SEND: u32 = 9;
    let stops = |call: Syscall| {
        Syscall::TRAPPED.contains(&call)
            || matches!(
                call,
                Syscall::Socket | Syscall::Send(PayloadLayout::Addressed | PayloadLayout::Header)
            )
    };
    let rows = SYSCALLS.iter().filter(move |row| stops(row.call));
    let which = rows.flat_map(|row| row.socketcall.iter().copied());
    which.filter(|which| *which != SEND)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn run(arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let program = program();
        let (mut at, mut a) = (0, 0u32);
        loop {
            let i = program[at];
            at += 1;
            let jumps = match i.code {
                LOAD => {
                    a = match i.k {
                        NUMBER => number,
                        ARCH => arch,
                        offset => {
                            let word = arguments[(offset as usize - 16) / 8];
                            {
                                let half = if offset % 8 == 0 { word } else { word >> 32 };
                                u32::try_from(half & 0xffff_ffff).unwrap_or(0)
                            }
                        }
                    };
                    continue;
                }
                RETURN => return i.k,
                AND => {
                    a &= i.k;
                    continue;
                }
                JUMP_EQUAL => a == i.k,
                JUMP_AT_LEAST => a >= i.k,
                JUMP_SET => a & i.k != 0,
                other => panic!("{other:#x}"),
            };
            if jumps {
                assert_ne!(i.jt, 0, "an unresolved jump");
                at += usize::from(i.jt);
            }
        }
    }

    #[test]
    fn exactly_the_wanted_calls_stop() {
        let none = [0; 6];
        for number in 0..600 {
            for (abi, arch, bit) in [
                (Abi::X86_64, ARCH_X86_64, 0),
                (Abi::X32, ARCH_X86_64, X32_BIT),
                (Abi::I386, ARCH_I386, 0),
            ] {
                // Of seccomp 0 is the strict mode; a send without flags and a socket of no family run on.
                let trapped = Syscall::TRAPPED
                    .iter()
                    .chain(&[Syscall::Ptrace, Syscall::Seccomp])
                    .any(|call| abi.numbers(*call).contains(&(number | bit)));
                let expected = if trapped { RETURN_TRACE } else { RETURN_ALLOW };
                assert_eq!(run(arch, number | bit, none), expected, "{abi:?} {number}");
            }
        }
    }

    #[test]
    fn sends_pass_unless_they_may_connect() {
        let address = 0x7fff_0000_1000;
        for (arch, to, message) in [
            (ARCH_X86_64, 44, 46),
            (ARCH_X86_64, X32_BIT + 44, X32_BIT + 518),
            (ARCH_I386, 369, 370),
        ] {
            for (flags, expected) in [
                (0, RETURN_ALLOW),
                (0x4000, RETURN_ALLOW),
                (0x2000_4000, RETURN_TRACE),
            ] {
                let sendto = run(arch, to, [3, address, 40, flags, address, 16]);
                let sendmsg = run(arch, message, [3, address, flags, 0, 0, 0]);
                assert_eq!(
                    (sendto, sendmsg),
                    (expected, expected),
                    "{arch:#x} {flags:#x}"
                );
            }
        }
        assert_eq!(
            run(ARCH_X86_64, 307, [3, address, 2, 0, 0, 0]),
            RETURN_TRACE
        );
    }

    #[test]
    fn the_making_of_internet_datagram_sockets_stops() {
        for (arch, number) in [
            (ARCH_X86_64, 41),
            (ARCH_X86_64, X32_BIT + 41),
            (ARCH_I386, 359),
        ] {
            // Of each family: unix, IPv4, IPv6, netlink.
            for family in [1, 2, 10, 16] {
                // Streams, datagrams and raw sockets, with and without SOCK_NONBLOCK | SOCK_CLOEXEC.
                for (style, more) in [(1, 0), (2, 0), (2, 0o2_004_000), (3, 0), (1, 0o2_004_000)] {
                    let internet = matches!(family, 2 | 10);
                    let expected = if internet && style == 2 {
                        RETURN_TRACE
                    } else {
                        RETURN_ALLOW
                    };
                    let arguments = [family, style | more, 0, 0, 0, 0];
                    assert_eq!(
                        run(arch, number, arguments),
                        expected,
                        "{number} {arguments:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_leaves_or_forbids_the_trace_stops() {
        let call = |number: u32, a: u64, b: u64| run(ARCH_X86_64, number, [a, b, 0, 0, 0, 0]);
        assert_eq!(call(56, 0x0080_0011, 0), RETURN_TRACE);
        assert_eq!(call(56, 0x003d_0f00, 0), RETURN_ALLOW);
        assert_eq!(call(157, 22, 1), RETURN_TRACE);
        assert_eq!(call(157, 22, 2), RETURN_ALLOW);
        assert_eq!(call(157, 15, 1), RETURN_ALLOW);
        assert_eq!(call(317, 1, 0), RETURN_ALLOW);
    }

    #[test]
    fn socketcall_stops_by_its_first_argument() {
        let socketcall = |which: u64| run(ARCH_I386, 102, [which, 0, 0, 0, 0, 0]);
        for which in 0..25 {
            let expected = if [1, 2, 3, 11, 16, 20].contains(&which) {
                RETURN_TRACE
            } else {
                RETURN_ALLOW
            };
            assert_eq!(socketcall(which), expected, "{which}");
        }
    }

    #[test]
    fn jumps_fit() {
        assert!(program().len() < 255);
    }
}
