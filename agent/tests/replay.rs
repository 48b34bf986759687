//! Replays the captures of `tests/data` through the program and compares every line with what is expected.
//!
//! `UPDATE_EXPECT=1 cargo test -p nslookout --test replay` writes the expected texts anew; read the difference.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

/// Where captures and expected texts stand.
fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// The program on a capture, in the directory of the captures, so that no other path is printed.
fn replay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nslookout"))
        .current_dir(data())
        .env("TZ", "UTC")
        .args(arguments)
        .output()
        .unwrap()
}

/// Both streams and the exit status, as a person at a terminal would see them.
fn text(output: &Output) -> String {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    let status = if output.status.success() { String::new() } else { format!("{}\n", output.status) };
    format!("{stdout}{stderr}{status}")
}

/// Compares, or writes `expected` anew.
#[track_caller]
fn compare(actual: &str, expected: &Path) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return std::fs::write(expected, actual).unwrap();
    }
    let text = std::fs::read_to_string(expected).unwrap_or_default();
    assert!(actual == text, "{} is\n{text}\nbut this came out:\n{actual}", expected.display());
}

/// The captures whose names begin so, or not.
fn captures(beginning: &str, wanted: bool) -> Vec<String> {
    let names =
        std::fs::read_dir(data()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_capture = |name: &str| [".pcap", ".pcapng", ".gz", ".zst"].iter().any(|end| name.ends_with(end));
    let mut names: Vec<String> =
        names.filter(|name| is_capture(name) && name.starts_with(beginning) == wanted).collect();
    names.sort();
    names
}

#[test]
fn every_capture_gives_the_expected_lines() {
    let captures = captures(SAME_AS_REFUSED, false);
    assert!(captures.len() >= 23, "{captures:?}");
    for capture in captures {
        let name = capture.split('.').next().unwrap();
        compare(&text(&replay(&["watch", "-v", "-r", &capture])), &data().join(format!("{name}.expected")));
    }
}

/// Files with the packets of `refused.pcap`, each in another way.
const SAME_AS_REFUSED: &str = "same-as-refused.";

#[test]
fn the_same_packets_give_the_same_lines_in_every_container() {
    let expected = text(&replay(&["watch", "-v", "-r", "refused.pcap"]));
    let captures = captures(SAME_AS_REFUSED, true);
    assert!(captures.len() >= 18, "{captures:?}");
    for capture in captures {
        let output = text(&replay(&["watch", "-v", "-r", &capture]));
        assert_eq!(output, expected.replace("refused.pcap", &capture), "{capture}");
        // The name tells nothing, and a pipe is as good as a file.
        let output = Command::new("sh")
            .current_dir(data())
            .env("TZ", "UTC")
            .args(["-c", &format!("cat {capture} | {} watch -v -r -", env!("CARGO_BIN_EXE_nslookout"))])
            .output()
            .unwrap();
        assert_eq!(text(&output), expected.replace("refused.pcap", "standard input"), "{capture}");
    }
}

/// Every hard case (`cargo xtask hard-cases`): its lines are as expected, and the counts are those that it was made with.
#[test]
fn every_hard_case_gives_what_it_was_made_of() {
    let directory = std::env::temp_dir().join(format!("nslookout-hard-{}", std::process::id()));
    let generate = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "xtask", "--", "hard-cases", "--all"])
        .arg(&directory)
        .output()
        .unwrap();
    assert!(generate.status.success(), "{}", String::from_utf8_lossy(&generate.stderr));
    let mut wrong = Vec::new();
    for capture in hard_captures(&directory) {
        let truth: Value =
            serde_json::from_slice(&std::fs::read(capture.with_extension("json")).unwrap()).unwrap();
        let found = counts(&capture);
        if found != truth {
            wrong.push(format!("{}: made of {truth}, but found {found}", capture.display()));
        }
    }
    // Those too large for the repository are made here only.
    const LARGE: u64 = 200_000;
    let kept = data().join("hard");
    for made in hard_captures(&directory) {
        for made in [made.with_extension("json"), made.clone()] {
            let (made_bytes, kept) = (std::fs::read(&made).unwrap(), kept.join(made.file_name().unwrap()));
            let large = made.with_extension("pcap").metadata().unwrap().len() > LARGE;
            let same = std::fs::read(&kept).map_or(large, |kept| kept == made_bytes);
            assert!(same, "{}: cargo xtask hard-cases makes another one", kept.display());
        }
    }
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for capture in hard_captures(&kept) {
        let file = capture.strip_prefix(data()).unwrap().to_str().unwrap();
        compare(&text(&replay(&["watch", "-v", "-r", file])), &capture.with_extension("expected"));
    }
}

