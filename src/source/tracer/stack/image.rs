//! An ELF file as far as unwinding and naming need it. Files are of tracees: everything in them is bounded, and nothing
//! is believed.

use super::cfi::{Cfi, CfiSection};
use super::symbols::{Function, Functions, best, readable};
use object::LittleEndian as LE;
use object::elf::{
    FileHeader64, PF_X, PN_XNUM, PT_LOAD, SHN_UNDEF, SHT_DYNSYM, SHT_STRTAB, SHT_SYMTAB,
};
use object::read::ReadRef;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{ReadCache, SectionIndex};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Unwind sections beyond this are not read: those of a browser are 20 MiB.
const MAX_SECTION: u64 = 64 << 20;
/// Symbol tables beyond this are not read: 24 bytes each, so 4 million functions and variables.
const MAX_SYMBOLS: u64 = 96 << 20;
/// More segments or sections than this has no linker made.
const MAX_HEADERS: usize = 4_096;
/// A mangled name is read up to here.
const MAX_RAW_NAME: usize = 2_048;
/// More names than this are found again each time.
const MAX_NAMES: usize = 1 << 14;

/// Where the bytes of an image are.
#[derive(Debug)]
enum ImageBytes {
    File(File),
    Memory(Vec<u8>),
}

/// A segment that can be run: where it is in the file, and in memory as the file counts.
#[derive(Clone, Copy, Debug)]
struct CodeSegment {
    offset: u64,
    size: u64,
    address: u64,
}

/// Table of symbols and table of their names, as (offset, size) in the file.
#[derive(Clone, Copy, Debug)]
struct Tables {
    symbols: (u64, u64),
    names: (u64, u64),
}

/// One program or library.
#[derive(Debug)]
pub struct Image {
    bytes: ImageBytes,
    segments: Vec<CodeSegment>,
    /// The lowest address of any segment: what the file's addresses are counted from.
    pub base: u64,
    /// Unwind information.
    pub cfi: Option<Cfi>,
    tables: Option<Tables>,
    functions: Option<Functions>,
    names: HashMap<u64, Option<(Arc<str>, u64)>>,
}

impl Image {
    /// Reads the headers and unwind information of a file. `None`: not a 64-bit ELF file of this machine's byte order,
    /// or a damaged one.
    pub fn of_file(file: File) -> Option<Self> {
        let cache = ReadCache::new(file);
        let parts = Parts::read(&cache)?;
        Some(parts.image(ImageBytes::File(cache.into_inner())))
    }

    /// The same for an image in memory.
    pub fn of_memory(bytes: Vec<u8>) -> Option<Self> {
        let parts = Parts::read(&*bytes)?;
        Some(parts.image(ImageBytes::Memory(bytes)))
    }

    /// How far an address in memory is from the file's, for code that was mapped from this offset on.
    pub fn bias(&self, start: u64, offset: u64) -> Option<u64> {
        let segment = self.segments.iter().find(|s| {
            // Mappings begin at a page, segments anywhere in it.
            offset < s.offset.saturating_add(s.size) && s.offset.saturating_sub(0xffff) <= offset
        })?;
        let address = segment
            .address
            .wrapping_add(offset)
            .wrapping_sub(segment.offset);
        Some(start.wrapping_sub(address))
    }

    /// How many bytes it takes at most, in memory.
    pub fn weight(&self) -> u64 {
        let sections = self.cfi.as_ref().map_or(0, Cfi::weight);
        let symbols = self.tables.map_or(0, |t| t.symbols.1);
        // A function takes a third more here than in the file.
        sections + symbols + symbols / 2
    }

    /// The function at an address of the file, and where it begins.
    pub fn function(&mut self, address: u64) -> Option<(Arc<str>, u64)> {
        if let Some(known) = self.names.get(&address) {
            return known.clone();
        }
        if self.functions.is_none() {
            let list = self.tables.and_then(|t| self.bytes.functions(t));
            self.functions = Some(Functions::new(list.unwrap_or_default()));
        }
        let aliases = self.functions.as_ref()?.at(address);
        let names = self.tables?.names;
        let raw = best(aliases.iter().filter_map(|f| self.bytes.name(names, f)));
        let found = raw.map(|raw| (readable(&raw), aliases.first().map_or(0, |f| f.start)));
        if self.names.len() < MAX_NAMES {
            self.names.insert(address, found.clone());
        }
        found
    }
}

