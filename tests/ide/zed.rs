//! Zed's sequence: one shared connection, questions by exec, the server by sftp or scp, a proxy that
//! talks binary on standard input and output and leaves a server of its own behind.

use std::io::Write;
use std::process::Command;

use super::shared;
use super::support::{Daemon, Master, Running, World, run};

/// In the place of zed-remote-server: `proxy` starts the server where there is none, in a session of its
/// own, and then carries bytes between standard input and the server's socket.
const SERVER: &str = r#"#!/usr/bin/python3
import os, socket, sys, threading, time
PATH = os.path.expanduser("~/.local/share/zed/server_state/server.sock")
def serve():
    os.setsid()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(PATH)
    listener.listen()
    while True:
        peer, _ = listener.accept()
        def talk(peer=peer):
            peer.sendall(b"server %d\n" % os.getpid())
            while part := peer.recv(65536): peer.sendall(part)
            peer.close()
        threading.Thread(target=talk).start()
def connect():
    there = socket.socket(socket.AF_UNIX)
    there.connect(PATH)
    return there
os.makedirs(os.path.dirname(PATH), exist_ok=True)
try: there = connect()
except OSError:
    if os.fork() == 0:
        null = os.open("/dev/null", os.O_RDWR)
        for number in range(3): os.dup2(null, number)
        serve()
    for _ in range(100):
        try: there = connect(); break
        except OSError: time.sleep(0.05)
def up():
    while part := os.read(0, 65536): there.sendall(part)
    there.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while part := there.recv(65536):
    os.write(1, part)
"#;

fn proxy(master: &Master) -> Running {
    let line = "env RUST_LOG= .zed_server/zed-remote-server proxy --identifier one";
    let running = master.ssh().seconds(60).start(line);
    running.expect_output("server ");
    running
}

fn upload_by_sftp(master: &Master, world: &World) {
    let mut sftp = master.ssh().client("/usr/bin/sftp");
    let batch = format!(
        "put {}/server.gz .zed_server/download.gz\n",
        world.dir.display()
    );
    let done =
        super::support::run_with_input(sftp.args(["-b", "-", "127.0.0.1"]), batch.into_bytes(), 30);
    done.expect_code(0);
}

fn upload_by_scp(master: &Master, world: &World) {
    let mut scp = master.ssh().client("/usr/bin/scp");
    scp.arg("-C").arg(world.dir.join("server.gz"));
    run(scp.arg("127.0.0.1:.zed_server/download.gz"), 30).expect_code(0);
}

fn attaches(upload: fn(&Master, &World)) {
    let world = World::new();
    let daemon = Daemon::start(&world, &shared());
    std::fs::write(world.dir.join("server"), SERVER).unwrap();
    run(
        Command::new("/usr/bin/gzip").arg(world.dir.join("server")),
        10,
    )
    .expect_code(0);

    let mut master = daemon.ssh().master();
    let asked = master.ssh().run("uname -sm").expect_code(0).out();
    assert!(asked.starts_with("Linux "), "{asked}");
    master.ssh().run("sh -c 'echo $SHELL'").expect_code(0);
    let old = master.ssh().run(".zed_server/zed-remote-server version");
    assert_eq!(old.code(), 127, "{old}");
    master.ssh().run("mkdir -p .zed_server").expect_code(0);
    upload(&master, &world);
    let unpack = "gunzip -f .zed_server/download.gz && chmod 755 .zed_server/download && \
        mv .zed_server/download .zed_server/zed-remote-server";
    master.ssh().run(unpack).expect_code(0);

    let mut first = proxy(&master);
    let server = first.output();
    let mut stdin = first.take_stdin();
    stdin.write_all(b"\x00\xff\r\n binary \x80").unwrap();
    drop(stdin);
    let talked = first.finish().expect_code(0).stdout;
    assert!(talked.ends_with(b"\x00\xff\r\n binary \x80"), "{talked:?}");

    // The network drops: the next connection's proxy finds the same server.
    master.kill();
    drop(master);
    let master = daemon.ssh().master();
    let second = proxy(&master);
    assert_eq!(second.output(), server);
}

#[test]
fn the_server_comes_by_sftp_and_outlives_its_connection() {
    attaches(upload_by_sftp);
}

#[test]
fn the_server_comes_by_scp_and_outlives_its_connection() {
    attaches(upload_by_scp);
}
