//! One connection on standard input and output.

use std::time::{Duration, Instant};

use super::stand::Stand;
use super::support::{Event, run, wait_until};

#[test]
fn ssh_serves_itself_by_its_proxy_command() {
    let stand = Stand::new("");
    let answer = stand
        .ssh_to_own_server("")
        .input(vec![b'x'; 1 << 20])
        .run("wc -c; id -un; echo problem >&2; exit 7")
        .expect_code(7);
    assert_eq!(answer.out(), "1048576\nsandbox\n");
    assert_eq!(answer.err(), "problem\n", "nothing of the server's own");
    assert!(
        wait_until(Duration::from_secs(3), || stand.is_empty()),
        "the server ends with its client"
    );
    let events = Event::read_all(&stand.path("audit.jsonl"));
    assert_eq!(events.len(), 1);
    assert!(
        stand
            .text("audit.jsonl")
            .contains(r#""source":"0.0.0.0:65535""#),
        "{}",
        stand.text("audit.jsonl")
    );
}

#[test]
fn a_stranger_is_refused_and_the_log_says_why() {
    let stand = Stand::new("");
    super::support::make_key(&stand.path("other"));
    let log = stand.path("log");
    let answer = stand
        .ssh_to_own_server(&format!("-E {}", log.display()))
        .key(&stand.path("other"))
        .run("true")
        .expect_code(255);
    assert!(
        answer.err().contains("Permission denied (publickey)"),
        "{answer}"
    );
    assert!(
        stand
            .text("audit.jsonl")
            .contains("not in the login's authorized_keys")
    );
}

#[test]
fn git_clones_and_pushes_over_it() {
    let stand = Stand::new("");
    let (program, dir) = (env!("CARGO_BIN_EXE_sandgate"), stand.world.dir.display());
    // A sandbox lasts as long as its connection: the repository is made and cloned on one (git speaks
    // its protocol on any command's input and output).
    let ssh = format!(
        "#!/bin/sh\nexec ssh -F none -i {dir}/client -S {dir}/ctl -oIdentitiesOnly=yes -oBatchMode=yes \
         -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oLogLevel=ERROR \
         -oProxyCommand='{program} sshd -i -f {dir}/sshd_config' \"$@\"\n"
    );
    std::fs::write(stand.path("ssh"), ssh).unwrap();
    let script = format!(
        r"set -e
        cd {dir}
        chmod +x ssh
        export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b
        export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_SSH={dir}/ssh
        ./ssh -M -N -f sandbox@host
        trap './ssh -O exit host 2>/dev/null' EXIT
        ./ssh sandbox@host git init -q --bare -b main /sandbox/r.git
        git init -q -b main one
        cd one
        head -c 3000000 /dev/urandom > blob
        git add blob
        git commit -q -m first
        git push -q sandbox@host:/sandbox/r.git main
        cd ..
        git clone -q sandbox@host:/sandbox/r.git two
        cmp one/blob two/blob
        git -C two log --format=%s"
    );
    let answer = run(stand.world.on_host("/bin/bash").arg("-c").arg(script), 60).expect_code(0);
    assert_eq!(answer.out(), "first\n", "{answer}");
}

/// An inetd in two lines: the connection is the program's standard input and output.
const INETD: &str = r#"
import socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 2222))
connection, _ = listener.accept()
sys.exit(subprocess.call(sys.argv[2:], stdin=connection, stdout=connection, stderr=connection if sys.argv[1] == "all" else None))
"#;