/// What is read of the headers.
struct Parts {
    segments: Vec<CodeSegment>,
    base: u64,
    cfi: Option<Cfi>,
    tables: Option<Tables>,
}

impl Parts {
    fn read<'a, R: ReadRef<'a>>(data: R) -> Option<Self> {
        let header = FileHeader64::<LE>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        // More segments than fit into 16 bits have only core files (elf(5), PN_XNUM).
        if header.e_phnum(endian) == PN_XNUM {
            return None;
        }
        let mut base = None;
        let mut segments = Vec::new();
        let headers = header.program_headers(endian, data).ok()?;
        for segment in headers.iter().take(MAX_HEADERS) {
            if segment.p_type(endian) != PT_LOAD {
                continue;
            }
            let address = segment.p_vaddr(endian);
            base = Some(base.map_or(address, |b: u64| b.min(address)));
            if segment.p_flags(endian).contains(PF_X) {
                segments.push(CodeSegment {
                    offset: segment.p_offset(endian),
                    size: segment.p_filesz(endian),
                    address,
                });
            }
        }
        let mut parts = Self {
            segments,
            // Segments begin within a page, mappings at it.
            base: base? & !0xfff,
            cfi: None,
            tables: None,
        };
        // A file without sections can be run all the same.
        if header.e_shnum(endian) != 0 {
            parts.sections(header, endian, data);
        }
        Some(parts)
    }

    fn sections<'a, R: ReadRef<'a>>(&mut self, header: &FileHeader64<LE>, endian: LE, data: R) {
        let Ok(sections) = header.sections(endian, data) else {
            return;
        };
        let (mut frames, mut index, mut full, mut dynamic) = (None, None, None, None);
        for section in sections.iter().take(MAX_HEADERS) {
            let place = (section.sh_offset(endian), section.sh_size(endian));
            let kind = section.sh_type(endian);
            if kind == SHT_SYMTAB || kind == SHT_DYNSYM {
                let names = usize::try_from(section.sh_link(endian)).unwrap_or(0);
                let names = sections.section(SectionIndex(names)).ok();
                let names = names.filter(|n| n.sh_type(endian) == SHT_STRTAB);
                let tables = names.map(|n| Tables {
                    symbols: place,
                    names: (n.sh_offset(endian), n.sh_size(endian)),
                });
                let slot = if kind == SHT_SYMTAB {
                    &mut full
                } else {
                    &mut dynamic
                };
                *slot = tables;
                continue;
            }
            let slot = match sections.section_name(endian, section) {
                Ok(b".eh_frame") => &mut frames,
                Ok(b".eh_frame_hdr") => &mut index,
                _ => continue,
            };
            // One of each: that many others could be as long.
            if slot.is_none()
                && place.1 <= MAX_SECTION
                && let Ok(bytes) = section.data(endian, data)
            {
                *slot = Some(CfiSection {
                    address: section.sh_addr(endian),
                    bytes: bytes.into(),
                });
            }
        }
        // The full table has the dynamic one's functions as well.
        self.tables = full.or(dynamic).filter(|t| t.symbols.1 <= MAX_SYMBOLS);
        self.cfi = frames.map(|frames| Cfi::new(frames, index.filter(has_small_count)));
    }

    fn image(self, bytes: ImageBytes) -> Image {
        Image {
            bytes,
            segments: self.segments,
            base: self.base,
            cfi: self.cfi,
            tables: self.tables,
            functions: None,
            names: HashMap::new(),
        }
    }
}

/// Whether an index says its number of entries in at most 32 bits, as linkers write it (LSB Core, "Call Frame Information":
/// `fde_count_enc`, its third byte; `DW_EH_PE_udata2` and `udata4`). A larger number overflows where readers multiply it.
fn has_small_count(index: &CfiSection) -> bool {
    const UDATA2: u8 = 0x02;
    const UDATA4: u8 = 0x03;
    let format = index.bytes.get(2).map(|encoding| encoding & 0x0f);
    matches!(format, Some(UDATA2 | UDATA4))
}

