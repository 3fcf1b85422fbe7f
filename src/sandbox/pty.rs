//! A session's terminal: taken from the sandbox's own devpts, with the modes that the client asked for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios,
    Winsize,
};

use super::blueprint::Account;
use super::protocol::{Terminal, WindowSize};

/// Group `tty`, which owns terminals (Debian base-passwd); `mesg` and `wall` rely on it.
const TTY: u32 = 5;

/// Opens a PTY on the devpts that `terminals` refers to: master and slave.
pub(super) fn open(
    terminals: &OwnedFd,
    account: Account,
    terminal: &Terminal,
) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master = rustix::fs::openat(terminals, "ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    // While it is root's own: the mode of another's would need CAP_FOWNER.
    rustix::fs::fchmod(&slave, Mode::from_raw_mode(0o620))?;
    let (owner, group) = (Uid::from_raw(account.uid), group(account));
    rustix::fs::fchown(&slave, Some(owner), Some(group))?;
    let mut termios = rustix::termios::tcgetattr(&slave)?;
    for (opcode, value) in &terminal.modes {
        apply(&mut termios, *opcode, *value)?;
    }
    rustix::termios::tcsetattr(&slave, OptionalActions::Now, &termios)?;
    resize(&master, terminal.size)?;
    Ok((master, slave))
}

/// The account's own where a user serves who has one id: no group `tty` is there.
fn group(account: Account) -> Gid {
    let only_one = !rustix::process::geteuid().is_root();
    Gid::from_raw(if only_one { account.gid } else { TTY })
}

/// Sets the size of a terminal by its master; SIGWINCH goes to the foreground group (ioctl_tty(2)).
pub fn resize(master: &impl AsFd, size: WindowSize) -> io::Result<()> {
    let size = Winsize {
        ws_col: size.columns,
        ws_row: size.rows,
        ws_xpixel: size.x_pixels,
        ws_ypixel: size.y_pixels,
    };
    Ok(rustix::termios::tcsetwinsize(master, size)?)
}

/// What a break still asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Nothing: it was ignored, or reads as a byte.
    Done,
    /// An interrupt of the foreground group.
    Interrupt,
}

/// Breaks the line of a terminal, by its master, as `termios(3)` has it of IGNBRK and BRKINT. Without either
/// it reads as a NUL byte, under PARMRK too.
pub fn send_break(master: &impl AsFd) -> io::Result<Break> {
    // A master answers with the modes of its slave (drivers/tty/tty_ioctl.c, `tty_mode_ioctl`).
    let modes = rustix::termios::tcgetattr(master)?.input_modes;
    if modes.contains(InputModes::IGNBRK) {
        return Ok(Break::Done);
    }
    if modes.contains(InputModes::BRKINT) {
        return Ok(Break::Interrupt);
    }
    rustix::io::write(master, &[0])?;
    Ok(Break::Done)
}

/// One encoded terminal mode (RFC 4254 §8). Opcodes that Linux lacks are passed over, as the RFC asks.
fn apply(termios: &mut Termios, opcode: u8, value: u32) -> io::Result<()> {
    if let Some(index) = special_code(opcode) {
        // 255 switches the character off; Linux says so with 0 (_POSIX_VDISABLE).
        termios.special_codes[index] = u8::try_from(value)
            .ok()
            .filter(|&code| code != 255)
            .unwrap_or(0);
    } else if let Some(flag) = input_mode(opcode) {
        termios.input_modes.set(flag, value != 0);
    } else if let Some(flag) = local_mode(opcode) {
        termios.local_modes.set(flag, value != 0);
    } else if let Some(flag) = output_mode(opcode) {
        termios.output_modes.set(flag, value != 0);
    } else {
        match opcode {
            90 if value != 0 => set_size(termios, ControlModes::CS7),
            91 if value != 0 => set_size(termios, ControlModes::CS8),
            92 => termios.control_modes.set(ControlModes::PARENB, value != 0),
            93 => termios.control_modes.set(ControlModes::PARODD, value != 0),
            // A speed that a terminal line can't have (0 hangs up) is the client's mistake, not a reason to fail.
            128 if value != 0 => termios.set_input_speed(value)?,
            129 if value != 0 => termios.set_output_speed(value)?,
            _ => {}
        }
    }
    Ok(())
}

fn set_size(termios: &mut Termios, size: ControlModes) {
    termios.control_modes.remove(ControlModes::CSIZE);
    termios.control_modes.insert(size);
}

fn special_code(opcode: u8) -> Option<SpecialCodeIndex> {
    Some(match opcode {
        1 => SpecialCodeIndex::VINTR,
        2 => SpecialCodeIndex::VQUIT,
        3 => SpecialCodeIndex::VERASE,
        4 => SpecialCodeIndex::VKILL,
        5 => SpecialCodeIndex::VEOF,
        6 => SpecialCodeIndex::VEOL,
        7 => SpecialCodeIndex::VEOL2,
        8 => SpecialCodeIndex::VSTART,
        9 => SpecialCodeIndex::VSTOP,
        10 => SpecialCodeIndex::VSUSP,
        12 => SpecialCodeIndex::VREPRINT,
        13 => SpecialCodeIndex::VWERASE,
        14 => SpecialCodeIndex::VLNEXT,
        18 => SpecialCodeIndex::VDISCARD,
        _ => return None,
    })
}

fn input_mode(opcode: u8) -> Option<InputModes> {
    Some(match opcode {
        30 => InputModes::IGNPAR,
        31 => InputModes::PARMRK,
        32 => InputModes::INPCK,
        33 => InputModes::ISTRIP,
        34 => InputModes::INLCR,
        35 => InputModes::IGNCR,
        36 => InputModes::ICRNL,
        37 => InputModes::IUCLC,
        38 => InputModes::IXON,
        39 => InputModes::IXANY,
        40 => InputModes::IXOFF,
        41 => InputModes::IMAXBEL,
        42 => InputModes::IUTF8,
        _ => return None,
    })
}

fn local_mode(opcode: u8) -> Option<LocalModes> {
    Some(match opcode {
        50 => LocalModes::ISIG,
        51 => LocalModes::ICANON,
        52 => LocalModes::XCASE,
        53 => LocalModes::ECHO,
        54 => LocalModes::ECHOE,
        55 => LocalModes::ECHOK,
        56 => LocalModes::ECHONL,
        57 => LocalModes::NOFLSH,
        58 => LocalModes::TOSTOP,
        59 => LocalModes::IEXTEN,
        60 => LocalModes::ECHOCTL,
        61 => LocalModes::ECHOKE,
        62 => LocalModes::PENDIN,
        _ => return None,
    })
}

fn output_mode(opcode: u8) -> Option<OutputModes> {
    Some(match opcode {
        70 => OutputModes::OPOST,
        71 => OutputModes::OLCUC,
        72 => OutputModes::ONLCR,
        73 => OutputModes::OCRNL,
        74 => OutputModes::ONOCR,
        75 => OutputModes::ONLRET,
        _ => return None,
    })
}
