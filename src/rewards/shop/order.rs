//! What a shop tells of an order: read from the JSON of its webhooks, and nothing else of it.
//!
//! An order has a hundred fields, of shops of many versions. What is not as expected is taken for absent: a line that cannot be
//! read must not keep the others from being credited.

use serde_json::Value;

/// The property of a line, or the attribute of a cart, that has a package.
const PACKAGE: &str = "_psicash";
/// Units of one line.
const MOST_UNITS: u32 = 100_000;
/// Lines of one message. More are none that a shop sends.
const MOST_LINES: usize = 1_000;

/// What a webhook tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// An order was paid.
    Paid {
        /// The order's id.
        order: u64,
        /// Whether it is an order of the shop's tests.
        test: bool,
        /// Its lines.
        lines: Vec<PaidLine>,
    },
    /// Something was refunded.
    Refunded(Vec<RefundedLine>),
}

/// A line of an order that was paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaidLine {
    /// Its id.
    pub id: u64,
    /// What was bought.
    pub sku: String,
    /// How many of it.
    pub units: u64,
    /// The package of the person it is for: the line's own, or else the cart's.
    pub package: Option<String>,
}

/// A line of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundedLine {
    /// Its id.
    pub id: u64,
    /// The line of the order.
    pub line: u64,
    /// How many units.
    pub units: u64,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not JSON of an order or a refund, or has more than {MOST_LINES} lines")]
pub struct NoOrder;

impl Delivery {
    /// Reads the body of `orders/paid`.
    ///
    /// # Errors
    ///
    /// [`NoOrder`].
    pub fn paid(body: &[u8]) -> Result<Self, NoOrder> {
        let order = read(body)?;
        let cart = package(list(&order, "note_attributes"));
        let line = |line: &Value| {
            Some(PaidLine {
                id: number(line, "id")?,
                sku: line.get("sku").and_then(Value::as_str).unwrap_or_default().to_owned(),
                units: units(line)?,
                package: package(list(line, "properties")).or_else(|| cart.clone()),
            })
        };
        let lines = list(&order, "line_items");
        if lines.len() > MOST_LINES {
            return Err(NoOrder);
        }
        let test = order.get("test").and_then(Value::as_bool).unwrap_or(false);
        let lines = lines.iter().filter_map(line).collect();
        Ok(Self::Paid { order: number(&order, "id").ok_or(NoOrder)?, test, lines })
    }

    /// Reads the body of `refunds/create`.
    ///
    /// # Errors
    ///
    /// [`NoOrder`].
    pub fn refunded(body: &[u8]) -> Result<Self, NoOrder> {
        let refund = read(body)?;
        let line = |line: &Value| {
            Some(RefundedLine { id: number(line, "id")?, line: number(line, "line_item_id")?, units: units(line)? })
        };
        let lines = list(&refund, "refund_line_items");
        if lines.len() > MOST_LINES {
            return Err(NoOrder);
        }
        number(&refund, "id").ok_or(NoOrder)?;
        Ok(Self::Refunded(lines.iter().filter_map(line).collect()))
    }
}

/// The list in a member of an object; empty where there is none.
fn list<'a>(object: &'a Value, member: &str) -> &'a [Value] {
    object.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A number in a member of an object, as it stands or as a text.
fn number(object: &Value, member: &str) -> Option<u64> {
    let found = object.get(member)?;
    found.as_u64().or_else(|| found.as_str()?.parse().ok())
}

/// The units of a line, as a whole number however it is written.
fn units(line: &Value) -> Option<u64> {
    let with_a_point = || {
        let units = line.get("quantity")?.as_f64().filter(|units| units.fract() == 0.0)?;
        units.min(f64::from(MOST_UNITS)).to_string().parse().ok()
    };
    let units = number(line, "quantity").or_else(with_a_point);
    units.filter(|units| *units > 0).map(|units| units.min(MOST_UNITS.into()))
}

