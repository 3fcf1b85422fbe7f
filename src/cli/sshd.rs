//! `sandgate sshd`: the command line of sshd(8).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout};

use crate::config::sshd::{Request, Service, Sshd};
use crate::config::{Activation, Invoker};
use crate::server::{self, Entrance, Ground, Hangup, Launch};
use crate::ssh::Wire;

/// What sshd(8) exits with where it can't go on (fatal.c, cleanup_exit).
const FATAL: u8 = 255;

/// The options of sshd(8).
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of sshd's command line"
)]
pub(super) struct Arguments {
    /// The configuration, in the form of sshd_config(5)
    #[arg(
        short = 'f',
        value_name = "FILE",
        default_value = "/etc/ssh/sshd_config"
    )]
    file: PathBuf,
    /// Check the configuration and this host; say nothing if they are good
    #[arg(short = 't')]
    test: bool,
    /// Check likewise, and print what holds
    #[arg(short = 'T', short_alias = 'G')]
    print: bool,
    /// Serve one client on standard input and output
    #[arg(short = 'i')]
    inetd: bool,
    /// Stay in the foreground
    #[arg(short = 'D')]
    foreground: bool,
    /// Append messages to this file
    #[arg(short = 'E', value_name = "FILE")]
    log: Option<PathBuf>,
    /// Write messages to standard error
    #[arg(short = 'e')]
    errors: bool,
    /// Write no messages
    #[arg(short = 'q')]
    quiet: bool,
    /// Listen on this port instead of the configuration's
    #[arg(short = 'p', value_name = "PORT")]
    ports: Vec<String>,
    /// A host key, besides the configuration's
    #[arg(short = 'h', value_name = "FILE")]
    host_keys: Vec<String>,
    /// A line of the configuration; it comes before the file's
    #[arg(short = 'o', value_name = "KEYWORD=VALUE")]
    options: Vec<String>,
    /// Seconds to log in
    #[arg(short = 'g', value_name = "SECONDS")]
    grace: Option<String>,
    /// IPv4 alone
    #[arg(short = '4')]
    v4: bool,
    /// IPv6 alone
    #[arg(short = '6', conflicts_with = "v4")]
    v6: bool,
    /// Taken and nothing else: no other program is started for a connection
    #[arg(short = 'r')]
    _same: bool,
    /// Taken and nothing else: nothing is written to utmp(5)
    #[arg(short = 'u', value_name = "LENGTH")]
    _utmp: Option<String>,
    /// Refused: `-D -e -o LogLevel=DEBUG` shows as much, and -i serves one connection
    #[arg(short = 'd', action = clap::ArgAction::Count)]
    debug: u8,
    /// With -T, for which login: user=NAME; what else it says makes no difference
    #[arg(short = 'C', value_name = "CONNECTION")]
    connection: Option<String>,
    /// A host key's certificate, besides the configuration's
    #[arg(short = 'c', value_name = "FILE")]
    certificates: Vec<String>,
}

/// Runs it. Errors are in sshd's form and end with its status.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    sshd(arguments).unwrap_or_else(|error| {
        eprintln!("{}", server::explain(error.as_ref()));
        ExitCode::from(FATAL)
    })
}

