//! The configuration of each server: in the foreground, without a home, with the zones of the scenario.

/// Where a server listens, and the folder of its files.
pub(super) struct Listen<'a> {
    /// The address.
    pub address: &'a str,
    /// The port.
    pub port: &'a str,
    /// The folder.
    pub folder: &'a str,
}

/// `extra` may begin with lines for the section `server:`; clauses of its own follow them.
pub(super) fn unbound(at: &Listen<'_>, zones: &[(&str, String)], extra: &str) -> String {
    let Listen { address, port, .. } = at;
    let mut text = format!(
        "server:\n interface: {address}@{port}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n directory: \"\"\n \
         pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n module-config: \"iterator\"\n do-not-query-localhost: no\n \
         qname-minimisation: no\n aggressive-nsec: no\n local-zone: \"test.\" nodefault\n"
    );
    if !extra.contains("access-control") {
        text += " access-control: 0.0.0.0/0 allow\n";
    }
    text += extra;
    for (apex, file) in zones {
        text += &format!(
            "\nauth-zone:\n name: \"{apex}\"\n zonefile: \"{file}\"\n for-downstream: no\n for-upstream: yes\n"
        );
    }
    text + "\nremote-control:\n control-enable: no\n"
}

/// `extra` are statements of their own, after the zones.
pub(super) fn bind(at: &Listen<'_>, zones: &[(&str, String)], extra: &str) -> String {
    let Listen { address, port, folder } = at;
    let mut text = format!(
        "options {{ directory \"{folder}\"; listen-on port {port} {{ {address}; }}; listen-on-v6 {{ none; }}; recursion yes; \
         allow-query {{ any; }}; allow-recursion {{ any; }}; dnssec-validation no; pid-file none; session-keyfile none; \
         empty-zones-enable no; minimal-responses yes; }};\ncontrols {{ }};\n"
    );
    for (apex, file) in zones {
        text += &format!("zone \"{apex}\" {{ type primary; file \"{file}\"; }};\n");
    }
    text + extra
}

/// `extra` is appended to the last zone.
pub(super) fn knot(at: &Listen<'_>, zones: &[(&str, String)], extra: &str) -> String {
    let Listen { address, port, folder } = at;
    let mut text = format!(
        "server:\n    rundir: .\n    listen: {address}@{port}\n    udp-workers: 1\n    tcp-workers: 1\n    \
         background-workers: 1\ndatabase:\n    storage: {folder}\nlog:\n  - target: stderr\n    any: warning\nzone:\n"
    );
    for (apex, file) in zones {
        text += &format!(
            "  - domain: {apex}\n    file: {file}\n    zonefile-sync: -1\n    journal-content: none\n"
        );
    }
    text + extra
}

/// `extra` are clauses of their own, after the zones.
pub(super) fn nsd(at: &Listen<'_>, zones: &[(&str, String)], extra: &str) -> String {
    let Listen { address, port, folder } = at;
    let mut text = format!(
        "server:\n ip-address: {address}@{port}\n username: \"\"\n chroot: \"\"\n zonesdir: \"\"\n pidfile: \"\"\n database: \"\"\n \
         xfrdfile: \"\"\n zonelistfile: \"{folder}/zones\"\n xfrdir: \"{folder}\"\n server-count: 1\n rrl-ratelimit: 0\n\
         remote-control:\n control-enable: no\n"
    );
    for (apex, file) in zones {
        text += &format!("zone:\n name: \"{apex}\"\n zonefile: \"{file}\"\n");
    }
    text + extra
}

/// `extra` are lines of their own.
pub(super) fn dnsmasq(at: &Listen<'_>, extra: &str) -> String {
    let Listen { address, port, .. } = at;
    format!(
        "port={port}\nuser=root\npid-file=\nlog-facility=-\nbind-interfaces\nexcept-interface=lo\nlisten-address={address}\n\
         no-resolv\nno-hosts\ndns-forward-max=10000\n{extra}"
    )
}

/// `extra` are lines of their own.
pub(super) fn pdns(at: &Listen<'_>, extra: &str) -> String {
    let Listen { address, port, .. } = at;
    format!(
        "daemon=no\nlocal-address={address}\nlocal-port={port}\nsocket-dir=.\nsetuid=\nsetgid=\ndnssec=off\n\
         dont-query=\nhint-file=\nallow-from=0.0.0.0/0\nthreads=1\ndisable-packetcache=yes\nwrite-pid=no\n\
         security-poll-suffix=\nloglevel=3\nexport-etc-hosts=no\nserve-rfc1918=no\nmax-mthreads=512\n\
         root-nx-trust=no\n{extra}"
    )
}
