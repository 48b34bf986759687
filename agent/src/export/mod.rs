//! Publishes what the rooms said: lines, JSON, metrics, capture files. Deliberately absent: deciding or computing anything.

pub mod capture_file;
pub mod http;
pub mod json;
pub mod metrics;
pub mod summary;
pub mod text;
