//! The user-space stack of a thread that stands in a call: who asked for a name, who connected (`--stacks`).
//!
//! framehop unwinds by the files' `.eh_frame`, and by frame pointers where there is none (Go). What is known of files
//! and processes is kept: the first stack of a process costs a millisecond, the next ones some microseconds.

mod cfi;
mod image;
mod load;
mod maps;
mod symbols;
mod window;

use super::call::Request;
use super::memory::Memory;
use super::stop::Stopped;
use crate::event::Address;
use crate::event::stack::{Frame, MAX_FRAMES, Stack, StackEnd};
use crate::time::{Span, Timestamp};
use cfi::Verdict;
use framehop::{
    CacheNative, FrameAddress, MayAllocateDuringUnwind, UnwindRegsNative, Unwinder, UnwinderNative,
};
use image::Image;
use load::{Identity, Sections, module, open};
use maps::{Mapping, Maps};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use window::Window;

/// So many files are kept; a tree of processes shares most of them.
const MAX_IMAGES: usize = 512;
/// So many bytes of unwind information and symbols are kept: a browser has 50 MiB.
const MAX_WEIGHT: u64 = 512 << 20;
/// So many processes are kept; then all are read anew.
const MAX_PROCESSES: usize = 256;
/// So many different stacks of a process are kept.
const MAX_STACKS: usize = 1_024;
/// An address that was in no mapping is looked for again after so long.
const AGAIN: Span = Span::seconds(1);
/// So many such addresses are kept.
const MAX_UNKNOWN: usize = 256;
/// The kernel's page of code has one or two pages.
const MAX_VDSO: u64 = 64 << 10;

/// Stacks of all traced processes.
pub struct StackWalker {
    processes: HashMap<u32, TracedProcess>,
    images: Vec<Image>,
    by_file: HashMap<Identity, Option<usize>>,
    cache: CacheNative<MayAllocateDuringUnwind>,
    /// Stacks of calls that have not returned, by thread.
    open: HashMap<u32, Arc<Stack>>,
}

impl std::fmt::Debug for StackWalker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stacks")
            .field("images", &self.images.len())
            .finish_non_exhaustive()
    }
}

/// One process.
#[derive(Default)]
struct TracedProcess {
    maps: Option<Maps>,
    unwinder: UnwinderNative<Sections, MayAllocateDuringUnwind>,
    /// By the first address of the mapping.
    loaded: HashMap<u64, Option<Loaded>>,
    unknown: HashMap<u64, Timestamp>,
    stacks: HashMap<Vec<u64>, Arc<Stack>>,
}

/// A file in a process.
#[derive(Clone, Copy)]
struct Loaded {
    image: usize,
    /// Address in memory less address in the file.
    bias: u64,
}

/// Where an address of code is.
enum CodeAddress {
    /// In this mapping, of a file.
    File(Box<Mapping>, Option<Loaded>),
    /// In memory that can be run and is no file's.
    Generated,
    /// Nowhere.
    Unmapped,
}

/// The thread whose stack is walked.
struct StoppedThread<'m, M> {
    tid: u32,
    memory: &'m M,
    at: Timestamp,
}

