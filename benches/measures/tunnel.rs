//! What a way out costs: a CONNECT from inside a sandbox against a plain connect(2) beside the gate,
//! to the same listener and by the same program.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::sample::Samples;
use super::servers::{Servers, within};
use super::support::{Finished, run};
use super::table::Row;

const UPSTREAM: (&str, &str) = ("203.0.113.10", "9000");

/// In turns of this many.
const ROUNDS: usize = 10;
const ROUND: &str = "200";

pub(crate) fn measure(servers: &Servers<'_>) -> Row {
    let upstream = PathBuf::from(format!("/run/netns/{}u", servers.world.id));
    within(&upstream, listen);
    let program = build(&servers.world.dir);
    let master = servers.daemon.ssh().master();
    let place = "cat > /sandbox/connect && chmod 755 /sandbox/connect";
    let bytes = fs::read(&program).expect("the program");
    master.ssh().input(bytes).run(place).expect_code(0);
    let (mut tunnels, mut direct) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (address, port) = UPSTREAM;
        let line = format!("/sandbox/connect proxy {address} {port} {ROUND}");
        tunnels.extend(times(master.ssh().run(line)));
        let mut outside = Command::new(&program);
        outside.args(["direct", address, port, ROUND]);
        direct.extend(times(servers.within(|| run(&mut outside, 20))));
    }
    Row {
        name: "connect",
        what: "CONNECT inside a sandbox",
        samples: Samples::new(tunnels),
        against: Some(("connect(2) outside", Samples::new(direct))),
    }
}

/// Accepts and hangs up, for as long as this program runs.
fn listen() {
    let (address, port) = UPSTREAM;
    let listener = TcpListener::bind(format!("{address}:{port}")).expect("the upstream");
    std::thread::spawn(move || listener.incoming().for_each(drop));
}

/// Statically linked, so that it runs in any root.
fn build(dir: &Path) -> PathBuf {
    let program = dir.join("connect");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/programs/connect.c");
    let mut gcc = Command::new("/usr/bin/gcc");
    gcc.args(["-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]);
    run(gcc.arg(&program).arg(source), 60).expect_code(0);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    program
}

/// Nanoseconds, one a line.
fn times(finished: Finished) -> Vec<Duration> {
    let out = finished.expect_code(0).out();
    let time = |line: &str| Duration::from_nanos(line.parse().expect("nanoseconds"));
    out.lines().map(time).collect()
}
