//! Bytes or text to values. Pure: what is read here came from a source, and everything in it is
//! hostile.

pub mod resolv_conf;
