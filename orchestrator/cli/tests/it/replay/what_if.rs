//! `what-if`: another deadline, another answer to a no, and the definition as it is.

use super::{
    book::{Saga, Shelf, definition_file, order_with, saga},
    expect, golden, told,
};

/// Paid after twenty minutes; declined; completed.
fn some() -> Vec<Saga> {
    vec![
        saga(0).succeeded("reserve").after(1_200_000).paid().after(10).succeeded("charge"),
        saga(1).succeeded("reserve").paid().rejected("charge", "PAYMENT_DECLINED").undone("reserve"),
        saga(2).completed(),
    ]
}

#[tokio::test]
async fn a_shorter_deadline_and_a_patient_seller() {
    let shelf = Shelf::with(&some()).await;
    let from = ["replay", "what-if", "--from", &shelf.url, "--definition"];
    let hasty = definition_file(&order_with("deadline = \"30m\"", "deadline = \"10m\""));
    golden(&[&from[..], &[&hasty]].concat(), 0, "deadline.txt");
    let parks =
        definition_file(&order_with("undo = \"refund\"", "undo = \"refund\"\non_rejected = \"park\""));
    golden(&[&from[..], &[&parks]].concat(), 0, "parks.txt");
    let all = definition_file(&order_with("stage = \"RESERVED\"\n", ""));
    let (code, out, _) = told(&[&from[..], &[&parks, "--limit", "0"]].concat());
    assert!(code == 0 && !out.contains("COMPENSATED"), "{out}");
    let (_, out, _) = told(&[&from[..], &[&all, "--limit", "1"]].concat());
    assert!(out.contains("\n… and 2 more: --limit N shows them\n"), "{out}");

    let same = definition_file(&order_with("version = 1", "version = 2"));
    expect(
        &[&from[..], &[&same]].concat(),
        0,
        "\
another end               0
another course, same end  0
the same                  3",
    );
    let other = definition_file(&order_with("name = \"order\"", "name = \"purchase\""));
    let (code, out, _) = told(&[&from[..], &[&other, "--output", "jsonl"]].concat());
    assert_eq!(code, 0);
    let summary: serde_json::Value = serde_json::from_str(&out).expect("one line");
    assert_eq!(summary["summary"]["other_definition"], 3);

    let (code, _, err) = told(&[&from[..], &["/nowhere.toml"]].concat());
    assert_eq!(code, 2, "{err}");
}