impl ImageBytes {
    /// As much of a range as there is.
    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        match self {
            Self::File(file) => {
                let size = file.metadata().ok()?.len();
                let there = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
                let mut bytes = vec![0; length.min(there)];
                let got = file.read_at(&mut bytes, offset).ok()?;
                bytes.truncate(got);
                Some(bytes)
            }
            Self::Memory(bytes) => {
                let from = bytes.get(usize::try_from(offset).ok()?..)?;
                Some(from[..length.min(from.len())].to_vec())
            }
        }
    }

    fn functions(&self, tables: Tables) -> Option<Vec<Function>> {
        let bytes = self.read(tables.symbols.0, usize::try_from(tables.symbols.1).ok()?)?;
        let whole = bytes.len() - bytes.len() % size_of::<object::elf::Sym64<LE>>();
        let (symbols, _) =
            object::slice_from_bytes::<object::elf::Sym64<LE>>(&bytes[..whole], whole / 24).ok()?;
        let list = symbols.iter().filter(|s| {
            Functions::is_function(s.st_type()) && s.st_shndx(LE) != SHN_UNDEF && s.st_size(LE) != 0
        });
        Some(
            list.map(|s| Function {
                start: s.st_value(LE),
                size: s.st_size(LE),
                name: s.st_name(LE),
            })
            .collect(),
        )
    }

    fn name(&self, table: (u64, u64), function: &Function) -> Option<String> {
        let at = u64::from(function.name);
        let most = usize::try_from(table.1.checked_sub(at)?).unwrap_or(usize::MAX);
        let bytes = self.read(table.0.checked_add(at)?, most.min(MAX_RAW_NAME))?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    /// A small program's worth of ELF: glibc's, or whatever `/bin/true` is here.
    fn small() -> Vec<u8> {
        std::fs::read("/bin/true").unwrap()
    }

    #[test]
    fn a_function_of_this_program_has_its_name() {
        let here = a_function_of_this_program_has_its_name as fn() as usize as u64;
        let maps = super::super::maps::Maps::read(std::process::id());
        let mapping = maps.find(here).unwrap();
        let file = File::open("/proc/self/exe").unwrap();
        for mut image in [Image::of_file(file), Image::of_memory(own())].map(Option::unwrap) {
            let bias = image.bias(mapping.start, mapping.offset).unwrap();
            let (name, start) = image.function(here - bias).unwrap();
            assert!(
                name.ends_with("a_function_of_this_program_has_its_name"),
                "{name}"
            );
            assert_eq!(start, here - bias);
            assert!(image.cfi.is_some());
            assert_eq!(image.function(0), None);
        }
    }

    #[test]
    fn what_is_no_elf_file_is_no_image() {
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF\x02\x01\x01", &[0; 64]] {
            assert!(Image::of_memory(bytes.to_vec()).is_none());
        }
        assert!(Image::of_file(File::open("/dev/null").unwrap()).is_none());
    }

    proptest! {
        /// Headers, tables and unwind information changed at will, or cut: nothing panics, nothing hangs.
        #[test]
        fn a_damaged_file_does_no_harm(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
            head in prop::collection::vec((0..1024_usize, any::<u8>()), 0..8),
            length in any::<prop::sample::Index>(),
            cut in prop::bool::weighted(0.2),
            addresses in prop::collection::vec(any::<u32>(), 8),
        ) {
            let mut bytes = small();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            for (at, value) in head {
                bytes[at] = value;
            }
            if cut {
                bytes.truncate(length.index(bytes.len()));
            }
            if let Some(mut image) = Image::of_memory(bytes) {
                for address in addresses {
                    let address = u64::from(address % 0x20000);
                    let _ = image.function(address);
                    let _ = image.bias(0x1000, address);
                    if let Some(cfi) = &mut image.cfi {
                        let _ = cfi.verdict(address);
                    }
                }
            }
        }
    }
}
