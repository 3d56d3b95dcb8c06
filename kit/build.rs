//! A new migration file must rebuild the crate: `sqlx::migrate!` cannot say so itself.
#![allow(clippy::print_stdout)]

fn main() {
    println!("cargo:rerun-if-changed=../migrations/kit");
}
