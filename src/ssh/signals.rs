//! Signals by their SSH names (RFC 4254 §6.9, §6.10) and by their numbers (signal(7)).

use russh::Sig;
use rustix::process::Signal;

/// The number of the signal that a client names, without `SIG`. `None` for a name that RFC 4254 does not have.
pub(super) fn number(signal: &Sig) -> Option<i32> {
    let signal = match signal {
        Sig::ABRT => Signal::ABORT,
        Sig::ALRM => Signal::ALARM,
        Sig::FPE => Signal::FPE,
        Sig::HUP => Signal::HUP,
        Sig::ILL => Signal::ILL,
        Sig::INT => Signal::INT,
        Sig::KILL => Signal::KILL,
        Sig::PIPE => Signal::PIPE,
        Sig::QUIT => Signal::QUIT,
        Sig::SEGV => Signal::SEGV,
        Sig::TERM => Signal::TERM,
        Sig::USR1 => Signal::USR1,
        Sig::Custom(name) if name == "USR2" => Signal::USR2,
        Sig::Custom(_) => return None,
    };
    Some(signal.as_raw())
}

/// The name under which an exit by this signal is reported. RFC 4254 §6.10 has thirteen; others take
/// its form for private names, `NAME@HOST`.
pub(super) fn name(number: i32) -> Sig {
    let private = |name: &str| Sig::Custom(format!("{name}@sandgate"));
    match Signal::from_named_raw(number) {
        Some(Signal::ABORT) => Sig::ABRT,
        Some(Signal::ALARM) => Sig::ALRM,
        Some(Signal::FPE) => Sig::FPE,
        Some(Signal::HUP) => Sig::HUP,
        Some(Signal::ILL) => Sig::ILL,
        Some(Signal::INT) => Sig::INT,
        Some(Signal::KILL) => Sig::KILL,
        Some(Signal::PIPE) => Sig::PIPE,
        Some(Signal::QUIT) => Sig::QUIT,
        Some(Signal::SEGV) => Sig::SEGV,
        Some(Signal::TERM) => Sig::TERM,
        Some(Signal::USR1) => Sig::USR1,
        Some(Signal::USR2) => Sig::Custom("USR2".to_owned()),
        Some(Signal::BUS) => private("BUS"),
        Some(Signal::SYS) => private("SYS"),
        Some(Signal::TRAP) => private("TRAP"),
        Some(Signal::XCPU) => private("XCPU"),
        Some(Signal::XFSZ) => private("XFSZ"),
        _ => private(&format!("SIG{number}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thirteen_names_of_rfc_4254_go_there_and_back() {
        for number in [1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15] {
            let signal = name(number);
            assert!(
                !matches!(&signal, Sig::Custom(name) if name.contains('@')),
                "{signal:?}"
            );
            assert_eq!(super::number(&signal), Some(number));
        }
    }

    #[test]
    fn other_numbers_have_private_names() {
        for (number, expected) in [
            (7, "BUS@sandgate"),
            (31, "SYS@sandgate"),
            (40, "SIG40@sandgate"),
        ] {
            assert!(
                matches!(name(number), Sig::Custom(name) if name == expected),
                "{number}"
            );
        }
    }

    #[test]
    fn names_outside_the_rfc_are_no_signals() {
        for name in ["", "SIGTERM", "INFO@openssh.com", "STOP", "9"] {
            assert_eq!(number(&Sig::Custom(name.to_owned())), None, "{name}");
        }
    }
}