impl StackWalker {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self {
            processes: HashMap::new(),
            images: Vec::new(),
            by_file: HashMap::new(),
            cache: CacheNative::new_in(),
            open: HashMap::new(),
        }
    }

    /// A call has begun: takes its stack if somebody may want to know who made it.
    pub fn begun(&mut self, stop: &Stopped, pid: u32, asked: &Request, at: Timestamp) {
        let wanted = match asked {
            Request::Send(_) => true,
            Request::Connect(to) => matches!(to, Address::Inet(_) | Address::Unix(_)),
            _ => false,
        };
        if !wanted {
            return;
        }
        // The files are the tracee's, and the crates that read them are not ours: the run must outlive both.
        let taken = catch_unwind(AssertUnwindSafe(|| self.take(stop, pid, at)));
        match taken {
            Ok(Some(stack)) => {
                self.open.insert(stop.tid(), stack);
            }
            Ok(None) => {}
            Err(_) => {
                self.processes.remove(&pid);
                self.cache = CacheNative::new_in();
            }
        }
    }

    /// The call of a thread has returned, or never will: its stack.
    pub fn returned(&mut self, tid: u32) -> Option<Arc<Stack>> {
        self.open.remove(&tid)
    }

    /// The task has ended, or runs another program.
    pub fn drop_task(&mut self, tid: u32) {
        self.open.remove(&tid);
        self.processes.remove(&tid);
    }

    fn take(&mut self, stop: &Stopped, pid: u32, at: Timestamp) -> Option<Arc<Stack>> {
        let (first, registers) = start(stop)?;
        let thread = StoppedThread {
            tid: stop.tid(),
            memory: &stop.memory(),
            at,
        };
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&pid) {
            self.processes.clear();
        }
        let mut process = self.processes.remove(&pid).unwrap_or_default();
        let (mut addresses, end) = self.unwind(&mut process, &thread, first, registers);
        // The key tells the end as well: one stack may have been lost where another was not.
        addresses.push(match end {
            StackEnd::Outermost => 0,
            StackEnd::Generated { address } => address,
            _ => 1,
        });
        let stack = if let Some(known) = process.stacks.get(&addresses) {
            known.clone()
        } else {
            let mut frames = Vec::with_capacity(addresses.len());
            for (i, address) in addresses[..addresses.len() - 1].iter().enumerate() {
                let lookup = address - u64::from(i > 0);
                if let CodeAddress::File(mapping, loaded) =
                    self.place(&mut process, &thread, lookup)
                {
                    frames.push(self.frame(&mapping, loaded, *address, lookup));
                }
            }
            let stack = Arc::new(Stack { frames, end });
            if process.stacks.len() < MAX_STACKS {
                process.stacks.insert(addresses, stack.clone());
            }
            stack
        };
        self.processes.insert(pid, process);
        (!stack.frames.is_empty()).then_some(stack)
    }

    /// The addresses of the frames, innermost first: each of it is in a file.
    fn unwind<M: Memory>(
        &mut self,
        process: &mut TracedProcess,
        thread: &StoppedThread<'_, M>,
        first: u64,
        mut registers: UnwindRegsNative,
    ) -> (Vec<u64>, StackEnd) {
        let mut window = Window::new(thread.memory);
        let mut read = |address| window.word(address).ok_or(());
        let mut addresses = Vec::with_capacity(MAX_FRAMES);
        let mut frame = FrameAddress::from_instruction_pointer(first);
        loop {
            // A return address may be the first of the next function: the call is before it.
            let lookup = frame.address_for_lookup();
            let loaded = match self.place(process, thread, lookup) {
                CodeAddress::File(_, loaded) => loaded,
                CodeAddress::Generated => {
                    let address = frame.address();
                    return (addresses, StackEnd::Generated { address });
                }
                CodeAddress::Unmapped => return (addresses, StackEnd::Lost),
            };
            if addresses.len() == MAX_FRAMES {
                return (addresses, StackEnd::Limit);
            }
            addresses.push(frame.address());
            let verdict = loaded.and_then(|l| {
                let cfi = self.images[l.image].cfi.as_mut()?;
                Some(cfi.verdict(lookup.wrapping_sub(l.bias)))
            });
            if verdict == Some(Verdict::Harmful) {
                return (addresses, StackEnd::Lost);
            }
            let next =
                process
                    .unwinder
                    .unwind_frame(frame, &mut registers, &mut self.cache, &mut read);
            frame = match next {
                Ok(Some(address)) => match FrameAddress::from_return_address(address) {
                    Some(frame) => frame,
                    None => return (addresses, StackEnd::Lost),
                },
                Ok(None) if verdict == Some(Verdict::Covered) || self.is_go(loaded, lookup) => {
                    return (addresses, StackEnd::Outermost);
                }
                // A frame pointer of 0 ends a stack only where code keeps frame pointers.
                Ok(None) | Err(_) => return (addresses, StackEnd::Lost),
            };
        }
    }

    /// Where an address is; a file there is made known to the unwinder.
    fn place<M: Memory>(
        &mut self,
        process: &mut TracedProcess,
        thread: &StoppedThread<'_, M>,
        address: u64,
    ) -> CodeAddress {
        let (tid, at) = (thread.tid, thread.at);
        let maps = process.maps.get_or_insert_with(|| Maps::read(tid));
        if maps.find(address).is_none() {
            if process
                .unknown
                .get(&address)
                .is_some_and(|seen| (at - *seen).abs() < AGAIN)
            {
                return CodeAddress::Unmapped;
            }
            // A library may have been loaded since, perhaps where another was.
            *process = TracedProcess {
                maps: Some(Maps::read(tid)),
                unknown: std::mem::take(&mut process.unknown),
                ..TracedProcess::default()
            };
        }
        let found = process.maps.as_ref().and_then(|maps| maps.find(address));
        let Some(mapping) = found.cloned() else {
            if process.unknown.len() >= MAX_UNKNOWN {
                process.unknown.clear();
            }
            process.unknown.insert(address, at);
            return CodeAddress::Unmapped;
        };
        if !mapping.has_file() {
            return CodeAddress::Generated;
        }
        if let Some(loaded) = process.loaded.get(&mapping.start) {
            return CodeAddress::File(Box::new(mapping), *loaded);
        }
        let loaded = self.load(thread, &mapping).and_then(|image| {
            let bias = self.images[image].bias(mapping.start, mapping.offset)?;
            Some(Loaded { image, bias })
        });
        if let Some(loaded) = loaded {
            let module = module(&self.images[loaded.image], &mapping, loaded.bias);
            process.unwinder.add_module(module);
        }
        process.loaded.insert(mapping.start, loaded);
        CodeAddress::File(Box::new(mapping), loaded)
    }

    /// The image of a mapping.
    fn load<M: Memory>(
        &mut self,
        thread: &StoppedThread<'_, M>,
        mapping: &Mapping,
    ) -> Option<usize> {
        let add = |images: &mut Vec<Image>, image: Option<Image>| {
            let image = image.filter(|i| {
                images.len() < MAX_IMAGES && weight(images) + i.weight() <= MAX_WEIGHT
            })?;
            images.push(image);
            Some(images.len() - 1)
        };
        if mapping.is_vdso() {
            let length = usize::try_from((mapping.end - mapping.start).min(MAX_VDSO)).ok()?;
            let image = Image::of_memory(thread.memory.bytes(mapping.start, length));
            return add(&mut self.images, image);
        }
        let (file, identity) = open(thread.tid, mapping)?;
        if let Some(known) = self.by_file.get(&identity) {
            return *known;
        }
        let image = add(&mut self.images, Image::of_file(file));
        if self.by_file.len() < 2 * MAX_IMAGES {
            self.by_file.insert(identity, image);
        }
        image
    }

    /// Go keeps frame pointers, and has no `.eh_frame`.
    fn is_go(&mut self, loaded: Option<Loaded>, lookup: u64) -> bool {
        let name = loaded.and_then(|l| {
            let image = &mut self.images[l.image];
            image.function(lookup.wrapping_sub(l.bias))
        });
        name.is_some_and(|(name, _)| name.starts_with("runtime."))
    }

    /// A frame in words.
    fn frame(
        &mut self,
        mapping: &Mapping,
        loaded: Option<Loaded>,
        address: u64,
        lookup: u64,
    ) -> Frame {
        let named = loaded.and_then(|l| {
            let (name, start) = self.images[l.image].function(lookup.wrapping_sub(l.bias))?;
            Some((name, address.wrapping_sub(l.bias).wrapping_sub(start)))
        });
        let (function, offset) = named.map_or((None, 0), |(name, offset)| (Some(name), offset));
        Frame {
            function,
            offset,
            module: mapping.path.clone(),
            address: (address - mapping.start).wrapping_add(mapping.offset),
        }
    }
}

fn weight(images: &[Image]) -> u64 {
    images.iter().map(Image::weight).sum()
}

/// Where a thread stands, and the registers that unwinding begins with. `None`: it is a 32-bit program, or gone.
#[cfg(target_arch = "x86_64")]
fn start(stop: &Stopped) -> Option<(u64, UnwindRegsNative)> {
    // struct user_regs_struct (asm/user_64.h): rbp is the 5th word, rip the 17th, rsp the 20th.
    let words = stop.registers::<27>()?;
    let (ip, sp, bp) = (words[16], words[19], words[4]);
    Some((ip, UnwindRegsNative::new(ip, sp, bp)))
}

/// Where a thread stands, and the registers that unwinding begins with. `None`: it is a 32-bit program, or gone.
#[cfg(target_arch = "aarch64")]
fn start(stop: &Stopped) -> Option<(u64, UnwindRegsNative)> {
    // struct user_pt_regs (asm/ptrace.h): x0 to x30, sp, pc, pstate; x29 is the frame pointer, x30 the link register.
    let words = stop.registers::<34>()?;
    let registers = UnwindRegsNative::new(words[30], words[31], words[29]);
    Some((words[32], registers))
}

#[cfg(test)]
mod tests;
