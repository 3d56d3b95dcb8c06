//! Amounts, times and lines of orders, as people read and write them.

use skald_cli::{
    orders::parse_line,
    output::text::{minor_units, money, precise, time},
    with_database,
};

#[test]
fn money_has_as_many_digits_as_its_currency() {
    for (minor, currency, text) in [
        (450, "EUR", "4.50 EUR"),
        (5, "EUR", "0.05 EUR"),
        (0, "EUR", "0.00 EUR"),
        (-1, "USD", "-0.01 USD"),
        (450, "JPY", "450 JPY"),
        (4_500, "KWD", "4.500 KWD"),
        (i64::MIN, "EUR", "-92233720368547758.08 EUR"),
    ] {
        assert_eq!(money(minor, currency), text);
    }
}

#[test]
fn amounts_are_exact_or_refused() {
    for (amount, currency, minor) in [
        ("4.50", "EUR", 450),
        ("4.5", "EUR", 450),
        ("4", "EUR", 400),
        ("450", "JPY", 450),
        ("0.001", "KWD", 1),
    ] {
        assert_eq!(minor_units(amount, currency), Ok(minor), "{amount} {currency}");
    }
    for (amount, currency) in [
        ("4.505", "EUR"),
        ("4.5", "JPY"),
        ("4.", "EUR"),
        (".5", "EUR"),
        ("-1", "EUR"),
        ("1e3", "EUR"),
        ("", "EUR"),
    ] {
        assert!(minor_units(amount, currency).is_err(), "{amount} {currency}");
    }
    assert_eq!(
        minor_units("99999999999999999999", "EUR"),
        Err("\"99999999999999999999\" is too much".into())
    );
}

#[test]
fn a_line_is_sku_quantity_price_and_perhaps_a_seller() {
    let line = parse_line("teapot:2:39:potter:7", "EUR").expect("a line");
    assert_eq!(
        (&*line.sku, line.quantity, line.unit_price_minor, &*line.seller_id),
        ("teapot", 2, 3_900, "potter:7")
    );
    for (text, wrong) in [
        ("teapot", "expected SKU:QUANTITY:PRICE[:SELLER], such as teapot:1:39.00"),
        ("teapot:two:39", "the quantity \"two\" is no whole number"),
        ("teapot:2:39.999", "\"39.999\" is finer than EUR can be: 2 digits behind the point"),
    ] {
        assert_eq!(parse_line(text, "EUR"), Err(wrong.to_owned()));
    }
}

#[test]
fn times_are_utc() {
    let at = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 42_999_999 };
    assert_eq!(time(Some(&at)), "2023-11-14 22:13:20");
    assert_eq!(precise(Some(&at)), "2023-11-14 22:13:20.042");
    assert_eq!(precise(Some(&prost_types::Timestamp { nanos: 0, ..at })), "2023-11-14 22:13:20.000");
    assert_eq!((time(None), precise(None)), (String::new(), String::new()));
}

#[test]
fn another_database_of_the_same_server() {
    for (url, with) in [
        ("postgres://u:p@h:1", "postgres://u:p@h:1/skald"),
        ("postgres://h/", "postgres://h/skald"),
        ("postgres://h/old?sslmode=require", "postgres://h/skald?sslmode=require"),
    ] {
        assert_eq!(with_database(url, "skald"), with);
    }
}
