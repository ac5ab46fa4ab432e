//! Everything that touches the system. What comes out are [`crate::event::Event`]s and facts about
//! the input ([`crate::input`]).

pub mod bounded;
pub mod capture;
pub mod capture_file;
pub mod compression;
pub mod grant;
pub mod headway;
pub mod host;
pub mod inputs;
pub mod live;
pub mod machine;
pub mod privilege;
pub mod saved;
pub mod strace_log;
pub mod tracer;
mod unpack;
pub mod user_files;
