//! Terminals as clients ask for them (RFC 4254 §6.2, §6.7, §8).

use russh::Pty;

use crate::sandbox::{Terminal, WindowSize};

/// A size in a client's 32-bit numbers: columns, rows, then pixels. `struct winsize` has 16 bits
/// (`tty_ioctl(4)`); what is larger becomes the largest. Zeros mean unknown and stay.
pub(super) fn window(columns: u32, rows: u32, x_pixels: u32, y_pixels: u32) -> WindowSize {
    let clamped = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    WindowSize {
        columns: clamped(columns),
        rows: clamped(rows),
        x_pixels: clamped(x_pixels),
        y_pixels: clamped(y_pixels),
    }
}

/// A terminal of this size and with these modes. russh shows opcodes it does not know as `TTY_OP_END`.
pub(super) fn terminal(size: WindowSize, modes: &[(Pty, u32)]) -> Terminal {
    let known = modes.iter().filter(|(code, _)| *code != Pty::TTY_OP_END);
    Terminal {
        size,
        modes: known
            .map(|&(code, argument)| (code as u8, argument))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_clamped_and_zeros_kept() {
        let expected = WindowSize {
            columns: 80,
            rows: 0,
            x_pixels: u16::MAX,
            y_pixels: u16::MAX,
        };
        assert_eq!(window(80, 0, 65_536, 65_535), expected);
    }

    #[test]
    fn modes_keep_their_opcodes_and_unknown_ones_are_left_out() {
        let modes = [
            (Pty::VINTR, 3),
            (Pty::TTY_OP_END, 9),
            (Pty::ECHO, 0),
            (Pty::TTY_OP_OSPEED, 38_400),
        ];
        let terminal = terminal(window(80, 24, 0, 0), &modes);
        assert_eq!(terminal.modes, [(1, 3), (53, 0), (129, 38_400)]);
    }
}
