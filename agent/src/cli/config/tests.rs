use std::path::Path;

use super::*;

/// The values that a file amounts to, or what is said about it with its line.
fn read(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    let line = |wrong: &Wrong| text[..wrong.offset].matches('\n').count() + 1;
    Settings::parse(text).map(|file| file.values).map_err(|wrong| format!("{}: {}", line(&wrong), wrong.what))
}

fn arguments(words: &[&str]) -> Vec<OsString> {
    ["nslookout", "serve"].iter().chain(words).map(OsString::from).collect()
}

/// The values of a flag once `words` and a file are read.
fn values(words: &[&str], text: &str, id: &str) -> Vec<String> {
    let file = Settings::parse(text).ok().unwrap();
    let command = Cli::command().mut_subcommand(SERVE, |serve| file.as_defaults(serve));
    let matches = command.try_get_matches_from(arguments(words)).unwrap();
    let raw = matches.subcommand_matches(SERVE).unwrap().get_raw(id).unwrap();
    raw.map(|value| value.to_string_lossy().into_owned()).collect()
}

#[test]
fn a_file_speaks_as_the_flags_do() {
    let text = "ring = 16\ntimeout = \"3s\"\ninterface = [\"cali*\", \"eth0\"]\nport = 5353\n\
                [threshold]\nlinklocal.packets = 900\n\"linklocal.warning\" = 0.5\n\
                [resolv-conf]\n\"10.1.0.5\" = \"/etc/resolv.conf\"\n";
    assert_eq!(values(&[], text, "ring"), ["16"]);
    assert_eq!(values(&[], text, "timeout"), ["3s"]);
    assert_eq!(values(&[], text, "interfaces"), ["cali*", "eth0"]);
    assert_eq!(values(&[], text, "ports"), ["5353"]);
    assert_eq!(values(&[], text, "thresholds"), ["linklocal.packets=900", "linklocal.warning=0.5"]);
    assert_eq!(values(&[], text, "resolv_confs"), ["10.1.0.5=/etc/resolv.conf"]);
    assert_eq!(values(&[], "threshold = [\"linklocal.packets=10\"]", "ring"), ["8"]);
}

#[test]
fn flags_beat_the_file() {
    let text = "ring = 16\ninterface = [\"cali*\", \"eth0\"]\n";
    assert_eq!(values(&["--ring", "32"], text, "ring"), ["32"]);
    // A list is replaced, not added to: who names an interface wants that one.
    assert_eq!(values(&["-i", "lo"], text, "interfaces"), ["lo"]);
}

#[test]
fn what_is_wrong_is_told_with_line_key_value_and_a_way_out() {
    for (text, expected) in [
        ("ring = 8\nrnig = 8", "2: there is no key `rnig`; the nearest is `ring`, and the long flags of"),
        ("Ring = 8", "1: there is no key `Ring`; the nearest is `ring`"),
        ("config = \"x\"", "1: there is no key `config`"),
        ("\n\nring = 7", "3: ring = \"7\": `7` is no size of a ring; write a power of two"),
        ("ring = true", "1: ring = \"true\": `true` is no size of a ring"),
        ("ring = [8]", "1: ring takes one value, and this is a list"),
        ("timeout = 6", "1: timeout = \"6\": `6` is no time; write a number and a unit"),
        ("capture = \"bpf\"", "1: capture = \"bpf\": `bpf` is none of auto, ebpf, packet"),
        ("max-series = 0", "1: max-series = \"0\": 0 is not in 1.."),
        ("port = [53, 0]", "1: port = \"0\": 0 is not in 1..=65535"),
        ("interface = 5", "1: interface takes text, and this is a value of the type integer"),
        ("interface = \"a,b\"", "1: `a,b` holds a comma, which separates values: write a list"),
        ("interface = [[\"a\"]]", "1: interface takes text, and this is a value of the type array"),
        ("cluster-dns = \"kube-dns\"", "1: cluster-dns = \"kube-dns\": invalid IP address syntax"),
        ("listen = 1979-05-27", "1: listen takes no value of the type datetime"),
        (
            "[threshold]\nlinklocal.packets = 900\nlinklocal.packet = 5",
            "3: threshold = \"linklocal.packet=5\": there is no threshold `linklocal.packet`; the nearest is",
        ),
        ("ring = 8\nring = 16", "2: duplicate key"),
        ("ring = \"8", "1: invalid basic string"),
        ("ring 8", "1: "),
        ("[ring]\nmib = 8", "1: ring takes one value, and this is a table"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.starts_with(expected), "{text}\n  said     {error}\n  expected {expected}");
    }
}

