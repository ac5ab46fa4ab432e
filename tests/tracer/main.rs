//! The tracer against real programs. Every run is bounded in time.

mod lookups;
mod network;
mod support;
mod transparency;
