//! What came of each check, in a line of its own.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The results so far.
#[derive(Default)]
pub struct Verdicts {
    lines: Vec<(String, bool, Duration)>,
}

impl Verdicts {
    /// Runs a check, prints what came of it, and gives whether it passed; its words are what was seen.
    pub fn check(&mut self, name: &str, work: impl FnOnce() -> Result<String>) -> bool {
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        let (word, said) = match &result {
            Ok(seen) => ("PASS", seen.clone()),
            Err(error) => ("FAIL", format!("{error:#}")),
        };
        println!("{word}  {name:<22} {:>5.1} s  {said}", took.as_secs_f64());
        self.lines.push((name.to_owned(), result.is_ok(), took));
        result.is_ok()
    }

    /// The sum; an error names the checks that failed.
    pub fn finish(&self, what: &str) -> Result<()> {
        let failed: Vec<&str> =
            self.lines.iter().filter(|(_, passed, _)| !passed).map(|(name, ..)| name.as_str()).collect();
        println!("{what}: {} passed, {} failed", self.lines.len() - failed.len(), failed.len());
        if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_fails_all_and_is_named() {
        let mut verdicts = Verdicts::default();
        assert!(verdicts.check("well", || Ok("seen".into())));
        assert!(verdicts.finish("test").is_ok());
        assert!(!verdicts.check("ill", || bail!("nothing seen")));
        assert_eq!(verdicts.finish("test").unwrap_err().to_string(), "failed: ill");
    }
}
