//! The one spelling of a request's path that is judged and then sent.

/// Bytes of a path, before and after it is brought into its canonical form.
const MAX_BYTES: usize = 4096;

/// Why a path has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A NUL, CR, LF, DEL or another control, raw or encoded.
    #[error("the path holds a control byte")]
    Control,
    /// RFC 3986 has ASCII alone.
    #[error("the path holds a byte outside ASCII; percent-encode it")]
    NonAscii,
    /// `#` or `?`, which end a path.
    #[error("the path holds a `#` or `?`")]
    Delimiter,
    /// `%` without two hexadecimal digits.
    #[error("the path holds a `%` that encodes nothing")]
    Percent,
    /// `%2F` where no endpoint allows it.
    #[error("the path holds an encoded slash, which needs `allow_encoded_slash`")]
    EncodedSlash,
    /// More `..` than directories.
    #[error("the path leads above the root")]
    AboveRoot,
    /// `.` or `..` beside an encoded separator, which some servers resolve and others don't.
    #[error("the path hides a dot segment beside an encoded separator")]
    HiddenDots,
    /// Over 4096 bytes.
    #[error("the path is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Neither `/...` nor `http://host/...`.
    #[error("the request target is no path")]
    Form,
}

/// Brings the path of a request target (RFC 9112 §3.2, origin or absolute form, without its query)
/// into its canonical form: percent-encoding only where it is needed and in upper case, no `;params`
/// (servlet containers drop them), no dot segments (RFC 3986 §5.2.4), no empty segments. `%2F` stays
/// encoded, and so does what was encoded twice. The form of a canonical path is that path.
pub(in crate::policy) fn canonical(target: &str) -> Result<String, PathError> {
    if target.bytes().any(|b| b.is_ascii_control()) {
        return Err(PathError::Control);
    }
    if !target.is_ascii() {
        return Err(PathError::NonAscii);
    }
    if target.contains(['#', '?']) {
        return Err(PathError::Delimiter);
    }
    let raw = origin(target)?;
    if raw.len() > MAX_BYTES {
        return Err(PathError::TooLong);
    }
    let mut kept: Vec<String> = Vec::new();
    let mut segments = raw.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let segment = self::segment(segment)?;
        match segment.as_str() {
            ".." => {
                kept.pop().ok_or(PathError::AboveRoot)?;
            }
            "." | "" => {}
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            // What ends in a directory keeps its slash.
            kept.push(String::new());
        }
    }
    let path = format!("/{}", kept.join("/"));
    if path.len() > MAX_BYTES {
        return Err(PathError::TooLong);
    }
    Ok(path)
}

/// Whether a canonical path has a slash that separates no segments.
pub(in crate::policy) fn has_encoded_slash(path: &str) -> bool {
    path.contains("%2F")
}

/// The path alone; nothing is the root.
fn origin(target: &str) -> Result<&str, PathError> {
    if target.is_empty() {
        return Ok("/");
    }
    if target.starts_with('/') {
        return Ok(target);
    }
    let (scheme, rest) = target.split_once("://").ok_or(PathError::Form)?;
    if !["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return Err(PathError::Form);
    }
    Ok(rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"))
}

/// A segment up to its first `;`, encoded afresh.
fn segment(raw: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    let mut parameters = false;
    while let Some(byte) = bytes.next() {
        let (byte, encoded) = match byte {
            b'%' => (hex(bytes.next())? << 4 | hex(bytes.next())?, true),
            plain => (plain, false),
        };
        if byte.is_ascii_control() {
            return Err(PathError::Control);
        }
        parameters |= byte == b';';
        if parameters {
            continue;
        }
        if is_plain(byte) && !(encoded && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(digit));
        }
    }
    // `%5C` is a separator to servers on Windows.
    let parts = out.replace("%5C", "%2F");
    if parts != "." && parts != ".." && parts.split("%2F").any(|part| part == "." || part == "..") {
        return Err(PathError::HiddenDots);
    }
    Ok(out)
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16)
        .unwrap_or_default()
        .to_ascii_uppercase()
}

fn hex(digit: Option<u8>) -> Result<u8, PathError> {
    let value = digit.and_then(|digit| char::from(digit).to_digit(16));
    value
        .and_then(|value| u8::try_from(value).ok())
        .ok_or(PathError::Percent)
}

/// What a segment holds without encoding: pchar (RFC 3986 §3.3) but for `;`, which never gets here.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}