fn sshd(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    refuse(arguments)?;
    let wire = arguments
        .inetd
        .then(|| take_connection(arguments))
        .transpose()?;
    if let Some(path) = &arguments.log {
        dup2_stderr(append(path)?)?;
    }
    let mut sshd = Sshd::read(&request(arguments), &Invoker::from_environment())?;
    let mut warnings: Vec<String> = sshd.warnings.iter().map(ToString::to_string).collect();
    warnings.extend(server::sift_host_keys(
        &mut sshd.config,
        &sshd.host_key_algorithms,
    )?);
    if arguments.test || arguments.print {
        if arguments.print {
            let login = arguments.connection.as_deref().map(login).transpose()?;
            print!("{}", sshd.effective(login.flatten()));
        }
        for warning in &warnings {
            eprintln!("{warning}");
        }
        server::check(sshd.config, &Activation::default())?;
        return Ok(ExitCode::SUCCESS);
    }
    let terse = wire.is_some() && arguments.log.is_none() && !arguments.errors;
    server::log_to_stderr(match sshd.log {
        _ if arguments.quiet => "off",
        // Whoever types ssh with a ProxyCommand sees this.
        server::LOG if terse => "error",
        log => log,
    });
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    // What serve would print, and an audit without a file, belong to the messages: standard output is
    // the client's with -i, and nobody's in the background.
    dup2_stdout(stderr())?;
    let foreground = arguments.foreground || wire.is_some();
    let mut launch = Launch {
        entrance: wire.map_or(Entrance::Listeners, Entrance::One),
        ground: if foreground {
            Ground::Foreground
        } else {
            Ground::Background
        },
        pid_file: sshd.pid_file,
        hangup: Hangup::Stay,
    };
    // With -i systemd's socket is the connection, and not one to listen on.
    let activation = match launch.entrance {
        Entrance::Listeners => Activation::from_environment(),
        Entrance::One(_) => Activation::default(),
    };
    // With the connection ssh ends its ProxyCommand: what could not be served stays open until it is said why.
    let code = match server::serve(sshd.config, &activation, &mut launch) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", server::explain(&error));
            return Ok(ExitCode::from(FATAL));
        }
    };
    let clean = code == ExitCode::SUCCESS;
    Ok(if clean { code } else { ExitCode::from(FATAL) })
}

/// What sshd takes and this does not.
fn refuse(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.debug > 0 {
        bail!("-d is refused: -D -e -o LogLevel=DEBUG shows as much, and -i serves one connection");
    }
    if arguments.connection.is_some() && !arguments.print {
        bail!("-C says for whom -T prints; give -T as well");
    }
    let serves = !(arguments.test || arguments.print || arguments.inetd || arguments.foreground);
    if serves && arguments.log.is_none() && !arguments.errors {
        bail!(
            "messages have to go somewhere: name a file by -E, or stay in the foreground with -D"
        );
    }
    Ok(())
}

fn request(arguments: &Arguments) -> Request {
    let mut flags: Vec<(&'static str, String)> = Vec::new();
    flags.extend(arguments.ports.iter().map(|port| ("Port", port.clone())));
    flags.extend(
        arguments
            .host_keys
            .iter()
            .map(|key| ("HostKey", key.clone())),
    );
    let certificates = arguments.certificates.iter();
    flags.extend(certificates.map(|path| ("HostCertificate", path.clone())));
    flags.extend(
        arguments
            .grace
            .iter()
            .map(|time| ("LoginGraceTime", time.clone())),
    );
    for (switch, family) in [(arguments.v4, "inet"), (arguments.v6, "inet6")] {
        flags.extend(switch.then(|| ("AddressFamily", family.to_owned())));
    }
    Request {
        file: arguments.file.clone(),
        flags,
        options: arguments.options.clone(),
        service: if arguments.inetd {
            Service::One
        } else {
            Service::Everybody
        },
    }
}

/// The login of a connection as -C describes it (sshd(8)).
fn login(connection: &str) -> anyhow::Result<Option<&str>> {
    let mut login = None;
    for part in connection.split(',') {
        match part.split_once('=') {
            Some(("user", name)) => login = Some(name),
            Some(("addr" | "host" | "laddr" | "lport" | "rdomain", _)) => {}
            _ => bail!("-C {part}: write user=NAME"),
        }
    }
    Ok(login)
}

/// Takes the connection from standard input and output and leaves nothing of it there: whoever reads or
/// writes them by mistake finds neither.
fn take_connection(arguments: &Arguments) -> anyhow::Result<Wire> {
    let own = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
    let (input, output): (OwnedFd, OwnedFd) = (own(stdin())?, own(stdout())?);
    let identity = |fd: &OwnedFd| -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(fd)?;
        Ok((stat.st_dev, stat.st_ino))
    };
    if arguments.log.is_none() && identity(&own(stderr())?)? == identity(&output)? {
        bail!("standard error is the connection itself: name a file for messages by -E");
    }
    let wire = Wire::adopt(input, output).context("-i")?;
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(stderr())?;
    Ok(wire)
}

fn append(path: &Path) -> anyhow::Result<File> {
    let mut options = File::options();
    let file = options.append(true).create(true).mode(0o600).open(path);
    file.with_context(|| format!("Couldn't open logfile {}", path.display()))
}
