//! How a stub resolver walks the search list (facts.md section 2.1).
