//! `export`: what is written verifies; what is scrubbed names no customer; what is broken is told.

use skald_core::archive::MAGIC;
use skald_harness::scratch;

use super::{
    book::{Saga, Shelf, saga},
    expect, told,
};

fn file(name: &str) -> String {
    scratch("export").join(name).to_str().expect("a plain path").to_owned()
}

fn some() -> Vec<Saga> {
    vec![
        saga(0).completed(),
        saga(1).succeeded("reserve").paid().rejected("charge", "PAYMENT_DECLINED").undone("reserve"),
        saga(2).charged().cancelled(),
    ]
}

#[tokio::test]
async fn what_was_exported_verifies() {
    let shelf = Shelf::with(&some()).await;
    let to = file("all.skald");
    let out = format!("{to}: 3 sagas, 16 rows");
    expect(&["replay", "export", "--from", &shelf.url, "--to", &to], 0, &out);
    let clean = "\
sagas    3
rows     16
probed   1 active saga
differs  nothing";
    expect(&["replay", "verify", "--from", &to], 0, clean);
    // Once more from the file: byte by byte the same sagas.
    let again = file("again.skald");
    let (code, _, err) = told(&["replay", "export", "--from", &to, "--to", &again]);
    assert_eq!(code, 0, "{err}");
    let body = |name: &str| {
        let bytes = std::fs::read(name).expect("a file");
        // Behind the magic and the header, which has the time.
        let start = MAGIC.len() + 1 + usize::from(bytes[MAGIC.len()]);
        bytes[start..].to_vec()
    };
    assert!(body(&to) == body(&again), "a file of a file is the same");
    let (code, _, err) = told(&["replay", "export", "--from", &shelf.url, "--to", &to]);
    assert_eq!(code, 1);
    assert!(err.contains("is there already") && err.contains("nothing was written"), "{err}");
}

#[tokio::test]
async fn pages_follow_each_other() {
    let many: Vec<_> = (0..=255).map(saga).collect();
    let mut shelf = Shelf::with(&many).await;
    let last = super::book::saga_of(&skald_core::Definition::order(), 256);
    shelf.insert(&last).await;
    let (code, out, err) = told(&["replay", "verify", "--from", &shelf.url]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("sagas    257\nrows     257\n"), "{out}");
    let to = file("many.skald");
    let (code, out, err) = told(&["replay", "export", "--from", &shelf.url, "--to", &to]);
    assert_eq!((code, &*out), (0, &*format!("{to}: 257 sagas, 257 rows")), "{err}");
    let (code, out, _) = told(&["replay", "verify", "--from", &to]);
    assert!(code == 0 && out.starts_with("sagas    257\n"), "{out}");
}

#[tokio::test]
async fn scrubbed_means_no_customer_and_says_so() {
    let mut shelf = Shelf::with(&some()).await;
    let spoilt = saga(3).charged();
    shelf.insert(&spoilt).await;
    let flip =
        "update public.history set digest = digest # 1 where saga_id = $1 and seq = 2 and $2 = ''::bytea";
    shelf.by_hand(flip, spoilt.id, b"").await;
    let secrets = ["ada-lovelace", "castle", "tok_", "babbage", "potter", "no money"];
    let text = |name: &str| String::from_utf8_lossy(&std::fs::read(name).expect("a file")).into_owned();

    let plain = file("plain.skald");
    told(&["replay", "export", "--from", &shelf.url, "--to", &plain]);
    for secret in secrets {
        assert!(text(&plain).contains(secret), "{secret} is there to be scrubbed");
    }
    let clean = file("clean.skald");
    let out = format!("{clean}: 3 sagas, 16 rows, scrubbed\nleft out, for they do not verify: 1 saga");
    expect(&["replay", "export", "--from", &shelf.url, "--scrub", "--to", &clean], 0, &out);
    for secret in secrets {
        assert!(!text(&clean).contains(secret), "{secret} is left");
    }
    assert!(
        text(&clean).contains("teapot") && text(&clean).contains("PAYMENT_DECLINED"),
        "what is harmless stays"
    );
    let (code, out, err) = told(&["replay", "verify", "--from", &clean]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("the file is scrubbed") && out.contains("only that replay agrees with itself"),
        "{out}"
    );
}

#[tokio::test]
async fn a_file_that_is_cut_or_foreign_is_refused() {
    let shelf = Shelf::with(&some()).await;
    let to = file("whole.skald");
    told(&["replay", "export", "--from", &shelf.url, "--to", &to]);
    let bytes = std::fs::read(&to).expect("a file");
    for (name, bytes, what) in [
        ("cut.skald", &bytes[..bytes.len() - 1], "it was cut after 3 sagas"),
        ("half.skald", &bytes[..bytes.len() / 2], "it was cut after 1 sagas"),
        ("foreign.skald", b"PK\x03\x04", "it is no file of `skald replay export`"),
        ("empty.skald", b"", "it is no file of `skald replay export`"),
        ("newer.skald", &[MAGIC, &[4, 0x0a, 2, 8, 9]].concat(), "it has version 9"),
    ] {
        let name = file(name);
        std::fs::write(&name, bytes).expect("written");
        let (code, _, err) = told(&["replay", "verify", "--from", &name]);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(what) && err.contains(&name), "{err}");
    }
    let nowhere = "/nowhere/at.skald";
    let (code, _, err) = told(&["replay", "export", "--from", &shelf.url, "--to", nowhere]);
    assert_eq!(code, 1);
    assert!(err.contains("/nowhere/at.skald"), "{err}");
}
