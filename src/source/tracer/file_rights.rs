//! The capabilities of a file (capabilities(7), "File capabilities"), which only a raw system call reads.
#![allow(unsafe_code)] // neither std nor nix reads extended attributes

use nix::errno::Errno;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `XATTR_CAPS_SZ_3` (linux/capability.h), the longest form.
const LONGEST: usize = 24;

/// The permitted capabilities of a program file; `None` without any.
pub fn file_capabilities(path: &Path) -> io::Result<Option<u64>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut value = [0u8; LONGEST];
    // SAFETY: both strings end with NUL, and the kernel writes at most `LONGEST` bytes into `value`, which outlives the
    // call.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            value.as_mut_ptr().cast(),
            LONGEST,
        )
    };
    let length = match Errno::result(length) {
        Ok(length) => usize::try_from(length).unwrap_or(0),
        Err(Errno::ENODATA | Errno::ENOTSUP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(value.get(..length).and_then(permitted))
}

/// `struct vfs_cap_data`: a magic word, then permitted and inheritable halves, low and (from version 2) high.
fn permitted(value: &[u8]) -> Option<u64> {
    let word = |at: usize| {
        let bytes = value.get(at..at + 4)?.try_into().ok()?;
        Some(u64::from(u32::from_le_bytes(bytes)))
    };
    Some(word(4)? | word(12).unwrap_or(0) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_of_both_versions() {
        let value = [
            0u8, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(permitted(&value), Some(1 << 13 | 1 << 32));
        assert_eq!(permitted(&value[..12]), Some(1 << 13));
        assert_eq!(permitted(&value[..3]), None);
    }

    #[test]
    fn a_plain_file_has_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(file_capabilities(file.path()).unwrap(), None);
        assert!(file_capabilities(Path::new("/nonexistent")).is_err());
    }
}
