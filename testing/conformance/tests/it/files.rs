//! Samples as files: JSON beside TOML, and types out of a descriptor set of one's own.

use skald_conformance::Samples;
use skald_harness::scratch;

#[test]
fn json_with_a_descriptor_set_beside_it() {
    let folder = scratch("samples");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("own.binpb"), skald_proto::DESCRIPTORS).expect("written");
    let text = |descriptors: &str| {
        format!(
            r#"{{"participant": "p", "descriptors": "{descriptors}", "action": [{{"name": "a", "succeeds":
            {{"input": {{"@type": "skald.order.v1.PaymentMethod", "token": "t"}}}}}}]}}"#
        )
    };
    let file = folder.join("samples.json");
    std::fs::write(&file, text("own.binpb")).expect("written");
    let samples = Samples::read(&file).expect("samples");
    assert_eq!((samples.participant.as_str(), samples.actions.len()), ("p", 1));
    std::fs::write(&file, text("missing.binpb")).expect("written");
    let error = Samples::read(&file).expect_err("there is no such set");
    assert!(error.contains("missing.binpb"), "{error}");
}
