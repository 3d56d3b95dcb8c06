//! `skald replay`, run as the real program against real databases and files: what is clean, what was planted, and how
//! each is named.

pub(crate) mod book;
mod export;
mod verify;
mod what_if;

use crate::commands::{ended, skald};

/// Runs `skald …`; exit code, standard output without the line that says how long it took, standard error.
pub(crate) fn told(args: &[&str]) -> (i32, String, String) {
    let (code, out, err) = ended(&skald(args));
    let out = out.lines().filter(|line| !line.starts_with("took ")).collect::<Vec<_>>().join("\n");
    (code, out, err)
}

/// The whole of standard output.
#[track_caller]
pub(crate) fn expect(args: &[&str], code: i32, expected: &str) {
    let (ended, out, err) = told(args);
    assert!(out == expected.trim_end(), "expected:\n{expected}\n\ntold:\n{out}\n{err}");
    assert_eq!((ended, err.as_str()), (code, ""), "{args:?}");
}

/// The whole of standard output is a file in `golden`; `SKALD_BLESS=1` writes it.
#[track_caller]
pub(crate) fn golden(args: &[&str], code: i32, name: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/replay/golden").join(name);
    if std::env::var_os("SKALD_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(&path, told(args).1 + "\n").expect("written");
    }
    expect(args, code, &std::fs::read_to_string(path).expect("a golden file"));
}
