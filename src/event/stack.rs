//! The functions that a thread was in when it made a call.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// More frames than this are not followed: what asks for a name or connects is near the call.
pub const MAX_FRAMES: usize = 64;
/// Longer names are cut: templates of C++ and closures of Rust have names of kilobytes.
pub const MAX_NAME: usize = 200;
/// The longest path that Linux gives (`PATH_MAX`), less what no library has.
pub const MAX_PATH: usize = 1_024;

/// The user-space stack of a call, innermost frame first. In the stream of events it follows its call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stack {
    /// At most [`MAX_FRAMES`].
    pub frames: Vec<Frame>,
    /// Why it has no more.
    pub end: StackEnd,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// The function, demangled; `None` where the file names none there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Arc<str>>,
    /// How far into the function; 0 without one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// Path of the program or library.
    pub module: Arc<str>,
    /// Offset in that file, as strace prints it.
    pub address: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Why a stack ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackEnd {
    /// The outermost frame was reached.
    Outermost,
    /// There are more than [`MAX_FRAMES`].
    Limit,
    /// The caller is code that is in no file: made while the program runs (Java, JavaScript, .NET, …). It has no unwind
    /// information.
    Generated {
        /// Where it is in memory.
        address: u64,
    },
    /// The file has no unwind information for its last frame, or the stack is not what it says.
    Lost,
    /// The trace does not say.
    Unsaid,
}

impl Frame {
    /// The file's name without its folders.
    pub fn file(&self) -> &str {
        self.module.rsplit('/').next().unwrap_or(&self.module)
    }
}

/// Cuts a name to a number of bytes, at a character.
pub fn cut(name: &str, most: usize) -> &str {
    let mut end = name.len().min(most);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}
