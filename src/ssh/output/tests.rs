//! The end of output: all of it, and no waiting for those who hold the pipe.

use std::future::pending;

use tokio::io::AsyncWriteExt;

use super::*;

fn pipes() -> (pipe::Sender, pipe::Sender, Output<'static>) {
    let (out, stdout) = pipe::pipe().unwrap();
    let (err, stderr) = pipe::pipe().unwrap();
    (
        out,
        err,
        Output::new(Outlet::Pipe(stdout), Outlet::Pipe(stderr)),
    )
}

async fn collect(rest: &mut Rest<'_>) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let mut all = Vec::new();
    while let Some(Piece::Stdout(bytes) | Piece::Stderr(bytes)) = rest.next().await {
        all.extend_from_slice(&bytes);
    }
    (all, begun.elapsed())
}

#[tokio::test]
async fn streams_stay_apart_and_end_with_the_last_writer() {
    let (mut out, mut err, mut output) = pipes();
    out.write_all(b"one").await.unwrap();
    assert_eq!(
        output.next().await,
        Some(Piece::Stdout(Bytes::from_static(b"one")))
    );
    drop(out);
    err.write_all(b"two").await.unwrap();
    assert_eq!(
        output.next().await,
        Some(Piece::Stderr(Bytes::from_static(b"two")))
    );
    drop(err);
    assert_eq!(output.next().await, None);
}

#[tokio::test]
async fn what_the_pipe_holds_is_delivered_and_its_end_not_waited_for() {
    let (mut out, err, output) = pipes();
    let held = vec![7; 60_000];
    out.write_all(&held).await.unwrap();
    let (all, elapsed) = collect(&mut Rest::new(output)).await;
    assert!(all == held);
    assert!(
        elapsed >= QUIET && elapsed < LINGER,
        "{elapsed:?}: it rests once, with both writers alive"
    );
    drop((out, err));
}

#[tokio::test]
async fn closed_pipes_end_at_once() {
    let (mut out, err, output) = pipes();
    out.write_all(b"last words").await.unwrap();
    drop((out, err));
    let mut rest = Rest::new(output);
    let (all, _) = collect(&mut rest).await;
    assert_eq!(all, b"last words");
    // Whoever waits out QUIET in place of that has not seen both ends; past them nothing is waited for.
    assert!(matches!(rest.output.stdout, Outlet::Ended));
    assert!(matches!(rest.output.stderr, Outlet::Ended));
    assert_eq!(rest.output.next().await, None);
}

#[tokio::test]
async fn a_flood_from_behind_ends_with_the_linger_and_loses_nothing_owed() {
    let (mut out, err, output) = pipes();
    out.write_all(&vec![1; 50_000]).await.unwrap();
    let mut rest = Rest::new(output);
    let flood = tokio::spawn(async move { while out.write_all(&[2; 4096]).await.is_ok() {} });
    let (all, elapsed) = collect(&mut rest).await;
    assert!(all.starts_with(&vec![1; 50_000]) && all.len() > 50_000);
    // tokio's timers count whole milliseconds; the linger began before this clock did.
    let least = LINGER.saturating_sub(Duration::from_millis(10));
    assert!(elapsed >= least && elapsed < LINGER * 3, "{elapsed:?}");
    drop((rest, err));
    flood.await.unwrap();
}

#[tokio::test]
async fn a_slow_client_gets_all_that_was_owed() {
    let (mut out, err, output) = pipes();
    out.write_all(&vec![1; 65_536]).await.unwrap();
    let mut rest = Rest {
        until: Instant::now(),
        ..Rest::new(output)
    };
    let (all, _) = collect(&mut rest).await;
    assert_eq!(
        all.len(),
        65_536,
        "the linger was over before the first read"
    );
    drop((out, err));
}

fn terminal() -> (AsyncFd<OwnedFd>, OwnedFd) {
    use rustix::pty::OpenptFlags;
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    rustix::io::ioctl_fionbio(&master, true).unwrap();
    (crate::sys::reactor::register(master).unwrap(), slave)
}

/// A thread of the kernel's carries over what is written to a terminal. On a busy machine that takes its time: more than
/// `QUIET` was seen.
#[test]
fn what_a_terminal_holds_is_delivered_before_anybody_has_told_of_it() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let (master, slave) = runtime.block_on(async { terminal() });
    let end = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        for _ in 0..2 * std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| while Instant::now() < end {});
        }
        while Instant::now() < end {
            let output = Output::new(Outlet::Terminal(&master), Outlet::Ended);
            rustix::io::write(&slave, b"last words").unwrap();
            let mut rest = Rest::new(output);
            rest.until = Instant::now();
            let (all, _) = runtime.block_on(collect(&mut rest));
            assert_eq!(all, b"last words");
        }
    });
}

#[tokio::test]
async fn a_terminal_ends_when_its_last_slave_closes() {
    let (master, slave) = terminal();
    let mut output = Output::new(Outlet::Terminal(&master), Outlet::Ended);
    rustix::io::write(&slave, b"hello").unwrap();
    assert_eq!(
        output.next().await,
        Some(Piece::Stdout(Bytes::from_static(b"hello")))
    );
    let open =
        tokio::select! { _ = output.next() => false, () = tokio::time::sleep(QUIET) => true };
    assert!(open, "a terminal with a slave has no end");
    rustix::io::write(&slave, b"bye").unwrap();
    drop(slave);
    assert_eq!(
        output.next().await,
        Some(Piece::Stdout(Bytes::from_static(b"bye")))
    );
    assert_eq!(output.next().await, None);
}

#[tokio::test]
async fn an_ended_outlet_never_reads_again() {
    let read = async { Outlet::Ended.read().await };
    let ended = tokio::select! { _ = read => false, () = tokio::time::sleep(QUIET) => true, () = pending() => false };
    assert!(ended);
}
