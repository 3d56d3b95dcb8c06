//! The fuzzer: libFuzzer calls one target, which `SKALD_FUZZ_TARGET` names. `./dev fuzz` builds it and starts it three times:
//! `SKALD_FUZZ_BEGIN=folder` writes the target's seeds, corpus and words there; then it fuzzes; `SKALD_FUZZ_KEEP=folder` packs what
//! it left behind into the corpus.

#![no_main]

use std::{env, fs, io, path::Path, process::exit, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use skald_fuzz::{TARGETS, Target, corpus, target};

fuzz_target!(init: prepare(), |bytes: &[u8]| (chosen().run)(bytes));

fn chosen() -> &'static Target {
    static CHOSEN: OnceLock<&'static Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = env::var("SKALD_FUZZ_TARGET").unwrap_or_default();
        target(&name).unwrap_or_else(|| {
            eprintln!("SKALD_FUZZ_TARGET={name:?} is none of:");
            TARGETS.iter().for_each(|target| eprintln!("  {:12} {}", target.name, target.about));
            exit(2)
        })
    })
}

fn prepare() {
    let asked = |name, act: fn(&Path) -> io::Result<()>| {
        let Some(folder) = env::var_os(name) else { return };
        match act(Path::new(&folder)) {
            Ok(()) => exit(0),
            Err(error) => {
                eprintln!("{}: {error}", folder.display());
                exit(2)
            }
        }
    };
    asked("SKALD_FUZZ_BEGIN", begin);
    asked("SKALD_FUZZ_KEEP", keep);
}

fn begin(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder.join("seeds"))?;
    // The first time there is no corpus.
    let known = corpus::read(chosen()).unwrap_or_default();
    for (n, seed) in (chosen().seeds)().into_iter().chain(known).enumerate() {
        fs::write(folder.join("seeds").join(format!("{n:05}")), seed)?;
    }
    // As libFuzzer wants its dictionary.
    let byte = |byte: u8| match byte {
        b' '..=b'~' if !b"\"\\".contains(&byte) => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    let word = |word: &&str| format!("\"{}\"\n", word.bytes().map(byte).collect::<String>());
    fs::write(folder.join("words"), chosen().words.iter().map(word).collect::<String>())
}

fn keep(folder: &Path) -> io::Result<()> {
    let inputs: io::Result<Vec<Vec<u8>>> = fs::read_dir(folder)?.map(|file| fs::read(file?.path())).collect();
    let inputs = inputs?;
    let all = inputs.len();
    let kept = corpus::write(chosen(), inputs)?;
    eprintln!("{}: {kept} of {all} inputs kept", corpus::file(chosen()).display());
    Ok(())
}
