//! The folder of material beside the project that is not part of it.

#![allow(clippy::unwrap_used)] // tests

use std::path::{Path, PathBuf};

/// The folder, by `PRESYN_SHARED` or beside the project; where it is absent, a loud word and `None`.
pub fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let named = std::env::var_os("PRESYN_SHARED").map(PathBuf::from);
    let found = named.into_iter().chain([beside]).find(|path| path.is_dir());
    if found.is_none() {
        let said = "SKIPPED: ../shared is not here\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
    }
    found
}
