//! Files that hold what was decided once. `SKALD_BLESS=1 cargo test -p skald-core` writes them anew: only
//! for a decided change, and read the difference.

use std::{fs, path::PathBuf};

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn blessing() -> bool {
    std::env::var_os("SKALD_BLESS").is_some_and(|v| v == "1")
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("tests/golden/{name}: {e}"))
}

/// The text is the file's, or becomes it.
#[track_caller]
pub(crate) fn compare(name: &str, text: &str) {
    if blessing() {
        fs::create_dir_all(path(name).parent().expect("a folder")).expect("the golden folder");
        return fs::write(path(name), text).expect("a golden file");
    }
    let golden = read(name);
    if golden != text {
        let line = golden.lines().zip(text.lines()).position(|(a, b)| a != b);
        let line = line.unwrap_or(golden.lines().count().min(text.lines().count()));
        let at = |text: &str| text.lines().nth(line).unwrap_or("(the end)").to_owned();
        panic!("tests/golden/{name}:{}: golden {:?}, now {:?}", line + 1, at(&golden), at(text));
    }
}
