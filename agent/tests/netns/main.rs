//! The agent against real kernels: real namespaces, veths, resolvers and clients.
//!
//! `cargo test --test netns`; needs root and `ip`, `tc`, `ss`, `dnsmasq`, `unbound`,
//! `dig`, `dnsperf`, `curl`, `nft` and `python3`. Each test has namespaces of its own, so they run side by side.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod agent;
mod aws;
mod cgroups;
mod endings;
mod fixture;
mod follow;
mod fragments;
mod frames;
mod identity;
mod inside;
mod linklocal;
mod lookups;
mod losses;
mod neighbours;
mod node;
mod privileges;
mod recording;
mod serve;
mod shadow_cache;
mod streams;

/// Ends a test early, with the reason, where it cannot run.
macro_rules! needs_root {
    () => {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
    };
}
pub(crate) use needs_root;