/// The package among properties of a line or attributes of a cart.
fn package(properties: &[Value]) -> Option<String> {
    let found = properties.iter().find(|property| property.get("name").and_then(Value::as_str) == Some(PACKAGE))?;
    found.get("value")?.as_str().filter(|value| !value.is_empty()).map(ToOwned::to_owned)
}

fn read(body: &[u8]) -> Result<Value, NoOrder> {
    serde_json::from_slice(body).map_err(|_| NoOrder)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_order_is_read_with_the_package_of_the_line_or_else_of_the_cart() {
        let order = json!({
            "id": 820_982_911_946_154_508_u64, "test": false, "email": "jon@example.com", "note": null,
            "note_attributes": [{"name": "gift", "value": "yes"}, {"name": "_psicash", "value": "cart"}],
            "line_items": [
                {"id": 1, "sku": "T1", "quantity": 3, "properties": [{"name": "_psicash", "value": "line"}], "tax_lines": [{}]},
                {"id": 2, "sku": "T2", "quantity": 1, "properties": []},
                {"id": "3", "sku": 7, "quantity": 2, "properties": null},
                {"id": null, "sku": "T1", "quantity": 1},
                {"id": 5, "sku": "T1", "quantity": -1}, {"id": 6, "sku": "T1", "quantity": 0}, "nonsense", null, [[]],
            ],
        });
        let line = |id, sku: &str, units, package: &str| PaidLine {
            id,
            sku: sku.into(),
            units,
            package: Some(package.into()),
        };
        let lines = vec![line(1, "T1", 3, "line"), line(2, "T2", 1, "cart"), line(3, "", 2, "cart")];
        let read = Delivery::paid(order.to_string().as_bytes());
        assert_eq!(read, Ok(Delivery::Paid { order: 820_982_911_946_154_508, test: false, lines }));
    }

    #[test]
    fn units_are_whole_numbers_however_they_are_written() {
        for (quantity, expected) in [
            (json!(2), Some(2)),
            (json!("2"), Some(2)),
            (json!(2.0), Some(2)),
            (json!(1e30), Some(100_000)),
            (json!(u64::MAX), Some(100_000)),
            (json!(1.5), None),
            (json!(0.0), None),
            (json!(-2.0), None),
            (json!(null), None),
        ] {
            assert_eq!(units(&json!({ "quantity": quantity })), expected, "{quantity}");
        }
    }

    #[test]
    fn a_refund_is_read_by_its_lines() {
        let refund = json!({"id": 9, "order_id": 1, "refund_line_items": [
            {"id": 104, "quantity": 1, "line_item_id": 1, "line_item": {"id": 1}}, {"id": 105, "quantity": 1}, {},
        ]});
        let lines = vec![RefundedLine { id: 104, line: 1, units: 1 }];
        assert_eq!(Delivery::refunded(refund.to_string().as_bytes()), Ok(Delivery::Refunded(lines)));
        assert_eq!(Delivery::refunded(br#"{"id":9}"#), Ok(Delivery::Refunded(vec![])), "a refund of money alone");
    }

    #[test]
    fn what_is_nested_deeply_or_is_no_text_does_no_harm() {
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        let order = format!(r#"{{"id":1,"line_items":[{{"id":1,"sku":"T","quantity":1,"weight":{deep}}}]}}"#);
        for body in [
            order.as_bytes(),
            deep.as_bytes(),
            b"",
            b"null",
            b"{",
            b"\xff",
            b"{\"id\":1,\"line_items\":[{\"sku\":\"\xff\"}]}",
        ] {
            assert_eq!(Delivery::paid(body), Err(NoOrder));
        }
        let many = format!(r#"{{"id":1,"line_items":[{}{{}}]}}"#, "{},".repeat(MOST_LINES));
        assert_eq!(Delivery::paid(many.as_bytes()), Err(NoOrder));
    }

    proptest! {
        #[test]
        fn no_body_does_any_harm(bytes: Vec<u8>, text: String) {
            for body in [&bytes[..], text.as_bytes()] {
                let _read = Delivery::paid(body);
                let _read = Delivery::refunded(body);
            }
        }
    }
}
