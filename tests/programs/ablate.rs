//! Runs a command in a sandbox that lacks the layers named in its first argument.
//!
//! `ablate LAYER,... SHARED_DIRECTORY UID COMMAND ARGUMENT...`; a layer `CAP_NAME=FILE[:HOMES:CHANGES]` takes that
//! capability from the monitor's part, which then uses each: on the command, on a file that is closed to others,
//! and, with two directories, for a sandbox that keeps its home and what it changes.

#[cfg(debug_assertions)]
fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    use std::ffi::CString;
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or_else(|| format!("{what} is missing"));
    let without = next("a list of layers")?;
    let (powers, without): (Vec<&str>, Vec<&str>) = without
        .split(',')
        .filter(|name| !name.is_empty())
        .partition(|name| name.starts_with("CAP_"));
    let powers = powers.first().and_then(|power| {
        let (without, files) = power.strip_prefix("CAP_")?.split_once('=')?;
        let (file, stores) = match *files.split(':').collect::<Vec<_>>() {
            [file] => (file, None),
            [file, homes, changes] => (file, Some([homes.into(), changes.into()])),
            _ => return None,
        };
        Some(sandgate::sandbox::ablation::Powers {
            without: without.to_owned(),
            closed_file: file.into(),
            stores,
        })
    });
    let without = without
        .into_iter()
        .map(str::parse)
        .collect::<Result<_, String>>()?;
    let shared = next("a directory")?.into();
    let uid = next("a uid")?.parse()?;
    let command = arguments.map(CString::new).collect::<Result<_, _>>()?;
    let status = sandgate::sandbox::ablation::run(sandgate::sandbox::ablation::Experiment {
        without,
        shared,
        command,
        uid,
        powers,
    })?;
    Ok(u8::try_from(status).unwrap_or(u8::MAX).into())
}

#[cfg(not(debug_assertions))]
fn main() {
    eprintln!("ablate: release builds leave no layer out");
    std::process::exit(2);
}
