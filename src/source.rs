//! Everything that touches the system. What comes out are [`crate::event::Event`]s and facts about
//! the input ([`crate::input`]).

pub mod capture;
pub mod capture_file;
pub mod compression;
mod file_user;
pub mod grant;
pub mod host;
pub mod preflight;
pub mod privilege;
pub mod strace_log;
pub mod target;
pub mod tracer;
mod unpack;
pub mod watcher;
