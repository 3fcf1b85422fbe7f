//! JetBrains Gateway's sequence, by an SSH library that is not OpenSSH's: everything over one connection,
//! sftp first, an exit status for every command, the backend left running, its port by direct-tcpip.

use serde_json::Value;

use super::shared;
use super::support::{Daemon, World, run, venv};

fn gateway(daemon: &Daemon<'_>, part: &str) -> Value {
    let python = venv().join("bin/python");
    let mut command = daemon.world.on_host(python.to_str().unwrap());
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/jetbrains.py");
    command.args(["-I", program]);
    command.arg(daemon.world.dir.join("client")).arg(part);
    let finished = run(&mut command, 120).expect_code(0);
    serde_json::from_slice(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {finished}"))
}

#[test]
fn the_backend_is_deployed_started_and_reached_and_found_again() {
    let world = World::new();
    let daemon = Daemon::start(&world, &shared());
    let first = gateway(&daemon, "deploy");
    assert_eq!(
        first["statuses"],
        serde_json::json!([0, 0, 1, 0, 0]),
        "{first}"
    );
    assert_eq!(first["uploaded"], 32 * 1024 * 1024, "{first}");
    assert_eq!(first["answer"], "joined", "{first}");
    assert_eq!(first["refused"], true, "nobody listens there: {first}");

    let second = gateway(&daemon, "attach");
    assert_eq!(
        second["pid"], first["pid"],
        "the backend lives on: {second}"
    );
    assert_eq!(second["answer"], "joined", "{second}");
}