#[test]
fn what_is_no_file_is_told_by_name() {
    let folder = std::env::temp_dir().join(format!("nslookout-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let told = |path: &Path| Settings::read(path).err().map(|error| format!("{error:#}")).unwrap_or_default();
    let missing = folder.join("missing.toml");
    assert!(
        told(&missing).contains("missing.toml (--config chooses another): No such file"),
        "{}",
        told(&missing)
    );
    assert!(told(&folder).contains("Is a directory"), "{}", told(&folder));
    let binary = folder.join("binary.toml");
    std::fs::write(&binary, b"ring = 8 # \xff").unwrap();
    assert!(told(&binary).contains("no text at all"), "{}", told(&binary));
    assert!(told(Path::new("/dev/zero")).contains("more than 1024 KiB"), "{}", told(Path::new("/dev/zero")));
    let wrong = folder.join("wrong.toml");
    std::fs::write(&wrong, "ring = 8\n\nrings = 9\n").unwrap();
    assert!(told(&wrong).contains("wrong.toml line 3: there is no key `rings`"), "{}", told(&wrong));
    std::fs::remove_dir_all(&folder).unwrap();
}

fn deploy(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The example names every key, and what it sets is what holds without it.
#[test]
fn the_example_file_is_true() {
    let text = deploy("config/nslookout.toml");
    let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches("# ")).collect();
    for arg in keys() {
        let key = arg.get_long().unwrap();
        let is_here = |line: &&str| line.starts_with(&format!("{key} = ")) || *line == format!("[{key}]");
        assert!(lines.iter().any(is_here), "deploy/config/nslookout.toml lacks `{key}`");
    }
    let without = |words: &[&str]| {
        let matches = Cli::command().try_get_matches_from(arguments(words)).unwrap();
        listing(matches.subcommand_matches(SERVE).unwrap(), &Settings::default())
    };
    let file = Settings::parse(&text).map_err(|wrong| wrong.what).unwrap();
    let command = Cli::command().mut_subcommand(SERVE, |serve| file.as_defaults(serve));
    let matches = command.try_get_matches_from(arguments(&[])).unwrap();
    assert_eq!(listing(matches.subcommand_matches(SERVE).unwrap(), &Settings::default()), without(&[]));
    // What is commented out is right too.
    let lines = text.lines().map(|line| {
        line.strip_prefix("# ").filter(|rest| rest.contains(" = ") || rest.starts_with('[')).unwrap_or(line)
    });
    let uncommented: Vec<&str> = lines.collect();
    read(&uncommented.join("\n")).unwrap();
}

/// The chart's schema refuses what the agent would refuse, and nothing that it takes.
#[test]
fn the_chart_knows_every_key() {
    /// What the chart sets itself, and what is nothing for a pod.
    const BY_THE_CHART: [&str; 4] = ["listen", "identity", "node-name", "kubeconfig"];
    let schema: serde_json::Value =
        serde_json::from_str(&deploy("helm/nslookout/values.schema.json")).unwrap();
    let properties = schema["properties"]["config"]["properties"].as_object().unwrap();
    let ours: Vec<String> = keys().iter().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
    for key in ours.iter().filter(|key| !BY_THE_CHART.contains(&key.as_str())) {
        assert!(
            properties.contains_key(key),
            "deploy/helm/nslookout/values.schema.json: config lacks `{key}`"
        );
    }
    for key in properties.keys() {
        assert!(
            ours.contains(key),
            "deploy/helm/nslookout/values.schema.json: config has `{key}`, which is no flag of serve"
        );
    }
}

/// What is printed can be read back, and says the same.
#[test]
fn a_printed_configuration_is_a_file() {
    let words = ["--ring", "16", "-i", "cali*", "-i", "e\"th", "--threshold", "linklocal.packets=900"];
    let matches = Cli::command().try_get_matches_from(arguments(&words)).unwrap();
    let text = listing(matches.subcommand_matches(SERVE).unwrap(), &Settings::default());
    assert!(text.contains("ring = 16                                # command line\n"), "{text}");
    assert!(text.contains("timeout = \"6s\"                           # default\n"), "{text}");
    assert_eq!(values(&[], &text, "interfaces"), ["cali*", "e\"th"]);
    assert_eq!(values(&[], &text, "thresholds"), ["linklocal.packets=900"]);
}
