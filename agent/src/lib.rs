//! nslookout watches the DNS traffic of a Linux node.
//!
//! The data flows one way, and each room has one job:
//!
//! ```text
//!                                                                      ┌─Event, Lookup──▶ tally ────────────┐
//! capture ──Frame──▶ packet ──Payload──▶ dns ──Message──▶ correlate ───┤                                     ├─▶ export
//!    ▲                 ▲                                      ▲        └─Lookup, Event──▶ findings ──Finding─┘
//! interfaces    fragments and streams           time comes with the frame
//! (which to     are put together
//! attach)
//! ```
//!
//! The middle rooms (`packet`, `dns`, `correlate`, `findings`, `tally`) touch no socket, file or clock. [`engine`] owns
//! them and drives a frame through them; [`live`] is the loop around it; [`cli`] and [`export`] stand above.
//!
//! What resolvers, servers and platforms do, and how each finding is told from what looks like it, stands with its sources
//! in `docs/facts.md` of the repository: "facts.md section 3.2" in a comment means that file.

pub mod capture;
pub mod cli;
pub mod correlate;
pub mod dns;
pub mod engine;
pub mod export;
pub mod findings;
pub mod identity;
pub mod live;
pub mod maps;
pub mod packet;
pub mod tally;