fn hard_captures(directory: &Path) -> Vec<PathBuf> {
    let mut captures: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    captures.retain(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    captures.sort();
    assert!(captures.len() >= 50, "{}", captures.len());
    captures
}

/// What the program finds in a capture, in the form of a hard case's truth.
fn counts(capture: &Path) -> Value {
    let path = capture.to_str().unwrap();
    let messages = replay(&["watch", "-o", "json", "--messages", "-r", path]);
    let transactions = replay(&["watch", "-o", "json", "-r", path]);
    let lines: Vec<Value> = String::from_utf8(transactions.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ended = |outcome: &str| lines.iter().filter(|line| line["outcome"] == outcome).count();
    serde_json::json!({
        "messages": String::from_utf8(messages.stdout).unwrap().lines().count(),
        "answered": ended("answered"),
        "unanswered": ended("unanswered"),
        "waiting": ended("waiting"),
        "late": ended("late"),
    })
}

#[test]
fn the_short_form_and_json_are_as_expected() {
    compare(&text(&replay(&["-r", "answers.pcap"])), &data().join("answers.short.expected"));
    for name in ["answers", "late"] {
        let output = replay(&["watch", "-o", "json", "-r", &format!("{name}.pcap")]);
        let lines = String::from_utf8(output.stdout).unwrap();
        for line in lines.lines() {
            serde_json::from_str::<Value>(line).unwrap();
        }
        compare(&lines, &data().join(format!("{name}.json.expected")));
    }
}

/// `cargo xtask generate` knows what it wrote; all of it must be found.
#[test]
fn a_generated_capture_is_counted_to_the_last_packet() {
    let directory = std::env::temp_dir().join(format!("nslookout-replay-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let capture = directory.join("generated.pcap");
    let generate = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "xtask", "--", "generate", "--packets", "50000"])
        .arg(&capture)
        .output()
        .unwrap();
    assert!(generate.status.success(), "{}", String::from_utf8_lossy(&generate.stderr));
    let truth: Value = serde_json::from_slice(&generate.stdout).unwrap();
    let output = replay(&["watch", "-o", "json", "-r", capture.to_str().unwrap()]);
    let diagnosis = replay(&["diagnose", "-o", "json", "-r", capture.to_str().unwrap()]);
    std::fs::remove_dir_all(&directory).unwrap();

    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let count = |holds: &dyn Fn(&Value) -> bool| lines.iter().filter(|line| holds(line)).count() as u64;
    let number = |pointer: &str| truth.pointer(pointer).and_then(Value::as_u64).unwrap();
    let check = |pointer: &str, found: u64| assert_eq!(found, number(pointer), "{pointer}");
    check("/transactions", count(&|line| line["outcome"] != "late"));
    check("/answered", count(&|line| line["outcome"] == "answered"));
    check("/unanswered", count(&|line| line["outcome"] == "unanswered"));
    check("/query_messages", lines.iter().filter_map(|line| line["sends"].as_u64()).sum());
    for transport in ["udp", "tcp"] {
        check(&format!("/{transport}/transactions"), count(&|line| line["transport"] == transport));
    }
    for qtype in ["A", "AAAA"] {
        check(&format!("/qtypes/{qtype}"), count(&|line| line["qtype"] == qtype));
    }
    for rcode in ["NOERROR", "NXDOMAIN", "SERVFAIL"] {
        check(&format!("/rcodes/{rcode}"), count(&|line| line["rcode"] == rcode));
    }
    check("/nodata", count(&|line| line["nodata"] == true));
    check("/truncated", count(&|line| line["truncated"] == true));
    check("/edns_transactions", count(&|line| line["query_edns"].is_object()));

    // Every transaction belongs to one lookup, and every lookup is told apart from all others.
    let diagnosis: Value = serde_json::from_slice(&diagnosis.stdout).unwrap();
    let lookups = &diagnosis["lookups"];
    assert_eq!(lookups["total"], number("/lookups"), "{lookups}");
    assert_eq!(lookups["queries"], number("/query_messages"), "{lookups}");

    let summary = String::from_utf8(output.stderr).unwrap().replace(',', "");
    let expect = |text: String| assert!(summary.contains(&text), "{text} is not in\n{summary}");
    let outcomes = ["/transactions", "/answered", "/unanswered"].map(number);
    expect(format!(" {} queries  {} answered  {} no answer (", outcomes[0], outcomes[1], outcomes[2]));
    expect(format!("sent again {}\n", number("/retransmits")));
    expect(format!("\n{} packets captured\n", number("/packets")));
}

/// Two captures in one file, or a clock that was set back: what came before cannot make answers late.
#[test]
fn a_clock_set_back_loses_no_answer() {
    use nslookout::capture::Source;
    use nslookout::capture::frame::{Frame, Timestamp};
    use nslookout::engine::{Engine, EngineConfig};

    let mut frames: Vec<(Timestamp, Vec<u8>, Frame<'static>)> = Vec::new();
    let mut source = Source::file(&data().join("search-list.pcap")).unwrap();
    source.drain(usize::MAX, &mut |frame| {
        frames.push((frame.time, frame.bytes.to_vec(), Frame { bytes: &[], ..*frame }));
    });
    let config = EngineConfig { ports: [53].into_iter().collect(), ..EngineConfig::default() };
    let mut engine = Engine::new(config);
    let mut feed = |back: Duration| {
        for (time, bytes, frame) in &frames {
            engine.frame(&Frame { time: time.before(back), bytes, ..*frame }, &mut |_| {});
            engine.tick(engine.latest().before(Duration::from_millis(10)), &mut |_| {});
        }
        (engine.tally().summary.answered, engine.tally().summary.unanswered, engine.tally().summary.late)
    };
    let (once, unanswered, late) = feed(Duration::ZERO);
    assert!(once > 10 && unanswered == 0 && late == 0, "{once} {unanswered} {late}");
    assert_eq!(feed(Duration::from_secs(30)), (2 * once, 0, 0));
}
