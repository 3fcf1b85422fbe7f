//! Running programs with an end to every wait.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) line: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) took: Duration,
}

impl Finished {
    /// The exit status; a signal that ended the program counts as 128 more than its number.
    pub(crate) fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Fails the test unless the program ended with this status.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short =
            |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned();
        let (code, took) = (self.code(), self.took);
        write!(f, "{}\n  status {code} after {took:?}\n", self.line)?;
        write!(
            f,
            "  stdout: {}\n  stderr: {}",
            short(&self.stdout),
            short(&self.stderr)
        )
    }
}

/// A program that runs in a process group of its own, and is ended with it.
pub(crate) struct Running {
    child: Child,
    line: String,
    started: Instant,
    limit: Duration,
    stdin: Option<ChildStdin>,
    stdout: Gathered,
    stderr: Gathered,
}

/// A pipe that a thread reads to its end, and what has come out of it so far.
struct Gathered {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Starts it with all three descriptors piped; output is gathered from the first byte on.
    pub(crate) fn start(command: &mut Command, limit: Duration) -> Self {
        let line = format!("{command:?}");
        let mut child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {line}: {error}"));
        let stdout = Gathered::from(child.stdout.take().expect("piped"));
        let stderr = Gathered::from(child.stderr.take().expect("piped"));
        let stdin = child.stdin.take();
        Self {
            child,
            line,
            started: Instant::now(),
            limit: patient(limit),
            stdin,
            stdout,
            stderr,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The program's standard input; dropping it is end of file.
    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("the standard input is taken once")
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("waitpid").is_some()
    }

    /// Closes its input and waits for its end; past the limit it is killed and the test fails.
    pub(crate) fn finish(mut self) -> Finished {
        self.stdin = None;
        let deadline = self.started + self.limit;
        let mut pause = Duration::from_micros(500);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waitpid") {
                break status;
            }
            if Instant::now() > deadline {
                self.kill();
                let finished = self.collect(ExitStatus::from_raw(9));
                panic!("not finished within its {:?}: {finished}", self.limit);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        };
        self.collect(status)
    }

    /// Ends it now, with everything in its process group.
    pub(crate) fn kill(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        // ESRCH only says that it has ended already.
        killpg(group, Signal::SIGKILL).ok();
        self.child.wait().expect("waitpid");
    }

    /// What it has written to standard output so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&self.stdout.so_far()).into_owned()
    }

    /// What it has written to standard error so far.
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// Waits until this text has been written to standard output.
    #[track_caller]
    pub(crate) fn expect_output(&self, text: &str) {
        let seen = || self.output().contains(text);
        assert!(
            wait_until(Duration::from_secs(15), seen),
            "no {text:?} from {}",
            self.line
        );
    }

    fn collect(&mut self, status: ExitStatus) -> Finished {
        let took = self.started.elapsed();
        let (stdout, stderr) = (self.stdout.whole(&self.line), self.stderr.whole(&self.line));
        Finished {
            line: self.line.clone(),
            status,
            stdout,
            stderr,
            took,
        }
    }
}

impl Gathered {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let mut block = vec![0; 65536];
            loop {
                let count = pipe.read(&mut block).expect("reading a pipe");
                if count == 0 {
                    return;
                }
                sink.lock()
                    .expect("its lock")
                    .extend_from_slice(&block[..count]);
            }
        });
        Self { bytes, thread }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().expect("its lock").clone()
    }

    /// Everything, once the program has ended; somebody else who keeps the pipe open is an error.
    fn whole(&mut self, line: &str) -> Vec<u8> {
        let closed = wait_until(Duration::from_secs(10), || self.thread.is_finished());
        assert!(closed, "its output stayed open after its end: {line}");
        std::mem::take(&mut *self.bytes.lock().expect("its lock"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

/// Runs a program to its end, without input, for at most `seconds`.
pub(crate) fn run(command: &mut Command, seconds: u64) -> Finished {
    Running::start(command, Duration::from_secs(seconds)).finish()
}

/// Runs a program to its end with this input, for at most `seconds`.
pub(crate) fn run_with_input(command: &mut Command, input: Vec<u8>, seconds: u64) -> Finished {
    let mut running = Running::start(command, Duration::from_secs(seconds));
    let mut stdin = running.take_stdin();
    let writer = std::thread::spawn(move || {
        // The program may end without having read everything (EPIPE): that is its affair.
        drop(stdin.write_all(&input));
    });
    let finished = running.finish();
    writer.join().expect("the writing thread");
    finished
}

/// A length of time for this machine: `SANDGATE_TEST_PATIENCE` times the usual where that is set. A machine
/// that is emulated (tests/kernels) is slower than its clock.
pub(crate) fn patient(usual: Duration) -> Duration {
    static FACTOR: LazyLock<u32> = LazyLock::new(|| {
        let factor = std::env::var("SANDGATE_TEST_PATIENCE");
        factor.map_or(1, |factor| factor.parse().expect("SANDGATE_TEST_PATIENCE"))
    });
    usual * *FACTOR
}

/// Asks until the answer is yes; returns whether it came within `limit`, of which a slow machine gets more.
pub(crate) fn wait_until(limit: Duration, mut question: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patient(limit);
    loop {
        // A question can take long: its answer is of a time after this.
        let late = Instant::now() > deadline;
        if question() {
            return true;
        }
        if late {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
