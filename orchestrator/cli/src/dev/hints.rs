//! What to try next: lines to copy, with an order that exists.

use super::place::Ports;

/// The lines; `order_id` is one that exists, `data` how this folder is named on a command line.
pub(super) fn lines(ports: Ports, order_id: &str) -> String {
    let (orchestrator, inventory, payment) = (ports.orchestrator().0, ports.inventory().0, ports.payment().0);
    let order = format!(r#"'{{"order_id":"{order_id}"}}'"#);
    let saga = format!(r#"'{{"saga_id":"{order_id}"}}'"#);
    let submit = r#"'{"idempotency_key":"my-first-order","order":{"customer_id":"me","currency":"EUR","payment_token":"tok_ok","lines":[{"sku":"tea-green","quantity":1,"unit_price_minor":450}]}}'"#;
    let server = if ports.base == super::place::PORT_BASE {
        String::new()
    } else {
        format!(" --server {orchestrator}")
    };
    format!(
        "Try, with grpcurl (reflection is on):
  grpcurl -plaintext {orchestrator} list
  grpcurl -plaintext -d {submit} {orchestrator} skald.order.v1.OrderService/SubmitOrder
  grpcurl -plaintext -d {order} {orchestrator} skald.order.v1.OrderService/WatchOrder
  grpcurl -plaintext -d {saga} {orchestrator} skald.saga.v1.SagaService/History
  grpcurl -plaintext -d '{{\"sku\":\"tea-green\"}}' {inventory} skald.inventory.v1.InventoryService/GetStock
  grpcurl -plaintext -d {order} {payment} skald.payment.v1.PaymentService/GetCharge
or with this program:
  skald order submit --customer me --line tea-green:1:4.50 --token tok_ok --watch{server}
  skald saga history {order_id}{server}"
    )
}
