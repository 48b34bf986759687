use super::*;

fn texts(text: &str) -> impl Iterator<Item = Vec<u8>> {
    text.lines().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>().into_iter()
}

#[test]
fn libraries_are_known_by_their_files() {
    let cases = [
        ("/lib/ld-musl-x86_64.so.1", Some(LibcKind::Musl)),
        ("/usr/lib/x86_64-linux-musl/libc.so", Some(LibcKind::Musl)),
        ("/lib/ld-musl-aarch64.so.1 (deleted)", Some(LibcKind::Musl)),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", Some(LibcKind::Glibc)),
        ("/lib/x86_64-linux-gnu/libc-2.31.so", Some(LibcKind::Glibc)),
        ("/usr/lib64/libcap.so.2", None),
        ("/usr/bin/libc-2.x", None),
        ("[heap]", None),
    ];
    for (path, kind) in cases {
        let maps = format!(
            "55710aa47000-55710aa49000 r--p 00000000 fe:00 247282   /usr/bin/app\n\
             7f3a1c000000-7f3a1c021000 rw-p 00000000 00:00 0\n\
             7f3a1c200000-7f3a1c221000 r-xp 00000000 fe:00 4711     {path}\n"
        );
        assert_eq!(mapped_in(texts(&maps)).map(|mapped| mapped.kind), kind, "{path}");
    }
    let both = "1-2 r-xp 0 0:0 1 /lib/libc.so.6\n3-4 r-xp 0 0:0 2 /lib/ld-musl-x86_64.so.1\n";
    assert_eq!(mapped_in(texts(both)).unwrap().kind, LibcKind::Musl);
}

#[test]
fn versions_lose_the_packagers_part() {
    let cases = [
        ("2.36-9+deb12u4", Some("2.36")),
        ("1.2.3-r4", Some("1.2.3")),
        ("1.2.4_git20230717-r4", Some("1.2.4")),
        ("1:2.31", Some("2.31")),
        ("2.36.\n", Some("2.36")),
        ("1", None),
        ("", None),
        ("abc", None),
        ("...", None),
    ];
    for (version, expected) in cases {
        assert_eq!(upstream(version.as_bytes()).as_deref(), expected, "{version}");
    }
}

#[test]
fn package_databases_are_read() {
    let apk = "C:Q1x\nP:alpine-baselayout\nV:3.4.0-r0\n\nC:Q1y\nP:musl\nV:1.2.3-r4\nA:x86_64\n\nP:musl-utils\nV:9\n";
    assert_eq!(version_in(texts(apk), "P:", &["musl"], "V:").as_deref(), Some("1.2.3"));
    assert_eq!(version_in(texts(apk), "P:", &["glibc"], "V:"), None);
    let dpkg = "Package: libc-bin\nVersion: 9.9\n\nPackage: libc6\nStatus: install ok installed\nSource: glibc\n\
                Version: 2.36-9+deb12u4\n";
    assert_eq!(version_in(texts(dpkg), "Package: ", &["libc6"], "Version: ").as_deref(), Some("2.36"));
    // A version of another record does not count.
    assert_eq!(version_in(texts("P:musl\n\nV:1.2.3\n"), "P:", &["musl"], "V:"), None);
}

#[test]
fn the_libraries_of_this_machine_say_their_versions() {
    let mut seen = 0;
    for (path, version) in [
        ("/lib/ld-musl-x86_64.so.1", musl_version as fn(&[u8]) -> Option<String>),
        ("/lib/x86_64-linux-gnu/libc.so.6", glibc_version),
        ("/lib64/libc.so.6", glibc_version),
    ] {
        let Ok(library) = std::fs::read(path) else { continue };
        let version = version(&library).unwrap_or_else(|| panic!("no version in {path}"));
        assert!(version.starts_with("1.") || version.starts_with("2."), "{path}: {version}");
        seen += 1;
    }
    assert!(seen > 0, "neither library is here");
}

#[test]
fn releases_are_named_as_people_name_them() {
    let cases = [
        ("ID=debian\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n", "Debian", Some("12")),
        ("NAME='Alpine Linux'\nID=alpine\nVERSION_ID=3.17.3\n", "Alpine", Some("3.17.3")),
        ("NAME=\"Ubuntu\"\nID=ubuntu\nVERSION_ID=\"22.04\"\n", "Ubuntu", Some("22.04")),
        ("NAME=\"Bad\x1b[31m\"\n", "Bad?[31m", None),
    ];
    for (text, name, version) in cases {
        assert_eq!(os_release(text.as_bytes()), Some((name.to_owned(), version.map(str::to_owned))));
    }
    assert_eq!(os_release(b""), None);
    let long = format!("NAME={}\n", "x".repeat(1 << 20));
    assert_eq!(os_release(long.as_bytes()).unwrap().0.len(), 48);
}

#[test]
fn a_line_without_an_end_is_cut() {
    let file = std::env::temp_dir().join(format!("nslookout-lines-{}", std::process::id()));
    std::fs::write(&file, format!("{}\nP:musl\nV:1.2.5-r0\n", "x".repeat(100_000))).unwrap();
    let open = || OwnedFd::from(std::fs::File::open(&file).unwrap());
    assert_eq!(lines(open(), 1 << 20).map(|line| line.len()).collect::<Vec<_>>(), [8192, 6, 10]);
    assert_eq!(version_in(lines(open(), 1 << 20), "P:", &["musl"], "V:").as_deref(), Some("1.2.5"));
    // Nothing behind what is allowed.
    assert_eq!(lines(open(), 100).count(), 1);
    std::fs::remove_file(&file).unwrap();
}
