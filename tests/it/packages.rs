//! The dependencies of packages: the client depends on no server crate, and a release contains no switch that turns a protection off.

use std::process::Command;

/// The packages, or packages and features, that `cargo tree` lists.
fn tree(arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--offline", "--prefix", "none"])
        .args(arguments)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn client_does_not_depend_on_server_crates() {
    let packages = tree(&["--package", "parley-client", "--edges", "normal"]);
    let named = |name: &str| packages.iter().any(|line| line.split(' ').next() == Some(name));
    assert!(named("parley-proto") && named("tonic"), "{packages:?}");
    for server in [
        "axum",
        "image",
        "liquid",
        "object_store",
        "sea-orm",
        "sqlx",
        "parley-storage",
        "parley-domain",
    ] {
        assert!(!named(server), "the client pulls in {server}");
    }
}

#[test]
fn release_has_no_fault_switches() {
    let switches = |arguments: &[&str]| {
        let tree = tree(&[&["--package", "parley", "--edges", "normal", "--format", "{p} {f}"], arguments].concat());
        tree.iter()
            .filter(|line| {
                line.trim_end_matches(" (*)")
                    .rsplit(' ')
                    .next()
                    .is_some_and(|features| features.split(',').any(|one| one == "faults"))
            })
            .count()
    };
    assert_eq!(switches(&[]), 0);
    assert!(switches(&["--features", "faults"]) > 0, "the feature is found where it is on");
}
