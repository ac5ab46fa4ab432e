use super::*;
use crate::source::tracer::memory::FakeMemory;
use proptest::prelude::*;

const BASE: u64 = 0x7000_0000_0000;

/// All that is mapped: a file as a whole, where this image says that its code is.
fn mapping(image: &Image, length: usize) -> Mapping {
    let start = BASE + image.base;
    Mapping {
        start,
        end: start + length as u64,
        offset: 0,
        inode: 1,
        path: "/bin/true".into(),
    }
}

/// Unwinds as far as it goes, and says how many frames that were.
fn unwind(image: Image, length: usize, first: u64, stack: Vec<u8>) -> usize {
    let mapping = mapping(&image, length);
    let mut stacks = StackWalker::new();
    let mut process = TracedProcess {
        maps: Some(Maps::one(mapping.clone())),
        ..TracedProcess::default()
    };
    process.unwinder.add_module(module(&image, &mapping, BASE));
    stacks.images.push(image);
    let loaded = Loaded {
        image: 0,
        bias: BASE,
    };
    process.loaded.insert(mapping.start, Some(loaded));
    let memory = FakeMemory {
        base: 0x1000,
        bytes: stack,
    };
    let thread = StoppedThread {
        // No process has this id: there is nothing else to be found in its maps.
        tid: u32::MAX,
        memory: &memory,
        at: Timestamp(0),
    };
    let registers = registers(0x1000, 0x1040);
    let (addresses, _) = stacks.unwind(&mut process, &thread, mapping.start + first, registers);
    addresses.len()
}

#[cfg(target_arch = "x86_64")]
fn registers(sp: u64, bp: u64) -> UnwindRegsNative {
    UnwindRegsNative::new(BASE, sp, bp)
}

#[cfg(target_arch = "aarch64")]
fn registers(sp: u64, fp: u64) -> UnwindRegsNative {
    UnwindRegsNative::new(BASE, sp, fp)
}

/// Words that look like return addresses and frame pointers.
fn stack(words: &[(bool, u16)]) -> Vec<u8> {
    let word = |(code, n): &(bool, u16)| {
        if *code {
            BASE + u64::from(*n)
        } else {
            0x1000 + u64::from(*n % 0x800)
        }
    };
    words.iter().flat_map(|w| word(w).to_ne_bytes()).collect()
}

proptest! {
    /// Whatever a file says of how to unwind it, and whatever is on the stack: it ends, and nothing panics.
    #[test]
    fn a_damaged_file_is_unwound_to_some_end(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..60),
        words in prop::collection::vec((any::<bool>(), any::<u16>()), 64..256),
        first in any::<u16>(),
    ) {
        let bytes = std::fs::read("/bin/true").unwrap();
        let image = Image::of_memory(bytes.clone()).unwrap();
        let sections: Vec<_> = image.cfi.iter().flat_map(|c| [Some(&c.frames), c.index.as_ref()]).flatten().collect();
        // Only the unwind information: the headers have a test of their own.
        let places: Vec<usize> = sections
            .iter()
            .flat_map(|s| {
                let at = usize::try_from(s.address).unwrap();
                at..at + s.bytes.len()
            })
            .filter(|at| *at < bytes.len())
            .collect();
        let mut bytes = bytes;
        for (at, value) in changes {
            if let Some(at) = places.get(at.index(places.len().max(1))) {
                bytes[*at] = value;
            }
        }
        let length = bytes.len();
        let image = Image::of_memory(bytes).unwrap();
        let first = u64::from(first) % length as u64;
        let frames = unwind(image, length, first, stack(&words));
        prop_assert!((1..=MAX_FRAMES).contains(&frames), "{frames}");
    }
}

#[test]
fn an_index_that_counts_in_64_bits_is_left_out() {
    let mut bytes = std::fs::read("/bin/true").unwrap();
    let image = Image::of_memory(bytes.clone()).unwrap();
    let cfi = image.cfi.unwrap();
    let index = cfi.index.as_ref().unwrap();
    let start = usize::try_from(index.address).unwrap();
    assert_eq!(bytes[start + 2], 0x03, "udata4, as linkers write it");
    bytes[start + 2] = 0x04;
    let image = Image::of_memory(bytes).unwrap();
    assert!(image.cfi.is_none_or(|cfi| cfi.index.is_none()));
}

#[test]
fn a_stack_of_frame_pointers_is_bounded() {
    // Each frame's caller is the same place, and the frames go on: a recursion.
    let mut image = Image::of_memory(std::fs::read("/bin/true").unwrap()).unwrap();
    image.cfi = None;
    let mut bytes = Vec::new();
    for i in 1..1_000_u64 {
        bytes.extend((0x1040 + i * 16).to_ne_bytes());
        bytes.extend((BASE + 0x500).to_ne_bytes());
    }
    let mut below = vec![0; 0x40];
    below.extend(bytes);
    assert_eq!(unwind(image, 0x8000, 0x500, below), MAX_FRAMES);
}
