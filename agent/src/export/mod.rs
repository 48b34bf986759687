//! Publishes what the rooms said: lines, JSON, metrics. Deliberately absent: deciding or computing anything.

pub mod http;
pub mod json;
pub mod metrics;
pub mod summary;
pub mod text;
