//! The calling conventions of the supported kernels: whose numbers a stop shows, and how wide a word is.

use crate::event::Syscall;
use crate::event::syscall::SYSCALLS;

/// `AUDIT_ARCH_X86_64` (linux/audit.h).
pub const ARCH_X86_64: u32 = 0xc000_003e;
/// `AUDIT_ARCH_I386`.
pub const ARCH_I386: u32 = 0x4000_0003;
/// `AUDIT_ARCH_AARCH64`.
pub const ARCH_AARCH64: u32 = 0xc000_00b7;
/// `__X32_SYSCALL_BIT` (asm/unistd.h): x32 calls come with `AUDIT_ARCH_X86_64` and this bit.
pub const X32_BIT: u32 = 0x4000_0000;

/// A calling convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// 64-bit x86.
    X86_64,
    /// 32-bit pointers on 64-bit x86.
    X32,
    /// 32-bit x86.
    I386,
    /// 64-bit ARM.
    Aarch64,
}

/// i386 calls above this number take 64-bit times (Linux 5.1, year 2038).
const I386_TIME64: u64 = 403;

impl Abi {
    /// The convention of a call, from its `AUDIT_ARCH_*` and number.
    pub fn of(arch: u64, number: u64) -> Option<Self> {
        match u32::try_from(arch).ok()? {
            ARCH_X86_64 if number & u64::from(X32_BIT) != 0 => Some(Self::X32),
            ARCH_X86_64 => Some(Self::X86_64),
            ARCH_I386 => Some(Self::I386),
            ARCH_AARCH64 => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// That of programs for this machine.
    pub fn native() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Aarch64
        } else {
            Self::X86_64
        }
    }

    /// Which call a number is, if it is one that the tracer understands.
    pub fn syscall(self, number: u64) -> Option<Syscall> {
        let number = u32::try_from(number).ok()?;
        match self {
            Self::X86_64 => Syscall::x86_64(number),
            Self::X32 => {
                let number = number & !X32_BIT;
                // The 64-bit forms of calls with their own x32 number are not x32 calls.
                Syscall::x32(number).or_else(|| Syscall::x86_64(number))
            }
            Self::I386 => Syscall::i386(number),
            Self::Aarch64 => Syscall::aarch64(number),
        }
    }

    /// Numbers of a call, for the filter.
    pub fn numbers(self, call: Syscall) -> Vec<u32> {
        let Some(row) = SYSCALLS.iter().find(|row| row.call == call) else {
            return Vec::new();
        };
        match self {
            Self::X86_64 => row.x86_64.to_vec(),
            Self::X32 => {
                let own = if row.x32.is_empty() {
                    row.x86_64
                } else {
                    row.x32
                };
                own.iter().map(|number| number | X32_BIT).collect()
            }
            Self::I386 => row.i386.to_vec(),
            Self::Aarch64 => row.aarch64.to_vec(),
        }
    }

    /// Bytes in a pointer or a `size_t`.
    pub fn word(self) -> usize {
        match self {
            Self::X86_64 | Self::Aarch64 => 8,
            Self::X32 | Self::I386 => 4,
        }
    }

    /// Bytes in each half of the `timespec` that this call takes.
    pub fn time_word(self, number: u64) -> usize {
        if self == Self::I386 && number < I386_TIME64 {
            4
        } else {
            8
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PayloadLayout;

    #[test]
    fn numbers_and_calls_agree() {
        for abi in [Abi::X86_64, Abi::X32, Abi::I386, Abi::Aarch64] {
            let by_argument = [Syscall::Socket, Syscall::Send(PayloadLayout::Addressed)];
            for call in Syscall::TRAPPED.into_iter().chain(by_argument) {
                let numbers = abi.numbers(call);
                assert!(!numbers.is_empty(), "{abi:?} {call:?}");
                for number in numbers {
                    assert_eq!(abi.syscall(number.into()), Some(call), "{abi:?} {number}");
                }
            }
        }
        assert_eq!(Abi::of(ARCH_X86_64.into(), 42), Some(Abi::X86_64));
        assert_eq!(Abi::of(ARCH_X86_64.into(), 0x4000_002a), Some(Abi::X32));
        assert_eq!(Abi::of(7, 42), None);
    }
}
