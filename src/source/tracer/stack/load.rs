//! From a mapping to its file, and from the file to what the unwinder is told of it.

use super::cfi::CfiSection;
use super::image::Image;
use super::maps::Mapping;
use framehop::{ExplicitModuleSectionInfo, Module};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of a section, shared by the processes that have the file mapped.
pub type Sections = Arc<[u8]>;

/// What tells one file from another: device, inode, size, time of change.
pub type Identity = (u64, u64, u64, i64, i64);

/// What the unwinder is told of a file.
pub fn module(image: &Image, mapping: &Mapping, bias: u64) -> Module<Sections> {
    let range = |section: &CfiSection| {
        section.address..section.address.saturating_add(section.bytes.len() as u64)
    };
    let cfi = image.cfi.as_ref().filter(|c| c.is_usable());
    let frames = cfi.map(|c| &c.frames);
    let index = cfi.and_then(|c| c.index.as_ref());
    let sections = ExplicitModuleSectionInfo {
        base_svma: image.base,
        eh_frame_svma: frames.map(range),
        eh_frame: frames.map(|s| s.bytes.clone()),
        eh_frame_hdr_svma: index.map(range),
        eh_frame_hdr: index.map(|s| s.bytes.clone()),
        ..ExplicitModuleSectionInfo::default()
    };
    Module::new(
        String::new(),
        mapping.start..mapping.end,
        image.base.wrapping_add(bias),
        sections,
    )
}

/// The file of a mapping: by the kernel's own link, which needs `CAP_CHECKPOINT_RESTORE`, else by its path in the
/// process's mount namespace, if it is the same file still, else as the program that the process runs.
pub fn open(tid: u32, mapping: &Mapping) -> Option<(File, Identity)> {
    let link = format!(
        "/proc/{tid}/map_files/{:x}-{:x}",
        mapping.start, mapping.end
    );
    let path = PathBuf::from(format!("/proc/{tid}/root{}", mapping.path));
    let program = PathBuf::from(format!("/proc/{tid}/exe"));
    [(PathBuf::from(link), true), (path, false), (program, false)]
        .into_iter()
        .find_map(|(path, is_it)| {
            // Looked at before it is opened: a tracee may have put a link to a device there.
            let place = File::options()
                .read(true)
                .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
                .open(path)
                .ok()?;
            let facts = place.metadata().ok()?;
            if !facts.is_file() || !(is_it || facts.ino() == mapping.inode) {
                return None;
            }
            let file = File::open(format!("/proc/self/fd/{}", place.as_raw_fd())).ok()?;
            let identity = (
                facts.dev(),
                facts.ino(),
                facts.len(),
                facts.mtime(),
                facts.mtime_nsec(),
            );
            Some((file, identity))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(path: &str, inode: u64) -> Mapping {
        Mapping {
            start: 0x1000,
            end: 0x2000,
            offset: 0,
            inode,
            path: path.into(),
        }
    }

    #[test]
    fn only_the_very_file_is_opened() {
        let folder = tempfile::TempDir::new().unwrap();
        let (file, link) = (folder.path().join("a b.so"), folder.path().join("link"));
        std::fs::write(&file, b"x").unwrap();
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        let inode = file.metadata().unwrap().ino();
        let here = std::process::id();
        let path = file.to_str().unwrap();
        let (_, identity) = open(here, &mapping(path, inode)).unwrap();
        assert_eq!((identity.1, identity.2), (inode, 1));
        assert!(open(here, &mapping(path, inode + 1)).is_none(), "replaced");
        let device = std::fs::metadata("/dev/zero").unwrap().ino();
        assert!(open(here, &mapping(link.to_str().unwrap(), device)).is_none());
        // Deleted, but it is the program that runs.
        let own = std::fs::metadata("/proc/self/exe").unwrap().ino();
        assert!(open(here, &mapping("/gone (deleted)", own)).is_some());
    }
}
