//! One run from its inputs to its report: which files belong together, how far reading them has come.

mod in_order;
pub mod inputs;
pub mod live;
pub mod reproduce;
pub mod saved;
