//! Golden: the table of `skald dev`, and what it says when an order ends as it should not.

use std::time::Duration;

use skald_cli::{
    dev::{
        board::{Board, Note, What},
        samples,
    },
    output::screen::redraw,
};
use skald_proto::order::v1::OrderStatus;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn note(sample: usize, at: u64, what: What) -> Note {
    Note { sample, at: ms(at), what }
}

fn stands(status: OrderStatus, reason: &str) -> What {
    What::Stands(status, reason.into())
}

#[test]
fn orders_move_over_the_board() {
    let mut board = Board::new(samples::all());
    for sample in 0..6 {
        board.take(&note(sample, 1_000, What::Accepted(format!("id-{sample}"))));
    }
    board.take(&note(0, 1_250, stands(OrderStatus::Completed, "")));
    board.take(&note(1, 1_100, stands(OrderStatus::Cancelled, "OUT_OF_STOCK")));
    board.take(&note(2, 1_200, stands(OrderStatus::Completed, "")));
    board.take(&note(3, 1_200, stands(OrderStatus::Reserved, "")));
    board.take(&note(4, 1_300, stands(OrderStatus::Paid, "")));
    board.take(&note(5, 1_400, What::Broken("the database does not answer".into())));
    assert_eq!(
        board.lines(ms(2_000), usize::MAX, false).join("\n"),
        "   \
   ORDER           STAGES  STATUS                                     TIME  WHAT IT SHOWS
✓  good            ●●●●●   COMPLETED                                 0.2 s  everything is there, and paid with the order
✓  out of stock    ·····   CANCELLED  OUT_OF_STOCK                   0.1 s  3 asked for, 1 there: nothing is taken
✗  declined        ●●●●●   COMPLETED                                 0.2 s  the card is declined: the goods go back
⠦  pay later       ●●○○○   RESERVED   waits for the customer to pay  1.0 s  the customer pays a moment later
⠦  needs a seller  ●●●○○   PAID       waits for the seller to ship   1.0 s  paid, and completed when the seller ships
✗  cancelled       ●○○○○   PENDING    the database does not answer   0.4 s  the customer changes his mind before he pays
⠦  slow gateway    ○○○○○                                             0.0 s  the payment provider takes 2 s to answer"
    );
    let narrow = board.lines(ms(2_000), 84, false);
    assert!(narrow.iter().all(|line| line.chars().count() <= 84), "{narrow:#?}");
    assert!(narrow[1].ends_with("0.2 s  everyth…"), "{narrow:#?}");
    assert!(!board.is_over());
    assert_eq!(board.first_completed(), Some(ms(1_200)));
    let wrong: Vec<String> = board.rows.iter().filter(|row| !row.is_right()).map(|row| row.wrong()).collect();
    assert_eq!(
        wrong,
        [
            "declined: ended COMPLETED, should be CANCELLED (PAYMENT_DECLINED)",
            "pay later: still RESERVED, should be COMPLETED",
            "needs a seller: still PAID, should be COMPLETED",
            "cancelled: the database does not answer",
            "slow gateway: still UNSPECIFIED, should be COMPLETED",
        ]
    );
}

#[test]
fn without_a_terminal_each_change_is_a_line() {
    let mut board = Board::new(samples::all());
    let mut said = |at, what| board.take(&note(3, at, what));
    assert_eq!(said(1_000, What::Accepted("id".into())).unwrap(), "  1.00 s  pay later       accepted as id");
    assert_eq!(said(1_010, stands(OrderStatus::Pending, "")), None, "nothing new");
    assert_eq!(said(1_100, stands(OrderStatus::Reserved, "")).unwrap(), "  1.10 s  pay later       RESERVED");
    assert_eq!(
        said(2_300, What::Acted("the customer pays")).unwrap(),
        "  2.30 s  pay later       the customer pays"
    );
    assert_eq!(said(2_310, stands(OrderStatus::Reserved, "")), None, "nothing new");
    let over = said(12_500, stands(OrderStatus::Cancelled, "EXPIRED")).unwrap();
    assert_eq!(over, " 12.50 s  pay later       CANCELLED (EXPIRED)");
}

#[test]
fn a_frame_takes_the_place_of_the_one_before() {
    let frame = ["one".to_owned(), "two".to_owned()];
    assert_eq!(redraw(0, &frame), "\u{1b}[?7lone\ntwo\n\u{1b}[?7h");
    assert_eq!(redraw(2, &frame), "\u{1b}[2A\r\u{1b}[J\u{1b}[?7lone\ntwo\n\u{1b}[?7h");
    assert_eq!(redraw(2, &[]), "\u{1b}[2A\r\u{1b}[J");
}

#[test]
fn the_samples_tell_each_end() {
    let all = samples::all();
    let names: std::collections::BTreeSet<_> = all.iter().map(|sample| sample.name).collect();
    assert_eq!(names.len(), all.len(), "names are keys");
    let reasons: Vec<_> =
        all.iter().map(|sample| sample.reason).filter(|reason| !reason.is_empty()).collect();
    assert_eq!(reasons, ["OUT_OF_STOCK", "PAYMENT_DECLINED", "CUSTOMER"]);
    assert!(all.iter().any(|sample| sample.draft.needs_fulfilment));
    assert!(
        all.iter().any(|sample| sample.draft.payment_token.is_none() && sample.end == OrderStatus::Completed)
    );
}
