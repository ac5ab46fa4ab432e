//! Bytes or text to values. Pure: what is read here came from a source, and everything in it is
//! hostile.

pub mod dns;
pub mod duplicate;
pub mod foreign;
pub mod fragment;
pub mod handshake;
pub mod hosts;
pub mod name_service;
pub mod opening;
pub mod packet;
pub mod resolv_conf;
pub mod sockaddr;
pub mod strace;
pub mod stream;
