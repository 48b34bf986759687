//! Bad input ends with status 2 and a message that names what was wrong; nothing here needs root.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// The program under test.
const NSLOOKOUT: &str = env!("CARGO_BIN_EXE_nslookout");

fn nslookout(arguments: &[&str]) -> Output {
    Command::new(NSLOOKOUT).args(arguments).output().expect("failed to run nslookout")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Status 2, nothing on standard output, and a message that holds all of `expected`.
#[track_caller]
fn refuses(arguments: &[&str], expected: &[&str]) {
    expect_refusal(&nslookout(arguments), expected);
}

#[track_caller]
fn expect_refusal(output: &Output, expected: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert_eq!(text(&output.stdout), "", "{message}");
    for part in expected {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}

/// A file that goes with its guard.
struct Scratch(PathBuf);

impl Scratch {
    fn path(&self) -> &str {
        self.0.to_str().expect("a path of plain characters")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn scratch(bytes: &[u8]) -> Scratch {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("nsltest-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let file = Scratch(std::env::temp_dir().join(name));
    std::fs::write(&file.0, bytes).expect("failed to write a scratch file");
    file
}

/// The header of a pcap file with microseconds, in little-endian order.
fn pcap_header(link_type: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link_type] {
        bytes.extend(u32::to_le_bytes(number));
    }
    bytes
}

/// A record of one query for `a.test` in Ethernet, IPv4 and UDP.
fn query_record(id: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend(b"\x01\x00\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01");
    let mut frame = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0".to_vec();
    let length = (20 + 8 + message.len()) as u16;
    frame.extend(b"\x45\0");
    frame.extend(length.to_be_bytes());
    frame.extend(b"\0\0\0\0\x40\x11\0\0\x0a\0\0\x01\x0a\0\0\x02");
    frame.extend(b"\x9c\x40\0\x35");
    frame.extend((length - 20).to_be_bytes());
    frame.extend(b"\0\0");
    frame.extend(message);
    let mut record = Vec::new();
    for number in [1_700_000_000, u32::from(id), frame.len() as u32, frame.len() as u32] {
        record.extend(number.to_le_bytes());
    }
    record.extend(frame);
    record
}

#[test]
fn interfaces_that_are_not_there() {
    refuses(&["watch", "-i", "nosuch0"], &["nslookout: ", "`nosuch0`", "there are: ", "lo"]);
    refuses(&["-i", "lo", "-i", "nosuch0"], &["`nosuch0`"]);
    refuses(&["check", "-i", "nosuch0"], &["`nosuch0`"]);
}

#[test]
fn numbers_out_of_range() {
    refuses(&["--port", "0"], &["'0'", "--port"]);
    refuses(&["--port", "65536"], &["'65536'", "--port"]);
    refuses(&["--port", "dns"], &["'dns'", "--port"]);
    refuses(&["--for", "6"], &["`6`", "--for", "30s"]);
    refuses(&["--for", "0s"], &["`0s`", "--for"]);
    refuses(&["--timeout", "soon"], &["`soon`", "--timeout"]);
    refuses(&["--ring", "3"], &["`3`", "--ring", "power of two"]);
    refuses(&["--ring", "2048"], &["`2048`", "--ring"]);
    refuses(&["-c", "0"], &["'0'", "--count"]);
    refuses(&["--max-inflight", "0"], &["'0'", "--max-inflight"]);
    refuses(&["-o", "xml"], &["'xml'", "--output", "json"]);
    refuses(&["serve", "--listen", "9953"], &["'9953'", "--listen"]);
    refuses(&["serve", "--close-after", "soon"], &["`soon`", "--close-after"]);
    refuses(&["diagnose", "--close-after", "0s"], &["`0s`", "--close-after"]);
    refuses(&["diagnose", "--fail-on", "worse"], &["'worse'", "--fail-on", "warning"]);
    refuses(&["diagnose", "--vpc-resolver", "10.0.0"], &["'10.0.0'", "--vpc-resolver"]);
    refuses(&["diagnose", "--resolv-conf", "10.0.0=x"], &["`10.0.0`", "--resolv-conf", "ADDRESS=FILE"]);
    refuses(&["serve", "--cluster-dns", "10.0.0"], &["'10.0.0'", "--cluster-dns"]);
    refuses(&["wacth"], &["wacth"]);
    refuses(&["-r", "file", "-i", "lo"], &["--read", "--interface"]);
    refuses(&["--summary=only", "-w", "x.pcap", "--print"], &["--print", "--summary=only"]);
    refuses(&["--summary=only", "-c", "5"], &["-c counts lines", "--for"]);
}

#[test]
fn files_that_cannot_be_read() {
    refuses(&["-r", "/nosuch/file.pcap"], &["failed to open /nosuch/file.pcap", "No such file"]);
    refuses(&["diagnose", "-r", "/nosuch/file.pcap"], &["failed to open /nosuch/file.pcap"]);
    refuses(
        &["diagnose", "-r", "x", "--resolv-conf", "/nosuch"],
        &["failed to read /nosuch", "No such file"],
    );
    refuses(&["-r", "/"], &["/ is a directory; name a capture file in it"]);
    for (bytes, reason) in [
        (
            &b"hello, this is no capture\n"[..],
            "is no capture, but text; tcpdump writes captures with -w FILE",
        ),
        (b"", "is no capture: it is empty"),
        (b"\xd4\xc3", "is no capture: it is too short for one"),
        (b"\0\x01\x02\x03\x04", "its first bytes announce neither pcap nor pcapng"),
        (b"\xd4\xc3\xb2\xa1\x02\0\x04\0", "the header of the capture is cut off"),
        (b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a", "the header of the capture is cut off"),
        (b"\x0a\x0d\x0d\x0aaaaaaaaaaaaaaaaa", "a section has no byte-order magic"),
        (b"\xa1\xb2\xc3\xd4\0\x09\0\x04aaaaaaaaaaaaaaaaa", "pcap version 9.4 is not read here"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03\0\0", "the gzip data are cut off"),
        (
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0",
            "is gzip, but what is packed in it is no capture: it is empty",
        ),
        (b"\x28\xb5\x2f\xfd\xff\xff\xff", "the zstd data are"),
        (b"\xfd7zXZ\0", "but xz; unpack it: xz -dc FILE | nslookout -r -"),
        (b"snoop\0\0\0", "but of another analyser; convert it: editcap"),
    ] {
        let file = scratch(bytes);
        refuses(&["-r", file.path()], &[file.path(), reason]);
    }
}

/// A resolv.conf is text of at most 64 KiB; what has no end is not read to it.
#[test]
fn what_is_no_resolv_conf() {
    let capture = scratch(&pcap_header(1));
    let long = scratch(&b"search a.test\n".repeat(6000));
    for (file, expected) in [
        ("/dev/zero", "/dev/zero is no resolv.conf, but no text at all"),
        ("/dev/urandom", "/dev/urandom is no resolv.conf"),
        (long.path(), "is no resolv.conf: it has more than 64 KiB"),
        ("", "`` names no file; write FILE, or ADDRESS=FILE"),
        ("10.0.0.1=", "`10.0.0.1=` names no file; write FILE, or ADDRESS=FILE"),
        ("/nosuch\n1. HIGH \x1b[31m", "failed to read /nosuch\\n1. HIGH \\u{1b}[31m: No such file"),
    ] {
        refuses(&["diagnose", "-r", capture.path(), "--resolv-conf", file], &[expected]);
    }
    refuses(&["cost", "a.test", "--resolv-conf", "/dev/zero"], &["/dev/zero is no resolv.conf"]);
    refuses(&["cost", "a.test", "--resolv-conf", ""], &["--resolv-conf"]);
    refuses(&["-r", ""], &["--read"]);
    let good = scratch(b"search a.test\noptions ndots:2\n");
    let output = nslookout(&["diagnose", "-r", capture.path(), "--resolv-conf", good.path()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// A name may hold anything but a slash and a zero byte: it is printed so that it cannot pass for lines of a report.
#[test]
fn names_of_files_are_escaped() {
    let plain = scratch(&[pcap_header(1), query_record(1)].concat());
    let path = format!("{}\n1. HIGH \x1b[31m\u{202e}", plain.path());
    std::fs::rename(&plain.0, &path).expect("failed to rename a scratch file");
    let odd = Scratch(path.into());
    let watched = nslookout(&["-r", odd.path()]);
    let diagnosed = nslookout(&["diagnose", "-r", odd.path()]);
    let refused = nslookout(&["-r", &format!("{}x", odd.path())]);
    for output in [&watched.stderr, &diagnosed.stdout, &refused.stderr] {
        let told = text(output);
        // The report may break the line at a blank.
        assert!(told.contains("\\n1.") && told.contains("\\u{1b}[31m\\u{202e}"), "{told}");
        assert!(!told.contains('\x1b') && !told.contains('\u{202e}') && !told.contains("\n1."), "{told}");
    }
}

/// What can write nothing does not say that all is well.
#[test]
fn a_full_disk_is_trouble() {
    let capture = scratch(&[pcap_header(1), query_record(1)].concat());
    for arguments in [
        &["cost", "a.test"][..],
        &["cost", "10.0.0.1"],
        &["explain"],
        &["explain", "servfail"],
        &["check", "-i", "lo"],
        &["diagnose", "-r", capture.path()],
        &["-r", capture.path()],
    ] {
        let full = std::fs::File::create("/dev/full").expect("no /dev/full");
        let output = Command::new(NSLOOKOUT).args(arguments).stdout(full).output().expect("failed to run");
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("failed to write to standard output"), "{arguments:?}");
    }
}

#[test]
fn what_asks_for_lines_prints_them_or_is_refused() {
    let capture = scratch(&[pcap_header(1), query_record(1)].concat());
    let copy = scratch(b"");
    for flag in ["--findings", "--lookups", "--messages"] {
        let way_out = format!("{flag} asks for lines, and -w alone prints none; add --print");
        refuses(&["-r", capture.path(), flag, "-w", copy.path()], &[&way_out]);
        let output = nslookout(&["-r", capture.path(), flag, "-w", copy.path(), "--print"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(!output.stdout.is_empty(), "{flag}");
    }
}

#[test]
fn the_cost_of_what_is_not_asked_for() {
    let output = nslookout(&["cost", "169.254.169.254"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stdout),
        "169.254.169.254 is an address: it is taken as it is, and no query is sent\n"
    );
    refuses(&["cost", "a b.com"], &["`a b.com` holds ` `"]);
    refuses(&["cost", "x", "--search", "a b.com"], &["`a b.com` holds ` `", "--search"]);
    refuses(&["explain", "nope"], &["there is no finding `nope`; `nslookout explain` lists them all"]);
    refuses(&["explain", "truncated"], &["the nearest is `truncated-no-tcp`"]);
}

/// Root may read everything, so it becomes somebody else.
#[test]
fn a_file_of_somebody_else() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: needs root");
    }
    let file = scratch(&pcap_header(1));
    std::fs::set_permissions(&file.0, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("chmod failed");
    let output = powerless(&["-r", file.path()]);
    // Without capabilities root is the owner still.
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    std::os::unix::fs::chown(&file.0, Some(65_534), Some(65_534)).expect("chown failed");
    expect_refusal(&powerless(&["-r", file.path()]), &[file.path(), "Permission denied", "sudo cat FILE"]);
}

#[test]
fn standard_input_is_a_file_like_others() {
    let from = |bytes: &[u8]| {
        let file = std::fs::File::open(&scratch(bytes).0).expect("failed to open a scratch file");
        Command::new(NSLOOKOUT).args(["-r", "-"]).stdin(file).output().expect("failed to run nslookout")
    };
    let output = from(&[pcap_header(1), query_record(1)].concat());
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains(", standard input ---"), "{}", text(&output.stderr));
    expect_refusal(&from(b""), &["standard input is no capture: it is empty"]);
}

#[test]
fn link_types_that_are_not_read() {
    let way_out = "is not read here; record with `tcpdump -i any`";
    for (number, name) in [(105, "link type IEEE 802.11 (105)"), (147, "link type for private use (147)")] {
        let file = scratch(&pcap_header(number));
        refuses(&["-r", file.path()], &[file.path(), name, way_out]);
    }
}

/// What stands before the cut is used, and the cut is told.
#[test]
fn a_file_that_is_cut_off() {
    let whole = [pcap_header(1), query_record(1), query_record(2)].concat();
    let begun = query_record(3);
    for kept in [1, 15, 16, 17, begun.len() - 1] {
        let file = scratch(&[&whole, &begun[..kept]].concat());
        let output = nslookout(&["-r", file.path(), "-o", "json"]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{kept}: {told}");
        assert_eq!(text(&output.stdout).lines().count(), 2, "{kept}: {told}");
        assert!(told.contains(file.path()), "{kept}: {told}");
        assert!(told.contains("the last record is cut off (after 2 whole records)"), "{kept}: {told}");
        assert!(told.contains("2 packets captured"), "{kept}: {told}");
    }
    let file = scratch(&whole);
    let output = nslookout(&["-r", file.path(), "-o", "json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout).lines().count(), 2);
    assert!(!text(&output.stderr).contains("cut off"), "{}", text(&output.stderr));
}

/// A capture without a packet is no mistake.
#[test]
fn a_file_without_packets() {
    let file = scratch(&pcap_header(1));
    let output = nslookout(&["-r", file.path()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("--- no DNS packet"), "{}", text(&output.stderr));
}

/// The address is taken before anything is attached, so this needs no permission.
#[test]
fn an_address_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("failed to listen");
    let address = taken.local_addr().expect("failed to ask for the address").to_string();
    refuses(&["serve", "--listen", &address], &[&address, "in use", "--listen"]);
}

/// `arguments` without any capability, as in a container that drops them all.
fn powerless(arguments: &[&str]) -> Output {
    with_capabilities("-all", arguments)
}

/// `arguments` with those capabilities only, as setpriv names them.
fn with_capabilities(capabilities: &str, arguments: &[&str]) -> Output {
    if !rustix::process::geteuid().is_root() {
        return nslookout(arguments);
    }
    let mut setpriv = Command::new("setpriv");
    let bounding = format!("--bounding-set={capabilities}");
    setpriv.args([&bounding, "--inh-caps=-all", NSLOOKOUT]).args(arguments);
    setpriv.output().expect("failed to run setpriv")
}

/// Each capability that the README asks for is needed, and is named where it is missing; together they are enough.
#[test]
fn each_capability_is_needed() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: needs root");
    }
    let watch = ["watch", "-i", "lo", "--capture", "ebpf", "--for", "100ms"];
    let all = [("bpf", "CAP_BPF"), ("net_admin", "CAP_NET_ADMIN"), ("perfmon", "CAP_PERFMON")];
    for (without, name) in all {
        let others: Vec<String> =
            all.iter().filter(|(other, _)| *other != without).map(|(other, _)| format!("+{other}")).collect();
        let output = with_capabilities(&format!("-all,{}", others.join(",")), &watch);
        expect_refusal(&output, &[&format!("{name} is missing")]);
    }
    let output = with_capabilities("-all,+bpf,+net_admin,+perfmon", &watch);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = with_capabilities("-all,+net_raw", &["watch", "-i", "lo", "--for", "100ms"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("no eBPF here, so a packet socket is used: "),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn without_permission() {
    let both = "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are missing";
    expect_refusal(&powerless(&["-i", "lo"]), &[both, "--capture packet", "CAP_NET_RAW"]);
    expect_refusal(&powerless(&["watch", "-i", "lo", "--capture", "ebpf"]), &[both]);
    let packet = powerless(&["watch", "--capture", "packet"]);
    expect_refusal(&packet, &["CAP_NET_RAW is missing"]);

    let check = powerless(&["check", "-i", "lo", "--port", "53", "--ring", "1"]);
    let told = text(&check.stdout);
    assert_eq!(check.status.code(), Some(2), "{told}");
    assert!(told.contains(both) && told.contains("CAP_NET_RAW is missing"), "{told}");
    assert!(told.contains("not ready: neither eBPF nor a packet socket is allowed here"), "{told}");
}

/// A quiet pipe can be left: with a summary where packets are packed, at once where not even a header has come.
#[test]
fn a_signal_ends_the_reading_of_a_quiet_pipe() {
    use std::io::Write as _;
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    let capture = [pcap_header(1), query_record(1)].concat();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&capture).unwrap();
    packer.flush().unwrap();
    for (bytes, packets) in [(packer.get_ref().clone(), Some("1 packets captured")), (Vec::new(), None)] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_nslookout"))
            .args(["-r", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&bytes).unwrap();
        // Not a wait for something: whenever the signal comes, the program ends.
        std::thread::sleep(Duration::from_millis(500));
        let begun = Instant::now();
        let pid = rustix::process::Pid::from_child(&child);
        // SIGINT may be ignored from the start, as it is behind nohup.
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > Duration::from_secs(30) {
                child.kill().unwrap();
                panic!("the signal was not heard");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = child.wait_with_output().unwrap();
        if let Some(packets) = packets {
            assert!(text(&output.stderr).contains(packets), "{}", text(&output.stderr));
            assert_eq!(output.status.code(), Some(0));
        }
        drop(input);
    }
}