#[test]
fn inetds_socket_is_served_and_its_client_named() {
    let stand = Stand::new("");
    let log = stand.path("log");
    let mut inetd = stand.world.on_host("/usr/bin/python3");
    inetd.args([
        "-c",
        INETD,
        "all",
        env!("CARGO_BIN_EXE_sandgate"),
        "sshd",
        "-i",
        "-f",
    ]);
    inetd.arg(stand.path("sshd_config")).arg("-E").arg(&log);
    let inetd = super::support::Running::start(&mut inetd, Duration::from_secs(30));
    let answered = wait_until(Duration::from_secs(10), || {
        stand
            .ssh()
            .option("-oConnectionAttempts=1")
            .run("echo served")
            .out()
            == "served\n"
    });
    assert!(answered, "{}", stand.text("log"));
    let ended = inetd.finish();
    assert_eq!(ended.code(), 0, "{}", stand.text("log"));
    let audit = stand.text("audit.jsonl");
    assert!(
        audit.contains(r#""source":"127.0.0.1:"#) && audit.contains(r#""verdict":"allow""#),
        "{audit}"
    );
    assert!(
        stand.text("log").contains("logged in"),
        "{}",
        stand.text("log")
    );
}

#[test]
fn messages_never_go_into_the_connection() {
    let stand = Stand::new("");
    let words = "import socket, subprocess, sys\na, b = socket.socketpair()\n\
        code = subprocess.call(sys.argv[1:], stdin=b, stdout=b, stderr=b)\nb.close()\n\
        sys.stdout.buffer.write(a.recv(1000))\nsys.exit(code)";
    let mut command = stand.world.on_host("/usr/bin/python3");
    command.args([
        "-c",
        words,
        env!("CARGO_BIN_EXE_sandgate"),
        "sshd",
        "-i",
        "-f",
    ]);
    let answer = run(command.arg(stand.path("sshd_config")), 20).expect_code(255);
    assert!(
        answer.out().contains("name a file for messages by -E"),
        "{answer}"
    );
}

#[test]
fn what_is_no_connection_is_refused() {
    let stand = Stand::new("");
    let line = r#"exec "$@" < /dev/null > out"#;
    let mut command = stand.world.on_host("/bin/sh");
    command.args([
        "-c",
        line,
        "sh",
        env!("CARGO_BIN_EXE_sandgate"),
        "sshd",
        "-i",
        "-f",
    ]);
    let answer = run(
        command
            .arg(stand.path("sshd_config"))
            .current_dir(&stand.world.dir),
        20,
    );
    assert_eq!(answer.code(), 255, "{answer}");
    assert!(
        answer.err().contains("neither one socket nor two pipes"),
        "{answer}"
    );
}

#[test]
fn who_never_logs_in_is_cut_when_the_time_is_over() {
    let stand = Stand::new("LoginGraceTime 1\n");
    let began = Instant::now();
    let mut server =
        super::support::Running::start(&mut stand.sshd(&["-i"]), Duration::from_secs(40));
    // Kept open: the server has to end by itself.
    let stdin = server.take_stdin();
    let answer = server.finish();
    drop(stdin);
    assert!(answer.out().starts_with("SSH-2.0-sandgate_"), "{answer}");
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(20),
        "{took:?}"
    );
    assert!(stand.is_empty());
}

/// What serves one connection serves beside others with its configuration: each takes a part of the ids.
#[test]
fn connections_at_once_have_ids_of_their_own_as_far_as_there_are_any() {
    let stand = Stand::new("");
    let first = stand.world.first_uid + 1;
    // Enough for two.
    let two = format!("-o 'SandboxUids {} {first} 40'", first - 1);
    let running = [(); 2].map(|()| {
        let ssh = stand.ssh_to_own_server(&two);
        let running = ssh.start("id -u; echo end; exec sleep 60");
        running.expect_output("end");
        running
    });
    let ids = running.each_ref().map(|running| {
        let said = running.output();
        said.lines().next().unwrap().parse::<u32>().unwrap()
    });
    // Each part begins with the judge's and the gate's.
    let parts = [0, 16].map(|part| first + part + 2..first + part + 16);
    let in_its_own = ids.iter().zip(&parts).all(|(id, part)| part.contains(id));
    assert!(in_its_own, "{ids:?} of {parts:?}");
    let said = format!(
        "SandboxUids: connections have all of {first} to {}",
        first + 39
    );
    let third = stand.ssh_to_own_server(&two).run("id -u").expect_code(255);
    assert!(third.err().contains(&said), "{third}");
    // Nor is there room for a server of many beside them.
    let listening = stand.run(&["-D", "-e"]).expect_code(255);
    assert!(
        listening
            .err()
            .contains(" are not free: the daemon with pid "),
        "{listening}"
    );
    let [ended, _other] = running;
    drop(ended);
    assert!(wait_until(Duration::from_secs(5), || {
        let next = stand.ssh_to_own_server(&two).run("id -u");
        let id = next.out().trim().parse();
        next.code() == 0 && id.is_ok_and(|id| parts[0].contains(&id))
    }));
}
