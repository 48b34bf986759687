//! The names that Calico and the VPC CNI give the host end of a pod's veth: both hash the pod's name, so they can be told
//! before the interface is there.

use std::fmt::Write as _;

use sha1::{Digest, Sha1};

/// Prefixes of Calico, the VPC CNI, and the VPC CNI with security groups for pods in strict mode (facts.md section 5).
const PREFIXES: [&str; 3] = ["cali", "eni", "vlan"];
/// So many bytes hold the hexadecimal digits that follow the prefix.
const BYTES: usize = 6;
/// So many hexadecimal digits follow the prefix.
const DIGITS: usize = 11;

/// What the host end of this pod's veth may be called: a prefix and the first 11 hexadecimal digits of the SHA-1 of
/// `<namespace>.<name>` (facts.md section 5).
pub(super) fn interface_names(namespace: &str, name: &str) -> Vec<String> {
    let digest = Sha1::digest(format!("{namespace}.{name}"));
    let mut digits = String::with_capacity(2 * BYTES);
    for byte in digest.iter().take(BYTES) {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits.truncate(DIGITS);
    PREFIXES.iter().map(|prefix| format!("{prefix}{digits}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_plugins() {
        // One that Calico gave: `printf default.client-b6989bf87-2bgtc | sha1sum` begins with these digits.
        let names = interface_names("default", "client-b6989bf87-2bgtc");
        assert_eq!(names, ["calic95a4947e07", "enic95a4947e07", "vlanc95a4947e07"]);
        // Dots in the name are nothing special; a name of the kernel has at most 15 characters.
        let names = interface_names("shop", "web.v2-7f9d-x7k2p");
        assert!(names.iter().all(|name| name.len() <= 15), "{names:?}");
    }
}
