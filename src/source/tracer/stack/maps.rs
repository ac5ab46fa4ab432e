//! What is mapped where in a process: `/proc/PID/maps` (proc(5)), as far as it can be run.

use crate::event::stack::{MAX_PATH, cut};
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

/// More text than this is not read: the kernel's default limit of mappings (`vm.max_map_count`, 65530) with paths of
/// usual length.
const MAX_TEXT: u64 = 8 << 20;

/// One run of executable memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// Where in the file it begins.
    pub offset: u64,
    /// The file's inode; 0 for memory that is no file's.
    pub inode: u64,
    /// The file's path in the process's mount namespace, a name in brackets, or nothing.
    pub path: Arc<str>,
}

impl Mapping {
    /// Code of a file, or the kernel's own page of code.
    pub fn has_file(&self) -> bool {
        self.inode != 0 || self.is_vdso()
    }

    /// The kernel's page of code in every process (vdso(7)).
    pub fn is_vdso(&self) -> bool {
        &*self.path == "[vdso]"
    }
}

/// The executable mappings of a process, in order of their addresses.
#[derive(Debug, Default)]
pub struct Maps(Vec<Mapping>);

impl Maps {
    /// Reads those of a process; none where that is not permitted.
    pub fn read(tid: u32) -> Self {
        let mut text = Vec::new();
        let read = File::open(format!("/proc/{tid}/maps"))
            .and_then(|file| file.take(MAX_TEXT).read_to_end(&mut text));
        if read.is_err() {
            text.clear();
        }
        Self::parse(&text)
    }

    fn parse(text: &[u8]) -> Self {
        let mut list: Vec<Mapping> = text.split(|b| *b == b'\n').filter_map(mapping).collect();
        list.sort_by_key(|m| m.start);
        Self(list)
    }

    /// A process with one mapping, for tests.
    #[cfg(test)]
    pub fn one(mapping: Mapping) -> Self {
        Self(vec![mapping])
    }

    /// The mapping at an address.
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        let after = self.0.partition_point(|m| m.start <= address);
        let mapping = self.0.get(after.checked_sub(1)?)?;
        (address < mapping.end).then_some(mapping)
    }
}

/// `7f0a…-7f0b… r-xp 00026000 fe:00 1234    /usr/lib/…`, if it can be run.
fn mapping(line: &[u8]) -> Option<Mapping> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    if words.next()?.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let offset = words.next()?;
    let _device = words.next()?;
    let inode = words.next()?.parse().ok()?;
    let path = words.next().unwrap_or("").trim_start();
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        start: number(start)?,
        end: number(end)?,
        offset: number(offset)?,
        inode,
        path: cut(path, MAX_PATH).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_mappings_are_found_by_address() {
        let maps = Maps::parse(
            b"7f10-7f20 r--p 00000000 fe:00 12   /lib/libc.so.6\n\
              7f20-7f40 r-xp 00000010 fe:00 12   /lib/a b.so (deleted)\n\
              7f40-7f50 rwxp 00000000 00:00 0 \n\
              7ff0-7ff2 r-xp 00000000 00:00 0    [vdso]\n\
              nonsense\n",
        );
        assert!(maps.find(0x7f1f).is_none(), "it cannot be run");
        let code = maps.find(0x7f3f).unwrap();
        assert_eq!((code.offset, code.inode), (0x10, 12));
        assert_eq!(&*code.path, "/lib/a b.so (deleted)");
        assert!(!maps.find(0x7f40).unwrap().has_file());
        assert!(maps.find(0x7f50).is_none());
        assert!(maps.find(0x7ff1).unwrap().has_file());
    }

    #[test]
    fn this_process_has_code() {
        let maps = Maps::read(std::process::id());
        let here = executable_mappings_are_found_by_address as fn() as usize as u64;
        assert!(maps.find(here).is_some_and(Mapping::has_file));
    }
}
