//! Publishes what the rooms said: lines, JSON, reports, metrics, capture files. Deliberately absent: deciding or
//! computing anything.

pub mod capture_file;
pub mod findings;
pub mod http;
pub mod json;
pub mod lookups;
pub mod metrics;
pub mod names;
pub mod report;
pub mod summary;
pub mod text;
