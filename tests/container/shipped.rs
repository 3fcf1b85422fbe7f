//! What is shipped for containers: the image's configuration, and the lines to type.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use sandgate::sandbox::{MONITOR, START};

use super::support::{World, make_key, run};

fn top(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_images_configuration_passes_the_check() {
    let world = World::new();
    let keys = world.dir.display().to_string();
    make_key(&world.dir.join("client"));
    fs::copy(
        world.dir.join("client.pub"),
        world.dir.join("authorized_keys"),
    )
    .unwrap();
    let config = top("deploy/container/sandgate.yaml");
    let config = config.replace("/var/lib/sandgate", &keys);
    fs::write(world.dir.join("sandgate.yaml"), config).unwrap();
    fs::write(world.dir.join("default.yaml"), top("policies/default.yaml")).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_sandgate"));
    check.args(["check", "--config"]);
    run(check.arg(world.dir.join("sandgate.yaml")), 20).expect_code(0);
}

#[test]
fn the_lines_to_type_name_every_capability_and_no_other() {
    let all: BTreeSet<&str> = MONITOR.iter().chain(&START).map(|one| one.name).collect();
    for path in ["README.md", "docs/container.md"] {
        let text = top(path);
        let (_, rest) = text.split_once("--cap-add ").expect(path);
        let listed = rest.split_whitespace().next().unwrap();
        assert_eq!(listed.split(',').collect::<BTreeSet<_>>(), all, "{path}");
    }
}
