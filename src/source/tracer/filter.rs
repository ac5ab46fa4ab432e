//! The seccomp filter: which calls stop the program. Written by hand, because ready-made builders kill calls
//! of foreign conventions, and with them every 32-bit program.
//!
//! The filter guards nothing; it only says when to look. Kernels from 5.11 on remember that a call number is
//! always allowed and do not even run it.

use super::abi::{ARCH_AARCH64, ARCH_I386, ARCH_X86_64, Abi, X32_BIT};
use crate::event::syscall::SYSCALLS;
use crate::event::{PayloadLayout, Syscall};
use libc::sock_filter;

/// A `sendto` of more bytes is no DNS query and passes unstopped: queries over UDP are at most 512 bytes
/// (RFC 1035 section 4.2.1), and far from this with EDNS and padding (RFC 8467) too.
pub const LONG_SEND: u32 = 2048;

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// Low and high half of an argument, on little-endian machines.
const fn low(argument: u32) -> u32 {
    16 + 8 * argument
}
const fn high(argument: u32) -> u32 {
    low(argument) + 4
}

const RETURN_ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const RETURN_TRACE: u32 = libc::SECCOMP_RET_TRACE;

/// Where a conditional jump goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Trace,
    Allow,
    Native,
    Send,
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
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

impl Assembler {
    fn load(&mut self, offset: u32) {
        self.code.push((LOAD, offset, None));
    }

    /// Jumps when the comparison holds, else goes on.
    fn jump(&mut self, operation: u16, value: u32, to: Label) {
        self.code.push((operation, value, Some(to)));
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
        for call in Syscall::TRAPPED {
            let to = if call == Syscall::Send(PayloadLayout::Addressed) {
                Label::Send
            } else {
                Label::Trace
            };
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
        for row in SYSCALLS {
            if Syscall::TRAPPED.contains(&row.call) {
                for which in row.socketcall {
                    a.jump(JUMP_EQUAL, *which, Label::Trace);
                }
            }
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
    a.label(Label::Send);
    // A send that opens a connection (TCP fast open) stops at any length.
    a.load(low(3));
    a.jump(JUMP_SET, libc::MSG_FASTOPEN.unsigned_abs(), Label::Trace);
    a.load(high(2));
    a.jump(JUMP_GREATER, 0, Label::Allow);
    a.load(low(2));
    a.jump(JUMP_GREATER, LONG_SEND, Label::Allow);
    a.label(Label::Trace);
    a.give(RETURN_TRACE);
    a.label(Label::Allow);
    a.give(RETURN_ALLOW);
    a.finish()
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
                JUMP_EQUAL => a == i.k,
                JUMP_GREATER => a > i.k,
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
                // Of seccomp 0 is the strict mode.
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
    fn long_sends_pass_unless_they_connect() {
        let send = |length: u64, flags: u64| run(ARCH_X86_64, 44, [3, 0, length, flags, 0, 0]);
        assert_eq!(send(2048, 0), RETURN_TRACE);
        assert_eq!(send(2049, 0), RETURN_ALLOW);
        assert_eq!(send(1 << 32, 0), RETURN_ALLOW);
        assert_eq!(send(1 << 32, 0x2000_0000), RETURN_TRACE);
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
            let expected = if [2, 3, 9, 11, 16, 20].contains(&which) {
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
