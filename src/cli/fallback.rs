//! Where a report goes that cannot be written to where it belongs.

use crate::user::User;
use crate::user::files::as_user;
use std::fs::OpenOptions;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes a report into a new file of the working directory, else of the folder for temporary files, with the rights of
/// the run's user. Returns its name.
pub fn save(report: &[u8], extension: &str, user: Option<&User>) -> io::Result<PathBuf> {
    as_user(user, || {
        let folders = [PathBuf::new(), std::env::temp_dir(), PathBuf::from("/tmp")];
        let mut outcome = Err(io::ErrorKind::NotFound.into());
        for folder in folders {
            outcome = save_in(&folder, report, extension);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    })
}

fn save_in(folder: &Path, report: &[u8], extension: &str) -> io::Result<PathBuf> {
    // Every state is seeded by the system: a name that no other process can have put a link at.
    let random = RandomState::new().build_hasher().finish();
    let path = folder.join(format!("presyn-report-{random:016x}.{extension}"));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.custom_flags(libc::O_NOFOLLOW).open(&path)?;
    file.write_all(report)?;
    Ok(path)
}
