//! Orders as people see them.

use skald_proto::order::v1::OrderStatus;

/// Without the prefix that the contract needs.
pub fn status_name(status: OrderStatus) -> &'static str {
    status.as_str_name().trim_start_matches("ORDER_STATUS_")
}
