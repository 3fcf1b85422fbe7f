//! VS Code's attach (and Cursor's, which is the same): a script on a shell's standard input unpacks the
//! server, leaves it running and prints its port; the client comes in by a forward, over this connection
//! or a later one.

use std::io::Write;
use std::time::Duration;

use super::shared;
use super::support::{Daemon, Finished, Running, World, run, vscode_server, wait_until};

/// The client's script: what it finds running it leaves alone. Its shape is that of Remote-SSH's.
const INSTALL: &str = r#"
set -e
root=$HOME/.vscode-server
umask 077
mkdir -p "$root"
exec 9>"$root/lock"
flock 9
if [ -f "$root/pid" ] && kill -0 "$(cat "$root/pid")" 2>/dev/null; then
    echo found running server
else
    echo installing
    tar -xf "$HOME/upload.tar" -C "$root"
    rm "$HOME/upload.tar"
    "$root/vscode/bin/code-server-oss" --start-server --host=127.0.0.1 --port=0 \
        --connection-token=secret --accept-server-license-terms --telemetry-level off \
        >"$root/log" 2>&1 </dev/null 9>&- &
    echo $! >"$root/pid"
    for _ in $(seq 300); do grep -q 'agent listening on' "$root/log" && break; sleep 0.1; done
fi
exec 9>&-
echo "listeningOn==$(sed -n 's/.*agent listening on \([0-9]*\)$/\1/p' "$root/log")=="
echo "server pid $(cat "$root/pid")"
"#;

/// `ssh -T OPTIONS HOST bash`, with the script on its standard input and the channel kept open.
fn attach(daemon: &Daemon<'_>, options: &[&str]) -> Running {
    let mut ssh = daemon.ssh().option("-T");
    for option in options {
        ssh = ssh.option(*option);
    }
    let mut running = Running::start(ssh.command().arg("bash"), Duration::from_secs(120));
    let mut stdin = running.take_stdin();
    stdin.write_all(INSTALL.as_bytes()).expect("the script");
    stdin.write_all(b"cat\n").expect("the script");
    // Kept open for as long as the process lives, as the client does.
    std::mem::forget(stdin);
    running.expect_output("server pid");
    running
}

/// What stands between two texts.
fn between(text: &str, from: &str, to: &str) -> String {
    let rest = text.split_once(from).expect(from).1;
    rest.split_once(to).expect(to).0.to_owned()
}

/// A WebSocket upgrade as the client asks for it; curl waits for frames after the 101 until its time is over.
fn upgrade(world: &World, how: &[&str], host: &str) -> Finished {
    let url = format!(
        "http://{host}/?reconnectionToken=11111111-1111-1111-1111-111111111111&reconnection=false"
    );
    let mut curl = world.on_host("/usr/bin/curl");
    curl.args([
        "-si",
        "--max-time",
        "3",
        "--noproxy",
        "",
        "-H",
        "Connection: Upgrade",
    ]);
    curl.args([
        "-H",
        "Upgrade: websocket",
        "-H",
        "Sec-WebSocket-Version: 13",
    ]);
    curl.args(["-H", "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw=="]);
    run(curl.args(how).arg(url), 20)
}

#[track_caller]
fn expect_101(answer: &Finished) {
    let said = answer.out();
    assert!(said.starts_with("HTTP/1.1 101"), "{answer}");
    // RFC 6455 §1.3: the accept value belongs to this key and to no other answer.
    assert!(said.contains("HSmrc0sMlYUkAGmm5OPpG2HaGWk="), "{answer}");
}

fn upload(daemon: &Daemon<'_>) {
    let mut scp = daemon.ssh().client("/usr/bin/scp");
    scp.arg(vscode_server()).arg("127.0.0.1:upload.tar");
    run(&mut scp, 120).expect_code(0);
}

#[test]
fn the_real_server_is_reached_by_every_forward_and_found_again() {
    let world = World::new();
    let daemon = Daemon::start(&world, &shared());
    upload(&daemon);

    let mut first = attach(&daemon, &["-D", "9301"]);
    let said = first.output();
    assert!(said.contains("installing"), "{said}");
    let port = between(&said, "listeningOn==", "==");
    let pid = between(&said, "server pid ", "\n");
    let place = format!("127.0.0.1:{port}");
    let socks = ["--socks5-hostname", "127.0.0.1:9301"];
    expect_101(&upgrade(&world, &socks, &place));
    // The socket answers by what it is, not by being open: another port has nobody.
    assert_ne!(upgrade(&world, &socks, "127.0.0.1:1").code(), 0);

    // A second window: its own connection finds the server, and comes in by -L.
    let mut second = attach(&daemon, &["-L", &format!("9302:{place}")]);
    let said = second.output();
    assert!(said.contains("found running server"), "{said}");
    assert_eq!(between(&said, "server pid ", "\n"), pid);
    expect_101(&upgrade(&world, &[], "127.0.0.1:9302"));

    // Both laptops close; the server stays, and a later connection finds it.
    first.kill();
    second.kill();
    drop((first, second));
    let third = attach(&daemon, &["-D", "9303"]);
    let said = third.output();
    assert!(said.contains("found running server"), "{said}");
    assert_eq!(between(&said, "server pid ", "\n"), pid);
    assert_eq!(between(&said, "listeningOn==", "=="), port);
    expect_101(&upgrade(
        &world,
        &["--socks5-hostname", "127.0.0.1:9303"],
        &place,
    ));
}

/// `remote.SSH.remoteServerListenOnSocket`.
#[test]
fn the_real_server_is_reached_by_its_socket() {
    let world = World::new();
    let daemon = Daemon::start(&world, &shared());
    upload(&daemon);
    let start = "mkdir -p ~/.vscode-server && tar -xf ~/upload.tar -C ~/.vscode-server && \
        exec ~/.vscode-server/vscode/bin/code-server-oss --start-server \
        --socket-path=/tmp/vscode-ssh.sock --connection-token=secret --accept-server-license-terms \
        --telemetry-level off";
    let server = daemon.ssh().seconds(120).start(start);
    server.expect_output("Extension host agent listening on");

    let local = world.dir.join("local.sock");
    let forward = format!("{}:/tmp/vscode-ssh.sock", local.display());
    let tunnel = Running::start(
        daemon
            .ssh()
            .option("-NL")
            .option(forward)
            .command()
            .arg("-v"),
        Duration::from_secs(60),
    );
    assert!(wait_until(Duration::from_secs(10), || local.exists()));
    let how = ["--unix-socket", local.to_str().unwrap()];
    expect_101(&upgrade(&world, &how, "localhost"));
    drop((tunnel, server));
}

/// The control: a login whose connections have sandboxes of their own finds nothing of the last one.
#[test]
fn nothing_is_found_where_each_connection_has_its_own_sandbox() {
    let world = World::new();
    let daemon = Daemon::start(&world, &super::support::Setup::closed());
    daemon.ssh().run("mkdir .vscode-server").expect_code(0);
    let found = daemon.ssh().run("test -d .vscode-server");
    assert_eq!(found.code(), 1, "{found}");
}
