//! Codes against RFC 6238, clocks and files.

use super::*;

/// The secrets of RFC 6238, appendix B, in base32.
const SHA1: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const SHA256: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA====";
const SHA512: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA=";

fn secrets(text: &str) -> Secrets {
    Secrets::parse(text.as_bytes())
        .map_err(|error| error.to_string())
        .unwrap()
}

fn uri(secret: &str, rest: &str) -> String {
    format!("otpauth://totp/Example:ann?issuer=Example&secret={secret}{rest}")
}

fn login() -> LoginName {
    LoginName::try_from("ann".to_owned()).unwrap()
}

/// A judge with its clocks.
struct Court {
    codes: Codes,
    start: Instant,
}

impl Court {
    fn new() -> Self {
        Self {
            codes: Codes::default(),
            start: Instant::now(),
        }
    }

    fn judge(&self, secrets: &Secrets, typed: &str, unix: u64) -> Result<(), CodeError> {
        let instant = self.start + Duration::from_secs(unix);
        let now = Moment { unix, instant };
        self.codes
            .judge(&login(), secrets, typed, now)
            .map(|RightCode(())| ())
    }
}

#[test]
fn codes_are_those_of_rfc_6238_appendix_b() {
    for (unix, sha1, sha256, sha512) in [
        (59, "94287082", "46119246", "90693936"),
        (1_111_111_109, "07081804", "68084774", "25091201"),
        (1_111_111_111, "14050471", "67062674", "99943326"),
        (1_234_567_890, "89005924", "91819424", "93441116"),
        (2_000_000_000, "69279037", "90698825", "38618901"),
        (20_000_000_000, "65353130", "77737706", "47863826"),
    ] {
        for (secret, algorithm, code) in [
            (SHA1, "SHA1", sha1),
            (SHA256, "SHA256", sha256),
            (SHA512, "SHA512", sha512),
        ] {
            let text = uri(secret, &format!("&algorithm={algorithm}&digits=8"));
            let code_at = secrets(&text).0[0].code(unix / 30);
            assert_eq!(code_at, code, "{algorithm} at {unix}");
        }
        assert_eq!(secrets(SHA1).0[0].code(unix / 30), sha1[2..], "six digits");
    }
}

#[test]
fn a_code_lasts_for_its_step_and_one_beside_it() {
    let secrets = secrets(SHA1);
    // 07081804 is of step 37037036 (RFC 6238).
    for (step, right) in [
        (37_037_034, false),
        (37_037_035, true),
        (37_037_036, true),
        (37_037_037, true),
        (37_037_038, false),
    ] {
        let judged = Court::new().judge(&secrets, "081804", step * 30);
        assert_eq!(judged.is_ok(), right, "{step}");
    }
}

#[test]
fn no_code_is_taken_twice_nor_one_from_before_it() {
    let (court, secrets) = (Court::new(), secrets(SHA1));
    let now = 37_037_036 * 30;
    let code = |step| secrets.0[0].code(step);
    assert_eq!(court.judge(&secrets, &code(37_037_036), now), Ok(()));
    assert_eq!(
        court.judge(&secrets, &code(37_037_036), now),
        Err(CodeError::Used)
    );
    assert_eq!(
        court.judge(&secrets, &code(37_037_035), now),
        Err(CodeError::Used)
    );
    assert_eq!(court.judge(&secrets, &code(37_037_037), now), Ok(()));
}

#[test]
fn the_sixth_wrong_code_is_not_looked_at_and_time_gives_tries_back() {
    let (court, secrets) = (Court::new(), secrets(SHA1));
    let code = |unix: u64| secrets.0[0].code(unix / 30);
    for unix in 1000..1005 {
        assert_eq!(court.judge(&secrets, "x", unix), Err(CodeError::Wrong));
    }
    let refused = court.judge(&secrets, &code(1005), 1005);
    assert!(
        matches!(refused, Err(CodeError::Throttled(_))),
        "{refused:?}"
    );
    let later = 1000 + NEXT_TRY.as_secs();
    assert_eq!(court.judge(&secrets, "x", later), Err(CodeError::Wrong));
    let refused = court.judge(&secrets, &code(later), later);
    assert!(
        matches!(refused, Err(CodeError::Throttled(_))),
        "{refused:?}"
    );
    let later = later + NEXT_TRY.as_secs();
    assert_eq!(court.judge(&secrets, &code(later), later), Ok(()));
    for unix in later..later + 5 {
        assert_eq!(court.judge(&secrets, "x", unix), Err(CodeError::Wrong));
    }
}

#[test]
fn any_secret_of_the_file_will_do() {
    let text = format!(
        "# ann's telephone\n\n{}\nmfrg gzdf-mztwq2lkmfrggzdfmztwq2lk\r\n",
        SHA1.to_lowercase()
    );
    let both = secrets(&text);
    let court = Court::new();
    for secret in &both.0 {
        assert_eq!(court.judge(&both, &secret.code(50), 1500), Ok(()));
    }
    assert_eq!(both.0.len(), 2);
}

#[test]
fn what_is_no_secret_is_an_error_that_does_not_repeat_it() {
    for (text, named) in [
        ("", "line 1"),
        ("# nobody\n", "no secret"),
        ("GEZDGNBVGY3TQOJQ\n", "128 bits"),
        (&format!("{SHA1}\n0189"), "line 2"),
        (&uri(SHA1, "&digits=7"), "digits"),
        (&uri(SHA1, "&period=60"), "period"),
        (&uri(SHA1, "&algorithm=MD5"), "algorithm"),
        (&uri(SHA1, "").replace("totp", "hotp"), "otpauth://totp"),
        ("otpauth://totp/ann?issuer=x", "secret="),
        ("otpauth://totp/ann", "secret="),
    ] {
        let error = Secrets::parse(text.as_bytes())
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains(named), "{text:?}: {error}");
        assert!(!error.contains(SHA1), "{error}");
    }
}
