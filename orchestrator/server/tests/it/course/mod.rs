//! The courses that a saga can take, each from the outside: what participants are asked, what clients see.

mod cancel;
mod failures;
mod graph;
mod signals;

use skald_server::Config;

/// The order's definition with other words in it, for this orchestrator alone.
pub(crate) fn order_with(config: &mut Config, changes: &[(&str, &str)]) {
    let mut text = include_str!("../../../../core/definitions/order.toml").to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from:?} stands in the definition");
        text = text.replace(from, to);
    }
    define(config, "order", &text);
}

/// A definition of the test's own.
pub(crate) fn define(config: &mut Config, name: &str, text: &str) {
    let folder = skald_harness::scratch("definitions");
    std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    config.definitions.folder = Some(folder);
}
