//! What a shop delivers, line by line.

use crate::control::acts::{ActError, Acts};

use super::{
    Rewards,
    shop::{Delivery, LineOutcome},
};

impl Rewards {
    /// Sees to every line of a delivery of a shop. May be repeated: lines that are done change nothing.
    ///
    /// # Errors
    ///
    /// [`ActError`]: all of it is to be sent again. Test orders are passed over unless they are configured to count.
    pub async fn deliver(&self, acts: &Acts, shop: &str, delivery: &Delivery) -> Result<Vec<LineOutcome>, ActError> {
        let mut outcomes = Vec::new();
        match delivery {
            Delivery::Paid { test: true, lines, .. } if !self.test_orders => {
                outcomes.resize(lines.len(), LineOutcome::Ignored);
            }
            Delivery::Paid { order, lines, .. } => {
                for line in lines {
                    outcomes.push(self.shop.pay(acts, &self.earners, (shop, *order), line).await?);
                }
            }
            Delivery::Refunded(lines) => {
                for line in lines {
                    outcomes.push(self.shop.refund(acts, shop, *line).await?);
                }
            }
        }
        Ok(outcomes)
    }
}
