//! What is recorded is read by tcpdump and tshark, and read back with the same result; nothing here needs root.
//!
//! `cargo test -p nslookout --test recording`; where tcpdump or tshark is missing, that half is skipped and says so.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The program under test.
const NSLOOKOUT: &str = env!("CARGO_BIN_EXE_nslookout");

/// A folder that goes with its guard.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("nsltest-{}-r{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&folder.0).unwrap();
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn names(&self) -> BTreeSet<String> {
        fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A capture of the replay tests.
fn data(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).to_str().unwrap().to_owned()
}

/// Those of a folder that can be read to their end.
fn captures_of(folder: &str) -> Vec<String> {
    let files =
        fs::read_dir(data(folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let whole = |name: &String| !["broken", "cut-off", "radio"].iter().any(|begin| name.starts_with(begin));
    let kinds = [".pcap", ".pcapng", ".gz", ".zst"];
    let captures = files.filter(|name| kinds.iter().any(|kind| name.ends_with(kind))).filter(whole);
    captures.map(|name| data(&format!("{folder}/{name}"))).collect()
}

fn captures() -> Vec<String> {
    captures_of(".")
}

fn nslookout(arguments: &[&str]) -> Output {
    Command::new(NSLOOKOUT).args(arguments).env("TZ", "UTC").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it, which must succeed; gives standard output and the summary without the name of the file.
#[track_caller]
fn succeed(arguments: &[&str]) -> (String, String) {
    let output = nslookout(arguments);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
    let lines = told
        .lines()
        .map(|line| if line.starts_with("---") { line.split(", ").next().unwrap() } else { line });
    (text(&output.stdout), lines.collect::<Vec<_>>().join("\n"))
}

#[track_caller]
fn refuses(arguments: &[&str], expected: &[&str]) {
    let output = nslookout(arguments);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
    for part in expected {
        assert!(told.contains(part), "no `{part}` in: {told}");
    }
}

/// The bytes of each packet in hexadecimal, link layer and all, as a program prints them; `None` where it is missing.
fn packets_by(program: &[&str], file: &str) -> Option<Vec<String>> {
    let output = match Command::new(program[0]).args(&program[1..]).arg(file).output() {
        Ok(output) => output,
        Err(_) => {
            println!("skipped: no {}", program[0]);
            return None;
        }
    };
    assert!(output.status.success(), "{program:?} {file}: {}", text(&output.stderr));
    let mut packets: Vec<String> = Vec::new();
    for line in text(&output.stdout).lines() {
        // tcpdump: `\t0x0000:  0123 4567`; tshark: `0000  01 23 45 67  text`.
        let (at, rest) = match line.trim_start().split_once([':', ' ']) {
            Some((at, rest)) => (at.trim_start_matches("0x"), rest.trim_start()),
            None => continue,
        };
        if at.len() != 4 || u32::from_str_radix(at, 16).is_err() {
            continue;
        }
        if at == "0000" {
            packets.push(String::new());
        }
        let hex = rest.split("  ").next().unwrap();
        packets.last_mut().unwrap().extend(hex.chars().filter(char::is_ascii_hexdigit));
    }
    Some(packets)
}

const TCPDUMP: &[&str] = &["tcpdump", "-nt", "-xx", "-r"];
const TSHARK: &[&str] = &["tshark", "-n", "-x", "-r"];

#[test]
fn a_recording_reads_as_its_original() {
    let folder = Folder::new();
    let mut hard = captures_of("hard");
    // Its last packet is not DNS and is not recorded, but shows that nothing came for six seconds.
    hard.retain(|name| !name.ends_with("fragments-without-first.pcap"));
    assert!(hard.len() > 20, "{}", hard.len());
    for original in captures().into_iter().chain(hard) {
        for name in ["copy.pcapng", "copy.pcap"] {
            let copy = folder.path(name);
            let (printed, recorded) = succeed(&["-r", &original, "-w", &copy]);
            assert_eq!(printed, "", "{original}");
            for options in [&["-v"][..], &["-o", "json"], &["--messages", "-o", "json"]] {
                let expected = succeed(&[&["-r", &original], options].concat());
                // Some hard cases are no DNS at all.
                assert!(!expected.0.is_empty() || original.contains("/hard/"), "{original}");
                assert_eq!(succeed(&[&["-r", &copy], options].concat()), expected, "{original} {name}");
                assert_eq!(recorded, expected.1, "{original} {name}");
            }
        }
    }
}

/// All packets of these files belong to DNS, and each file is of one link type that is kept: nothing may be changed.
#[test]
fn others_read_the_same_bytes() {
    let folder = Folder::new();
    let changed = ["null", "loop", "ppp", "two-interfaces", ".gz", ".zst"];
    for original in captures().into_iter().filter(|name| !changed.iter().any(|part| name.contains(part))) {
        let copies = ["copy.pcapng", "copy.pcap"].map(|name| folder.path(name));
        for copy in &copies {
            succeed(&["-r", &original, "-w", copy]);
        }
        // tshark takes its time to start: one copy, and not of each variant of the same packets.
        let by_tshark = if original.contains("same-as") { 0 } else { 1 };
        for (program, count) in
            [(TCPDUMP, 2), (TSHARK, by_tshark)].into_iter().filter(|(_, count)| *count > 0)
        {
            let Some(expected) = packets_by(program, &original) else { continue };
            assert!(!expected.is_empty(), "{original}");
            for copy in &copies[..count] {
                assert_eq!(
                    packets_by(program, copy).as_ref(),
                    Some(&expected),
                    "{original} {copy} {program:?}"
                );
            }
        }
    }
}

/// What is broken or not read is told, and the rest recorded.
#[test]
fn what_can_be_read_of_a_broken_file_is_recorded() {
    let folder = Folder::new();
    let copy = folder.path("copy.pcapng");
    for name in [
        "broken.pcap",
        "cut-off.pcap",
        "cut-off-pcapng.pcapng",
        "cut-off-gzip.pcap.gz",
        "radio-and-ethernet.pcapng",
    ] {
        let original = data(name);
        let (lines, _) = succeed(&["-r", &original, "-v"]);
        let (_, told) = succeed(&["-r", &original, "-w", &copy]);
        assert!(told.contains(name), "{told}");
        assert_eq!(succeed(&["-r", &copy, "-v"]).0, lines, "{name}");
    }
}

/// Two files of different link types, one behind the other as pcapng sections allow it.
#[test]
fn link_types_that_differ_become_one() {
    let folder = Folder::new();
    let [ethernet, raw, both, cooked] =
        ["e.pcapng", "r.pcapng", "both.pcapng", "cooked.pcapng"].map(|name| folder.path(name));
    succeed(&["-r", &data("answers.pcap"), "-w", &ethernet]);
    succeed(&["-r", &data("raw-ip.pcap"), "-w", &raw]);
    fs::write(&both, [fs::read(&ethernet).unwrap(), fs::read(&raw).unwrap()].concat()).unwrap();
    succeed(&["-r", &both, "-w", &cooked]);
    assert_eq!(succeed(&["-r", &cooked, "-v"]), succeed(&["-r", &both, "-v"]));
    let Some(packets) = packets_by(TCPDUMP, &cooked) else { return };
    let of = |file: &str| packets_by(TCPDUMP, file).unwrap();
    // From IP on, the bytes are those of the originals.
    let ip = |packets: Vec<String>, header: usize| {
        packets.into_iter().map(move |packet| packet[2 * header..].to_owned())
    };
    let expected: Vec<String> = ip(of(&ethernet), 14).chain(ip(of(&raw), 0)).collect();
    assert_eq!(ip(packets, 20).collect::<Vec<_>>(), expected);
    let types = Command::new("tcpdump").args(["-nr", &cooked, "-c", "1"]).output().unwrap();
    assert!(text(&types.stderr).contains("link-type LINUX_SLL2"), "{}", text(&types.stderr));
}

/// What is recorded is what belongs to the server ports.
#[test]
fn other_ports_are_left_out() {
    let folder = Folder::new();
    let copy = folder.path("copy.pcapng");
    let (_, summary) = succeed(&["-r", &data("answers.pcap"), "-w", &copy, "--port", "5353"]);
    assert!(summary.contains("no DNS packet"), "{summary}");
    assert!(succeed(&["-r", &copy]).1.contains("no DNS packet"));
    assert_eq!(packets_by(TCPDUMP, &copy).unwrap_or_default(), Vec::<String>::new());
}

#[test]
fn packets_are_counted_and_lines_printed_as_asked() {
    let folder = Folder::new();
    let [ten, printed] = ["ten.pcapng", "printed.pcapng"].map(|name| folder.path(name));
    let (lines, summary) = succeed(&["-r", &data("answers.pcap"), "-w", &ten, "-c", "10"]);
    assert_eq!(lines, "");
    assert!(summary.contains("10 packets captured"), "{summary}");
    assert!(succeed(&["-r", &ten]).1.contains("10 packets captured"));
    let expected = succeed(&["-r", &data("answers.pcap")]);
    assert_eq!(succeed(&["-r", &data("answers.pcap"), "-w", &printed, "--print", "-U"]), expected);
    assert_eq!(succeed(&["-r", &printed]), expected);
}

#[test]
fn size_begins_new_files_that_read_alone() {
    let folder = Folder::new();
    let original = data("search-list.pcap");
    let whole = packets_by(TCPDUMP, &original);
    for extension in ["pcap", "pcapng"] {
        let path = folder.path(&format!("size.{extension}"));
        succeed(&["-r", &original, "-w", &path, "-C", "1k"]);
        let mut files = vec![path.clone()];
        files.extend(
            (1..).map(|number| format!("{path}{number}")).take_while(|file| Path::new(file).exists()),
        );
        assert!(files.len() > 2, "{:?}", folder.names());
        for file in &files {
            assert!(succeed(&["-r", file]).1.contains(" packets captured"), "{file}");
        }
        if let Some(whole) = &whole {
            let parts: Vec<String> =
                files.iter().flat_map(|file| packets_by(TCPDUMP, file).unwrap()).collect();
            assert_eq!(parts, *whole, "{extension}");
        }
        if extension == "pcapng" {
            let joined = folder.path("joined");
            fs::write(&joined, files.iter().flat_map(|file| fs::read(file).unwrap()).collect::<Vec<u8>>())
                .unwrap();
            assert_eq!(succeed(&["-r", &joined, "-v"]), succeed(&["-r", &original, "-v"]));
        }
    }
}

#[test]
fn a_ring_keeps_the_last_files() {
    let folder = Folder::new();
    let original = data("search-list.pcap");
    succeed(&["-r", &original, "-w", &folder.path("ring"), "-C", "1k", "-W", "2"]);
    assert_eq!(folder.names(), ["ring0", "ring1"].map(str::to_owned).into());
    if let Some(whole) = packets_by(TCPDUMP, &original) {
        let kept = ["ring0", "ring1"].map(|name| packets_by(TCPDUMP, &folder.path(name)).unwrap());
        let last =
            kept.iter().find(|packets| packets.last() == whole.last()).expect("the last packet is kept");
        assert_eq!(&whole[whole.len() - last.len()..], last);
    }
}

/// By the time of the packets, so that a file splits as it would have when it was live.
#[test]
fn time_begins_new_files() {
    let folder = Folder::new();
    let original = data("unanswered.pcap");
    succeed(&["-r", &original, "-w", &folder.path("%H%M%S.pcapng"), "-G", "3"]);
    let names = folder.names();
    assert!(names.len() > 1, "{names:?}");
    assert!(names.iter().all(|name| name.len() == "000000.pcapng".len() && !name.contains('%')), "{names:?}");
    if let Some(whole) = packets_by(TCPDUMP, &original) {
        let parts = names.iter().flat_map(|name| packets_by(TCPDUMP, &folder.path(name)).unwrap());
        assert_eq!(parts.collect::<Vec<_>>(), whole);
    }
    let one = Folder::new();
    let (_, summary) = succeed(&["-r", &original, "-w", &one.path("%s"), "-G", "3", "-W", "1"]);
    assert_eq!(one.names().len(), 1);
    let name = one.names().pop_first().unwrap();
    // It stopped there: what was not written was not counted either.
    assert_eq!(succeed(&["-r", &one.path(&name)]).1, summary);
}

#[test]
fn standard_output_goes_into_a_program() {
    let mut child = Command::new(NSLOOKOUT);
    child.args(["-r", &data("answers.pcap"), "-w", "-"]);
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stdout.starts_with(b"\x0a\x0d\x0d\x0a"), "{:?}", output.stdout.get(..8));
    for program in [&["tcpdump", "-nr", "-"][..], &[NSLOOKOUT, "-r", "-"]] {
        let spawned = Command::new(program[0])
            .args(&program[1..])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut reader) = spawned else {
            println!("skipped: no {}", program[0]);
            continue;
        };
        reader.stdin.take().unwrap().write_all(&output.stdout).unwrap();
        let read = reader.wait_with_output().unwrap();
        assert!(read.status.success(), "{program:?}: {}", text(&read.stderr));
        assert!(text(&read.stdout).lines().count() > 10, "{program:?}: {}", text(&read.stderr));
    }
}

/// `nslookout -w - | head -c 100`
#[test]
fn a_reader_that_is_gone_ends_it_quietly() {
    let mut command = Command::new(NSLOOKOUT);
    // More than a pipe holds.
    let folder = Folder::new();
    let large = folder.path("large.pcap");
    let bytes = fs::read(data("answers.pcap")).unwrap();
    let records: Vec<u8> = bytes[24..].repeat(200);
    fs::write(&large, [&bytes[..24], &records].concat()).unwrap();
    let mut child = command
        .args(["-r", &large, "-w", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 100]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

/// Packets would make a mess of it.
#[test]
fn a_terminal_is_refused() {
    let line = format!("{NSLOOKOUT} -r {} -w -", data("answers.pcap"));
    let Ok(output) = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output()
    else {
        return println!("skipped: no script");
    };
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("-w - writes packets, not for a terminal"), "{told}");
}

#[test]
fn what_cannot_be_written_is_refused_by_name() {
    let folder = Folder::new();
    let answers = data("answers.pcap");
    refuses(&["-r", &answers, "-w", "/dev/full"], &["failed to write /dev/full", "No space left"]);
    refuses(&["-r", &answers, "-w", "/nosuch/file"], &["failed to create /nosuch/file", "No such file"]);
    refuses(&["-r", &answers, "-w", "a.pcapng.zst"], &["a.pcapng.zst", "-w - | zstd > a.pcapng.zst"]);
    refuses(&["-r", &answers, "-w", "-", "-C", "1"], &["-w -", "-C"]);
    refuses(&["-r", &answers, "-w", "-", "--print"], &["-w -", "--print"]);
    refuses(&["-r", &answers, "-w", &folder.path("f"), "-W", "3"], &["-W needs -C or -G"]);
    refuses(&["-r", &answers, "-w", &folder.path("%!"), "-G", "3"], &["%!", "format of time"]);
    refuses(&["-r", &answers, "-w", &folder.path("f"), "-C", "10MB"], &["`10MB`", "10MiB"]);
    refuses(&["-r", &answers, "-C", "10"], &["--write"]);
    assert_eq!(folder.names(), BTreeSet::new());
}

/// By whatever name the file that is read would be written, it stays as it is.
#[test]
fn what_is_read_is_never_written() {
    let folder = Folder::new();
    let [own, linked, hard, numbered, timed] =
        ["own.pcap", "linked.pcap", "hard.pcapng", "f1", "%H.pcap"].map(|name| folder.path(name));
    let original = fs::read(data("search-list.pcap")).unwrap();
    fs::write(&own, &original).unwrap();
    std::os::unix::fs::symlink(&own, &linked).unwrap();
    fs::hard_link(&own, &hard).unwrap();
    for name in [&own, &linked, &hard] {
        refuses(&["-r", &own, "-w", name], &["same file", name, &own]);
    }
    // A later file of several.
    fs::hard_link(&own, &numbered).unwrap();
    refuses(&["-r", &own, "-w", &folder.path("f"), "-C", "1k"], &["same file", &numbered, &own]);
    assert!(fs::metadata(folder.path("f")).unwrap().len() > 1000);
    for hour in 0..24 {
        fs::hard_link(&own, folder.path(&format!("{hour:02}.pcap"))).unwrap();
    }
    refuses(&["-r", &own, "-w", &timed, "-G", "1"], &["same file", &own]);
    // What the shell opened.
    for (name, stdout) in
        [(own.as_str(), None), ("-", Some(fs::File::options().append(true).open(&own).unwrap()))]
    {
        let mut command = Command::new(NSLOOKOUT);
        command.args(["-r", "-", "-w", name]).stdin(fs::File::open(&own).unwrap());
        command.stdout(stdout.map_or_else(Stdio::null, Stdio::from));
        let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("the same file as standard input"), "{told}");
    }
    assert_eq!(fs::read(&own).unwrap(), original);
}
