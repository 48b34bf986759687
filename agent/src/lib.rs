//! nslookout watches the DNS traffic of a Linux node.
//!
//! The data flows one way, and each room has one job:
//!
//! ```text
//! capture ──Frame──▶ packet ──Payload──▶ dns ──Message──▶ correlate ──Event──▶ tally ──▶ export
//!    ▲                 ▲                                      ▲
//! interfaces    fragments and streams           time comes with the frame
//! (which to     are put together
//! attach)
//! ```
//!
//! The middle rooms (`packet`, `dns`, `correlate`, `tally`) touch no socket, file or clock. [`engine`] owns them and
//! drives a frame through them; [`live`] is the loop around it; [`cli`] and [`export`] stand above.

pub mod capture;
pub mod cli;
pub mod correlate;
pub mod dns;
pub mod engine;
pub mod export;
pub mod findings;
pub mod live;
pub mod maps;
pub mod packet;
pub mod tally;
